//! Whose word about clients is believed. Everybody can write `X-Forwarded-For`; it means something only if it was written
//! by one of our own, and whether it was can be told by nothing but the address of the peer.

use std::net::IpAddr;

use ipnet::IpNet;

use super::presets::CLOUDFLARE;

/// The peers that are proxies of ours; by default nobody is, not even this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// How far the word of a peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It speaks for itself only.
    Stranger,
    /// It says whom it speaks for.
    Proxy,
    /// The same, and it is Cloudflare, which alone says so in `CF-Connecting-IP`.
    Cloudflare,
}

impl TrustedProxies {
    /// Trusts every address in `networks`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` is that of a proxy of ours. An IPv4-mapped address must have become IPv4 before.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// How far the word of `peer` goes.
    pub fn standing(&self, peer: IpAddr) -> Standing {
        if !self.contains(peer) {
            Standing::Stranger
        } else if CLOUDFLARE.iter().any(|network| network.contains(&peer)) {
            Standing::Cloudflare
        } else {
            Standing::Proxy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(networks: &[&str], peer: &str) -> Standing {
        TrustedProxies::new(networks.iter().map(|text| text.parse().unwrap()).collect()).standing(peer.parse().unwrap())
    }

    #[test]
    fn nobody_is_trusted_unless_listed() {
        assert_eq!(standing(&[], "127.0.0.1"), Standing::Stranger);
        assert_eq!(standing(&["10.0.0.0/8"], "11.0.0.1"), Standing::Stranger);
        assert_eq!(standing(&["10.0.0.0/8"], "10.255.0.1"), Standing::Proxy);
        assert_eq!(standing(&["::/0"], "10.0.0.1"), Standing::Stranger);
    }

    #[test]
    fn an_address_of_cloudflare_is_cloudflare_only_where_it_is_trusted() {
        assert_eq!(standing(&["10.0.0.0/8"], "173.245.48.7"), Standing::Stranger);
        assert_eq!(standing(&["173.245.48.0/24"], "173.245.48.7"), Standing::Cloudflare);
        assert_eq!(standing(&["173.245.48.0/24"], "173.245.49.7"), Standing::Stranger);
        assert_eq!(standing(&["0.0.0.0/0"], "203.0.113.7"), Standing::Proxy);
    }
}
