//! Where tenants are read from.

use std::{future::Future, pin::Pin};

use crate::routing::{Tenant, TenantKey};

/// A boxed future, since sources are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers who is behind a key, from the rows as they are now.
///
/// Every implementation keeps this promise: `Ok(None)` means that the database was asked and has no such row; whatever
/// prevents an answer is an error; and the answer or the error comes within the implementation's own deadline.
pub trait TenantSource: Send + Sync + 'static {
    /// Reads the tenant of `key` with one query.
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Result<Option<Tenant>, SourceError>>;
}

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct SourceError {
    /// What was being done.
    pub context: &'static str,
    /// What went wrong.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}
