//! The PROXY protocol, versions 1 and 2: a proxy that does not speak HTTP says before its client's first byte whom it speaks
//! for. Sections are those of HAProxy's `proxy-protocol.txt`.
//!
//! A header is demanded of the listed peers and means nothing from others. Of the connection exactly the header is taken:
//! the byte behind it belongs to whoever reads next.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

use super::worker::Worker;
use crate::{lifecycle::DrainWatch, telemetry::outcome::ProxyHeaderRefusal as Refusal, upstream::PROXY_SIGNATURE};

/// §2.2. The shortest header of version 1 has more bytes, so as many can be read whatever comes.
const V2_SIGNATURE: &[u8; 12] = &PROXY_SIGNATURE;

/// §2.1: the longest line with its CRLF.
const V1_LENGTH_MAX: usize = 107;

/// Signature, version with command, family with transport, and the length of the rest.
const V2_FIXED_LENGTH: usize = 16;

/// Addresses and what proxies add about TLS fit several times, even with the client's name in it; 65,535 bytes would be
/// possible (§2.2), and a guess is enough for what is skipped.
const V2_REST_MAX: usize = 4096;

/// Of the longest line of version 1, so that most headers are read into one allocation.
const USUAL_LENGTH: usize = 128;

/// What a header says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Its address, IPv4-mapped as IPv4.
    Client(IpAddr),
    /// Nothing: the proxy speaks for itself, or does not know. The peer stands for the client.
    Nobody,
}

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is complete.
    Complete(Announced),
    /// At least so many bytes more belong to it.
    Missing(usize),
}

/// The address of the client behind `peer`: what it announces if it is one of those that must, else its own.
///
/// `None` where the connection has to be closed: a wrong or late header, which is counted, or a drain.
pub(super) async fn client_of(
    peer: IpAddr,
    worker: &Worker,
    stream: &mut TcpStream,
    drain: &DrainWatch,
) -> Option<IpAddr> {
    if !worker.settings.proxy_protocol.iter().any(|network| network.contains(&peer)) {
        return Some(peer);
    }
    // Boxed, since other connections should not have to carry its state.
    let header = Box::pin(worker.clock.within(worker.settings.header_timeout, read(stream)));
    let announced = tokio::select! {
        biased;
        header = header => header.unwrap_or(Err(Refusal::Late)),
        () = drain.draining() => return None,
    };
    match announced {
        Ok(Announced::Client(address)) => Some(address),
        Ok(Announced::Nobody) => Some(peer),
        Err(refusal) => {
            worker.metrics.proxy_header_refused(refusal);
            tracing::debug!(%peer, reason = refusal.as_str(), "refused a PROXY header");
            None
        }
    }
}

/// Takes one header off `stream`.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Announced, Refusal> {
    let mut header = Vec::with_capacity(USUAL_LENGTH);
    loop {
        match parse(&header)? {
            Progress::Complete(announced) => return Ok(announced),
            Progress::Missing(count) => {
                let known = header.len();
                header.resize(known + count, 0);
                stream.read_exact(&mut header[known..]).await.map_err(|_ended| Refusal::CutOff)?;
            }
        }
    }
}

/// Reads the start of a connection as a header; what stands behind a complete one is not looked at. Fails as soon as it
/// can no longer become one.
pub fn parse(bytes: &[u8]) -> Result<Progress, Refusal> {
    if bytes.len() < V2_SIGNATURE.len() {
        Ok(Progress::Missing(V2_SIGNATURE.len() - bytes.len()))
    } else if bytes.starts_with(V2_SIGNATURE) {
        v2(bytes)
    } else if bytes.starts_with(b"PROXY ") {
        v1(bytes)
    } else {
        Err(Refusal::Absent)
    }
}

/// §2.1: one line of text, and nothing but its end says how long it is.
fn v1(bytes: &[u8]) -> Result<Progress, Refusal> {
    let bytes = &bytes[..bytes.len().min(V1_LENGTH_MAX)];
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => v1_line(&bytes[..end]).map(Progress::Complete).ok_or(Refusal::Malformed),
        None if bytes.len() == V1_LENGTH_MAX => Err(Refusal::TooLong),
        None if bytes.ends_with(b"\r") => Ok(Progress::Missing(1)),
        None => Ok(Progress::Missing("\r\n".len().min(V1_LENGTH_MAX - bytes.len()))),
    }
}

fn v1_line(line: &[u8]) -> Option<Announced> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\r')?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    match words.next()? {
        "TCP4" => v1_source::<Ipv4Addr>(words).map(client),
        "TCP6" => v1_source::<Ipv6Addr>(words).map(client),
        // Whatever follows it is to be ignored.
        "UNKNOWN" => Some(Announced::Nobody),
        _ => None,
    }
}

/// Source, destination and both their ports, each behind one space.
fn v1_source<'a, A: FromStr>(mut words: impl Iterator<Item = &'a str>) -> Option<A> {
    let mut address = || words.next()?.parse::<A>().ok();
    let (source, _destination) = (address()?, address()?);
    let mut is_port = || words.next().is_some_and(is_port);
    (is_port() && is_port() && words.next().is_none()).then_some(source)
}

/// Decimal without leading zeros.
fn is_port(text: &str) -> bool {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    plain && text.parse::<u16>().is_ok()
}

/// §2.2: binary, with its length.
fn v2(bytes: &[u8]) -> Result<Progress, Refusal> {
    let Some((&[version, family, high, low], rest)) = bytes[V2_SIGNATURE.len()..].split_first_chunk() else {
        return Ok(Progress::Missing(V2_FIXED_LENGTH - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_REST_MAX {
        return Err(Refusal::TooLong);
    }
    match rest.get(..length) {
        Some(block) => v2_block(version, family, block).map(Progress::Complete),
        None => Ok(Progress::Missing(length - rest.len())),
    }
}

/// The address of the source stands first, those of the destination, the ports and the extensions (§2.2.1) behind it.
fn v2_block(version: u8, family: u8, block: &[u8]) -> Result<Announced, Refusal> {
    const INET_LENGTH: usize = 12;
    const INET6_LENGTH: usize = 36;
    match (version, family) {
        // LOCAL, of whatever family; or the proxy cannot say who.
        (0x20, _) | (0x21, 0x00) => Ok(Announced::Nobody),
        (0x21, 0x11) => v2_source::<4>(block, INET_LENGTH).map(|octets| client(Ipv4Addr::from(octets))),
        (0x21, 0x21) => v2_source::<16>(block, INET6_LENGTH).map(|octets| client(Ipv6Addr::from(octets))),
        _ => Err(Refusal::Unsupported),
    }
}

fn v2_source<const N: usize>(block: &[u8], length: usize) -> Result<[u8; N], Refusal> {
    let addresses = block.get(..length).ok_or(Refusal::Malformed)?;
    addresses.first_chunk().copied().ok_or(Refusal::Malformed)
}

fn client(address: impl Into<IpAddr>) -> Announced {
    Announced::Client(address.into().to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

    fn printed_v1(source: IpAddr, destination: IpAddr, ports: (u16, u16)) -> Vec<u8> {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        format!("PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes()
    }

    fn printed_v2(version: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[version, family][..], &length, block].concat()
    }

    fn block(source: IpAddr) -> (u8, Vec<u8>) {
        match source {
            IpAddr::V4(v4) => (0x11, [&v4.octets()[..], &[0; 8]].concat()),
            IpAddr::V6(v6) => (0x21, [&v6.octets()[..], &[0; 20]].concat()),
        }
    }

    /// Feeds `bytes` as they are asked for; what was announced, and how many bytes were taken.
    fn read_from(bytes: &[u8]) -> Result<(Announced, usize), Refusal> {
        let mut taken = 0;
        loop {
            match parse(&bytes[..taken])? {
                Progress::Complete(announced) => return Ok((announced, taken)),
                Progress::Missing(count) => taken += count,
            }
            if taken > bytes.len() {
                return Err(Refusal::CutOff);
            }
        }
    }

    fn announced(bytes: impl AsRef<[u8]>) -> Result<Announced, Refusal> {
        read_from(bytes.as_ref()).map(|(announced, _)| announced)
    }

    #[test]
    fn a_line_names_the_client() {
        assert_eq!(announced("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"), Ok(Announced::Client(CLIENT)));
        let v6 = announced("PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n");
        assert_eq!(v6, Ok(Announced::Client("2001:db8::7".parse().unwrap())));
        assert_eq!(announced("PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n"), Ok(Announced::Client(CLIENT)));
        for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ff:ff::1 what ever\r\n"] {
            assert_eq!(announced(unknown), Ok(Announced::Nobody));
        }
    }

    #[test]
    fn a_line_that_is_not_exactly_so_is_refused() {
        for line in [
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\n",
            "PROXY TCP4 203.0.113.7  192.0.2.1 56324 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 \r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 1\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 056324 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n",
            "PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY  TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Refusal::Malformed), "{line:?}");
        }
        assert_eq!(announced("PROXY TCP4 203.0.113.7"), Err(Refusal::CutOff));
    }

    #[test]
    fn a_line_has_107_bytes_at_most() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(read_from(line(107).as_bytes()), Ok((Announced::Nobody, 107)));
        assert_eq!(announced(line(108)), Err(Refusal::TooLong));
    }

    #[test]
    fn a_block_of_version_2_names_the_client() {
        let (family, octets) = block(CLIENT);
        assert_eq!(announced(printed_v2(0x21, family, &octets)), Ok(Announced::Client(CLIENT)));
        let extended = [&octets[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(announced(printed_v2(0x21, family, &extended)), Ok(Announced::Client(CLIENT)));
        let mapped = block("::ffff:203.0.113.7".parse().unwrap());
        assert_eq!(announced(printed_v2(0x21, mapped.0, &mapped.1)), Ok(Announced::Client(CLIENT)));
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_is_the_client() {
        for family in [0x00, 0x11, 0x31, 0xff] {
            assert_eq!(announced(printed_v2(0x20, family, b"")), Ok(Announced::Nobody));
        }
        assert_eq!(announced(printed_v2(0x21, 0x00, b"whatever")), Ok(Announced::Nobody));
    }

    #[test]
    fn a_block_of_another_kind_is_refused() {
        for (version, family) in [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x12), (0x21, 0x22), (0x21, 0x31)] {
            assert_eq!(announced(printed_v2(version, family, &[0; 216])), Err(Refusal::Unsupported));
        }
        assert_eq!(announced(printed_v2(0x21, 0x11, &[0; 11])), Err(Refusal::Malformed));
        assert_eq!(announced(printed_v2(0x21, 0x21, &[0; 35])), Err(Refusal::Malformed));
        assert_eq!(announced(printed_v2(0x20, 0x00, &[0; V2_REST_MAX])), Ok(Announced::Nobody));
        assert_eq!(announced(printed_v2(0x20, 0x00, &[0; V2_REST_MAX + 1])), Err(Refusal::TooLong));
    }

    #[test]
    fn what_begins_otherwise_is_no_header() {
        for start in ["GET / HTTP/1.1\r\n", "proxy TCP4 1.2.3.4", "\r\n\r\n\0\r\nQUIT\r", "PRI * HTTP/2.0\r\n"] {
            assert_eq!(announced(start), Err(Refusal::Absent), "{start:?}");
        }
    }

    #[tokio::test]
    async fn what_stands_behind_the_header_is_left_for_the_next_reader() {
        let (family, octets) = block(CLIENT);
        let headers = [printed_v1(CLIENT, CLIENT, (1, 2)), printed_v2(0x21, family, &octets)];
        for header in headers {
            let bytes = [&header[..], b"GET /"].concat();
            let mut stream = &bytes[..];
            assert_eq!(read(&mut stream).await, Ok(Announced::Client(CLIENT)));
            assert_eq!(stream, b"GET /");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_and_not_a_byte_more_is_taken(
            source: IpAddr, ports: (u16, u16), extensions in prop::collection::vec(any::<u8>(), 0..64), behind: Vec<u8>,
        ) {
            let said = Announced::Client(source.to_canonical());
            let (family, octets) = block(source);
            let extended = [octets, extensions].concat();
            for header in [printed_v1(source, source, ports), printed_v2(0x21, family, &extended)] {
                let bytes = [&header[..], &behind].concat();
                prop_assert_eq!(read_from(&bytes), Ok((said, header.len())));
                prop_assert_eq!(parse(&bytes), Ok(Progress::Complete(said)));
            }
        }

        #[test]
        fn no_input_makes_it_panic_or_ask_for_nothing(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 1.", b"PROXY TCP6 ", V2_SIGNATURE]),
            rest: Vec<u8>,
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(Progress::Missing(count)) = parse(&bytes) {
                prop_assert!(count > 0 && bytes.len() + count <= V2_FIXED_LENGTH + V2_REST_MAX);
            }
        }
    }
}
