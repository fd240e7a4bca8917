//! Stores: rows of `stores`.

use serde::Serialize;

use super::{
    Catalog, Error,
    insert::{InsertError, Source},
    text,
};
use crate::{
    database::session::{Row, Value},
    routing::{Host, Hostname, HostnameError, Label, Place},
};

/// A row of `stores`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Store {
    /// The primary key as text, whatever type its column has; what the app sees as `X-Store-Id`.
    pub id: String,
    /// The label under the platform domains.
    pub subdomain: String,
    /// What people call it, where the table has a column for that.
    pub name: Option<String>,
    /// Whether it is served at all.
    pub is_active: bool,
}

impl Store {
    /// The store as people recognise it: `1 (store1)`.
    pub fn title(&self) -> String {
        format!("{} ({})", self.id, self.subdomain)
    }
}

impl Catalog {
    /// Adds an active store. `subdomain` may be written in Unicode; it is stored in canonical form.
    pub async fn add_store(&self, subdomain: &str, name: Option<&str>) -> Result<Store, Error> {
        let label = self.label(subdomain)?;
        if name.is_some() {
            self.stores.require("name")?;
        }
        self.refuse_taken_label(&label).await?;
        let given = vec![
            ("subdomain", Source::Value(label.as_str().into())),
            ("name", Source::Value(name.unwrap_or(&label).into())),
            ("is_active", Source::Value(Value::Bool(true))),
        ];
        match self.insert(&self.stores, given).await {
            Ok(id) => self.store(&format!("id:{id}")).await,
            Err(InsertError::Other(error)) => Err(error),
            // Somebody was faster, or it is a column that usher knows nothing of.
            Err(InsertError::Conflict(error)) => self.refuse_taken_label(&label).await.and(Err(error.into())),
        }
    }

    /// All stores, in the order of their ids.
    pub async fn stores(&self) -> Result<Vec<Store>, Error> {
        self.select_stores("ORDER BY id", &[]).await
    }

    /// The store whose id or subdomain is `reference`; `id:…` and `subdomain:…` say which is meant.
    pub async fn store(&self, reference: &str) -> Result<Store, Error> {
        let (condition, value) = match reference.split_once(':') {
            Some(("id", id)) => ("CAST(id AS text) = $1", id.to_owned()),
            Some(("subdomain", label)) => ("lower(subdomain) = $1", canonical_reference(label)),
            _ => ("CAST(id AS text) = $1 OR lower(subdomain) = $2", reference.to_owned()),
        };
        let mut values = vec![Value::Text(value)];
        if condition.contains("$2") {
            values.push(Value::Text(canonical_reference(reference)));
        }
        let mut found = self.select_stores(&format!("WHERE {condition} ORDER BY id"), &values).await?;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(Error::NoSuchStore(reference.to_owned())),
            (Some(store), true) => Ok(store),
            (Some(last), false) => {
                let titles = found.iter().chain([&last]).map(Store::title).collect::<Vec<_>>();
                Err(Error::AmbiguousStore { reference: reference.to_owned(), candidates: titles.join(", ") })
            }
        }
    }

    /// Switches a store on or off, for all of its names.
    pub async fn set_store_active(&self, reference: &str, is_active: bool) -> Result<Store, Error> {
        let store = self.store(reference).await?;
        let values = [Value::Bool(is_active), Value::Text(store.id.clone())];
        self.session.query("UPDATE stores SET is_active = $1 WHERE id = $2", &values).await?;
        self.store(&format!("id:{}", store.id)).await
    }

    /// What keeps requests under every platform domain from being this label's, if anything does.
    pub(super) fn label_fault(&self, label: &str) -> Option<&'static str> {
        let settings = self.rules.settings();
        if settings.reserved_labels.iter().any(|reserved| reserved == label) {
            return Some("reserved (routing.reserved_labels)");
        }
        let mut faults = settings.platform_domains.iter().map(|platform| self.subdomain_fault(label, platform));
        // Usable under one of the platform domains is usable.
        faults.next().flatten().filter(|_| faults.all(|fault| fault.is_some()))
    }

    fn subdomain_fault(&self, label: &str, platform: &Hostname<'_>) -> Option<&'static str> {
        let name = format!("{label}.{platform}");
        let Ok(host) = Hostname::parse(&name).map(Host::Name) else { return Some("too long for the platform domain") };
        match self.place(&host) {
            Place::Subdomain { .. } => None,
            Place::AdminHost => Some("a host of the administration (routing.admin_hosts)"),
            Place::Platform(_) => Some("a platform domain itself (routing.platform_domains)"),
            Place::PathHost { .. } => Some("a path host (routing.path_hosts)"),
            Place::CustomDomain(_) | Place::Nowhere(_) => Some("not under a platform domain"),
        }
    }

    fn label(&self, written: &str) -> Result<String, Error> {
        let label =
            canonical_label(written).map_err(|cause| Error::Subdomain { written: written.to_owned(), cause })?;
        if label.contains('.') {
            return Err(Error::SeveralLabels { written: written.to_owned() });
        }
        match self.label_fault(&label) {
            Some(reason) => Err(Error::UnusableLabel { label, reason }),
            None => Ok(label),
        }
    }

    async fn refuse_taken_label(&self, label: &str) -> Result<(), Error> {
        let taken = self.select_stores("WHERE lower(subdomain) = $1 ORDER BY id LIMIT 1", &[label.into()]).await?;
        match taken.first() {
            Some(store) => Err(Error::Taken { name: format!("the subdomain {label}"), store: store.title() }),
            None => Ok(()),
        }
    }

    async fn select_stores(&self, rest: &str, values: &[Value]) -> Result<Vec<Store>, Error> {
        let name = self.stores.optional("name", "CAST(name AS text)");
        let sql = format!("SELECT CAST(id AS text), CAST(subdomain AS text), {name}, is_active FROM stores {rest}");
        Ok(self.session.query(&sql, values).await?.iter().map(store).collect())
    }
}

fn store(row: &Row) -> Store {
    Store {
        id: text(row.first()),
        subdomain: text(row.get(1)),
        name: row.get(2).and_then(Value::as_text).map(str::to_owned),
        is_active: row.get(3).is_some_and(Value::is_true),
    }
}

/// One label, or several where somebody wrote a whole name.
fn canonical_label(written: &str) -> Result<String, HostnameError> {
    if written.is_ascii() && !written.contains('.') {
        return Label::parse(written).map(|label| label.as_str().to_owned());
    }
    Hostname::parse_human(written).map(|name| name.as_str().to_owned())
}

/// What cannot be a label is looked for as it stands: a table may hold anything.
fn canonical_reference(written: &str) -> String {
    canonical_label(written).unwrap_or_else(|_| written.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::fixture::catalog;

    #[tokio::test]
    async fn a_store_is_added_in_canonical_form_and_found_by_id_and_subdomain() {
        let (_folder, catalog) = catalog("").await.unwrap();
        let added = catalog.add_store("Müller", Some("Müller & Co")).await.unwrap();
        assert_eq!((added.id.as_str(), added.subdomain.as_str()), ("1", "xn--mller-kva"));
        assert_eq!((added.name.as_deref(), added.is_active), (Some("Müller & Co"), true));
        for reference in ["1", "id:1", "müller", "XN--MLLER-KVA", "subdomain:müller"] {
            assert_eq!(catalog.store(reference).await.unwrap(), added, "{reference}");
        }
    }

    #[tokio::test]
    async fn labels_that_no_store_can_have_are_refused() {
        let (_folder, catalog) = catalog("").await.unwrap();
        for label in ["api", "WWW"] {
            let error = catalog.add_store(label, None).await.unwrap_err();
            assert!(matches!(error, Error::UnusableLabel { .. }), "{error}");
        }
        // An administration under the one platform domain, a store under the other.
        assert_eq!(catalog.add_store("office", None).await.unwrap().subdomain, "office");
    }

    #[tokio::test]
    async fn what_is_no_label_is_refused() {
        let (_folder, catalog) = catalog("").await.unwrap();
        for label in ["", "-bad", "a b", "a/b"] {
            let error = catalog.add_store(label, None).await.unwrap_err();
            assert!(matches!(error, Error::Subdomain { .. }), "{error}");
        }
        let error = catalog.add_store("a.b", None).await.unwrap_err();
        assert!(matches!(error, Error::SeveralLabels { .. }), "{error}");
        assert_eq!(catalog.stores().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_conflict_names_the_store_that_has_the_subdomain() {
        let (_folder, catalog) = catalog("").await.unwrap();
        catalog.batch("INSERT INTO stores (subdomain, name) VALUES ('Store1', 'Shop Alpha')").await;
        let error = catalog.add_store("store1", None).await.unwrap_err();
        assert_eq!(error.to_string(), "the subdomain store1 belongs to store 1 (Store1) already");
    }

    #[tokio::test]
    async fn a_reference_that_fits_two_stores_is_refused() {
        let (_folder, catalog) = catalog("").await.unwrap();
        catalog.batch("INSERT INTO stores (id, subdomain, name) VALUES (1, '2', 'A'), (2, 'b', 'B')").await;
        let error = catalog.store("2").await.unwrap_err();
        assert_eq!(error.to_string(), "\"2\" may mean several stores: 1 (2), 2 (b)");
        assert_eq!(catalog.store("id:2").await.unwrap().subdomain, "b");
        assert_eq!(catalog.store("subdomain:2").await.unwrap().id, "1");
        assert!(matches!(catalog.store("3").await, Err(Error::NoSuchStore(_))));
    }

    #[tokio::test]
    async fn a_store_is_switched_off_and_on() {
        let (_folder, catalog) = catalog("").await.unwrap();
        catalog.add_store("a", None).await.unwrap();
        catalog.add_store("b", None).await.unwrap();
        assert!(!catalog.set_store_active("a", false).await.unwrap().is_active);
        assert!(catalog.store("b").await.unwrap().is_active);
        assert!(catalog.set_store_active("a", true).await.unwrap().is_active);
    }

    #[tokio::test]
    async fn a_table_with_less_and_other_columns_serves_as_well() {
        let tables = "CREATE TABLE stores (id INTEGER PRIMARY KEY, subdomain TEXT, is_active INT, updated_at TIMESTAMP NOT NULL);
            CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id, domain, is_active, is_verified)";
        let (_folder, catalog) = catalog(tables).await.unwrap();
        let added = catalog.add_store("a", None).await.unwrap();
        assert_eq!(added.name, None);
        let error = catalog.add_store("b", Some("B")).await.unwrap_err();
        assert!(matches!(error, Error::MissingColumn { table: "stores", column: "name" }), "{error}");
    }
}
