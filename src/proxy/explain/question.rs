//! A request as a person writes it down: a host, and perhaps a scheme, a port, a path and a query.

use crate::{
    proxy::Scheme,
    routing::{Authority, Host, HostnameError},
};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub(super) host: Host<'static>,
    pub(super) port: Option<u16>,
    /// Unset where none was written.
    pub(super) scheme: Option<Scheme>,
    pub(super) path: String,
    /// With its question mark; empty without one.
    pub(super) query: String,
}

impl Question {
    /// Reads `shop.example.com/cart`, or a whole URL; the host may be written in Unicode. Path and query become what a browser
    /// would send.
    pub fn read(written: &str) -> Result<Self, HostnameError> {
        let (scheme, rest) = scheme(written);
        let (host, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = authority(host)?;
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let path = if path.is_empty() { "/".to_owned() } else { encode(path) };
        Ok(Self { host, port, scheme, path, query: encode(query) })
    }

    /// Path and query, as they stand in a request.
    pub(super) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }

    /// These names lead to the machine of whoever writes them.
    pub(super) fn is_of_this_machine(&self) -> bool {
        match &self.host {
            Host::Name(name) => name.as_str() == "localhost",
            Host::Ip(address) => address.is_loopback(),
        }
    }
}

fn scheme(written: &str) -> (Option<Scheme>, &str) {
    match (written.strip_prefix("http://"), written.strip_prefix("https://")) {
        (Some(rest), _) => (Some(Scheme::Http), rest),
        (_, Some(rest)) => (Some(Scheme::Https), rest),
        (None, None) => (None, written),
    }
}

/// What the wire can carry is read as on the wire.
fn authority(written: &str) -> Result<(Host<'static>, Option<u16>), HostnameError> {
    match Authority::parse(written) {
        Ok(Authority { host, port }) => Ok((host.into_owned(), port)),
        Err(HostnameError::NotAscii) => {
            let (name, port) = written.rsplit_once(':').unwrap_or((written, ""));
            match port {
                "" => Ok((Host::parse_human(name)?, None)),
                port => Ok((Host::parse_human(name)?, Some(port.parse().map_err(|_| HostnameError::BadPort)?))),
            }
        }
        Err(error) => Err(error),
    }
}

/// Browsers percent-encode what cannot stand in a request target.
fn encode(target: &str) -> String {
    let octet = |octet: u8| match octet {
        b'!'..=b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    target.bytes().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_bare_host_are_read_alike() {
        let question = Question::read("https://Bücher.example:8443/ä b?q=ü#part").unwrap();
        assert_eq!(question.host.to_string(), "xn--bcher-kva.example");
        assert_eq!((question.scheme, question.port), (Some(Scheme::Https), Some(8443)));
        assert_eq!(question.target(), "/%C3%A4%20b?q=%C3%BC");
        let bare = Question::read("brand.com").unwrap();
        assert_eq!((bare.scheme, bare.port, bare.target()), (None, None, "/".to_owned()));
        assert_eq!(Question::read("brand.com?x").unwrap().target(), "/?x");
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for written in ["", "/p", "a b", "user@brand.com", "brand.com:99999", "bücher.example:x", "https://"] {
            assert!(Question::read(written).is_err(), "{written}");
        }
    }
}
