//! The two readings of a path.
//!
//! usher and the app must understand a path in the same way, and apps differ: some decode `%2f`, collapse `//` or drop
//! `;parameters` before they look, others do not. The path is therefore read as carefully and as freely as any of them
//! would; what the two readings disagree about is refused where it matters. Neither is ever forwarded.

use std::borrow::Cow;

/// A path in its two readings. Where the path is plain, as nearly all are, both are the path itself and nothing is copied.
#[derive(Clone, Debug)]
pub struct Path<'a> {
    raw: &'a str,
    as_sent: Cow<'a, [u8]>,
    normalised: Cow<'a, [u8]>,
}

/// The two readings of the path disagree about admin or prefix; the app might read it the other way (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in two ways")]
pub struct AmbiguousPath;

impl<'a> Path<'a> {
    /// Reads a path as sent, without the query. Percent signs that encode nothing stay what they are.
    pub fn read(raw: &'a str) -> Self {
        let octets = raw.as_bytes();
        if is_plain(octets) {
            return Self { raw, as_sent: Cow::Borrowed(octets), normalised: Cow::Borrowed(octets) };
        }
        Self {
            raw,
            as_sent: decode(octets, is_unreserved),
            normalised: Cow::Owned(normalise(&decode(octets, |_| true))),
        }
    }

    /// The path as sent.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The path with its unreserved octets decoded (RFC 3986 §6.2.2.2): the reading that no two programs differ about.
    pub fn as_sent(&self) -> &[u8] {
        &self.as_sent
    }

    /// The path as the most helpful app would take it: decoded once, `\` as `/`, `//` collapsed, `;parameters` dropped,
    /// dot segments removed (RFC 3986 §5.2.4).
    pub fn normalised(&self) -> &[u8] {
        &self.normalised
    }

    /// Whether both readings are the path itself. What the configuration compares paths with should be.
    pub fn is_plain(&self) -> bool {
        let raw = self.raw.as_bytes();
        *self.as_sent == *raw && *self.normalised == *raw
    }

    /// What `question` finds in both readings.
    pub(super) fn agreed<'p, T: PartialEq>(&'p self, question: impl Fn(&'p [u8]) -> T) -> Result<T, AmbiguousPath> {
        let answer = question(&self.as_sent);
        if matches!(self.normalised, Cow::Borrowed(_)) || answer == question(&self.normalised) {
            Ok(answer)
        } else {
            Err(AmbiguousPath)
        }
    }
}

/// Whether there is nothing to read in two ways. Says "no" to a few harmless ones (`/.well-known`), which costs a copy.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&octet| {
        let odd = matches!(octet, b'%' | b'\\' | b';') || (before == b'/' && matches!(octet, b'/' | b'.'));
        before = octet;
        !odd
    })
}

/// Decodes, once, the percent-encoded octets that are `wanted`.
fn decode(path: &[u8], wanted: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    let mut decoded = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(ahead) = path[at..].iter().position(|octet| *octet == b'%') {
        at += ahead;
        match encoded_octet(&path[at..]) {
            Some(octet) if wanted(octet) => {
                decoded.extend_from_slice(&path[copied..at]);
                decoded.push(octet);
                at += 3;
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(path);
    }
    decoded.extend_from_slice(&path[copied..]);
    Cow::Owned(decoded)
}

/// The octet that a leading `%hh` stands for (RFC 3986 §2.1).
fn encoded_octet(path: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = path else { return None };
    let digit = |hex: u8| char::from(hex).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 §2.3.
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

fn normalise(decoded: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(decoded.len() + 1);
    let mut ends_in_slash = false;
    for segment in decoded.split(|octet| matches!(octet, b'/' | b'\\')) {
        let name = segment.split(|octet| *octet == b';').next().unwrap_or_default();
        ends_in_slash = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => path.truncate(path.iter().rposition(|octet| *octet == b'/').unwrap_or(0)),
            name => {
                path.push(b'/');
                path.extend_from_slice(name);
            }
        }
    }
    if ends_in_slash {
        path.push(b'/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_borrowed_in_both_readings() {
        for raw in ["/", "", "/admin", "/p/q.html", "/a/b/", "/%", "/a.b/c~d"] {
            let path = Path::read(raw);
            assert!(path.is_plain(), "{raw}");
            assert!(matches!(path.as_sent, Cow::Borrowed(_)), "{raw} was copied");
        }
        assert!(matches!(Path::read("/p/q.html").normalised, Cow::Borrowed(_)));
        assert!(Path::read("/.well-known/x").is_plain());
    }

    #[test]
    fn the_first_reading_decodes_unreserved_octets_only() {
        for (raw, read) in [
            ("/%61dmin", "/admin"),
            ("/%7E%2D%5f%2e%41", "/~-_.A"),
            ("/a%2Fb%20c%25", "/a%2Fb%20c%25"),
            ("/%2561", "/%2561"),
            ("/%6", "/%6"),
            ("/%zz%61", "/%zza"),
            ("/%+1", "/%+1"),
            ("//x/../y;z", "//x/../y;z"),
            ("/é%61", "/éa"),
        ] {
            assert_eq!(Path::read(raw).as_sent(), read.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn the_second_reading_is_fully_normalised() {
        for (raw, read) in [
            ("//admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin"),
            ("/admin/../cart", "/cart"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a//", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/admin;x", "/admin"),
            ("/x/..;v=1/admin;y/z;", "/admin/z"),
            ("/admin%3bx", "/admin"),
            ("\\admin\\x", "/admin/x"),
            ("/%5cadmin", "/admin"),
            ("/store/a%2f..%2fb", "/store/b"),
            ("/%2561dmin", "/%61dmin"),
            ("/%%361dmin", "/%61dmin"),
            ("/a%2", "/a%2"),
            ("admin;", "/admin"),
        ] {
            assert_eq!(Path::read(raw).normalised(), read.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn what_is_no_text_when_decoded_is_still_read() {
        assert_eq!(Path::read("/%ff%00").normalised(), b"/\xff\0");
    }
}
