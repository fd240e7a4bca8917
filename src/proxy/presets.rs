//! Networks that go by a name in `listen.trusted_proxies` and `listen.proxy_protocol`. They change with a release and never
//! by themselves: a list that is fetched at run time would be believed by the router and written by somebody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The names, in the order in which they are suggested.
pub const NAMES: [&str; 3] = ["cloudflare", "private", "loopback"];

/// The networks that are called `name`.
pub fn named(name: &str) -> Option<&'static [IpNet]> {
    match name {
        "cloudflare" => Some(&CLOUDFLARE),
        "private" => Some(&PRIVATE),
        "loopback" => Some(&LOOPBACK),
        _ => None,
    }
}

/// Where Cloudflare's proxies connect from: <https://www.cloudflare.com/ips/>, list of 28 September 2023.
pub(super) const CLOUDFLARE: [IpNet; 22] = [
    v4([173, 245, 48, 0], 20),
    v4([103, 21, 244, 0], 22),
    v4([103, 22, 200, 0], 22),
    v4([103, 31, 4, 0], 22),
    v4([141, 101, 64, 0], 18),
    v4([108, 162, 192, 0], 18),
    v4([190, 93, 240, 0], 20),
    v4([188, 114, 96, 0], 20),
    v4([197, 234, 240, 0], 22),
    v4([198, 41, 128, 0], 17),
    v4([162, 158, 0, 0], 15),
    v4([104, 16, 0, 0], 13),
    v4([104, 24, 0, 0], 14),
    v4([172, 64, 0, 0], 13),
    v4([131, 0, 72, 0], 22),
    v6([0x2400, 0xcb00], 32),
    v6([0x2606, 0x4700], 32),
    v6([0x2803, 0xf800], 32),
    v6([0x2405, 0xb500], 32),
    v6([0x2405, 0x8100], 32),
    v6([0x2a06, 0x98c0], 29),
    v6([0x2c0f, 0xf248], 32),
];

/// Addresses of private networks: RFC 1918 §3 and RFC 4193 §3.1.
const PRIVATE: [IpNet; 4] =
    [v4([10, 0, 0, 0], 8), v4([172, 16, 0, 0], 12), v4([192, 168, 0, 0], 16), v6([0xfc00, 0], 7)];

/// This machine: RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
const LOOPBACK: [IpNet; 2] = [v4([127, 0, 0, 0], 8), IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6([a, b]: [u16; 2], length: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_networks_written_in_their_shortest_form_and_once() {
        for name in NAMES {
            let networks = named(name).unwrap();
            assert!(networks.iter().all(|network| network.trunc() == *network), "{name}");
            for (place, network) in networks.iter().enumerate() {
                assert!(!networks[..place].iter().any(|earlier| earlier.contains(network)), "{name}: {network}");
            }
        }
        assert_eq!(named("nobody"), None);
    }

    #[test]
    fn the_networks_are_the_published_ones() {
        let text = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(&PRIVATE), "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7");
        assert_eq!(text(&LOOPBACK), "127.0.0.0/8 ::1/128");
        let ends = (text(&CLOUDFLARE[..2]), text(&CLOUDFLARE[20..]));
        assert_eq!(ends, ("173.245.48.0/20 103.21.244.0/22".into(), "2a06:98c0::/29 2c0f:f248::/32".into()));
    }
}
