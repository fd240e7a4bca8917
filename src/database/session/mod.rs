//! One connection for the everyday commands, the same over PostgreSQL and SQLite: SQL text, plain values, rows of plain values.
//! Not for the request path, but for what the control plane does beside it.

mod postgres_value;
mod sqlite_value;

use std::{future::Future, time::Duration};

use deadpool_postgres::{ClientWrapper, Object};
use tokio_postgres::{error::SqlState, types::Type};

use super::{
    postgres::{self, Lent},
    sqlite,
};

/// For one statement of a command. A scan of millions of rows takes seconds; whoever waits longer has met a lock, and a person
/// at a terminal wants to know.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A value that goes into or comes out of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value; 0 or 1 in SQLite, which has no other.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, or a UUID in its usual form. For other types write `CAST(… AS text)` into the statement.
    Text(String),
}

impl Value {
    /// Whether it stands for true, in any of the ways in which programs write it; NULL does not.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Text(value) => ["true", "t", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes)),
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Int(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A row, in the order of the selected columns.
pub type Row = Vec<Value>;

/// Which database is on the other side; for the few statements that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// What is known of a statement that was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Names and types of its columns. SQLite knows no types, and tells an empty text.
    pub columns: Vec<(String, String)>,
    /// How many values it takes; those that it was said to be given count whether it reads them or not.
    pub takes: usize,
}

/// A connection to either database.
pub struct Session {
    connection: Connection,
}

enum Connection {
    /// Taken out of the pool for good: what a session sets, locks or leaves unfinished ends with it.
    Postgres(ClientWrapper),
    /// One of the pool for each query.
    Pool(postgres::Pool),
    Sqlite(sqlite::Database),
}

impl Session {
    /// A session over a PostgreSQL pool.
    pub async fn postgres(pool: &postgres::Pool) -> Result<Self, Error> {
        let client = Object::take(pool.client().await?);
        Ok(Self { connection: Connection::Postgres(client) })
    }

    /// A session that takes a connection of the pool for each query, under the pool's deadlines, and gives it back: for services.
    pub fn pooled(pool: &postgres::Pool) -> Self {
        Self { connection: Connection::Pool(pool.clone()) }
    }

    /// A session over an SQLite file.
    pub fn sqlite(database: &sqlite::Database) -> Self {
        Self { connection: Connection::Sqlite(database.clone()) }
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Postgres(_) | Connection::Pool(_) => Dialect::Postgres,
            Connection::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs one statement with `$1`, `$2`, … and returns its rows.
    ///
    /// PostgreSQL finds the type of each value from where it stands, so that `id = $1` takes a text for a key of any type.
    /// After [`postgres::Error::QueryTimeout`] the session is of no further use.
    pub async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        match &self.connection {
            Connection::Postgres(client) => in_time(query_postgres(client, sql, values)).await,
            Connection::Pool(pool) => Ok(query_pool(pool, sql, values).await?),
            Connection::Sqlite(database) => {
                let (sql, values) = (sql.to_owned(), values.to_vec());
                Ok(database.run(move |connection| sqlite_value::query(connection, &sql, &values)).await?)
            }
        }
    }

    /// What a statement takes and tells that is given so many texts, as `$1` and so on; it is not run.
    pub async fn describe(&self, sql: &str, given: usize) -> Result<Described, Error> {
        match &self.connection {
            Connection::Postgres(client) => in_time(describe(client, sql, given)).await,
            Connection::Pool(pool) => {
                let lent = Lent::of(pool).await?;
                let described = in_time(describe(lent.client()?, sql, given)).await?;
                lent.give_back();
                Ok(described)
            }
            Connection::Sqlite(database) => {
                let sql = sql.to_owned();
                Ok(database.run(move |connection| sqlite_value::describe(connection, &sql)).await?)
            }
        }
    }

    /// Runs statements one after another in one transaction, and returns the rows of each.
    pub async fn transaction(&self, statements: &[(&str, Vec<Value>)]) -> Result<Vec<Vec<Row>>, Error> {
        match &self.connection {
            Connection::Postgres(client) => {
                in_time(async { transaction_postgres(client, statements).await.answers }).await
            }
            Connection::Pool(pool) => {
                let lent = Lent::of(pool).await?;
                let client = lent.client()?;
                let Transacted { answers, is_over } =
                    in_time(async { Ok(transaction_postgres(client, statements).await) }).await?;
                if is_over {
                    lent.give_back();
                }
                Ok(answers?)
            }
            Connection::Sqlite(database) => {
                let owned: Vec<_> =
                    statements.iter().map(|(sql, values)| ((*sql).to_owned(), values.clone())).collect();
                Ok(database.run(move |connection| sqlite_value::transaction(connection, &owned)).await?)
            }
        }
    }

    /// Runs several statements without values, in one transaction; takes as long as they take.
    ///
    /// A single statement runs by itself, as `CREATE INDEX CONCURRENTLY` demands.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        match &self.connection {
            // The statements of one simple query are one transaction (PostgreSQL's protocol, "Simple Query").
            Connection::Postgres(client) => Ok(client.batch_execute(sql).await.map_err(postgres::Error::Query)?),
            Connection::Pool(pool) => {
                let lent = Lent::of(pool).await?;
                lent.client()?.batch_execute(sql).await.map_err(postgres::Error::Query)?;
                lent.give_back();
                Ok(())
            }
            Connection::Sqlite(database) => {
                let sql = sql.to_owned();
                Ok(database.run(move |connection| sqlite_value::batch(connection, &sql)).await?)
            }
        }
    }
}

async fn query_postgres(client: &ClientWrapper, sql: &str, values: &[Value]) -> Result<Vec<Row>, postgres::Error> {
    let typed: Vec<_> = values.iter().map(|value| (value as _, Type::UNKNOWN)).collect();
    let rows = client.query_typed(sql, &typed).await.map_err(postgres::Error::Query)?;
    rows.iter().map(postgres_value::row).collect::<Result<_, _>>().map_err(postgres::Error::Query)
}

async fn describe(client: &ClientWrapper, sql: &str, given: usize) -> Result<Described, postgres::Error> {
    let statement = client.prepare_typed(sql, &vec![Type::TEXT; given]).await.map_err(postgres::Error::Query)?;
    let columns = statement.columns().iter();
    let columns = columns.map(|column| (column.name().to_owned(), column.type_().name().to_owned())).collect();
    Ok(Described { columns, takes: statement.params().len() })
}

async fn query_pool(pool: &postgres::Pool, sql: &str, values: &[Value]) -> Result<Vec<Row>, postgres::Error> {
    let typed: Vec<_> = values.iter().map(|value| (value as _, Type::UNKNOWN)).collect();
    let rows = pool.query(sql, &typed).await?;
    rows.iter().map(postgres_value::row).collect::<Result<_, _>>().map_err(postgres::Error::Query)
}

/// What became of a transaction.
struct Transacted {
    answers: Result<Vec<Vec<Row>>, postgres::Error>,
    /// Whether it has ended for certain, so that the connection can be used for something else.
    is_over: bool,
}

async fn transaction_postgres(client: &ClientWrapper, statements: &[(&str, Vec<Value>)]) -> Transacted {
    let answers = run_postgres(client, statements).await;
    // The statement's own error says more than a failure to roll back, which the server does anyway on close.
    let end = if answers.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await.map_err(postgres::Error::Query);
    let is_over = ended.is_ok();
    let answers = match (answers, ended) {
        (Ok(_), Err(error)) => Err(error),
        (answers, _) => answers,
    };
    Transacted { answers, is_over }
}

async fn run_postgres(
    client: &ClientWrapper,
    statements: &[(&str, Vec<Value>)],
) -> Result<Vec<Vec<Row>>, postgres::Error> {
    client.batch_execute("BEGIN").await.map_err(postgres::Error::Query)?;
    let mut answers = Vec::with_capacity(statements.len());
    for (sql, values) in statements {
        answers.push(query_postgres(client, sql, values).await?);
    }
    Ok(answers)
}

async fn in_time<T>(work: impl Future<Output = Result<T, postgres::Error>>) -> Result<T, Error> {
    let answer = tokio::time::timeout(QUERY_TIMEOUT, work).await;
    Ok(answer.map_err(|_| postgres::Error::QueryTimeout)??)
}

/// What can go wrong in a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] sqlite::Error),
}

impl Error {
    /// Whether a row was refused because another one has its unique value.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Postgres(postgres::Error::Query(error)) => error.code() == Some(&SqlState::UNIQUE_VIOLATION),
            Self::Sqlite(sqlite::Error::Query(error)) => sqlite_value::is_unique_violation(error),
            _ => false,
        }
    }

    /// Whether the statement itself was refused: wrong syntax, no such table, no such column.
    pub fn is_wrong_statement(&self) -> bool {
        match self {
            // Class 42 of SQLSTATE, "Syntax Error or Access Rule Violation".
            Self::Postgres(postgres::Error::Query(error)) => {
                error.code().is_some_and(|state| state.code().starts_with("42"))
            }
            Self::Sqlite(sqlite::Error::Query(error)) => sqlite_value::is_wrong_statement(error),
            _ => false,
        }
    }

    /// Whether it was for what stands in a row that a statement was refused: others may be taken.
    pub fn is_refused_row(&self) -> bool {
        // "Data Exception", "Integrity Constraint Violation", "Program Limit Exceeded", and what triggers raise.
        const CLASSES: [&str; 4] = ["22", "23", "54", "P0"];
        match self {
            Self::Postgres(postgres::Error::Query(error)) => {
                error.code().is_some_and(|state| CLASSES.iter().any(|class| state.code().starts_with(class)))
            }
            Self::Sqlite(sqlite::Error::Query(error)) => sqlite_value::is_refused_row(error),
            _ => false,
        }
    }

    /// Whether the role of the connection may not do what was asked of it.
    pub fn is_lack_of_privilege(&self) -> bool {
        matches!(self, Self::Postgres(postgres::Error::Query(error)) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Session) {
        let folder = tempfile::tempdir().unwrap();
        let database = sqlite::Database::create(&folder.path().join("usher.db")).unwrap();
        (folder, Session::sqlite(&database))
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[tokio::test]
    async fn values_are_bound_by_their_number_and_not_by_their_order() {
        let (_folder, session) = temporary();
        let rows = session.query("SELECT $2, $1, $2, NULL", &[text("a"), Value::Int(7)]).await.unwrap();
        assert_eq!(rows, [vec![Value::Int(7), text("a"), Value::Int(7), Value::Null]]);
    }

    #[tokio::test]
    async fn a_text_finds_a_whole_number_key() {
        let (_folder, session) = temporary();
        session.batch("CREATE TABLE t (id INTEGER PRIMARY KEY, on_sale BOOLEAN)").await.unwrap();
        session.query("INSERT INTO t VALUES ($1, $2)", &[Value::Int(5), Value::Bool(true)]).await.unwrap();
        let rows = session.query("SELECT CAST(id AS text), on_sale FROM t WHERE id = $1", &[text("5")]).await.unwrap();
        assert_eq!(rows, [vec![text("5"), Value::Int(1)]]);
    }

    #[tokio::test]
    async fn a_statement_with_fewer_values_than_places_is_refused() {
        let (_folder, session) = temporary();
        assert!(matches!(session.query("SELECT $1, $2", &[Value::Null]).await, Err(Error::Sqlite(_))));
    }

    #[tokio::test]
    async fn a_transaction_whose_last_statement_fails_leaves_nothing() {
        let (_folder, session) = temporary();
        session.batch("CREATE TABLE t (a UNIQUE)").await.unwrap();
        let insert = ("INSERT INTO t VALUES ($1)", vec![Value::Int(1)]);
        let error = session.transaction(&[insert.clone(), insert]).await.unwrap_err();
        assert!(error.is_unique_violation());
        assert_eq!(session.query("SELECT a FROM t", &[]).await.unwrap(), Vec::<Row>::new());
    }

    #[tokio::test]
    async fn a_batch_whose_last_statement_fails_leaves_nothing() {
        let (_folder, session) = temporary();
        assert!(session.batch("CREATE TABLE t (a); CREATE TABLE t (b)").await.is_err());
        let tables = session.query("SELECT name FROM sqlite_master", &[]).await.unwrap();
        assert_eq!(tables, Vec::<Row>::new());
    }
}
