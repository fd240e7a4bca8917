//! One connection for the everyday commands, the same over PostgreSQL and SQLite: SQL text, plain values, rows of plain values.
//! Not for the request path.

use super::{postgres, sqlite};

/// A value that goes into or comes out of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
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

/// A connection to either database.
pub struct Session {}

impl Session {
    /// A session over a PostgreSQL pool.
    pub async fn postgres(pool: &postgres::Pool) -> Result<Self, Error> {
        let _ = pool;
        todo!()
    }

    /// A session over an SQLite file.
    pub fn sqlite(database: &sqlite::Database) -> Self {
        let _ = database;
        todo!()
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        todo!()
    }

    /// Runs one statement with `$1`, `$2`, … and returns its rows.
    pub async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let _ = (sql, values);
        todo!()
    }

    /// Runs several statements without values, in one transaction.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        let _ = sql;
        todo!()
    }
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
