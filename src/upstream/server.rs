//! Where an app server is, as the configuration has it.

use std::{fmt, net::IpAddr, path::PathBuf};

/// The address of an app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A port of a machine; of all machines that a name in DNS leads to.
    Tcp {
        /// Host name or address literal (IPv6 without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A name in DNS whose records have the ports as well (SRV, RFC 2782).
    Service(String),
    /// A socket in the file system of this machine.
    Unix(PathBuf),
}

impl ServerAddress {
    /// The host that certificates have to be for, where there is one; that of a service is its domain (RFC 6125 §6.2.1).
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Service(name) => Some(domain(name)),
            Self::Unix(_) => None,
        }
    }

    /// Whether DNS says where it is. It is not asked about this machine (RFC 6761 §6.3).
    pub fn is_resolved(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => host != "localhost" && host.parse::<IpAddr>().is_err(),
            Self::Service(_) => true,
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Service(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What stands behind `_service._proto.`.
fn domain(mut name: &str) -> &str {
    while let Some((_, rest)) = name.split_once('.').filter(|(label, _)| label.starts_with('_')) {
        name = rest;
    }
    name
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

    #[test]
    fn the_certificate_of_a_service_is_for_its_domain() {
        let service = ServerAddress::Service("_http._tcp.app.internal".into());
        assert_eq!((service.host(), service.to_string().as_str()), (Some("app.internal"), "_http._tcp.app.internal"));
    }

    #[test]
    fn dns_is_asked_about_names_of_other_machines() {
        let is_resolved = |host: &str| ServerAddress::Tcp { host: host.into(), port: 80 }.is_resolved();
        assert_eq!(["app", "localhost", "10.0.0.1", "::1"].map(is_resolved), [true, false, false, false]);
    }
}
