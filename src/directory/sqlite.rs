//! Tenants from an SQLite file.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, types::ValueRef};

use super::{
    Answer, Blame, BoxFuture, EachName, SourceError, TenantSource,
    queries::{self, Queries, Row},
};
use crate::{
    database::sqlite::{self, Database},
    routing::{KeyRef, TenantKey},
};

/// For the turn on the connection and the query; hardly longer than a request waits by default.
const DEADLINE: Duration = Duration::from_secs(1);

/// Names that are read while look-ups wait for their turn: some milliseconds.
const PAGE: i64 = 5_000;

/// Asks a file.
pub struct SqliteSource {
    database: Database,
    queries: Queries,
}

impl SqliteSource {
    /// Asks `queries` of `database`.
    pub fn new(database: Database, queries: Queries) -> Self {
        Self { database, queries }
    }

    async fn find(&self, key: &TenantKey) -> Answer {
        let Some((sql, name)) = self.queries.statement(key) else { return Ok(None) };
        let (sql, asked) = (sql.to_owned(), name.clone().into_owned());
        let row = in_time(self.database.run(move |connection| row(connection, &sql, &asked))).await?;
        row.map(|row| row.tenant(&name)).transpose()
    }

    /// Both kinds, until `each` wants no more. What is added between two pages changes the file, which is told.
    async fn list_names(&self, each: &EachName<'_>) -> Result<bool, SourceError> {
        if self.queries.are_own() {
            return Ok(false);
        }
        let domain = |name: &str| each(KeyRef::CustomDomain(name));
        let label = |label: &str| each(KeyRef::Label { platform: None, label });
        self.list(queries::PAGE_OF_DOMAINS, domain).await?;
        self.list(queries::PAGE_OF_LABELS, label).await?;
        Ok(true)
    }

    async fn list(&self, sql: &'static str, each: impl Fn(&str) -> bool) -> Result<(), SourceError> {
        let mut after = String::new();
        loop {
            let asked = after.clone();
            let names = in_time(self.database.run(move |connection| page(connection, sql, &asked))).await?;
            let Some(last) = names.last() else { return Ok(()) };
            if !names.iter().all(|name| each(name)) {
                return Ok(());
            }
            after.clone_from(last);
        }
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, sqlite::Error>>) -> Result<T, SourceError> {
    let failed = |context, cause| SourceError { context, blame: Blame::Database, cause };
    tokio::time::timeout(DEADLINE, query)
        .await
        .map_err(|elapsed| failed("SQLite did not answer in time", elapsed.into()))?
        .map_err(|error| failed("SQLite could not be asked", error.into()))
}

fn page(connection: &Connection, sql: &str, after: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map((after, PAGE), |row| row.get(0))?.collect()
}

impl TenantSource for SqliteSource {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(self.find(key))
    }

    fn names<'a>(&'a self, each: &'a EachName<'a>) -> BoxFuture<'a, Result<bool, SourceError>> {
        Box::pin(self.list_names(each))
    }
}

/// Columns are found by their names; one that is not there stands for true.
fn row(connection: &Connection, sql: &str, name: &str) -> rusqlite::Result<Option<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let id = statement.column_index("store_id")?;
    let [store, domain, verified, primary] = ["is_active", "domain_is_active", "is_verified", "primary_domain"]
        .map(|name| statement.column_index(name).ok());
    let upstream = statement.column_index("upstream").ok();
    let flag = |row: &rusqlite::Row<'_>, column: Option<usize>| match column {
        None => Ok(true),
        Some(column) => row.get_ref(column).map(is_true),
    };
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            id: id_text(row.get_ref(id)?)?,
            store_active: flag(row, store)?,
            domain_active: flag(row, domain)?,
            domain_verified: flag(row, verified)?,
            upstream: upstream.map_or(Ok(None), |column| upstream_text(row.get_ref(column)?))?,
            primary: primary.map_or(Ok(None), |column| row.get(column))?,
        })
    };
    statement.query_row([name], read).optional()
}

/// No name where there is none.
fn upstream_text(value: ValueRef<'_>) -> rusqlite::Result<Option<String>> {
    if value == ValueRef::Null { Ok(None) } else { id_text(value).map(Some) }
}

/// Keys of the app may be numbers.
fn id_text(value: ValueRef<'_>) -> rusqlite::Result<String> {
    match value {
        ValueRef::Integer(number) => Ok(number.to_string()),
        value => Ok(value.as_str().map(str::to_owned)?),
    }
}

/// SQLite has no type for truth: programs write 1, `true` or `t`.
fn is_true(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Integer(number) => number != 0,
        ValueRef::Real(number) => number != 0.0,
        ValueRef::Text(text) => [&b"true"[..], b"t", b"1"].iter().any(|yes| text.eq_ignore_ascii_case(yes)),
        ValueRef::Null | ValueRef::Blob(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use super::*;
    use crate::routing::Status;

    const TABLES: &str = "
        CREATE TABLE stores (id PRIMARY KEY, subdomain TEXT, is_active);
        CREATE TABLE store_domains (id INTEGER PRIMARY KEY, store_id, domain TEXT, is_active, is_verified);
        CREATE INDEX domain ON store_domains (lower(rtrim(domain, '.')));
        CREATE INDEX label ON stores (lower(subdomain));";

    struct Fixture {
        source: SqliteSource,
        _folder: tempfile::TempDir,
    }

    impl Fixture {
        async fn new(rows: &'static str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::create(&folder.path().join("usher.db")).unwrap();
            database.run(move |connection| connection.execute_batch(&format!("{TABLES}{rows}"))).await.unwrap();
            Self { source: SqliteSource::new(database, Queries::default()), _folder: folder }
        }

        async fn load(&self, key: KeyRef<'_>) -> Result<Option<(String, Status)>, SourceError> {
            let tenant = self.source.load(&key.into()).await?;
            Ok(tenant.map(|tenant| (tenant.id.as_str().to_owned(), tenant.status)))
        }

        async fn domain(&self, name: &str) -> Option<(String, Status)> {
            self.load(KeyRef::CustomDomain(name)).await.unwrap()
        }
    }

    fn found(id: &str, status: Status) -> Option<(String, Status)> {
        Some((id.to_owned(), status))
    }

    #[tokio::test]
    async fn domains_and_labels_are_found_however_they_are_spelled() {
        let tables = Fixture::new(
            "INSERT INTO stores VALUES (1, 'Store1', 1);
             INSERT INTO store_domains VALUES (1, 1, 'Shop.Alpha.com.', 1, 1);",
        )
        .await;
        let label = KeyRef::Label { platform: None, label: "store1" };
        assert_eq!(tables.domain("shop.alpha.com").await, found("1", Status::Active));
        assert_eq!(tables.load(label).await.unwrap(), found("1", Status::Active));
        assert_eq!(tables.domain("alpha.com").await, None);
    }

    #[tokio::test]
    async fn the_exactly_spelled_row_counts_then_the_oldest() {
        let tables = Fixture::new(
            "INSERT INTO stores VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1);
             INSERT INTO store_domains VALUES (1, 1, 'X.com', 1, 1), (2, 2, 'x.com', 1, 1), (3, 3, 'x.com.', 1, 1),
                                              (4, 3, 'y.com.', 1, 1), (5, 1, 'Y.com', 1, 1);",
        )
        .await;
        assert_eq!(tables.domain("x.com").await, found("2", Status::Active));
        assert_eq!(tables.domain("y.com").await, found("3", Status::Active));
    }

    #[tokio::test]
    async fn the_first_reason_against_a_tenant_is_its_status() {
        let tables = Fixture::new(
            "INSERT INTO stores VALUES (1, 'a', 1), (2, 'b', 0), (3, 'c', NULL);
             INSERT INTO store_domains VALUES (1, 1, 'off.com', 0, 1), (2, 1, 'new.com', 1, NULL),
                                              (3, 2, 'closed.com', 1, 1), (4, 3, 'null.com', 0, 0);",
        )
        .await;
        assert_eq!(tables.domain("off.com").await, found("1", Status::DomainInactive));
        assert_eq!(tables.domain("new.com").await, found("1", Status::DomainUnverified));
        assert_eq!(tables.domain("closed.com").await, found("2", Status::StoreInactive));
        assert_eq!(tables.domain("null.com").await, found("3", Status::StoreInactive));
    }

    #[tokio::test]
    async fn ids_and_truth_values_of_other_types_are_read() {
        let tables = Fixture::new(
            "INSERT INTO stores VALUES ('0b6f3c1e-8f5b-4c53-9d5e-1f0f6f2a7a11', 'a', 'true');
             INSERT INTO store_domains VALUES (1, '0b6f3c1e-8f5b-4c53-9d5e-1f0f6f2a7a11', 'x.com', 'T', '1');",
        )
        .await;
        assert_eq!(tables.domain("x.com").await, found("0b6f3c1e-8f5b-4c53-9d5e-1f0f6f2a7a11", Status::Active));
    }

    #[tokio::test]
    async fn a_row_names_an_upstream_where_there_is_a_column_for_it() {
        let rows = "INSERT INTO stores VALUES (1, 'a', 1), (2, 'b', 1);
                    INSERT INTO store_domains VALUES (1, 1, 'a.com', 1, 1), (2, 2, 'b.com', 1, 1);";
        let with_column =
            "ALTER TABLE stores ADD COLUMN upstream TEXT; UPDATE stores SET upstream = 'cell' WHERE id = 2;
                           ALTER TABLE store_domains ADD COLUMN upstream TEXT DEFAULT 'another table''s';";
        let upstream = async |tables: &Fixture, key: KeyRef<'_>| {
            tables.source.load(&key.into()).await.unwrap().unwrap().upstream.as_ref().map(ToString::to_string)
        };
        let (without, with) = (Fixture::new(rows).await, Fixture::new(rows).await);
        with.source.database.run(move |connection| connection.execute_batch(with_column)).await.unwrap();
        let keys = || [KeyRef::CustomDomain("b.com"), KeyRef::Label { platform: None, label: "b" }];
        for key in keys() {
            assert_eq!(upstream(&without, key).await, None);
            assert_eq!(upstream(&with, key).await.as_deref(), Some("cell"));
        }
        assert_eq!(upstream(&with, KeyRef::CustomDomain("a.com")).await, None);
    }

    #[tokio::test]
    async fn an_id_that_no_header_can_carry_fails_for_its_key_alone() {
        let tables = Fixture::new("INSERT INTO stores VALUES ('a b', 'bad', 1), ('ok', 'good', 1);").await;
        assert!(tables.load(KeyRef::Label { platform: None, label: "bad" }).await.is_err());
        let good = tables.load(KeyRef::Label { platform: None, label: "good" }).await;
        assert_eq!(good.unwrap(), found("ok", Status::Active));
    }

    #[tokio::test]
    async fn a_missing_table_is_an_error_and_no_absence() {
        let tables = Fixture::new("DROP TABLE store_domains;").await;
        assert!(tables.load(KeyRef::CustomDomain("x.com")).await.is_err());
    }

    #[tokio::test]
    async fn every_name_is_listed_in_the_form_in_which_it_is_asked_for() {
        let rows = "
            INSERT INTO stores (id, subdomain) VALUES (1, 'Store1'), (2, NULL);
            INSERT INTO store_domains (id, domain) VALUES (1, 'Shop.Alpha.com.'), (2, NULL), (3, 'shop.alpha.com');
            INSERT INTO store_domains (id, domain) WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 12009)
                SELECT i, 'd' || i || '.example' FROM n;";
        let tables = Fixture::new(rows).await;
        let (domains, labels) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
        let each = |key: KeyRef<'_>| {
            match key {
                KeyRef::CustomDomain(name) => {
                    domains.lock().unwrap().insert(name.to_owned());
                }
                KeyRef::Label { label, .. } => labels.lock().unwrap().push(label.to_owned()),
            }
            true
        };
        assert!(tables.source.names(&each).await.unwrap());
        let domains = domains.into_inner().unwrap();
        assert_eq!((domains.len(), labels.into_inner().unwrap()), (12_001, vec!["store1".to_owned()]));
        assert!(domains.contains("shop.alpha.com") && domains.contains("d12009.example"));
    }

    #[tokio::test]
    async fn every_query_is_answered_by_an_index() {
        let tables = Fixture::new("").await;
        for key in [KeyRef::CustomDomain("x"), KeyRef::Label { platform: None, label: "x" }] {
            let key = key.into();
            let sql = tables.source.queries.statement(&key).unwrap().0.to_owned();
            let plan = tables.source.database.run(move |connection| {
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let rows = statement.query_map(["x"], |row| row.get::<_, String>(3))?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            });
            let plan = plan.await.unwrap();
            assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{plan:?}");
            let scans = plan.iter().filter(|step| step.starts_with("SCAN"));
            assert_eq!(
                scans.filter(|step| !step.contains("unnamed") && !step.contains("CONSTANT")).count(),
                0,
                "{plan:?}"
            );
        }
    }
}
