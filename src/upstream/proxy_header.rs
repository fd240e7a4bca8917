//! PROXY protocol version 2, as a connection to an app server begins with it where the app wants to be told the client's
//! address below HTTP.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The header of a connection that is made for nobody but usher itself.
pub(super) const LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// How every header begins.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, for a connection that is made on behalf of a client.
const VERSION_AND_COMMAND: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddresses {
    /// The client; port 0 where only its address is known.
    pub client: SocketAddr,
    /// Where it was accepted.
    pub local: Option<SocketAddr>,
}

impl ClientAddresses {
    /// The same for a client that is behind the one who was met: the port is not known then.
    #[must_use]
    pub fn of(self, client: IpAddr) -> Self {
        if self.client.ip() == client { self } else { Self { client: SocketAddr::new(client, 0), ..self } }
    }

    /// The header. Without both ends it says that there is a client and not which: a half address has no form.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(52);
        header.extend_from_slice(&SIGNATURE);
        header.push(VERSION_AND_COMMAND);
        match self.local {
            None => header.extend_from_slice(&[UNSPECIFIED, 0, 0]),
            Some(local) => add_addresses(&mut header, self.client, local),
        }
        header
    }
}

fn add_addresses(header: &mut Vec<u8>, client: SocketAddr, local: SocketAddr) {
    match (client.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend_from_slice(&[TCP_OVER_IPV4, 0, 12]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        (from, to) => {
            header.extend_from_slice(&[TCP_OVER_IPV6, 0, 36]);
            header.extend_from_slice(&as_ipv6(from).octets());
            header.extend_from_slice(&as_ipv6(to).octets());
        }
    }
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&local.port().to_be_bytes());
}

/// Both addresses of a header are of one family.
fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: &str, local: Option<&str>) -> Vec<u8> {
        let parsed = |text: &str| text.parse().unwrap();
        ClientAddresses { client: parsed(client), local: local.map(parsed) }.header()
    }

    #[test]
    fn both_addresses_of_ipv4_stand_in_twelve_bytes() {
        let header = header("192.0.2.1:50000", Some("[::ffff:198.51.100.7]:443"));
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c");
        assert_eq!(header[16..], [192, 0, 2, 1, 198, 51, 100, 7, 0xc3, 0x50, 0x01, 0xbb]);
    }

    #[test]
    fn a_client_of_another_family_is_mapped() {
        let header = header("192.0.2.1:0", Some("[2001:db8::1]:80"));
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!((header.len(), &header[48..]), (52, &[0, 0, 0, 80][..]));
    }

    #[test]
    fn without_the_other_end_the_client_is_unspecified() {
        assert_eq!(header("192.0.2.1:1", None)[12..], [0x21, 0, 0, 0]);
    }
}
