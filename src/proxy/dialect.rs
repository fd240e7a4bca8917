//! A request in the words of the protocol that its app server speaks, whatever its client has spoken.

use http::{
    HeaderMap, HeaderValue, Uri, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};

use super::error::Failure;

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Puts a request of an HTTP/2 client into the words of HTTP/1.1; `chunked` if nobody knows how long its body is.
pub(super) fn to_http1(head: &mut Parts, chunked: bool) {
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    if chunked {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Puts a request into the words of HTTP/2 (RFC 9113 §8.3.1): the host becomes the authority, as the client wrote it.
///
/// `scheme` is that of the connection to the app server; the client's is told by `X-Forwarded-Proto`.
pub(super) fn to_http2(
    head: &mut Parts,
    host: &HeaderValue,
    scheme: Scheme,
    takes_trailers: bool,
) -> Result<(), Failure> {
    head.headers.remove(header::HOST);
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadTarget)?;
    let mut target = std::mem::take(&mut head.uri).into_parts();
    target.scheme = Some(scheme);
    target.authority = Some(authority);
    head.uri = Uri::from_parts(target).map_err(|_| Failure::BadTarget)?;
    head.version = Version::HTTP_2;
    if takes_trailers {
        head.headers.insert(header::TE, TRAILERS);
    }
    Ok(())
}

/// Whether the client says that it takes trailers. It speaks of its own hop, but gRPC servers insist on hearing it.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// One `Content-Length` where an equal one was repeated (RFC 9110 §8.6); hyper does so for HTTP/1.1 clients.
pub(super) fn reduce_length(headers: &mut HeaderMap) -> Result<(), Failure> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    match lengths.next() {
        None => Ok(()),
        Some(second) if second == first && lengths.all(|further| further == first) => {
            let first = first.clone();
            headers.insert(header::CONTENT_LENGTH, first);
            Ok(())
        }
        Some(_) => Err(Failure::BadFraming),
    }
}

/// HTTP/2 clients may send cookies one by one; elsewhere they are one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn head(version: Version, target: &str, fields: &[(&'static str, &'static str)]) -> Parts {
        let builder = Request::builder().version(version).uri(target);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_crumbs_of_an_http_2_client_become_one_cookie() {
        let crumbs = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2; c=3"), ("cookie", "d=\u{e4}")];
        let mut head = head(Version::HTTP_2, "/", &crumbs);
        to_http1(&mut head, false);
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=\u{e4}".as_bytes()]);
        assert_eq!(head.version, Version::HTTP_11);
    }

    #[test]
    fn what_an_http_1_1_client_sends_in_two_lines_stays_in_two_lines() {
        let mut head = head(Version::HTTP_11, "/", &[("cookie", "a=1"), ("cookie", "b=2")]);
        to_http1(&mut head, true);
        assert_eq!(head.headers.get_all("cookie").iter().count(), 2);
        assert_eq!(head.headers["transfer-encoding"], "chunked");
    }

    #[test]
    fn the_host_becomes_the_authority_as_it_was_written() {
        for host in
            ["Shop.Alpha.com", "shop.alpha.com:8080", "shop.alpha.com.", "[2001:db8::1]:80", "127.0.0.1", "a_b.c:"]
        {
            let mut head = head(Version::HTTP_11, "/a%2Fb?q", &[("host", "x")]);
            to_http2(&mut head, &HeaderValue::from_static(host), Scheme::HTTP, true).unwrap();
            assert_eq!(head.uri.authority().unwrap().as_str(), host);
            assert_eq!((head.uri.scheme_str(), head.uri.path(), head.uri.query()), (Some("http"), "/a%2Fb", Some("q")));
            assert!(!head.headers.contains_key("host") && head.headers["te"] == "trailers");
        }
    }

    #[test]
    fn a_client_says_in_a_list_that_it_takes_trailers() {
        let takes = |value| takes_trailers(&head(Version::HTTP_11, "/", &[("te", value)]).headers);
        assert!(takes("trailers") && takes("gzip, Trailers"));
        assert!(!takes("gzip") && !takes("trailers;q=0.5x"));
    }

    #[test]
    fn equal_lengths_become_one_and_others_are_refused() {
        let lengths = |values: &[&'static str]| {
            let fields: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
            let mut headers = head(Version::HTTP_2, "/", &fields).headers;
            reduce_length(&mut headers).map(|()| headers.get_all("content-length").iter().count())
        };
        assert_eq!(lengths(&[]).ok(), Some(0));
        assert_eq!(lengths(&["3"]).ok(), Some(1));
        assert_eq!(lengths(&["3", "3", "3"]).ok(), Some(1));
        assert!(matches!(lengths(&["3", "3", "4"]), Err(Failure::BadFraming)));
    }

    /// A name of HTTP/2's own fields cannot stand among trailers: there is no way to write it.
    #[test]
    fn a_pseudo_header_is_no_header() {
        assert!(HeaderName::from_bytes(b":path").is_err());
    }
}
