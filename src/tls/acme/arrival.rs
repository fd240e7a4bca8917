//! Whether a name leads here: declared here, known elsewhere.

use crate::tls::BoxFuture;

/// Knows where names lead, seen by asking for them as a CA would. Comparing addresses would say no to customers behind a CDN.
pub trait Arrivals: Send + Sync {
    /// Whether whoever asks for `name` at any of its addresses arrives here.
    fn lead_here<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Astray>>;
}

/// Why whoever asks for a name does not arrive here, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    /// It leads elsewhere, or nowhere.
    #[error("{0}")]
    Elsewhere(String),
    /// Whoever asks is sent to https at the same name, and who is there is not known. A CA follows, and may arrive here.
    #[error("{0}")]
    Hidden(String),
    /// Nobody who knows could be asked.
    #[error("{0}")]
    Unknown(String),
}
