//! `Forwarded` (RFC 7239): the client, what it asked for, and each proxy behind it. Only what is believed is told, so
//! unlike `X-Forwarded-For` it can be read from the left.

use std::{fmt::Write, net::IpAddr};

use http::HeaderValue;

use super::Scheme;

/// The field for a request of the last of `vouched`, which came through the others from right to left.
///
/// `None` where `host` cannot be told in it.
pub(super) fn forwarded(vouched: &[IpAddr], scheme: Scheme, host: &HeaderValue) -> Option<HeaderValue> {
    let (client, proxies) = vouched.split_last()?;
    let host = host.to_str().ok().filter(|host| !host.contains(['"', '\\']))?;
    let mut field = String::new();
    write_node(&mut field, *client);
    // A port's colon is no character of a token, hence the quotes (§4); a host that was understood needs no escape.
    let _ = write!(field, ";host=\"{host}\";proto={}", scheme.as_str());
    for proxy in proxies.iter().rev() {
        field.push_str(", ");
        write_node(&mut field, *proxy);
    }
    HeaderValue::try_from(field).ok()
}

/// IPv6 in brackets and quotes (§6). Writing to a String cannot fail.
fn write_node(field: &mut String, address: IpAddr) {
    let _ = match address {
        IpAddr::V4(v4) => write!(field, "for={v4}"),
        IpAddr::V6(v6) => write!(field, "for=\"[{v6}]\""),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(vouched: &[&str], scheme: Scheme, host: &'static str) -> Option<HeaderValue> {
        let vouched: Vec<IpAddr> = vouched.iter().map(|text| text.parse().unwrap()).collect();
        forwarded(&vouched, scheme, &HeaderValue::from_static(host))
    }

    #[test]
    fn the_client_comes_first_and_the_peer_last() {
        let field = printed(&["10.0.0.1", "10.0.0.2", "203.0.113.7"], Scheme::Https, "shop.example:8443").unwrap();
        assert_eq!(field, r#"for=203.0.113.7;host="shop.example:8443";proto=https, for=10.0.0.2, for=10.0.0.1"#);
    }

    #[test]
    fn an_ipv6_address_is_quoted() {
        let field = printed(&["2001:db8::7"], Scheme::Http, "[::1]").unwrap();
        assert_eq!(field, r#"for="[2001:db8::7]";host="[::1]";proto=http"#);
    }

    #[test]
    fn a_host_cannot_leave_its_quotes() {
        assert_eq!(printed(&["203.0.113.7"], Scheme::Http, r#"a";for=6.6.6.6;b="#), None);
    }
}
