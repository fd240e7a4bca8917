//! Whose names these are: declared here, known elsewhere.

use std::error::Error;

use crate::tls::BoxFuture;

/// Where the names are that are to have a certificate.
pub trait Names: Send + Sync {
    /// Those of the next names behind `after` that are to have a certificate and have none that lasts. It reads a bounded number of names, in an
    /// order of its own, so that all of them come by in time without ever being read at once.
    fn lacking<'a>(&'a self, after: &'a str) -> BoxFuture<'a, Result<Page, NamesError>>;

    /// Whether `name` is somebody's who is served under it.
    fn is_served<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, NamesError>>;

    /// A name that is sent to `name`, and may be in its certificate: `www.` in front, unless that is somebody's own.
    fn beside<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NamesError>>;
}

/// Names that lack a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In canonical form.
    pub names: Vec<String>,
    /// Behind which name to go on; `None`: that were all.
    pub next: Option<String>,
}

/// They could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("who is served could not be found out")]
pub struct NamesError(#[source] pub Box<dyn Error + Send + Sync>);
