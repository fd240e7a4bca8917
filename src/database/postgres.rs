//! The pool of PostgreSQL connections; every wait has a deadline.

use std::{path::PathBuf, time::Duration};

/// What `[directory]` means for a PostgreSQL server.
#[derive(Clone)]
pub struct Settings {
    /// Hosts, user, password, database and options, without the TLS parts.
    pub server: tokio_postgres::Config,
    /// How far TLS goes, from `sslmode`.
    pub tls: TlsMode,
    /// The CA certificates to trust instead of the system's, from `sslrootcert` (PEM).
    pub tls_root: Option<PathBuf>,
    /// Connections at most.
    pub connections_max: usize,
    /// For a connection to be opened, TLS and authentication included.
    pub connect_timeout: Duration,
    /// For a free connection of the pool.
    pub wait_timeout: Duration,
    /// For one query.
    pub query_timeout: Duration,
}

/// `sslmode`, as libpq defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server offers it; the certificate is not checked.
    Prefer,
    /// TLS or nothing; the certificate is not checked.
    Require,
    /// TLS, the certificate's chain is checked.
    VerifyCa,
    /// TLS, chain and name are checked.
    VerifyFull,
}

impl Settings {
    /// Reads a `postgres://` or `postgresql://` URL; driver suffixes (`postgresql+asyncpg://`) are accepted.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let _ = url;
        todo!()
    }
}

/// A URL that cannot be used; never shows the password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(pub String);

/// A pool of connections; a cheap clone.
#[derive(Clone)]
pub struct Pool {}

impl Pool {
    /// Prepares the pool; connects nothing yet.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let _ = settings;
        todo!()
    }
}

/// What can go wrong with the server, named by phase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No free connection in time.
    #[error("no free database connection within the deadline")]
    PoolTimeout,
}
