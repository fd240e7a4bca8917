//! The PROXY protocol: exactly the header is taken off a connection, however it is chopped, and its length has a bound.

use std::net::IpAddr;

use usher::proxy::proxy_protocol::{Announced, Progress, parse};

/// Signature and fixed part of version 2 with the longest rest that is read.
const LENGTH_MAX: usize = 16 + 4096;

/// The input is the start of a connection.
pub fn check(input: &[u8]) {
    let _ = parse(input);
    let Some((announced, length)) = read(input) else { return };
    let whole = Ok(Progress::Complete(announced));
    assert_eq!(parse(input), whole, "what stands behind the header counts");
    check_every_beginning(&input[..length]);
    if input.starts_with(b"PROXY ") {
        check_line(&input[..length], announced);
    }
    if let Announced::Client(address) = announced {
        assert_eq!(address, address.to_canonical());
    }
}

/// Reads as a connection is read: never more than what is said to be missing.
fn read(input: &[u8]) -> Option<(Announced, usize)> {
    let mut length = 0;
    loop {
        match parse(input.get(..length)?).ok()? {
            Progress::Complete(announced) => return Some((announced, length)),
            Progress::Missing(count) => {
                assert!(count > 0 && length + count <= LENGTH_MAX, "{count} more after {length}");
                length += count;
            }
        }
    }
}

/// The beginning of a header is incomplete, and asks for nothing that stands behind the header.
fn check_every_beginning(header: &[u8]) {
    for length in 0..header.len() {
        match parse(&header[..length]) {
            Ok(Progress::Missing(count)) => {
                assert!((1..=header.len() - length).contains(&count), "{count} after {length}")
            }
            other => panic!("{other:?} after {length} of {header:?}"),
        }
    }
}

/// §2.1: one line, and the address stands in it.
fn check_line(header: &[u8], announced: Announced) {
    let line = str::from_utf8(header).unwrap_or_else(|error| panic!("{error}: {header:?}"));
    assert!(line.ends_with("\r\n") && line.len() <= 107 && line.matches('\n').count() == 1, "{line:?}");
    let second = line.split(' ').nth(2).and_then(|word| word.parse::<IpAddr>().ok()).map(|found| found.to_canonical());
    match announced {
        Announced::Client(address) => assert_eq!(second, Some(address), "{line:?}"),
        Announced::Nobody => assert!(line.starts_with("PROXY UNKNOWN"), "{line:?}"),
    }
}
