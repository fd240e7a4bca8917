//! Where tenants are read from.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::routing::{KeyRef, Tenant, TenantKey};

/// A boxed future, since sources are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers who is behind a key, from the rows as they are now.
///
/// Every implementation keeps this promise: `Ok(None)` means that the database was asked and has no such row; whatever
/// prevents an answer is an error; the answer or the error comes within the implementation's own deadline; and the rows are at
/// least as new as every change that had been told of when the load began.
pub trait TenantSource: Send + Sync + 'static {
    /// Reads the tenant of `key` with one query.
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer>;

    /// Reads many tenants, with as few queries as the source can; the answers are in the order of `keys`.
    ///
    /// The inner error is of one key alone, the outer one of all: then nothing is known.
    fn load_many<'a>(&'a self, keys: &'a [TenantKey]) -> BoxFuture<'a, Result<Vec<Answer>, SourceError>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(keys.len());
            for key in keys {
                answers.push(self.load(key).await);
            }
            Ok(answers)
        })
    }

    /// Hands every name by which a key may be found to `each`, as of some moment after this call, until `each` wants no more.
    ///
    /// False where the source cannot list them, or where a new one might not be told of as a change.
    fn names<'a>(&'a self, _each: &'a EachName<'a>) -> BoxFuture<'a, Result<bool, SourceError>> {
        Box::pin(async { Ok(false) })
    }
}

/// Takes a name, and says whether it wants more.
pub type EachName<'a> = dyn Fn(KeyRef<'_>) -> bool + Send + Sync + 'a;

/// What a source says of one key.
pub type Answer = Result<Option<Arc<Tenant>>, SourceError>;

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct SourceError {
    /// What was being done.
    pub context: &'static str,
    /// Whether others would fare the same.
    pub blame: Blame,
    /// What went wrong.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Whom an error says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The database: it cannot be asked about anything.
    Database,
    /// The one server that was asked, which is behind the others for the moment.
    Replica,
    /// The row of this key alone.
    Row,
}
