//! What a request must be before anybody asks whose it is, and the marks it is given.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;

use super::{
    body::RequestBody,
    connection::Client,
    error::Failure,
    exchange::Exchange,
    facts::ForwardedHost,
    headers::{Forwarding, add_forwarding},
};
use crate::routing::Destination;

/// The ids of one exchange, both from one random draw and one allocation.
pub(super) struct Ids {
    /// `X-Request-Id`: 32 hexadecimal digits.
    pub(super) request_id: HeaderValue,
    /// `traceparent` (W3C Trace Context §3.2) with the request id as its trace id, marked as sampled: what an app
    /// would do without a proxy in front of it.
    pub(super) traceparent: HeaderValue,
}

impl Ids {
    const TRACE_ID: std::ops::Range<usize> = 3..35;
    const PARENT_ID: std::ops::Range<usize> = 36..52;

    pub(super) fn make() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(&mut text[Self::TRACE_ID], fastrand::u128(1..));
        write_hex(&mut text[Self::PARENT_ID], u128::from(fastrand::u64(1..)));
        let text = Bytes::copy_from_slice(&text);
        Self { request_id: digits(text.slice(Self::TRACE_ID)), traceparent: digits(text) }
    }

    pub(super) fn request_id_str(&self) -> &str {
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

/// Refuses methods that a tenant router has no use for and targets that name no resource of an app.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Failure> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodRefused);
    }
    if !request.uri().path().starts_with('/') {
        return Err(Failure::BadTarget);
    }
    check_coding(request.headers(), request.version())
}

/// One `Transfer-Encoding` that says `chunked` and nothing else, from a client that can mean it (RFC 9112 §6.1, §7).
fn check_coding(headers: &HeaderMap, version: Version) -> Result<(), Failure> {
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else { return Ok(()) };
    if version < Version::HTTP_11 || headers.get_all(header::TRANSFER_ENCODING).iter().count() > 1 {
        return Err(Failure::BadFraming);
    }
    if coding.as_bytes().eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(Failure::UnknownCoding) }
}

/// The target for the app: origin-form (RFC 9112 §3.2.1), without the first `prefix` bytes of the path, the rest as sent.
pub(super) fn origin_form(target: &Uri, prefix: usize) -> Option<Uri> {
    if prefix == 0 && target.authority().is_none() {
        return Some(target.clone());
    }
    let sent = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = sent.get(prefix..)?;
    let rest = if rest.starts_with('/') { rest.parse() } else { format!("/{rest}").parse() };
    rest.ok().map(|target: PathAndQuery| Uri::from(target))
}

/// The request as the app receives it: who it is for is written into it, and into the record.
pub(super) fn prepare(
    request: Request<Incoming>,
    host: ForwardedHost,
    destination: &Destination,
    client: &Client,
    exchange: &mut Exchange,
) -> Result<Request<RequestBody>, Failure> {
    let rules = &client.worker.headers;
    let (mut head, incoming) = request.into_parts();
    let cut = destination.prefix.map_or(0, |prefix| prefix.length);
    let prefix = head.uri.path().get(..cut).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(HeaderValue::from_str).transpose().map_err(|_| Failure::BadTarget)?;
    head.uri = origin_form(&head.uri, cut).ok_or(Failure::BadTarget)?;
    head.version = Version::HTTP_11;
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    rules.strip_request(&mut head.headers);
    if chunked {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let ids = &exchange.ids;
    let Destination { matched, tenant, .. } = destination;
    add_forwarding(
        &mut head.headers,
        Forwarding { client, ids, host, matched: *matched, tenant: tenant.as_ref(), prefix },
    );
    exchange.matched = Some(*matched);
    exchange.tenant = tenant.clone();
    let (body, tally) = RequestBody::new(incoming, rules);
    exchange.request_tally = tally;
    Ok(Request::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str) -> http::request::Builder {
        Request::builder().method(method).uri(target)
    }

    #[test]
    fn connect_trace_and_targets_without_a_path_are_refused() {
        let refused = |method, target| check(&request(method, target).body(()).unwrap()).unwrap_err();
        assert!(matches!(refused("CONNECT", "shop.example:443"), Failure::MethodRefused));
        assert!(matches!(refused("TRACE", "/"), Failure::MethodRefused));
        assert!(matches!(refused("OPTIONS", "*"), Failure::BadTarget));
        assert!(check(&request("OPTIONS", "/").body(()).unwrap()).is_ok());
    }

    #[test]
    fn only_a_single_chunked_is_a_coding() {
        let coded = |codings: &[&str]| {
            let builder = codings.iter().fold(request("POST", "/"), |b, c| b.header("transfer-encoding", *c));
            check(&builder.body(()).unwrap())
        };
        assert!(coded(&["chunked"]).is_ok());
        assert!(coded(&["Chunked"]).is_ok());
        assert!(matches!(coded(&["gzip, chunked"]), Err(Failure::UnknownCoding)));
        assert!(matches!(coded(&["chunked", "chunked"]), Err(Failure::BadFraming)));
    }

    #[test]
    fn the_target_goes_on_in_origin_form_byte_for_byte() {
        let sent = |target: &str, prefix| origin_form(&target.parse().unwrap(), prefix).unwrap().to_string();
        assert_eq!(sent("/a%2Fb//c?q=%20&r", 0), "/a%2Fb//c?q=%20&r");
        assert_eq!(sent("http://shop.example/a?b", 0), "/a?b");
        assert_eq!(sent("/store/store1/a%2Fb?q", 13), "/a%2Fb?q");
        assert_eq!(sent("/store/store1", 13), "/");
        assert_eq!(sent("/store/store1?q", 13), "/?q");
    }

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
