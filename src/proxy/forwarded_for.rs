//! `X-Forwarded-For`: each proxy appends the address of its own peer, so the list is as true as the proxies that wrote its
//! end. It is walked from the right, as far as each address is vouched for by a proxy of ours.

use std::{
    iter,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{
    Standing, TrustedProxies,
    headers::{CF_CONNECTING_IP, X_FORWARDED_FOR},
};

/// The addresses from `peer` to the client, whose is the last one. Each but the first was named by the one before, a proxy
/// of ours. An entry that is no address ends the walk: nobody can say who stands behind it.
pub(super) fn vouched<'a>(
    peer: IpAddr,
    trusted: &'a TrustedProxies,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = IpAddr> + 'a {
    let named = (trusted.standing(peer) == Standing::Cloudflare).then(|| named_by_cloudflare(headers)).flatten();
    let mut entries = from_the_right(headers);
    let mut next = Some(peer);
    let walk = iter::from_fn(move || {
        let current = next?;
        let vouches = trusted.contains(current);
        next = if vouches { named.or_else(|| entries.next().and_then(address)) } else { None };
        Some(current)
    });
    // Cloudflare's own field names the client itself: nobody stands behind it.
    walk.take(if named.is_some() { 2 } else { usize::MAX })
}

/// The list for the next hop: as it came, with `peer` at its end.
pub(super) fn appended(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut list = Vec::new();
    for sent in headers.get_all(X_FORWARDED_FOR).iter().filter(|value| !value.is_empty()) {
        list.extend_from_slice(sent.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    // Values, joined by what may stand in one, are a value; the type cannot say so.
    HeaderValue::from_maybe_shared(Bytes::from(list)).unwrap_or_else(|_| peer.clone())
}

fn named_by_cloudflare(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all(CF_CONNECTING_IP).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => address(value.as_bytes()),
        _ => None,
    }
}

/// The entries of all lines together, which are one list (RFC 9110 §5.3).
fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(X_FORWARDED_FOR).iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
}

/// An address as proxies write it: alone, in brackets, or with the port of the connection.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry.trim_ascii()).ok()?;
    let alone = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    alone.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "10.0.0.1";

    fn list(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap())).collect()
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "fd00::/8", "173.245.48.0/20"].map(|text| text.parse().unwrap()).to_vec())
    }

    fn walked(peer: &str, headers: &HeaderMap) -> Vec<String> {
        vouched(peer.parse().unwrap(), &trusted(), headers).map(|address| address.to_string()).collect()
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        walked(peer, &list(lines)).pop().unwrap()
    }

    #[test]
    fn the_client_is_the_first_stranger_from_the_right() {
        assert_eq!(client(OURS, &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(OURS, &["6.6.6.6, 203.0.113.7, 10.0.0.2,10.0.0.3"]), "203.0.113.7");
        assert_eq!(client(OURS, &["6.6.6.6", "203.0.113.7", "fd00::2, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(client("203.0.113.9", &["6.6.6.6"]), "203.0.113.9");
        assert_eq!(client(OURS, &[]), OURS);
    }

    #[test]
    fn where_all_are_ours_the_client_is_the_outermost() {
        assert_eq!(walked(OURS, &list(&["10.0.0.9, 10.0.0.2"])), [OURS, "10.0.0.2", "10.0.0.9"]);
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for end in ["unknown", "", "_hidden", "10.0.0", "10.0.0.256", "localhost", "\"10.0.0.3\"", "10.0.0.3:x"] {
            assert_eq!(client(OURS, &[&format!("203.0.113.7, {end}, 10.0.0.2")]), "10.0.0.2", "{end:?}");
        }
    }

    #[test]
    fn an_entry_may_have_brackets_and_a_port() {
        for entry in ["203.0.113.7:5678", "::ffff:203.0.113.7", "[::ffff:203.0.113.7]", "[::ffff:203.0.113.7]:80"] {
            assert_eq!(client(OURS, &[entry]), "203.0.113.7");
        }
        assert_eq!(client(OURS, &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(client(OURS, &["203.0.113.7, ::ffff:10.0.0.2"]), "203.0.113.7");
    }

    #[test]
    fn cloudflare_names_the_client_in_its_own_field_and_nobody_else_does() {
        let mut headers = list(&["203.0.113.7"]);
        headers.insert(CF_CONNECTING_IP, HeaderValue::from_static("2001:db8::7"));
        assert_eq!(walked("173.245.48.1", &headers), ["173.245.48.1", "2001:db8::7"]);
        assert_eq!(walked(OURS, &headers), [OURS, "203.0.113.7"]);
        headers.insert(CF_CONNECTING_IP, HeaderValue::from_static("10.0.0.5"));
        assert_eq!(walked("173.245.48.1", &headers), ["173.245.48.1", "10.0.0.5"]);
        headers.append(CF_CONNECTING_IP, HeaderValue::from_static("6.6.6.6"));
        assert_eq!(walked("173.245.48.1", &headers), ["173.245.48.1", "203.0.113.7"]);
    }

    #[test]
    fn the_list_goes_on_with_the_peer_at_its_end() {
        let peer = HeaderValue::from_static(OURS);
        assert_eq!(appended(&list(&[]), &peer), OURS);
        assert_eq!(appended(&list(&["", "a,b", "203.0.113.7"]), &peer), "a,b, 203.0.113.7, 10.0.0.1");
    }

    proptest! {
        #[test]
        fn whatever_stands_to_the_left_of_a_stranger_changes_nothing(forged in "[ -~]{0,60}") {
            prop_assert_eq!(client(OURS, &[&format!("{forged},203.0.113.7, 10.0.0.2")]), "203.0.113.7");
        }

        #[test]
        fn each_address_but_the_last_is_one_of_ours(lines in prop::collection::vec("[0-9a-f:., ]{0,40}", 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let headers = list(&lines);
            let trusted = trusted();
            let walked: Vec<IpAddr> = vouched(OURS.parse().unwrap(), &trusted, &headers).collect();
            let (_client, proxies) = walked.split_last().unwrap();
            prop_assert!(proxies.iter().all(|proxy| trusted.contains(*proxy)));
        }
    }
}
