//! Host names, parsed once: an invalid one cannot exist.

use std::{borrow::Cow, fmt};

/// Octets of a name at most, without the trailing dot: 255 on the wire (RFC 1035 §2.3.4) less the root's and the first
/// label's length octets.
const NAME_MAX: usize = 253;
/// Octets of a label at most (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// A DNS name in canonical form: lower case, no port, no trailing dot, IDNA A-labels, within the lengths of RFC 1035 §2.3.4.
///
/// Borrowed from the request where that is already in canonical form, so that the usual request allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname<'a>(Cow<'a, str>);

impl<'a> Hostname<'a> {
    /// Reads a name as it stands on the wire: ASCII only, no port; one trailing dot is removed.
    ///
    /// A-labels (`xn--…`) are taken as they stand. Underscores are allowed, as the DNS has them. A name whose last label
    /// is a number is none: other programs take it for an IPv4 address (WHATWG URL, "ends in a number").
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        if is_plainly_canonical(wire.as_bytes()) {
            return Ok(Self(Cow::Borrowed(wire)));
        }
        let name = wire.strip_suffix('.').unwrap_or(wire);
        if name.is_empty() {
            return Err(HostnameError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(HostnameError::NameTooLong);
        }
        let mut last: &[u8] = &[];
        for label in name.as_bytes().split(|byte| *byte == b'.') {
            check_label(label)?;
            last = label;
        }
        if is_number(last) {
            return Err(HostnameError::EndsInNumber);
        }
        Ok(Self(lower_case(name)))
    }

    /// Reads a name as a person writes it (configuration, command line): Unicode is converted to A-labels (UTS #46,
    /// non-transitional), and A-labels must be genuine ones.
    pub fn parse_human(written: &str) -> Result<Hostname<'static>, HostnameError> {
        let ascii = in_ascii(written)?;
        Hostname::parse(&ascii).map(Hostname::into_owned)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Detaches the name from the request it was read from.
    pub fn into_owned(self) -> Hostname<'static> {
        Hostname(Cow::Owned(self.0.into_owned()))
    }
}

/// Whether a name is what [`Hostname::parse`] would make of it, in one pass. It says no to some rare good ones, such as
/// those whose last label begins with a digit.
fn is_plainly_canonical(name: &[u8]) -> bool {
    let (mut previous, mut label_start) = (b'.', 0);
    for (position, &byte) in name.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
            b'-' if previous != b'.' => {}
            b'.' if previous != b'.' && previous != b'-' && position - label_start <= LABEL_MAX => {
                label_start = position + 1;
            }
            _ => return false,
        }
        previous = byte;
    }
    let last = &name[label_start..];
    name.len() <= NAME_MAX
        && last.len() <= LABEL_MAX
        && previous != b'-'
        && last.first().is_some_and(|first| !first.is_ascii_digit())
}

impl fmt::Display for Hostname<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first label of a platform's subdomain, or the label of the path prefix; canonical, as in [`Hostname`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label<'a>(Cow<'a, str>);

impl<'a> Label<'a> {
    /// Reads one label (1 to 63 octets of letters, digits, hyphen and underscore, no hyphen at either end).
    pub fn parse(wire: &'a str) -> Result<Self, HostnameError> {
        check_label(wire.as_bytes())?;
        Ok(Self(lower_case(wire)))
    }

    /// Reads one as a person writes it, as [`Hostname::parse_human`] does.
    pub fn parse_human(written: &str) -> Result<Label<'static>, HostnameError> {
        let ascii = in_ascii(written)?;
        check_label(ascii.as_bytes())?;
        Ok(Label(Cow::Owned(ascii.to_ascii_lowercase())))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A-labels for Unicode (UTS #46, non-transitional).
fn in_ascii(written: &str) -> Result<Cow<'_, str>, HostnameError> {
    idna::domain_to_ascii_cow(written.as_bytes(), idna::AsciiDenyList::EMPTY)
        .map_err(|_| HostnameError::Internationalised)
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a host name; each completes a sentence that begins with "host".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
    /// More than 253 octets.
    #[error("is longer than 253 octets")]
    NameTooLong,
    /// Two dots in a row, or one at the start.
    #[error("has an empty label")]
    EmptyLabel,
    /// More than 63 octets between two dots.
    #[error("has a label longer than 63 octets")]
    LabelTooLong,
    /// A hyphen at an end of a label (RFC 952, RFC 1123 §2.1).
    #[error("has a label that begins or ends with a hyphen")]
    HyphenAtEnd,
    /// An octet that is neither letter, digit, hyphen nor underscore.
    #[error("has a character that no host name has")]
    InvalidCharacter,
    /// An octet above 127; on the wire only A-labels are names.
    #[error("is not ASCII")]
    NotAscii,
    /// The last label is a number, and the whole is no IPv4 address in dotted-decimal form.
    #[error("ends in a number and is no IPv4 address in dotted-decimal form")]
    EndsInNumber,
    /// UTS #46 knows no A-label form of it.
    #[error("is no valid internationalised name")]
    Internationalised,
    /// `user@host`: deprecated and deceptive (RFC 9110 §4.2.4).
    #[error("carries user information")]
    UserInformation,
    /// Several hosts in one value.
    #[error("is a list")]
    List,
    /// White space or a control character, inside or around it.
    #[error("has white space or a control character in it")]
    Whitespace,
    /// A slash of either kind, `?` or `#`.
    #[error("carries a path, a query or a fragment")]
    CarriesPath,
    /// The port is not 1 to 65535 in at most five digits.
    #[error("has a port that is no number from 1 to 65535")]
    BadPort,
    /// Brackets without an IPv6 address between them, or an IPv6 address without brackets.
    #[error("has brackets without an IPv6 address in them, or an IPv6 address without brackets")]
    BadBrackets,
    /// `[fe80::1%eth0]`: a zone means something on the sender's machine only (RFC 9844).
    #[error("has an IPv6 address with a zone")]
    ZoneId,
}

/// Checks one label, of either case.
pub(super) fn check_label(label: &[u8]) -> Result<(), HostnameError> {
    if label.len() > LABEL_MAX {
        return Err(HostnameError::LabelTooLong);
    }
    if !label.iter().all(|octet| ALLOWED[usize::from(*octet)]) {
        return Err(if label.is_ascii() { HostnameError::InvalidCharacter } else { HostnameError::NotAscii });
    }
    match label {
        [] => Err(HostnameError::EmptyLabel),
        [b'-', ..] | [.., b'-'] => Err(HostnameError::HyphenAtEnd),
        _ => Ok(()),
    }
}

/// Which octets a label may have. A table, as this is asked of every octet of every request's host.
static ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut octet = 0u8;
    while octet < 0x80 {
        allowed[octet as usize] = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        octet += 1;
    }
    allowed
};

/// Whether programs that follow the WHATWG take a name with this last label for an IPv4 address.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(wire: &str) -> HostnameError {
        Hostname::parse(wire).expect_err(wire)
    }

    #[test]
    fn a_canonical_name_is_borrowed() {
        for wire in ["shop.alpha.com", "shop.alpha.com.", "xn--bcher-kva.example", "_dmarc.a-b.c_d", "localhost", "1.a"]
        {
            let name = Hostname::parse(wire).unwrap();
            assert_eq!(name.as_str(), wire.trim_end_matches('.'));
            assert!(matches!(name.0, Cow::Borrowed(_)), "{wire} was copied");
        }
    }

    #[test]
    fn upper_case_becomes_lower_case() {
        assert_eq!(Hostname::parse("Shop.ALPHA.com.").unwrap().as_str(), "shop.alpha.com");
        assert_eq!(Label::parse("Store1").unwrap().to_string(), "store1");
    }

    #[test]
    fn lengths_are_those_of_rfc_1035() {
        let label = "a".repeat(63);
        let name = [label.as_str(); 4].join(".")[..253].to_owned();
        assert!(Hostname::parse(&name).is_ok());
        assert!(Hostname::parse(&format!("{name}.")).is_ok(), "the trailing dot does not count");
        assert_eq!(refusal(&format!("{name}a")), HostnameError::NameTooLong);
        assert_eq!(refusal(&format!("{label}a.com")), HostnameError::LabelTooLong);
        assert_eq!(Label::parse(&format!("{label}a")), Err(HostnameError::LabelTooLong));
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        for (wire, why) in [
            ("", HostnameError::Empty),
            (".", HostnameError::Empty),
            ("a..b", HostnameError::EmptyLabel),
            (".a", HostnameError::EmptyLabel),
            ("a..", HostnameError::EmptyLabel),
            ("-a.com", HostnameError::HyphenAtEnd),
            ("a-.com", HostnameError::HyphenAtEnd),
            ("a b.com", HostnameError::InvalidCharacter),
            ("a.com:80", HostnameError::InvalidCharacter),
            ("a\0.com", HostnameError::InvalidCharacter),
            ("*.com", HostnameError::InvalidCharacter),
            ("bücher.example", HostnameError::NotAscii),
        ] {
            assert_eq!(refusal(wire), why, "{wire:?}");
        }
    }

    #[test]
    fn a_name_does_not_end_in_a_number() {
        for wire in ["1", "1.2.3", "127.1", "a.08", "0x7f.1", "a.0x", "a.0XfF", "0x7f000001", "1.2.3.4."] {
            assert_eq!(refusal(wire), HostnameError::EndsInNumber, "{wire}");
        }
        assert!(Hostname::parse("a.0xg").is_ok());
        assert!(Label::parse("123").is_ok(), "a label stands in front of something");
    }

    #[test]
    fn a_person_may_write_unicode() {
        for (written, canonical) in [
            ("Bücher.Example", "xn--bcher-kva.example"),
            ("straße.de", "xn--strae-oqa.de"), // non-transitional: not strasse.de
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("Shop.Alpha.com.", "shop.alpha.com"),
            ("_x.a-b.com", "_x.a-b.com"),
        ] {
            assert_eq!(Hostname::parse_human(written).unwrap().as_str(), canonical, "{written}");
        }
    }

    #[test]
    fn a_label_may_be_written_in_unicode_too() {
        for (written, canonical) in [("Bücher", "xn--bcher-kva"), ("WWW", "www"), ("_x-1", "_x-1")] {
            assert_eq!(Label::parse_human(written).unwrap().as_str(), canonical, "{written}");
        }
        for (written, why) in [
            ("", HostnameError::EmptyLabel),
            ("a.b", HostnameError::InvalidCharacter),
            ("bü。cher", HostnameError::InvalidCharacter),
            ("xn--a", HostnameError::Internationalised),
            ("ü".repeat(63).as_str(), HostnameError::LabelTooLong),
        ] {
            assert_eq!(Label::parse_human(written), Err(why), "{written}");
        }
    }

    #[test]
    fn what_a_person_may_not_write() {
        for (written, why) in [
            ("xn--a", HostnameError::Internationalised),
            ("a\u{200d}b.com", HostnameError::Internationalised),
            ("", HostnameError::Empty),
            ("a b.com", HostnameError::InvalidCharacter),
            ("*.com", HostnameError::InvalidCharacter),
            ("１２７.0.0.1", HostnameError::EndsInNumber),
        ] {
            assert_eq!(Hostname::parse_human(written), Err(why), "{written:?}");
        }
    }
}
