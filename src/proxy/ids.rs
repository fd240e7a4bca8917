//! The marks of one exchange: the request id, and the trace it belongs to.

use bytes::Bytes;
use http::HeaderValue;

/// The ids of one exchange, both from one random draw and one allocation.
#[derive(Clone, Debug)]
pub struct Ids {
    /// `X-Request-Id`: 32 hexadecimal digits.
    pub request_id: HeaderValue,
    /// `traceparent` (W3C Trace Context §3.2) with the request id as its trace id, marked as sampled: what an app
    /// would do without a proxy in front of it.
    pub traceparent: HeaderValue,
}

impl Ids {
    const TRACE_ID: std::ops::Range<usize> = 3..35;
    const PARENT_ID: std::ops::Range<usize> = 36..52;

    /// Draws new ones.
    pub fn make() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(&mut text[Self::TRACE_ID], fastrand::u128(1..));
        write_hex(&mut text[Self::PARENT_ID], u128::from(fastrand::u64(1..)));
        let text = Bytes::copy_from_slice(&text);
        Self { request_id: digits(text.slice(Self::TRACE_ID)), traceparent: digits(text) }
    }

    /// `X-Request-Id` as text.
    pub fn request_id_str(&self) -> &str {
        self.request_id.to_str().unwrap_or("")
    }
}

/// Digits and hyphens are always a header value; the fallback is there because the type cannot say so.
fn digits(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("0"))
}

fn write_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// Whether `value` is a `traceparent` that may be passed on (W3C Trace Context §3.2.2): version 00, ids not all zero.
pub(super) fn is_traceparent(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    let lower_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &[u8]| lower_hex(part) && part.iter().any(|&byte| byte != b'0');
    text.len() == 55
        && text.starts_with(b"00-")
        && is_id(&text[Ids::TRACE_ID])
        && text[35] == b'-'
        && is_id(&text[Ids::PARENT_ID])
        && text[52] == b'-'
        && lower_hex(&text[53..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_and_never_the_same() {
        let (one, two) = (Ids::make(), Ids::make());
        assert!(is_traceparent(&one.traceparent));
        assert_eq!(one.request_id.len(), 32);
        assert_ne!(one.request_id, two.request_id);
    }

    #[test]
    fn a_traceparent_that_breaks_the_format_is_not_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let is = |text: &str| is_traceparent(&HeaderValue::from_str(text).unwrap());
        assert!(is(good));
        assert!(!is(&good.to_uppercase()));
        assert!(!is(&good.replace("00f067aa0ba902b7", "0000000000000000")));
        assert!(!is(&good.replacen("00-", "01-", 1)));
        assert!(!is(&good[..54]));
    }
}
