//! Tenants from an SQLite file.

use super::{BoxFuture, SourceError, TenantSource};
use crate::{
    database::sqlite::Database,
    routing::{Tenant, TenantKey},
};

/// Reads `stores` and `store_domains` from a file.
pub struct SqliteSource {
    database: Database,
}

impl SqliteSource {
    /// Reads from `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

impl TenantSource for SqliteSource {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Result<Option<Tenant>, SourceError>> {
        let _ = (key, &self.database);
        todo!()
    }
}
