//! The marks of one exchange: the request id, and the trace it belongs to.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{Standing, headers::X_REQUEST_ID};

/// Longer ones would be a burden to logs; the usual forms have 32 or 36 characters.
const REQUEST_ID_MAX: usize = 128;

/// The ids of one exchange, both from one random draw and one allocation.
#[derive(Clone, Debug)]
pub struct Ids {
    /// `X-Request-Id`: 32 hexadecimal digits, or what a proxy of ours chose.
    pub request_id: HeaderValue,
    /// `traceparent` (W3C Trace Context §3.2) with the request id as its trace id, marked as sampled: what an app
    /// would do without a proxy in front of it.
    pub traceparent: HeaderValue,
}

impl Ids {
    const TRACE_ID: std::ops::Range<usize> = 3..35;
    const PARENT_ID: std::ops::Range<usize> = 36..52;

    /// Those of a request: a proxy of ours may have marked it already, everybody else's marks are replaced.
    pub(super) fn of(headers: &HeaderMap, standing: Standing) -> Self {
        let made = Self::make();
        match standing {
            Standing::Stranger => made,
            Standing::Proxy | Standing::Cloudflare => match only_request_id(headers) {
                Some(request_id) => Self { request_id: request_id.clone(), ..made },
                None => made,
            },
        }
    }

    /// Draws new ones.
    pub fn make() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(&mut text[Self::TRACE_ID], fastrand::u128(1..));
        write_hex(&mut text[Self::PARENT_ID], u128::from(fastrand::u64(1..)));
        let text = Bytes::from_owner(text);
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

/// The one request id that was sent, if it is harmless wherever it will be shown: our pages and everybody's logs.
fn only_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@~".contains(byte);
    ((1..=REQUEST_ID_MAX).contains(&value.len()) && value.as_bytes().iter().all(harmless)).then_some(value)
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
    fn a_request_id_is_kept_if_a_proxy_of_ours_sent_one_that_is_harmless() {
        let kept = |ids: &[&str], standing| {
            let headers = ids.iter().map(|id| (X_REQUEST_ID, HeaderValue::from_str(id).unwrap())).collect();
            ids.contains(&Ids::of(&headers, standing).request_id_str())
        };
        let longest = "x".repeat(REQUEST_ID_MAX);
        for id in ["7", "0190b5a4-6f7e-7c3a-9d6e-2f0a1b3c4d5e", "Root=1-67891233-abcdef", longest.as_str()] {
            assert!(kept(&[id], Standing::Proxy) && kept(&[id], Standing::Cloudflare), "{id}");
            assert!(!kept(&[id], Standing::Stranger), "{id}");
            assert!(!kept(&[id, id], Standing::Proxy), "{id}");
        }
        for id in ["", "a b", "<script>", "a\"b", "{id}", format!("{longest}x").as_str()] {
            assert!(!kept(&[id], Standing::Proxy), "{id}");
        }
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
