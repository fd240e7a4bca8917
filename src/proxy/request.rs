//! What a request must be before anybody asks whose it is, and what it is when the app receives it.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use hyper::body::{Body, Incoming};

use super::{
    Settings,
    body::RequestBody,
    connection::Client,
    dialect,
    error::Failure,
    exchange::Exchange,
    expectation::is_expected,
    facts::ForwardedHost,
    headers::{Forwarding, add_forwarding},
    https::HostOwner,
    requester::Requester,
    upload::{BodyLimit, Upload},
};
use crate::{
    routing::Destination,
    upstream::{self, Protocol},
};

/// What each field counts beside its octets (RFC 9113 §6.5.2).
const FIELD_EXTRA: usize = 32;

/// The names of the pseudo-header fields without the authority, a scheme, and what they count beside (RFC 9113 §8.3.1).
const PSEUDO_FIELDS: usize = ":method:scheme:path".len() + "https".len() + 3 * FIELD_EXTRA;

/// Where HTTP/2 names the host (RFC 9113 §8.3.1), so that the host is read in one place only. A `Host` beside it stays, and
/// has to agree.
pub(super) fn name_host<B>(request: &mut Request<B>) -> Result<(), Failure> {
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(header::HOST)
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::HostNotAscii)?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(())
}

/// Refuses what is too large. Of HTTP/1.1 hyper has counted fields and octets.
pub(super) fn check_size<B>(request: &Request<B>, settings: &Settings) -> Result<(), Failure> {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > settings.target_max_bytes) {
        return Err(Failure::TargetTooLong);
    }
    if fields(request) > settings.header_max_count {
        return Err(Failure::HeaderCount);
    }
    if request.version() == Version::HTTP_2 && octets(request) > settings.header_max_bytes {
        return Err(Failure::HeaderSize);
    }
    Ok(())
}

/// How many there are. A browser sends each of its cookies in a field of its own on HTTP/2, which together are one (RFC 9113 §8.2.3).
fn fields<B>(request: &Request<B>) -> usize {
    let all = request.headers().len();
    if request.version() != Version::HTTP_2 {
        return all;
    }
    let crumbs = request.headers().get_all(header::COOKIE).iter().count();
    all - crumbs.saturating_sub(1)
}

/// The size of a head of HTTP/2 as both sides count it (RFC 9113 §6.5.2), where the authority has become a `Host`.
fn octets<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_EXTRA);
    PSEUDO_FIELDS + request.method().as_str().len() + path + fields.sum::<usize>()
}

/// Whether an OPTIONS may go no further than here (RFC 9110 §7.6.2).
pub(super) fn ends_here<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS && hops(request.headers()) == Some(0)
}

/// How many further hops a request may take; `None` where it says no number.
fn hops(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// An OPTIONS may take one hop less.
fn count_hop(head: &mut Parts) {
    if head.method == Method::OPTIONS
        && let Some(left) = hops(&head.headers).and_then(|hops| hops.checked_sub(1))
    {
        head.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
    }
}

/// Refuses methods that a tenant router has no use for and targets that name no resource of an app.
pub(super) fn check<B: Body>(request: &Request<B>) -> Result<(), Failure> {
    if is_refused(request.method()) {
        return Err(Failure::MethodRefused);
    }
    let scheme = request.uri().scheme();
    if !request.uri().path().starts_with('/') || scheme.is_some_and(|s| *s != Scheme::HTTP && *s != Scheme::HTTPS) {
        return Err(Failure::BadTarget);
    }
    if request.version() == Version::HTTP_2 && request.headers().values().any(is_padded) {
        return Err(Failure::PaddedField);
    }
    // A body without a length is a chunked one, and only then is there a coding to look at.
    if request.body().size_hint().exact().is_none() {
        return check_coding(request.headers(), request.version());
    }
    Ok(())
}

/// Whether a value begins or ends with white space, which is no part of one (RFC 9113 §8.2.1): in HTTP/1.1 nobody could say it, and
/// a server of HTTP/1.1 would read another value than the one that was looked at here.
fn is_padded(value: &HeaderValue) -> bool {
    let octets = value.as_bytes();
    matches!(octets.first(), Some(b' ' | b'\t')) || matches!(octets.last(), Some(b' ' | b'\t'))
}

/// CONNECT and TRACE, in any letters: methods are case-sensitive (RFC 9110 §9.1), but not every app minds.
fn is_refused(method: &Method) -> bool {
    match method.as_str().as_bytes() {
        [b'C' | b'c', ..] => method.as_str().eq_ignore_ascii_case("connect"),
        [b'T' | b't', ..] => method.as_str().eq_ignore_ascii_case("trace"),
        _ => false,
    }
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
    let sent = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = sent.get(prefix..)?;
    let rest = if rest.starts_with('/') { rest.parse() } else { format!("/{rest}").parse() };
    rest.ok().map(|target: PathAndQuery| Uri::from(target))
}

/// The request as the servers of the upstream at `position` receive it: who it is for is written into it, and into the record.
pub(super) fn prepare(
    request: Request<Incoming>,
    host: ForwardedHost,
    destination: &Destination,
    position: usize,
    client: &Client,
    requester: &Requester,
    exchange: &mut Exchange,
) -> Result<Request<RequestBody>, Failure> {
    let worker = &client.worker;
    let (mut head, incoming) = request.into_parts();
    let version = head.version;
    count_hop(&mut head);
    let prefix = cut_prefix(&mut head.uri, destination.prefix.map_or(0, |prefix| prefix.length))?;
    if head.version == Version::HTTP_2 {
        dialect::reduce_length(&mut head.headers)?;
    }
    let who = requester.forwarded(client, &head.headers, &host.value);
    let matched = destination.matched;
    let upstream = &worker.upstreams[position].upstream().settings;
    check_length(&incoming, upstream)?;
    let protocol = upstream.protocol;
    let takes_trailers = protocol == Protocol::Http2 && dialect::takes_trailers(&head.headers);
    worker.headers.strip_request(&mut head.headers, client.standing);
    let is_expected = !incoming.is_end_stream() && is_expected(&mut head.headers, version);
    let length = incoming.size_hint().exact();
    say_length(&mut head.headers, length);
    match protocol {
        Protocol::Http1 => dialect::to_http1(&mut head, length.is_none()),
        Protocol::Http2 => dialect::to_http2(&mut head, &host.value, upstream.scheme(), takes_trailers)?,
    }
    let ids = &exchange.ids;
    add_forwarding(
        &mut head.headers,
        Forwarding { client: who, version, ids, host, matched, tenant: destination.store_id(), prefix },
    );
    exchange.matched = Some(matched);
    exchange.host_owner = Some(HostOwner::of(destination));
    exchange.tenant.clone_from(&destination.tenant);
    if incoming.is_end_stream() {
        return Ok(Request::from_parts(head, RequestBody::Empty));
    }
    let upload = Box::new(Upload::new(incoming, (version, &head.headers), worker, upstream));
    exchange.request_tally = Some(Arc::clone(upload.tally()));
    let mut request = Request::from_parts(head, upload);
    if is_expected {
        request.body_mut().hold_back();
    }
    Ok(request.map(RequestBody::Streaming))
}

/// Refuses a body that says itself that it is too large, before the app hears of it.
fn check_length<B: Body>(body: &B, upstream: &upstream::Settings) -> Result<(), Failure> {
    let (length, limit) = (body.size_hint().lower(), upstream.body_max_bytes.unwrap_or(u64::MAX));
    if length > limit { Err(BodyLimit::Size.into()) } else { Ok(()) }
}

/// Brings the target into origin form without its first `length` bytes, which are returned.
fn cut_prefix(target: &mut Uri, length: usize) -> Result<Option<HeaderValue>, Failure> {
    let prefix = target.path().get(..length).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(HeaderValue::from_str).transpose().map_err(|_| Failure::BadTarget)?;
    if length > 0 || target.authority().is_some() {
        *target = origin_form(target, length).ok_or(Failure::BadTarget)?;
    }
    Ok(prefix)
}

/// Says the length of a body in the one form that every reader takes alike: an app may read `010` as eight.
fn say_length(headers: &mut HeaderMap, length: Option<u64>) {
    if let Some(length @ 1..) = length
        && !is_plain_length(headers)
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn is_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    matches!((lengths.next(), lengths.next()), (Some(length), None) if !length.as_bytes().starts_with(b"0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str) -> http::request::Builder {
        Request::builder().method(method).uri(target)
    }

    #[test]
    fn connect_trace_and_targets_without_a_path_are_refused() {
        let refused = |method, target| check(&request(method, target).body(String::new()).unwrap()).unwrap_err();
        assert!(matches!(refused("CONNECT", "shop.example:443"), Failure::MethodRefused));
        assert!(matches!(refused("TRACE", "/"), Failure::MethodRefused));
        assert!(matches!(refused("trace", "/"), Failure::MethodRefused));
        assert!(matches!(refused("Connect", "/"), Failure::MethodRefused));
        assert!(matches!(refused("OPTIONS", "*"), Failure::BadTarget));
        assert!(matches!(refused("GET", "ftp://shop.example/"), Failure::BadTarget));
        assert!(check(&request("OPTIONS", "/").body(String::new()).unwrap()).is_ok());
    }

    #[test]
    fn only_a_single_chunked_is_a_coding() {
        let coded = |codings: &[&str]| {
            let builder = codings.iter().fold(request("POST", "/"), |b, c| b.header("transfer-encoding", *c));
            let request = builder.body(()).unwrap();
            check_coding(request.headers(), request.version())
        };
        assert!(coded(&["chunked"]).is_ok());
        assert!(coded(&["Chunked"]).is_ok());
        assert!(matches!(coded(&["gzip, chunked"]), Err(Failure::UnknownCoding)));
        assert!(matches!(coded(&["chunked", "chunked"]), Err(Failure::BadFraming)));
    }

    #[test]
    fn a_value_of_http_2_is_not_padded() {
        let checked = |version, value: &'static str| {
            let value = HeaderValue::from_static(value);
            check(&request("GET", "/").version(version).header("x", value).body(String::new()).unwrap())
        };
        for padded in [" a", "a ", "\ta", "a\t", " "] {
            assert!(matches!(checked(Version::HTTP_2, padded), Err(Failure::PaddedField)), "{padded:?}");
        }
        for value in ["", "a", "a b", "a\tb"] {
            assert!(checked(Version::HTTP_2, value).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn a_head_of_http_2_is_counted_as_its_rfc_counts_it() {
        let request =
            request("GET", "https://shop.example/a?b").header("host", "shop.example").header("x-field", "value");
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/a?b"), ("host", "shop.example")];
        let counted =
            fields.into_iter().chain([("x-field", "value")]).map(|(name, value)| name.len() + value.len() + 32);
        assert_eq!(octets(&request.body(()).unwrap()), counted.sum::<usize>());
    }

    #[test]
    fn a_length_is_said_once_and_without_zeros_in_front() {
        let said = |lengths: &[&str], length| {
            let builder = lengths.iter().fold(request("POST", "/"), |b, l| b.header("content-length", *l));
            let mut headers = builder.body(()).unwrap().headers().clone();
            say_length(&mut headers, length);
            format!("{headers:?}")
        };
        for lengths in [["4"].as_slice(), &["04"], &["4", "4"], &["04", "4"]] {
            assert_eq!(said(lengths, Some(4)), r#"{"content-length": "4"}"#);
        }
        assert_eq!(said(&[], Some(0)), "{}");
        assert_eq!(said(&[], None), "{}");
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
}
