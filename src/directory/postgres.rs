//! Tenants from PostgreSQL.

use std::{collections::HashMap, time::Duration};

use tokio_postgres::{
    Row as PostgresRow,
    types::{ToSql, Type},
};

use super::{
    Answer, Blame, BoxFuture, EachName, SourceError, TenantSource,
    queries::{self, Queries, Row},
};
use crate::{
    database::postgres::{self, Pool, Position},
    routing::{KeyRef, TenantKey},
};

/// For a replica to come to what has been told, where the primary can be asked instead: they mostly have within some
/// milliseconds, and whoever waits for the answer has not got more than a second.
const REPLAY_MAX: Duration = Duration::from_millis(100);

/// Asks through a pool, whose deadlines are the source's own.
pub struct PostgresSource {
    pool: Pool,
    queries: Queries,
    /// What has been told, where the servers are asked whether they have it.
    position: Option<Position>,
    /// Connections to the server that tells of edits, for when another one is behind.
    primary: Option<Pool>,
}

impl PostgresSource {
    /// Asks `queries` through `pool`; of servers that have come to `position`, and of `primary` where they take too long.
    pub fn new(pool: Pool, queries: Queries, position: Option<Position>, primary: Option<Pool>) -> Self {
        Self { pool, queries, position, primary }
    }

    async fn ask(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<PostgresRow>, SourceError> {
        let position = self.position.as_ref();
        let patience = if self.primary.is_some() { REPLAY_MAX } else { self.pool.query_timeout() };
        let answer = match (self.pool.query_since(position, patience, sql, values).await, &self.primary) {
            (Err(postgres::Error::Behind), Some(primary)) => {
                primary.query_since(position, primary.query_timeout(), sql, values).await
            }
            (answer, _) => answer,
        };
        answer.map_err(not_asked)
    }

    async fn find(&self, key: &TenantKey) -> Answer {
        let Some((sql, name)) = self.queries.statement(key) else { return Ok(None) };
        let rows = self.ask(sql, &[(&&*name, Type::TEXT)]).await?;
        rows.first().map(|row| read(row, 0)?.tenant(&name)).transpose()
    }

    /// One query for the domains and one for the labels.
    async fn find_many(&self, keys: &[TenantKey]) -> Result<Vec<Answer>, SourceError> {
        let statements: Vec<_> = keys.iter().map(|key| self.queries.statement(key)).collect();
        let mut names_by_statement: HashMap<&str, Vec<&str>> = HashMap::new();
        for (sql, name) in statements.iter().flatten() {
            names_by_statement.entry(*sql).or_default().push(name);
        }
        let mut found: HashMap<&str, HashMap<String, PostgresRow>> = HashMap::new();
        for (sql, names) in names_by_statement {
            let rows = self.ask(&queries::of_many(sql), &[(&names, Type::TEXT_ARRAY)]).await?;
            let named = rows.into_iter().map(|row| Ok((row.try_get(0).map_err(unreadable)?, row)));
            found.insert(sql, named.collect::<Result<_, SourceError>>()?);
        }
        let rows = statements.iter().map(|statement| {
            let (sql, name) = statement.as_ref()?;
            Some((found.get(*sql)?.get(&**name)?, name))
        });
        Ok(rows.map(|found| found.map(|(row, name)| read(row, 1)?.tenant(name)).transpose()).collect())
    }

    /// Both kinds, until `each` wants no more. SQL of the user's own does not tell by which names it would find something.
    async fn scan_names(&self, each: &EachName<'_>) -> Result<bool, SourceError> {
        if self.queries.are_own() {
            return Ok(false);
        }
        let domain = |name: &str| each(KeyRef::CustomDomain(name));
        let label = |label: &str| each(KeyRef::Label { platform: None, label });
        self.scan(queries::DOMAINS, domain).await.map_err(not_asked)?;
        self.scan(queries::LABELS, label).await.map_err(not_asked)?;
        Ok(true)
    }

    /// The only column of all rows.
    async fn scan(&self, sql: &str, each: impl Fn(&str) -> bool) -> Result<(), postgres::Error> {
        let (position, each) = (self.position.as_ref(), |row: &PostgresRow| Ok(each(row.try_get(0)?)));
        match (self.pool.scan(position, sql, each).await, &self.primary) {
            // Before the first row: nothing is read twice.
            (Err(postgres::Error::Behind), Some(primary)) => primary.scan(position, sql, each).await,
            (scanned, _) => scanned,
        }
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
    // A name that SQL of the user's own cannot take, as in `id = $1::uuid`, says nothing of the others.
    let blame = match error {
        postgres::Error::Behind => Blame::Replica,
        _ if error.is_data_exception() => Blame::Row,
        _ => Blame::Database,
    };
    SourceError { context: "PostgreSQL could not be asked", blame, cause: error.into() }
}

fn unreadable(error: tokio_postgres::Error) -> SourceError {
    let context = "PostgreSQL answered with columns of another type";
    SourceError { context, blame: Blame::Row, cause: error.into() }
}

/// The columns from `first` on.
fn read(row: &PostgresRow, first: usize) -> Result<Row, SourceError> {
    let truth =
        |column: usize| Ok(row.try_get::<_, Option<bool>>(first + column).map_err(unreadable)?.unwrap_or(false));
    Ok(Row {
        id: row.try_get(first).map_err(unreadable)?,
        store_active: truth(1)?,
        domain_active: truth(2)?,
        domain_verified: truth(3)?,
        upstream: row.try_get(first + 4).map_err(unreadable)?,
        primary: row.try_get(first + 5).map_err(unreadable)?,
    })
}
