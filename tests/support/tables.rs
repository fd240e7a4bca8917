//! The SaaS's own tables, on either database.

use tempfile::TempDir;

use super::{
    Binary, Cluster,
    cluster::{self, Transaction},
};

/// Which database holds the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Postgres,
    Sqlite,
}

/// A database of one test's own.
pub(crate) struct Tables {
    url: String,
    _directory: Option<TempDir>,
}

/// The stores and domains that all documentation speaks of. The database numbers them from 1, as it does for an app; with ids
/// written out, PostgreSQL would give the same ones again to the next row.
pub(crate) const EXAMPLE_ROWS: &str = "
    INSERT INTO stores (subdomain, name, is_active) VALUES ('store1', 'Shop Alpha', true), ('store2', 'Shop Beta', true);
    INSERT INTO store_domains (store_id, domain, is_primary, is_active, is_verified) VALUES
        (1, 'customdomain1.com', true, true, true),
        (1, 'shop.alpha.com', false, true, true),
        (2, 'customdomain2.com', true, true, true);";

impl Tables {
    /// A database without any tables; with SQLite, a file that does not exist yet.
    pub(crate) fn none(backend: Backend) -> Self {
        match backend {
            Backend::Postgres => Self::none_on(Cluster::shared()),
            Backend::Sqlite => {
                let directory = TempDir::with_prefix("usher-sqlite-").unwrap();
                let url = format!("sqlite://{}", directory.path().join("usher.db").display());
                Self { url, _directory: Some(directory) }
            }
        }
    }

    /// A database without any tables on this server.
    pub(crate) fn none_on(cluster: &Cluster) -> Self {
        Self { url: cluster.database(), _directory: None }
    }

    /// The tables as `usher migrate` makes them, without rows.
    pub(crate) fn empty(backend: Backend) -> Self {
        Self::none(backend).migrated()
    }

    /// The tables with the example rows.
    pub(crate) fn example(backend: Backend) -> Self {
        Self::empty(backend).with(EXAMPLE_ROWS)
    }

    /// The tables with the example rows on this server.
    pub(crate) fn example_on(cluster: &Cluster) -> Self {
        Self::none_on(cluster).migrated().with(EXAMPLE_ROWS)
    }

    /// Lets `usher migrate` create what is missing.
    pub(crate) fn migrated(self) -> Self {
        let output = Binary::over(&self).run(&["migrate"]);
        assert_eq!(output.code, 0, "usher migrate: {}", output.stderr);
        self
    }

    /// With these statements run.
    pub(crate) fn with(self, sql: &str) -> Self {
        self.execute(sql);
        self
    }

    /// Runs every statement of `sql`.
    pub(crate) fn execute(&self, sql: &str) {
        match self.url.strip_prefix("sqlite://") {
            None => cluster::execute(&self.url, sql),
            Some(path) => {
                let file = rusqlite::Connection::open(path).unwrap();
                file.busy_timeout(super::SOON).unwrap();
                file.execute_batch(sql).unwrap_or_else(|error| panic!("{error} in {sql}"));
            }
        }
    }

    /// Begins a transaction of PostgreSQL with these statements; rolled back when the value is dropped.
    pub(crate) fn begin(&self, sql: &str) -> Transaction {
        cluster::begin(&self.url, sql)
    }

    /// Begins a transaction of SQLite with these statements. Without a write-ahead log nobody else can read until it ends; it is rolled
    /// back when the value is dropped.
    pub(crate) fn begin_exclusive(&self, sql: &str) -> Lock {
        let file = rusqlite::Connection::open(self.path()).unwrap();
        file.busy_timeout(super::SOON).unwrap();
        file.execute_batch(&format!("BEGIN EXCLUSIVE; {sql}")).unwrap();
        Lock(file)
    }

    /// Feeds a script to the database's own client: `psql`, which sends one statement at a time. `sqlite3` would run it as
    /// [`Self::execute`] does.
    pub(crate) fn with_script(self, script: &str) -> Self {
        match self.url.starts_with("sqlite://") {
            true => self.execute(script),
            false => cluster::psql(&self.url, script),
        }
        self
    }

    /// Runs one statement of PostgreSQL with one value, as an application does, and counts its rows.
    pub(crate) fn query_with_value(&self, sql: &str, value: &str) -> usize {
        cluster::query(&self.url, sql, value)
    }

    /// The rows of a query.
    pub(crate) fn count(&self, sql: &str) -> usize {
        let Some(path) = self.url.strip_prefix("sqlite://") else { return cluster::count(&self.url, sql) };
        let file = rusqlite::Connection::open(path).unwrap();
        file.busy_timeout(super::SOON).unwrap();
        let mut statement = file.prepare(sql).unwrap_or_else(|error| panic!("{error} in {sql}"));
        statement.query_map([], |_row| Ok(())).unwrap().count()
    }

    /// The same as another role of PostgreSQL sees it; they are to live longer.
    pub(crate) fn seen_by(&self, role: &str) -> Self {
        Self { url: self.url.replacen("//usher@", &format!("//{role}@"), 1), _directory: None }
    }

    /// The same at another server, which has a copy of them; they are to live longer.
    pub(crate) fn at(&self, server: &Cluster) -> Self {
        Self { url: server.url_of(&self.url), _directory: None }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The file of an SQLite database.
    pub(crate) fn path(&self) -> &str {
        self.url.strip_prefix("sqlite://").expect("an SQLite file")
    }
}

/// An SQLite file that one transaction has to itself.
pub(crate) struct Lock(rusqlite::Connection);

impl Lock {
    pub(crate) fn commit(self) {
        self.0.execute_batch("COMMIT").unwrap();
    }
}
