//! Tenants from PostgreSQL.

use std::collections::HashMap;

use tokio_postgres::types::Type;

use super::{
    Answer, Blame, BoxFuture, EachName, SourceError, TenantSource,
    queries::{self, Row},
};
use crate::{
    database::postgres::{self, Pool},
    routing::{KeyRef, TenantKey},
};

/// Reads `stores` and `store_domains` through a pool, whose deadlines are the source's own.
pub struct PostgresSource {
    pool: Pool,
}

impl PostgresSource {
    /// Reads through `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn find(&self, key: &TenantKey) -> Answer {
        let (sql, name) = queries::statement(key);
        let rows = self.pool.query(sql, &[(&name, Type::TEXT)]).await.map_err(not_asked)?;
        rows.first().map(|row| read(row, 0)?.tenant()).transpose()
    }

    /// One query for the domains and one for the labels.
    async fn find_many(&self, keys: &[TenantKey]) -> Result<Vec<Answer>, SourceError> {
        let statements: Vec<_> = keys.iter().map(queries::statement).collect();
        let mut names_by_statement: HashMap<&str, Vec<&str>> = HashMap::new();
        for (sql, name) in &statements {
            names_by_statement.entry(sql).or_default().push(name);
        }
        let mut found = HashMap::with_capacity(keys.len());
        for (sql, names) in names_by_statement {
            let rows =
                self.pool.query(&queries::of_many(sql), &[(&names, Type::TEXT_ARRAY)]).await.map_err(not_asked)?;
            for row in rows {
                found.insert((sql, row.try_get::<_, String>(0).map_err(unreadable)?), row);
            }
        }
        let answer = |(sql, name): &(&'static str, &str)| {
            found.get(&(*sql, (*name).to_owned())).map(|row| read(row, 1)?.tenant()).transpose()
        };
        Ok(statements.iter().map(answer).collect())
    }

    /// Both kinds, until `each` wants no more.
    async fn scan_names(&self, each: &EachName<'_>) -> Result<bool, SourceError> {
        let domain = |name: &str| each(KeyRef::CustomDomain(name));
        let label = |label: &str| each(KeyRef::Label { platform: None, label });
        self.pool.scan(queries::DOMAINS, |row| Ok(domain(row.try_get(0)?))).await.map_err(not_asked)?;
        self.pool.scan(queries::LABELS, |row| Ok(label(row.try_get(0)?))).await.map_err(not_asked)?;
        Ok(true)
    }
}

impl TenantSource for PostgresSource {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(self.find(key))
    }

    fn load_many<'a>(&'a self, keys: &'a [TenantKey]) -> BoxFuture<'a, Result<Vec<Answer>, SourceError>> {
        Box::pin(self.find_many(keys))
    }

    fn names<'a>(&'a self, each: &'a EachName<'a>) -> BoxFuture<'a, Result<bool, SourceError>> {
        Box::pin(self.scan_names(each))
    }
}

fn not_asked(error: postgres::Error) -> SourceError {
    SourceError { context: "PostgreSQL could not be asked", blame: Blame::Database, cause: error.into() }
}

fn unreadable(error: tokio_postgres::Error) -> SourceError {
    let context = "PostgreSQL answered with columns of another type";
    SourceError { context, blame: Blame::Row, cause: error.into() }
}

/// The columns from `first` on.
fn read(row: &tokio_postgres::Row, first: usize) -> Result<Row, SourceError> {
    let truth =
        |column: usize| Ok(row.try_get::<_, Option<bool>>(first + column).map_err(unreadable)?.unwrap_or(false));
    Ok(Row {
        id: row.try_get(first).map_err(unreadable)?,
        store_active: truth(1)?,
        domain_active: truth(2)?,
        domain_verified: truth(3)?,
    })
}
