//! Host names, parsed once: an invalid one cannot exist.

use std::{borrow::Cow, net::IpAddr};

/// A DNS name in canonical form: lower case, no port, no trailing dot, IDNA A-labels, within the lengths of RFC 1035 §2.3.4.
///
/// Borrowed from the request where that is already in canonical form, so that the usual request allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname<'a>(Cow<'a, str>);

impl<'a> Hostname<'a> {
    /// Reads a name as it stands on the wire: ASCII only, no port; one trailing dot is removed.
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        let _ = wire;
        todo!()
    }

    /// Reads a name as a person writes it (configuration, command line): Unicode is converted to A-labels (UTS #46).
    pub fn parse_human(written: &str) -> Result<Hostname<'static>, HostnameError> {
        let _ = written;
        todo!()
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Detaches the name from the request it was read from.
    pub fn into_owned(self) -> Hostname<'static> {
        Hostname(Cow::Owned(self.0.into_owned()))
    }
}

/// The first label of a platform's subdomain, or the label of the path prefix; canonical, as in [`Hostname`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label<'a>(Cow<'a, str>);

impl<'a> Label<'a> {
    /// Reads one label (1 to 63 octets of letters, digits, hyphen and underscore, no hyphen at either end).
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        let _ = wire;
        todo!()
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a `Host` names: a DNS name or an address literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A DNS name.
    Name(Hostname<'a>),
    /// An IPv4 or bracketed IPv6 literal (RFC 3986 §3.2.2).
    Ip(IpAddr),
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2: what the `Host` header and `:authority` carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host in canonical form.
    pub host: Host<'a>,
    /// The port, where one was written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads a `Host` value as it stands on the wire: ASCII only; userinfo, lists and bad ports are refused.
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        let _ = wire;
        todo!()
    }
}

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
}
