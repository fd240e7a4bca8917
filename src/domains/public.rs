//! Addresses that strangers' names may lead us to: never into the network that we stand in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the address is of the public Internet (IANA's registries of special-purpose addresses, RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!((a, b, c), (0 | 224.., _, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _));
    !is_special
}

/// What is global unicast, except for what carries an IPv4 address that is not public, and documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, y, z] = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        // The well-known prefix of NAT64, all 96 bits of it (RFC 6052 §2.1; 64:ff9b:1::/48 is a network's own, RFC 8215), and 6to4
        // (RFC 3056).
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => is_public_v4(embedded(y, z)),
        (0x2002, _) => is_public_v4(embedded(b, c)),
        (0x2001, 0xdb8 | 0..=0x1ff) | (0x3fff, 0..=0xfff) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in
            ["1.1.1.1", "198.51.99.1", "100.128.0.1", "223.255.255.254", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::101:101",
            "64:ff9b:1:a00:1::101:101",
            "2002:a00:1::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
        ];
        for special in special {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }
}
