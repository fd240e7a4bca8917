//! Connections to a PostgreSQL server: where it is, how far its identity is checked, and a pool whose every wait has a deadline.

mod listener;
mod pool;
mod position;
mod scan;
mod tls;
mod url;

use std::{path::PathBuf, time::Duration};

use tokio_postgres::config::{SslMode, TargetSessionAttrs};

pub use listener::{Listener, Notice, Notices};
pub(super) use pool::Lent;
pub use pool::{Client, Error, OneServer, Pool, PoolStats};
pub use position::Position;
pub use tls::TlsError;
pub use url::UrlError;

/// Enough for the cold keys of one instance, and few enough that twenty instances fit under PostgreSQL's default of 100
/// connections with room for the app only if each really needs them: connections are opened on demand.
pub const CONNECTIONS_MAX: usize = 8;

/// A distant server with TLS and SCRAM answers within a second; five leave room for one lost SYN and its retransmissions.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// As long as a request waits for its look-up by default: whoever waits longer for a connection has nobody left to tell.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// An indexed query takes about a millisecond; a second means that the server is in trouble.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// What `[directory]` means for a PostgreSQL server.
///
/// `Debug` shows no password: [`tokio_postgres::Config`] leaves it out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts, user, password, database and options, without the TLS parts.
    pub server: tokio_postgres::Config,
    /// How far TLS goes, from `sslmode`.
    pub tls: TlsMode,
    /// The CA certificates to trust instead of the system's, from `sslrootcert` (PEM).
    pub tls_root: Option<PathBuf>,
    /// Connections at most; further queries wait for one of them.
    pub connections_max: usize,
    /// For a connection to be opened, TLS and authentication included, whichever of the hosts it is that answers.
    pub connect_timeout: Duration,
    /// For a free connection of the pool.
    pub wait_timeout: Duration,
    /// For one query.
    pub query_timeout: Duration,
}

impl Settings {
    /// Reads a `postgres://` or `postgresql://` URL; driver suffixes (`postgresql+asyncpg://`) are accepted.
    ///
    /// The query may hold what [`tokio_postgres::Config`] documents, and `sslmode` (or `ssl`) and `sslrootcert` as libpq
    /// has them.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        url::parse(url)
    }

    /// Whether more than one server is named.
    pub fn has_several_servers(&self) -> bool {
        self.server.get_hosts().len().max(self.server.get_hostaddrs().len()) > 1
    }

    /// The same for connections to the server that can be written to, where several are named: replicas have no notices, and may be
    /// behind. A role that is read-only by default would pass for a replica.
    #[must_use]
    pub fn primary(&self) -> Self {
        let mut primary = self.clone();
        if self.has_several_servers() {
            let options = self.server.get_options().unwrap_or_default();
            primary.server.options(format!("{options} -c default_transaction_read_only=off").trim_start());
            primary.server.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        primary
    }

    /// How the server is connected to, as far as tokio-postgres knows of TLS.
    fn with_ssl_mode(&self) -> tokio_postgres::Config {
        let mut server = self.server.clone();
        server.ssl_mode(match self.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        server
    }
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
