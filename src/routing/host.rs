//! What a `Host` field names, and the port beside it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Hostname, HostnameError};

/// What a `Host` names: a DNS name or an address literal.
///
/// An IPv4-mapped IPv6 address stays one: it is not the IPv4 address to every reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A DNS name.
    Name(Hostname<'a>),
    /// An IPv4 or bracketed IPv6 literal (RFC 3986 §3.2.2).
    Ip(IpAddr),
}

impl<'a> Host<'a> {
    /// Reads a host without port as it stands on the wire: IPv4 in dotted-decimal form only, IPv6 in brackets only.
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        if wire.starts_with('[') {
            return bracketed(wire).map(Self::Ip);
        }
        match Hostname::parse(wire) {
            Ok(name) => Ok(Self::Name(name)),
            Err(HostnameError::EndsInNumber) => dotted_decimal(wire).map(Self::Ip),
            Err(error) => Err(error),
        }
    }

    /// Reads a host as a person writes it; names as in [`Hostname::parse_human`], addresses as on the wire.
    pub fn parse_human(written: &str) -> Result<Host<'static>, HostnameError> {
        match Host::parse(written) {
            Ok(Host::Ip(address)) => Ok(Host::Ip(address)),
            Err(HostnameError::BadBrackets) => Err(HostnameError::BadBrackets),
            Err(HostnameError::ZoneId) => Err(HostnameError::ZoneId),
            _ => Hostname::parse_human(written).map(Host::Name),
        }
    }

    /// Detaches the host from the request it was read from.
    pub fn into_owned(self) -> Host<'static> {
        match self {
            Self::Name(name) => Host::Name(name.into_owned()),
            Self::Ip(address) => Host::Ip(address),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
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
    ///
    /// `host:` is legal and has no port (RFC 3986 §3.2.3: `port = *DIGIT`). Port 0 fits that grammar too, but nobody can
    /// be reached there: refused, and so are more digits than a port has.
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        read(wire).map_err(|error| misuse(wire).unwrap_or(error))
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

fn read(wire: &str) -> Result<Authority<'_>, HostnameError> {
    let (host, port) = split_port(wire);
    Ok(Authority { host: Host::parse(host)?, port: port.map_or(Ok(None), parse_port)? })
}

/// Colons belong to the port only behind the brackets of an IPv6 address.
fn split_port(wire: &str) -> (&str, Option<&str>) {
    let host_end = if wire.starts_with('[') { wire.find(']').unwrap_or(wire.len()) } else { 0 };
    match wire[host_end..].find(':') {
        Some(colon) => (&wire[..host_end + colon], Some(&wire[host_end + colon + 1..])),
        None => (wire, None),
    }
}

fn parse_port(digits: &str) -> Result<Option<u16>, HostnameError> {
    if digits.is_empty() {
        return Ok(None);
    }
    // `u16::from_str` alone would take "+80" and any number of leading zeros.
    if digits.len() > 5 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(HostnameError::BadPort);
    }
    match digits.parse() {
        Ok(port @ 1..) => Ok(Some(port)),
        _ => Err(HostnameError::BadPort),
    }
}

fn bracketed(wire: &str) -> Result<IpAddr, HostnameError> {
    let inside = wire.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(HostnameError::BadBrackets)?;
    if inside.contains('%') {
        return Err(HostnameError::ZoneId);
    }
    inside.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| HostnameError::BadBrackets)
}

fn dotted_decimal(wire: &str) -> Result<IpAddr, HostnameError> {
    wire.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| HostnameError::EndsInNumber)
}

/// What a refused value was meant as, where that says more than its first bad character.
fn misuse(wire: &str) -> Option<HostnameError> {
    let has = |what: fn(char) -> bool| wire.contains(what);
    if has(|c| c == '@') {
        Some(HostnameError::UserInformation)
    } else if has(|c| c == ',') {
        Some(HostnameError::List)
    } else if has(|c| c.is_whitespace() || c.is_control()) {
        Some(HostnameError::Whitespace)
    } else if has(|c| matches!(c, '/' | '\\' | '?' | '#')) {
        Some(HostnameError::CarriesPath)
    } else if !wire.is_ascii() {
        Some(HostnameError::NotAscii)
    } else if wire.parse::<Ipv6Addr>().is_ok() || (!wire.starts_with('[') && has(|c| matches!(c, '[' | ']'))) {
        Some(HostnameError::BadBrackets)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (wire, printed, port) in [
            ("shop.alpha.com", "shop.alpha.com", None),
            ("Shop.Alpha.com.:8080", "shop.alpha.com:8080", Some(8080)),
            ("a:", "a", None),
            ("a:1", "a:1", Some(1)),
            ("a:65535", "a:65535", Some(65535)),
            ("a:00080", "a:80", Some(80)),
            ("127.0.0.1:80", "127.0.0.1:80", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443", Some(443)),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ] {
            let authority = Authority::parse(wire).expect(wire);
            assert_eq!((authority.to_string().as_str(), authority.port), (printed, port), "{wire}");
        }
    }

    #[test]
    fn an_ipv4_mapped_address_stays_ipv6() {
        let mapped = Host::parse("[::ffff:127.0.0.1]").unwrap();
        assert!(matches!(mapped, Host::Ip(IpAddr::V6(_))));
    }

    #[test]
    fn what_is_no_authority_is_refused_with_the_reason() {
        for (wire, why) in [
            ("", HostnameError::Empty),
            (":80", HostnameError::Empty),
            ("a:0", HostnameError::BadPort),
            ("a:65536", HostnameError::BadPort),
            ("a:000080", HostnameError::BadPort),
            ("a:+80", HostnameError::BadPort),
            ("a:http", HostnameError::BadPort),
            ("a:80:80", HostnameError::BadPort),
            ("user@a.com", HostnameError::UserInformation),
            ("a.com:80@b.com", HostnameError::UserInformation),
            ("a.com,b.com", HostnameError::List),
            (" a.com", HostnameError::Whitespace),
            ("a.com\t", HostnameError::Whitespace),
            ("a.com:80 ", HostnameError::Whitespace),
            ("a\r\nb", HostnameError::Whitespace),
            ("a.com/admin", HostnameError::CarriesPath),
            ("a.com\\b", HostnameError::CarriesPath),
            ("http://a.com", HostnameError::CarriesPath),
            ("a.com?b", HostnameError::CarriesPath),
            ("a.com#b", HostnameError::CarriesPath),
            ("bücher.example", HostnameError::NotAscii),
            ("a%2ecom", HostnameError::InvalidCharacter),
            ("::1", HostnameError::BadBrackets),
            ("2001:db8::1", HostnameError::BadBrackets),
            ("[::1", HostnameError::BadBrackets),
            ("::1]", HostnameError::BadBrackets),
            ("[]", HostnameError::BadBrackets),
            ("[::1]a", HostnameError::BadBrackets),
            ("[127.0.0.1]", HostnameError::BadBrackets),
            ("[v1.a]", HostnameError::BadBrackets),
            ("[fe80::1%eth0]", HostnameError::ZoneId),
            ("[fe80::1%25eth0]", HostnameError::ZoneId),
            ("1.2.3.4.5", HostnameError::EndsInNumber),
            ("01.2.3.4", HostnameError::EndsInNumber),
            ("127.1", HostnameError::EndsInNumber),
            ("0x7f000001", HostnameError::EndsInNumber),
            ("2130706433", HostnameError::EndsInNumber),
            ("127.0.0.1.", HostnameError::EndsInNumber),
        ] {
            assert_eq!(Authority::parse(wire), Err(why), "{wire:?}");
        }
    }

    #[test]
    fn a_person_writes_names_and_addresses() {
        for (written, printed) in
            [("Bücher.example", "xn--bcher-kva.example"), ("[::1]", "[::1]"), ("127.0.0.1", "127.0.0.1")]
        {
            assert_eq!(Host::parse_human(written).unwrap().to_string(), printed);
        }
        assert_eq!(Host::parse_human("[::1"), Err(HostnameError::BadBrackets));
        assert_eq!(Host::parse_human("127.1"), Err(HostnameError::EndsInNumber));
    }
}
