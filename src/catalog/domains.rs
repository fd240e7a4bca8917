//! Custom domains: rows of `store_domains`.

use std::fmt;

use serde::Serialize;

use super::{
    Catalog, Error,
    insert::{InsertError, Source},
    text,
};
use crate::{
    database::session::{Dialect, Row, Value},
    routing::{Host, Hostname, HostnameError, Place, UnroutableReason},
};

/// A row of `store_domains`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// The primary key as text.
    pub id: String,
    /// The key of its store as text.
    pub store_id: String,
    /// The subdomain of its store; none where there is no such store.
    pub store_subdomain: Option<String>,
    /// The name as it is written in the table.
    pub domain: String,
    /// Whether it is the one that the store's other domains stand back for, where the table has a column for that.
    pub is_primary: Option<bool>,
    /// Whether it is switched on.
    pub is_active: bool,
    /// Whether the customer has proved that the name is theirs.
    pub is_verified: bool,
    /// What the customer's TXT record has to say, where the table has a column for that.
    pub verification_token: Option<String>,
}

impl fmt::Debug for Domain {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, store_id, domain, is_primary, is_active, is_verified, .. } = self;
        let mut row = f.debug_struct("Domain");
        row.field("id", id).field("store_id", store_id).field("domain", domain).field("is_primary", is_primary);
        row.field("is_active", is_active).field("is_verified", is_verified).finish_non_exhaustive()
    }
}

/// A domain that is to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewDomain<'a> {
    /// The name, as a person writes it.
    pub name: &'a str,
    /// The id or subdomain of the store.
    pub store: &'a str,
    /// The operator's word that the name is the customer's.
    pub is_verified: bool,
}

impl Domain {
    /// The canonical name, where the row has one at all.
    pub fn hostname(&self) -> Result<Hostname<'static>, HostnameError> {
        Hostname::parse_human(&self.domain)
    }

    fn store_title(&self) -> String {
        format!("{} ({})", self.store_id, self.store_subdomain.as_deref().unwrap_or("which does not exist"))
    }
}

impl Catalog {
    /// Adds an active domain with a token that nobody can guess; not the store's primary one.
    pub async fn add_domain(&self, new: NewDomain<'_>) -> Result<Domain, Error> {
        let name = self.usable_name(new.name)?;
        if !new.is_verified {
            self.domains.require("verification_token")?;
        }
        let store = self.store(new.store).await?;
        self.refuse_taken_domain(&name).await?;
        let given = vec![
            ("store_id", Source::StoreKey(store.id)),
            ("domain", Source::Value(name.as_str().into())),
            ("is_primary", Source::Value(Value::Bool(false))),
            ("is_active", Source::Value(Value::Bool(true))),
            ("is_verified", Source::Value(Value::Bool(new.is_verified))),
            ("verification_token", Source::Value(Value::Text(token()?))),
        ];
        match self.insert(&self.domains, given).await {
            Ok(_) => self.domain(name.as_str()).await,
            Err(InsertError::Other(error)) => Err(error),
            // Somebody was faster, or it is a column that usher knows nothing of.
            Err(InsertError::Conflict(error)) => self.refuse_taken_domain(&name).await.and(Err(error.into())),
        }
    }

    /// All domains, or those of one store, in alphabetical order.
    pub async fn domains(&self, store: Option<&str>) -> Result<Vec<Domain>, Error> {
        match store {
            None => self.select_domains("ORDER BY d.domain", &[]).await,
            Some(reference) => {
                let store = self.store(reference).await?;
                self.select_domains("WHERE s.id = $1 ORDER BY d.domain", &[Value::Text(store.id)]).await
            }
        }
    }

    /// The domain of this name, however it is written here and in the table.
    pub async fn domain(&self, written: &str) -> Result<Domain, Error> {
        let name = hostname(written)?;
        let mut rows = self.rows_of(&name).await?;
        match (rows.pop(), rows.is_empty()) {
            (None, _) => Err(Error::NoSuchDomain(name.as_str().to_owned())),
            (Some(domain), true) => Ok(domain),
            (Some(last), false) => {
                let shown = |row: &Domain| format!("id {} {:?} of store {}", row.id, row.domain, row.store_title());
                let rows = rows.iter().chain([&last]).map(shown).collect::<Vec<_>>().join(", ");
                Err(Error::AmbiguousDomain { name: name.as_str().to_owned(), rows })
            }
        }
    }

    /// Takes the operator's word that the name is the customer's.
    pub async fn verify_domain(&self, written: &str) -> Result<Domain, Error> {
        self.update_domain(written, "UPDATE store_domains SET is_verified = $1 WHERE id = $2", true).await
    }

    /// Switches one domain on or off.
    pub async fn set_domain_active(&self, written: &str, is_active: bool) -> Result<Domain, Error> {
        self.update_domain(written, "UPDATE store_domains SET is_active = $1 WHERE id = $2", is_active).await
    }

    /// Makes the domain its store's primary one, and all others of the store secondary.
    pub async fn make_primary(&self, written: &str) -> Result<Domain, Error> {
        self.domains.require("is_primary")?;
        let id = vec![Value::Text(self.domain(written).await?.id)];
        let of_its_store = "store_id = (SELECT store_id FROM store_domains WHERE id = $1)";
        // Two such edits of one store at a time would each miss the other's choice. SQLite locks the file for both anyway.
        let lock = match self.session.dialect() {
            Dialect::Postgres => " FOR UPDATE",
            Dialect::Sqlite => "",
        };
        self.session
            .transaction(&[
                (&format!("SELECT 1 FROM store_domains WHERE {of_its_store}{lock}"), id.clone()),
                (
                    &format!(
                        "UPDATE store_domains SET is_primary = FALSE WHERE {of_its_store} AND is_primary AND id <> $1"
                    ),
                    id.clone(),
                ),
                ("UPDATE store_domains SET is_primary = TRUE WHERE id = $1", id),
            ])
            .await?;
        self.domain(written).await
    }

    /// Removes the row, and returns what it was.
    pub async fn remove_domain(&self, written: &str) -> Result<Domain, Error> {
        let domain = self.domain(written).await?;
        self.session.query("DELETE FROM store_domains WHERE id = $1", &[Value::Text(domain.id.clone())]).await?;
        Ok(domain)
    }

    /// What keeps requests for this host from being looked up as a custom domain, if anything does.
    pub(super) fn domain_fault(&self, host: &Host<'_>) -> Option<&'static str> {
        match (host, self.place(host)) {
            (Host::Ip(_), _) => Some("an address"),
            (Host::Name(name), Place::CustomDomain(_)) if !name.as_str().contains('.') => Some("a single label"),
            (_, Place::CustomDomain(_)) => None,
            (_, Place::AdminHost) => Some("a host of the administration (routing.admin_hosts)"),
            (_, Place::PathHost { .. }) => Some("a path host (routing.path_hosts)"),
            (_, Place::Platform(_)) => Some("a platform domain itself (routing.platform_domains)"),
            (_, Place::Subdomain { .. }) => Some("under a platform domain (routing.platform_domains)"),
            (_, Place::Nowhere(reason)) => Some(nowhere(reason)),
        }
    }

    fn usable_name(&self, written: &str) -> Result<Hostname<'static>, Error> {
        let host = Host::parse_human(written).map_err(|cause| Error::Domain { written: written.to_owned(), cause })?;
        match (self.domain_fault(&host), host) {
            (None, Host::Name(name)) => Ok(name),
            (fault, host) => {
                Err(Error::UnusableDomain { name: host.to_string(), reason: fault.unwrap_or("an address") })
            }
        }
    }

    async fn refuse_taken_domain(&self, name: &Hostname<'_>) -> Result<(), Error> {
        match self.rows_of(name).await?.first() {
            Some(row) => Err(Error::Taken { name: format!("the domain {name}"), store: row.store_title() }),
            None => Ok(()),
        }
    }

    async fn update_domain(&self, written: &str, sql: &str, flag: bool) -> Result<Domain, Error> {
        let id = self.domain(written).await?.id;
        self.session.query(sql, &[Value::Bool(flag), Value::Text(id)]).await?;
        self.domain(written).await
    }

    pub(super) async fn rows_of(&self, name: &Hostname<'_>) -> Result<Vec<Domain>, Error> {
        self.select_domains("WHERE lower(rtrim(d.domain, '.')) = $1 ORDER BY d.id", &[name.as_str().into()]).await
    }

    async fn select_domains(&self, rest: &str, values: &[Value]) -> Result<Vec<Domain>, Error> {
        let is_primary = self.domains.optional("is_primary", "d.is_primary");
        let token = self.domains.optional("verification_token", "CAST(d.verification_token AS text)");
        let sql = format!(
            "SELECT CAST(d.id AS text), CAST(d.store_id AS text), CAST(s.subdomain AS text), CAST(d.domain AS text),
                    d.is_active, d.is_verified, {is_primary}, {token}
             FROM store_domains d LEFT JOIN stores s ON s.id = d.store_id {rest}"
        );
        Ok(self.session.query(&sql, values).await?.iter().map(|row| self.domain_of(row)).collect())
    }

    fn domain_of(&self, row: &Row) -> Domain {
        Domain {
            id: text(row.first()),
            store_id: text(row.get(1)),
            store_subdomain: row.get(2).and_then(Value::as_text).map(str::to_owned),
            domain: text(row.get(3)),
            is_active: row.get(4).is_some_and(Value::is_true),
            is_verified: row.get(5).is_some_and(Value::is_true),
            is_primary: row.get(6).filter(|_| self.domains.has("is_primary")).map(Value::is_true),
            verification_token: row.get(7).and_then(Value::as_text).map(str::to_owned),
        }
    }
}

fn hostname(written: &str) -> Result<Hostname<'static>, Error> {
    Hostname::parse_human(written).map_err(|cause| Error::Domain { written: written.to_owned(), cause })
}

fn nowhere(reason: UnroutableReason) -> &'static str {
    use UnroutableReason as Reason;
    match reason {
        Reason::DeepSubdomain | Reason::ReservedLabel => "under a platform domain (routing.platform_domains)",
        Reason::AdminLookalike => "made to look like an administration (routing.admin_hosts)",
        Reason::IpLiteral => "an address",
        Reason::AdminPath | Reason::BadPathLabel | Reason::ReservedPathLabel => "never routed",
    }
}

/// 128 bits in 32 hexadecimal digits: nobody guesses them, and people can compare them by eye.
fn token() -> Result<String, Error> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(Error::Randomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::fixture;

    async fn example() -> (tempfile::TempDir, Catalog) {
        let (folder, catalog) = fixture::catalog("").await.unwrap();
        catalog
            .batch("INSERT INTO stores (subdomain, name) VALUES ('store1', 'Shop Alpha'), ('store2', 'Shop Beta')")
            .await;
        (folder, catalog)
    }

    fn new(name: &str) -> NewDomain<'_> {
        NewDomain { name, store: "store1", is_verified: false }
    }

    #[tokio::test]
    async fn a_domain_is_added_in_canonical_form_with_a_token_of_its_own() {
        let (_folder, catalog) = example().await;
        let first = catalog.add_domain(new("Bücher.Example.COM.")).await.unwrap();
        let second = catalog.add_domain(NewDomain { is_verified: true, ..new("b.example.com") }).await.unwrap();
        assert_eq!(first.domain, "xn--bcher-kva.example.com");
        assert_eq!((first.store_id.as_str(), first.store_subdomain.as_deref()), ("1", Some("store1")));
        assert_eq!((first.is_active, first.is_verified, first.is_primary), (true, false, Some(false)));
        assert!(second.is_verified);
        let tokens = [first.verification_token.unwrap(), second.verification_token.unwrap()];
        assert!(tokens.iter().all(|token| token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert_ne!(tokens[0], tokens[1]);
    }

    #[tokio::test]
    async fn names_that_would_never_be_looked_up_are_refused() {
        let (_folder, catalog) = example().await;
        for name in
            ["platform.com", "x.platform.com", "a.b.platform.com", "admin.brand.com", "192.0.2.1", "[::1]", "shop"]
        {
            let error = catalog.add_domain(new(name)).await.unwrap_err();
            assert!(matches!(error, Error::UnusableDomain { .. }), "{name}: {error}");
        }
        for name in ["", "not a domain", "*.brand.com", "https://brand.com", "brand.com:8080"] {
            let error = catalog.add_domain(new(name)).await.unwrap_err();
            assert!(matches!(error, Error::Domain { .. }), "{name}: {error}");
        }
        assert_eq!(catalog.domains(None).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_conflict_names_the_store_that_has_the_domain() {
        let (_folder, catalog) = example().await;
        catalog.batch("INSERT INTO store_domains (store_id, domain) VALUES (2, 'Brand.com.')").await;
        let error = catalog.add_domain(new("brand.com")).await.unwrap_err();
        assert_eq!(error.to_string(), "the domain brand.com belongs to store 2 (store2) already");
    }

    #[tokio::test]
    async fn one_domain_of_a_store_is_primary() {
        let (_folder, catalog) = example().await;
        catalog
            .batch(
                "INSERT INTO store_domains (store_id, domain, is_primary)
                 VALUES (1, 'a.com', 1), (1, 'b.com', 1), (1, 'c.com', 0), (2, 'd.com', 1)",
            )
            .await;
        assert_eq!(catalog.make_primary("c.com").await.unwrap().is_primary, Some(true));
        let domains = catalog.domains(None).await.unwrap();
        let primary: Vec<_> =
            domains.iter().filter(|row| row.is_primary == Some(true)).map(|row| &row.domain).collect();
        assert_eq!(primary, ["c.com", "d.com"]);
    }

    #[tokio::test]
    async fn a_domain_is_verified_switched_and_removed_however_it_is_written() {
        let (_folder, catalog) = example().await;
        catalog.batch("INSERT INTO store_domains (store_id, domain) VALUES (1, 'Brand.com.'), (1, 'other.com')").await;
        assert!(catalog.verify_domain("brand.com").await.unwrap().is_verified);
        assert!(!catalog.set_domain_active("BRAND.com", false).await.unwrap().is_active);
        assert!(catalog.set_domain_active("brand.com.", true).await.unwrap().is_active);
        assert_eq!(catalog.remove_domain("brand.com").await.unwrap().domain, "Brand.com.");
        assert!(matches!(catalog.domain("brand.com").await, Err(Error::NoSuchDomain(_))));
        let other = catalog.domain("other.com").await.unwrap();
        assert!(other.is_active && !other.is_verified);
    }

    #[tokio::test]
    async fn rows_that_come_to_the_same_name_are_not_chosen_between() {
        let (_folder, catalog) = example().await;
        catalog.batch("INSERT INTO store_domains (store_id, domain) VALUES (1, 'a.com'), (2, 'A.com')").await;
        let error = catalog.verify_domain("a.com").await.unwrap_err();
        assert!(matches!(&error, Error::AmbiguousDomain { rows, .. } if rows.contains("id 2 \"A.com\"")), "{error}");
    }

    #[tokio::test]
    async fn domains_are_listed_by_store() {
        let (_folder, catalog) = example().await;
        catalog
            .batch("INSERT INTO store_domains (store_id, domain) VALUES (1, 'b.com'), (2, 'c.com'), (1, 'a.com')")
            .await;
        let names = |rows: Vec<Domain>| rows.into_iter().map(|row| row.domain).collect::<Vec<_>>();
        assert_eq!(names(catalog.domains(None).await.unwrap()), ["a.com", "b.com", "c.com"]);
        assert_eq!(names(catalog.domains(Some("store1")).await.unwrap()), ["a.com", "b.com"]);
        assert!(matches!(catalog.domains(Some("nosuch")).await, Err(Error::NoSuchStore(_))));
    }

    #[tokio::test]
    async fn optional_columns_are_asked_for_only_where_they_are_needed() {
        let tables = "CREATE TABLE stores (id TEXT PRIMARY KEY, subdomain TEXT, is_active INT);
            INSERT INTO stores VALUES ('0012', 'store1', 1);
            CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id TEXT, domain TEXT, is_active INT, is_verified INT)";
        let (_folder, catalog) = fixture::catalog(tables).await.unwrap();
        let missing = |error: &Error, name| matches!(error, Error::MissingColumn { column, .. } if *column == name);
        let error = catalog.add_domain(new("a.com")).await.unwrap_err();
        assert!(missing(&error, "verification_token"), "{error}");
        let added = catalog.add_domain(NewDomain { is_verified: true, ..new("a.com") }).await.unwrap();
        assert_eq!((added.store_id.as_str(), added.is_primary, added.verification_token), ("0012", None, None));
        let error = catalog.make_primary("a.com").await.unwrap_err();
        assert!(missing(&error, "is_primary"), "{error}");
    }
}
