//! Tenants from PostgreSQL.

use tokio_postgres::types::Type;

use super::{
    BoxFuture, SourceError, TenantSource,
    queries::{self, Row},
};
use crate::{
    database::postgres::Pool,
    routing::{Tenant, TenantKey},
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

    async fn find(&self, key: &TenantKey) -> Result<Option<Tenant>, SourceError> {
        let (sql, name) = queries::statement(key);
        let rows = self
            .pool
            .query(sql, &[(&name, Type::TEXT)])
            .await
            .map_err(|error| SourceError { context: "PostgreSQL could not be asked", cause: error.into() })?;
        rows.first().map(|row| read(row)?.tenant()).transpose()
    }
}

impl TenantSource for PostgresSource {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Result<Option<Tenant>, SourceError>> {
        Box::pin(self.find(key))
    }
}

fn read(row: &tokio_postgres::Row) -> Result<Row, SourceError> {
    let unreadable = |error: tokio_postgres::Error| SourceError {
        context: "PostgreSQL answered with columns of another type",
        cause: error.into(),
    };
    let truth = |column| Ok(row.try_get::<_, Option<bool>>(column).map_err(unreadable)?.unwrap_or(false));
    Ok(Row {
        id: row.try_get(0).map_err(unreadable)?,
        store_active: truth(1)?,
        domain_active: truth(2)?,
        domain_verified: truth(3)?,
    })
}
