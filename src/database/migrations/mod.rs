//! The tables that usher needs, as numbered SQL, and the triggers that tell of edits. What the app owns is not altered
//! otherwise, whatever its keys and further columns.

mod watch;

use std::time::Duration;

pub use watch::{CHALLENGES, CHANNEL, Watch, is_watched, standing, tells_of};

use super::{
    schema::{self, IndexState},
    session::{Dialect, Error, Session, Value},
};

/// How often a run asks whether another one has finished its index. It must not wait inside a statement: building an index
/// `CONCURRENTLY` waits for every older statement, and the two would wait for each other.
const TURN_POLL: Duration = Duration::from_millis(200);

/// Held while the tables are looked for and created, since two instances that start together would both find nothing.
/// Other locks are waited for briefly: behind a statement that waits for a table, all of the app's queries wait too.
const POSTGRES_PRELUDE: &str =
    "DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtextextended('usher migrate', 0)); END $$;
SET LOCAL lock_timeout = '10s';
";

/// What there has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose tables are read.
    pub tables: Tables,
    /// Whose edits are told, on PostgreSQL; SQLite tells by itself that a file has changed.
    pub watched: Vec<Watch>,
    /// Whether edits are kept for those who ask for them, on PostgreSQL.
    pub keeps_changes: bool,
    /// Whether the domains of a store are asked for, for the primary one among them.
    pub finds_primary: bool,
}

/// Whose tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// `stores` and `store_domains`, which are created where they are missing.
    Default,
    /// The app's own, whatever they are.
    Own,
}

impl Default for Plan {
    fn default() -> Self {
        Self { tables: Tables::Default, watched: Watch::defaults(), keeps_changes: false, finds_primary: false }
    }
}

/// One numbered step; written so that running it again changes nothing. What routing reads decides which triggers there are:
/// they are made after all steps, without a number.
struct Migration {
    version: i64,
    sql: &'static str,
    work: Work,
}

/// How a step is run.
enum Work {
    /// The default tables, in one transaction.
    Tables,
    /// Statements that are needed whatever the tables are, in one transaction.
    Always,
    /// One index; on PostgreSQL without a transaction.
    Index(Index),
    /// The same, where the domains of a store are asked for.
    PrimaryIndex(Index),
}

impl Migration {
    fn index(&self) -> Option<Index> {
        match self.work {
            Work::Index(index) | Work::PrimaryIndex(index) => Some(index),
            Work::Tables | Work::Always => None,
        }
    }
}

/// An index that the directory's look-ups need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
}

const DOMAINS_INDEX: Index = Index { table: "store_domains", name: "usher_store_domains_canonical" };
const STORES_INDEX: Index = Index { table: "stores", name: "usher_stores_subdomain_canonical" };

const STORE_INDEX: Index = Index { table: "store_domains", name: "usher_store_domains_store" };

const POSTGRES: [Migration; 7] = [
    Migration { version: 1, sql: include_str!("postgres_1_tables.sql"), work: Work::Tables },
    Migration { version: 2, sql: include_str!("postgres_2_domains_index.sql"), work: Work::Index(DOMAINS_INDEX) },
    Migration { version: 3, sql: include_str!("postgres_3_stores_index.sql"), work: Work::Index(STORES_INDEX) },
    Migration { version: 4, sql: include_str!("postgres_4_notices.sql"), work: Work::Always },
    Migration { version: 5, sql: include_str!("postgres_5_certificates.sql"), work: Work::Always },
    Migration { version: 6, sql: include_str!("postgres_6_domains.sql"), work: Work::Always },
    Migration { version: 7, sql: include_str!("postgres_7_store_index.sql"), work: Work::PrimaryIndex(STORE_INDEX) },
];

const SQLITE: [Migration; 6] = [
    Migration { version: 1, sql: include_str!("sqlite_1_tables.sql"), work: Work::Tables },
    Migration { version: 2, sql: include_str!("sqlite_2_domains_index.sql"), work: Work::Index(DOMAINS_INDEX) },
    Migration { version: 3, sql: include_str!("sqlite_3_stores_index.sql"), work: Work::Index(STORES_INDEX) },
    Migration { version: 4, sql: include_str!("sqlite_4_certificates.sql"), work: Work::Always },
    Migration { version: 5, sql: include_str!("sqlite_5_domains.sql"), work: Work::Always },
    Migration { version: 6, sql: include_str!("sqlite_6_store_index.sql"), work: Work::PrimaryIndex(STORE_INDEX) },
];

/// Before all steps, which it records.
const fn record_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => include_str!("postgres_0_record.sql"),
        Dialect::Sqlite => include_str!("sqlite_0_record.sql"),
    }
}

/// After all others: the table in which triggers keep edits.
const KEPT_CHANGES: &str = include_str!("postgres_poll.sql");

/// What the default look-ups read, by table.
const NEEDED: [(&str, &[&str]); 2] = [
    ("stores", &["id", "subdomain", "is_active"]),
    ("store_domains", &["id", "store_id", "domain", "is_active", "is_verified"]),
];

/// What they read besides where the primary domain is asked for.
const PRIMARY: (&str, &str) = ("store_domains", "is_primary");

/// All statements for `dialect`, in order, as `usher migrate --print` shows them: a script for `psql` or `sqlite3`.
///
/// On PostgreSQL each statement has to be sent by itself, as `psql` does: indexes are built outside a transaction.
pub fn sql(dialect: Dialect, plan: &Plan) -> String {
    let head = match dialect {
        Dialect::Postgres => {
            "-- For psql, which sends each statement by itself: indexes are built outside a transaction.\n\n"
        }
        Dialect::Sqlite => "",
    };
    let record = [format!("BEGIN;\n{}{}COMMIT;\n", prelude(dialect), record_of(dialect))];
    let migrations = plan.steps(dialect).map(|migration| printed(migration, dialect));
    let triggers = plan.watched(dialect).iter().map(|watch| format!("BEGIN;\n{}COMMIT;\n", watch.sql()));
    let script: Vec<_> = record.into_iter().chain(migrations).chain(triggers).chain(plan.changes(dialect)).collect();
    format!("{head}{}", script.join("\n"))
}

/// Creates or upgrades what is missing; running it again changes nothing.
///
/// Several instances may run it at the same time. On PostgreSQL its session must be one server session throughout, so not
/// one behind a transaction-mode pooler.
pub async fn run(session: &Session, plan: &Plan) -> Result<(), Error> {
    let dialect = session.dialect();
    session.batch(&format!("{}{}", prelude(dialect), record_of(dialect))).await?;
    for migration in plan.steps(dialect) {
        match &migration.work {
            Work::Tables | Work::Always => session.batch(&transaction_body(migration, dialect)).await?,
            Work::Index(index) | Work::PrimaryIndex(index) => build(session, migration, *index).await?,
        }
    }
    for watch in plan.watched(dialect) {
        session.batch(&watch.sql()).await?;
    }
    if let Some(sql) = plan.changes(dialect) {
        session.batch(&sql).await?;
    }
    Ok(())
}

impl Plan {
    /// With edits of `store_domains.verification_token` told as well, which routing does not read.
    #[must_use]
    pub fn with_tokens(mut self) -> Self {
        for watch in self.watched.iter_mut().filter(|watch| watch.table == "store_domains") {
            watch.columns.push("verification_token".to_owned());
        }
        self
    }

    fn steps(&self, dialect: Dialect) -> impl Iterator<Item = &'static Migration> {
        let Self { tables, finds_primary, .. } = *self;
        let is_default = tables == Tables::Default;
        of(dialect).iter().filter(move |step| match step.work {
            Work::Always => true,
            Work::Tables | Work::Index(_) => is_default,
            Work::PrimaryIndex(_) => is_default && finds_primary,
        })
    }

    fn watched(&self, dialect: Dialect) -> &[Watch] {
        match dialect {
            Dialect::Postgres => &self.watched,
            Dialect::Sqlite => &[],
        }
    }

    fn changes(&self, dialect: Dialect) -> Option<String> {
        let kept = self.keeps_changes && dialect == Dialect::Postgres;
        kept.then(|| KEPT_CHANGES.to_owned() + &self.watched.iter().map(Watch::wait_for_writers).collect::<String>())
    }
}

/// The tables of the default routing queries that do not exist, for `serve` and `check` to name.
pub async fn missing_tables(session: &Session) -> Result<Vec<&'static str>, Error> {
    let mut missing = Vec::new();
    for (table, _) in NEEDED {
        if schema::columns(session, table).await?.is_empty() {
            missing.push(table);
        }
    }
    Ok(missing)
}

/// The columns of the default routing queries that existing tables lack, as (table, column).
pub async fn missing_columns(session: &Session, plan: &Plan) -> Result<Vec<(&'static str, &'static str)>, Error> {
    let mut missing = Vec::new();
    for (table, needed) in NEEDED {
        let columns = schema::columns(session, table).await?;
        let lacks = |name: &&str| !columns.is_empty() && !columns.iter().any(|column| column.name == *name);
        let primary = (plan.finds_primary && table == PRIMARY.0).then_some(PRIMARY.1);
        missing.extend(needed.iter().copied().chain(primary).filter(lacks).map(|name| (table, name)));
    }
    Ok(missing)
}

/// The indexes that are missing or were left unfinished; without them every look-up reads its whole table.
pub async fn missing_indexes(session: &Session, plan: &Plan) -> Result<Vec<Index>, Error> {
    let mut missing = Vec::new();
    for index in plan.steps(session.dialect()).filter_map(Migration::index) {
        if schema::index(session, index.table, index.name).await? != IndexState::Usable {
            missing.push(index);
        }
    }
    Ok(missing)
}

fn of(dialect: Dialect) -> &'static [Migration] {
    match dialect {
        Dialect::Postgres => &POSTGRES,
        Dialect::Sqlite => &SQLITE,
    }
}

/// Builds the index where it is missing, one run after another.
async fn build(session: &Session, migration: &Migration, index: Index) -> Result<(), Error> {
    take_turn(session).await?;
    let built = build_in_turn(session, migration, index).await;
    let ended = end_turn(session).await;
    // Where both failed, the first says why.
    built.and(ended)
}

async fn build_in_turn(session: &Session, migration: &Migration, index: Index) -> Result<(), Error> {
    match schema::index(session, index.table, index.name).await? {
        IndexState::Usable => return session.batch(&record(migration, session.dialect())).await,
        // What is left of a build that was broken off: it costs every write and serves no query.
        IndexState::Unfinished { quoted } => session.batch(&format!("DROP INDEX CONCURRENTLY {quoted}")).await?,
        IndexState::Missing => {}
    }
    session.batch(migration.sql).await?;
    session.batch(&record(migration, session.dialect())).await
}

async fn take_turn(session: &Session) -> Result<(), Error> {
    if session.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let ask = "SELECT pg_try_advisory_lock(hashtextextended('usher migrate index', 0))";
    while session.query(ask, &[]).await? != [[Value::Bool(true)]] {
        tokio::time::sleep(TURN_POLL).await;
    }
    Ok(())
}

async fn end_turn(session: &Session) -> Result<(), Error> {
    match session.dialect() {
        Dialect::Postgres => {
            session.batch("SELECT pg_advisory_unlock(hashtextextended('usher migrate index', 0))").await
        }
        Dialect::Sqlite => Ok(()),
    }
}

fn prelude(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => POSTGRES_PRELUDE,
        Dialect::Sqlite => "",
    }
}

fn transaction_body(migration: &Migration, dialect: Dialect) -> String {
    format!("{}{}{}", prelude(dialect), migration.sql, record(migration, dialect))
}

fn record(Migration { version, .. }: &Migration, dialect: Dialect) -> String {
    let table = match dialect {
        Dialect::Postgres => "usher.migrations",
        Dialect::Sqlite => "usher_migrations",
    };
    format!("INSERT INTO {table} (version) VALUES ({version}) ON CONFLICT (version) DO NOTHING;\n")
}

fn printed(migration: &Migration, dialect: Dialect) -> String {
    let version = migration.version;
    match migration.work {
        Work::Tables | Work::Always => {
            format!("-- Migration {version}\nBEGIN;\n{}COMMIT;\n", transaction_body(migration, dialect))
        }
        Work::Index(_) | Work::PrimaryIndex(_) => {
            format!("-- Migration {version}\n{}{}", migration.sql, record(migration, dialect))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sqlite::Database;

    fn temporary() -> (tempfile::TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        (folder, Session::sqlite(&database))
    }

    async fn schema_of(session: &Session) -> Vec<Vec<Value>> {
        session.query("SELECT name, sql FROM sqlite_master ORDER BY name", &[]).await.unwrap()
    }

    #[tokio::test]
    async fn everything_is_missing_before_and_nothing_after() {
        let (_folder, session) = temporary();
        assert_eq!(missing_tables(&session).await.unwrap(), ["stores", "store_domains"]);
        assert_eq!(missing_columns(&session, &Plan::default()).await.unwrap(), []);
        assert_eq!(missing_indexes(&session, &Plan::default()).await.unwrap(), [DOMAINS_INDEX, STORES_INDEX]);
        run(&session, &Plan::default()).await.unwrap();
        assert_eq!(missing_tables(&session).await.unwrap(), Vec::<&str>::new());
        assert_eq!(missing_columns(&session, &Plan::default()).await.unwrap(), []);
        assert_eq!(missing_indexes(&session, &Plan::default()).await.unwrap(), []);
    }

    #[tokio::test]
    async fn running_again_changes_nothing() {
        let (_folder, session) = temporary();
        run(&session, &Plan::default()).await.unwrap();
        session.batch("INSERT INTO stores (subdomain, name) VALUES ('a', 'A')").await.unwrap();
        let before = schema_of(&session).await;
        run(&session, &Plan::default()).await.unwrap();
        assert_eq!(schema_of(&session).await, before);
        assert_eq!(
            session.query("SELECT id, is_active FROM stores", &[]).await.unwrap(),
            [[Value::Int(1), Value::Int(1)]]
        );
        let applied = session.query("SELECT count(*) FROM usher_migrations", &[]).await.unwrap();
        assert_eq!(applied, [[Value::Int(SQLITE.len() as i64 - 1)]], "all but the index for primary domains");
        run(&session, &Plan { finds_primary: true, ..Plan::default() }).await.unwrap();
        let state = schema::index(&session, STORE_INDEX.table, STORE_INDEX.name).await.unwrap();
        assert_eq!(state, IndexState::Usable);
    }

    #[tokio::test]
    async fn tables_of_the_app_stay_as_they_are() {
        let (_folder, session) = temporary();
        let stores = "CREATE TABLE stores (id CHAR(36) PRIMARY KEY, subdomain TEXT, is_active INT, colour TEXT)";
        session.batch(stores).await.unwrap();
        run(&session, &Plan::default()).await.unwrap();
        let sql = session.query("SELECT sql FROM sqlite_master WHERE name = 'stores'", &[]).await.unwrap();
        assert_eq!(sql, [[Value::Text(stores.into())]]);
        session
            .batch("INSERT INTO stores VALUES ('0012', 'a', 1, 'red'); INSERT INTO store_domains (store_id, domain) VALUES ('0012', 'a.com')")
            .await
            .unwrap();
        let key = session.query("SELECT s.colour FROM stores s JOIN store_domains d ON d.store_id = s.id", &[]).await;
        assert_eq!(key.unwrap(), [[Value::Text("red".into())]]);
    }

    #[tokio::test]
    async fn a_column_that_the_app_lacks_is_named() {
        let (_folder, session) = temporary();
        session.batch("CREATE TABLE stores (id INTEGER PRIMARY KEY, subdomain TEXT)").await.unwrap();
        assert_eq!(missing_tables(&session).await.unwrap(), ["store_domains"]);
        assert_eq!(missing_columns(&session, &Plan::default()).await.unwrap(), [("stores", "is_active")]);
    }

    #[tokio::test]
    async fn what_is_printed_does_the_same() {
        let (_folder, by_run) = temporary();
        run(&by_run, &Plan::default()).await.unwrap();
        let (folder, by_hand) = temporary();
        let printed = sql(Dialect::Sqlite, &Plan::default());
        rusqlite::Connection::open(folder.path().join("usher.db")).unwrap().execute_batch(&printed).unwrap();
        assert_eq!(schema_of(&by_hand).await, schema_of(&by_run).await);
    }

    #[tokio::test]
    async fn tables_that_are_not_used_are_not_created() {
        let (_folder, session) = temporary();
        let plan = Plan { tables: Tables::Own, watched: Vec::new(), keeps_changes: false, finds_primary: false };
        run(&session, &plan).await.unwrap();
        assert_eq!(missing_tables(&session).await.unwrap(), ["stores", "store_domains"]);
        assert!(!sql(Dialect::Postgres, &plan).contains("CREATE TABLE stores"));
    }

    #[test]
    fn versions_count_up_in_both_dialects() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let versions = of(dialect).iter().map(|migration| migration.version);
            assert!(versions.eq(1..=of(dialect).len() as i64));
        }
    }
}
