//! Where an app server is, as the configuration has it.

use std::{fmt, path::PathBuf};

/// The address of an app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A port of a machine.
    Tcp {
        /// Host name or address literal (IPv6 without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A socket in the file system of this machine.
    Unix(PathBuf),
}

impl ServerAddress {
    /// The host, where it has one.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One app server, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the requests, beside those of the others; at least 1.
    pub weight: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_the_configuration_has_it() {
        let tcp = |host: &str, port| ServerAddress::Tcp { host: host.into(), port }.to_string();
        assert_eq!((tcp("::1", 80), tcp("app", 8000)), ("[::1]:80".to_owned(), "app:8000".to_owned()));
        assert_eq!(ServerAddress::Unix("/run/app.sock".into()).to_string(), "unix:/run/app.sock");
    }
}
