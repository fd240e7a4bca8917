//! The everyday edits of the SaaS's own tables: what `usher store` and `usher domain` do.
//!
//! The tables belong to the app, which may have given them keys of any type and columns of its own; what is not there is
//! asked for by name, and nothing is written that the router could never find.

mod audit;
mod domains;
mod error;
mod insert;
mod records;
mod stores;
mod upstreams;

pub use audit::{Audit, Duplicate, Fault, RowFault};
pub use domains::{Domain, NewDomain};
pub use error::Error;
pub use records::{DnsRecord, DnsTargets, Purpose, dns_records};
pub use stores::Store;
pub use upstreams::named_upstreams;

use crate::{
    database::{
        migrations,
        schema::{self, Column},
        session::{Session, Value},
    },
    routing::{Host, Path, Place, RequestFacts, Rules},
};

/// The stores and their domains, as the app keeps them.
pub struct Catalog {
    session: Session,
    rules: Rules,
    /// The path `/`: where a host stands does not depend on the path.
    root: Path<'static>,
    stores: Table,
    domains: Table,
}

/// A table and the columns it has.
struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

impl Catalog {
    /// Looks at the tables; `rules` tell which names could ever be found.
    pub async fn open(session: Session, rules: Rules) -> Result<Self, Error> {
        if let Some(table) = migrations::missing_tables(&session).await?.first() {
            return Err(Error::MissingTable { table });
        }
        if let Some((table, column)) =
            migrations::missing_columns(&session, &migrations::Plan::default()).await?.first()
        {
            return Err(Error::MissingColumn { table, column });
        }
        let stores = Table { name: "stores", columns: schema::columns(&session, "stores").await? };
        let domains = Table { name: "store_domains", columns: schema::columns(&session, "store_domains").await? };
        Ok(Self { session, rules, root: Path::read("/"), stores, domains })
    }

    /// Where requests for `host` from anywhere but this machine stand.
    fn place<'a>(&'a self, host: &'a Host<'a>) -> Place<'a> {
        self.rules.place(&RequestFacts { host, path: &self.root, peer_is_loopback: false })
    }
}

impl Table {
    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column)
    }

    fn require(&self, column: &'static str) -> Result<(), Error> {
        if self.has(column) { Ok(()) } else { Err(Error::MissingColumn { table: self.name, column }) }
    }

    /// `expression` where the column is there, else NULL.
    fn optional(&self, column: &str, expression: &'static str) -> &'static str {
        if self.has(column) { expression } else { "NULL" }
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_text).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod fixture {
    use super::*;
    use crate::{
        database::sqlite::Database,
        routing::{Hostname, InactiveStore, PathHosts, Redirects, Settings, UnknownHost, WwwPolicy},
    };

    pub(super) fn rules() -> Rules {
        let name = |text| Hostname::parse_human(text).unwrap();
        Rules::new(Settings {
            platform_domains: vec![name("platform.com"), name("eu.platform.com")],
            admin_hosts: vec![name("admin.platform.com"), name("office.platform.com")],
            admin_labels: vec!["admin".into()],
            admin_paths: vec!["/admin".into()],
            reserved_labels: vec!["www".into(), "admin".into(), "api".into()],
            www: WwwPolicy::Redirect,
            path_prefix: "/store".into(),
            path_hosts: PathHosts::Loopback,
            unknown_host: UnknownHost::NotFound,
            inactive_store: InactiveStore::Unknown,
            redirects: Redirects::default(),
        })
    }

    /// A catalog over tables made by `sql`, or by the migrations where that is empty.
    pub(super) async fn catalog(sql: &str) -> Result<(tempfile::TempDir, Catalog), Error> {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        if sql.is_empty() {
            migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        } else {
            session.batch(sql).await.unwrap();
        }
        Ok((folder, Catalog::open(session, rules()).await?))
    }

    impl Catalog {
        pub(super) async fn batch(&self, sql: &str) {
            self.session.batch(sql).await.unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_or_column_that_is_missing_is_named() {
        let stores = "CREATE TABLE stores (id INTEGER PRIMARY KEY, subdomain TEXT, is_active INT);";
        let error = fixture::catalog(stores).await.err().unwrap();
        assert!(matches!(error, Error::MissingTable { table: "store_domains" }), "{error}");
        let domains = "CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id INT, domain TEXT, is_active INT)";
        let error = fixture::catalog(&format!("{stores}{domains}")).await.err().unwrap();
        assert!(matches!(error, Error::MissingColumn { table: "store_domains", column: "is_verified" }), "{error}");
    }
}
