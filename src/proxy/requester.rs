//! Who made a request: the client of the connection, or whom a proxy of ours says it speaks for.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};

use super::{
    Scheme, Standing,
    connection::Client,
    forwarded::forwarded,
    forwarded_for::{appended, vouched},
    headers::X_FORWARDED_PROTO,
};

/// Who made a request and by which scheme, as far as that is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requester {
    /// Its address, IPv4-mapped as IPv4.
    pub(super) address: IpAddr,
    /// The scheme it used, to usher or to the outermost proxy.
    pub(super) scheme: Scheme,
}

/// The same as the app is told of it.
#[derive(Clone, Debug)]
pub struct ForwardedClient {
    /// `X-Real-IP`.
    pub address: HeaderValue,
    /// `X-Forwarded-For`: the addresses that a proxy of ours was told, and its own.
    pub list: HeaderValue,
    /// The scheme the client used.
    pub scheme: Scheme,
    /// `Forwarded`, where that is wanted.
    pub forwarded: Option<HeaderValue>,
}

impl Requester {
    /// Reads what the peer says of it, if the peer may.
    pub(super) fn of(client: &Client, headers: &HeaderMap) -> Self {
        if client.standing == Standing::Stranger {
            return Self { address: client.address(), scheme: client.scheme() };
        }
        let trusted = &client.worker.settings.trusted_proxies;
        Self {
            address: vouched(client.address(), trusted, headers).last().unwrap_or(client.address()),
            scheme: named_scheme(headers).unwrap_or(client.scheme()),
        }
    }

    /// What the app is told; `headers` are those that came.
    pub(super) fn forwarded(&self, client: &Client, headers: &HeaderMap, host: &HeaderValue) -> ForwardedClient {
        let peer = &client.address_header;
        let believed = client.standing != Standing::Stranger;
        ForwardedClient {
            address: if self.address == client.address() { peer.clone() } else { printed(self.address) },
            list: if believed { appended(headers, peer) } else { peer.clone() },
            scheme: self.scheme,
            forwarded: client.worker.settings.forwarded.then(|| self.rfc_7239(client, headers, host)).flatten(),
        }
    }

    fn rfc_7239(&self, client: &Client, headers: &HeaderMap, host: &HeaderValue) -> Option<HeaderValue> {
        let trusted = &client.worker.settings.trusted_proxies;
        let vouched: Vec<IpAddr> = vouched(client.address(), trusted, headers).collect();
        forwarded(&vouched, self.scheme, host)
    }
}

/// An address as the value of a header.
pub(super) fn printed(address: IpAddr) -> HeaderValue {
    // It prints as hexadecimal digits, dots and colons: always a header value.
    HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The scheme that the proxies in front agree on. Some replace what they were told and some append to it; where a list
/// has several opinions, nobody can say whose is the outermost.
fn named_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let values = headers.get_all(X_FORWARDED_PROTO).iter();
    let mut named = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let first = Scheme::parse(named.next()?.trim_ascii())?;
    named.all(|name| Scheme::parse(name.trim_ascii()) == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_counts_where_all_proxies_agree_on_it() {
        let named = |lines: &[&'static str]| {
            named_scheme(&lines.iter().map(|line| (X_FORWARDED_PROTO, HeaderValue::from_static(line))).collect())
        };
        assert_eq!(named(&["https"]), Some(Scheme::Https));
        assert_eq!(named(&["https, HTTPS", "https"]), Some(Scheme::Https));
        assert_eq!(named(&["http"]), Some(Scheme::Http));
        for lines in [&[][..], &[""], &["https, http"], &["http", "https"], &["https,"], &["gopher"]] {
            assert_eq!(named(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn an_address_prints_as_a_header() {
        assert_eq!(printed("203.0.113.7".parse().unwrap()), "203.0.113.7");
        assert_eq!(printed("2001:db8::7".parse().unwrap()), "2001:db8::7");
    }
}
