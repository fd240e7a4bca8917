//! Tenants from PostgreSQL.

use super::{BoxFuture, SourceError, TenantSource};
use crate::{
    database::postgres::Pool,
    routing::{Tenant, TenantKey},
};

/// Reads `stores` and `store_domains` through a pool.
pub struct PostgresSource {
    pool: Pool,
}

impl PostgresSource {
    /// Reads through `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

impl TenantSource for PostgresSource {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Result<Option<Tenant>, SourceError>> {
        let _ = (key, &self.pool);
        todo!()
    }
}
