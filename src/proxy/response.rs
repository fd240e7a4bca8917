//! The app's answer on its way to the client: what can be read in two ways is none.

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};

use super::{
    ahead,
    body::{Relay, RequestBody, Source},
    error::Failure,
    exchange::Exchange,
    headers::remove_hop_by_hop,
    upgrade::Upgrade,
    worker::Worker,
};
use crate::upstream::{Connection, InFlight};

/// An answer whose body has not run yet, with what it still holds at the app.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection<RequestBody>,
    pub(super) in_flight: InFlight,
}

/// Frees the head of what was meant for us only; the body follows as it comes from the upstream at `position`.
pub(super) async fn relay(
    worker: &Worker,
    position: usize,
    answered: Answered,
    upgrade: Option<Upgrade>,
    exchange: &Exchange,
) -> Result<Response<Source>, Failure> {
    if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Box::pin(upgrade.ok_or(Failure::UnaskedUpgrade)?.switch(answered)).await;
    }
    let Answered { mut response, connection, in_flight } = answered;
    check_framing(&mut response)?;
    let connection = Some(connection).filter(|_| !announces_forbidden_body(&response));
    remove_hop_by_hop(response.headers_mut());
    if exchange.leaves_body_unread() {
        // RFC 9110 §10.1.1: the client is told that its body is not waited for.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(upgrade) = upgrade {
        upgrade.is_refused(response.headers_mut());
    }
    *response.version_mut() = Version::HTTP_11;
    let limit = worker.upstreams[position].upstream().settings.buffer_response;
    let ahead_max = ahead::limit_for(response.headers(), response.body().size_hint().exact(), limit);
    let relay = |incoming| Relay { incoming, connection, in_flight: Some(in_flight), ahead_max };
    Ok(response.map(relay).map(Source::Upstream))
}

/// Refuses an answer whose end two readers could see in different places (RFC 9112 §6.3).
///
/// hyper lets `Transfer-Encoding` win over `Content-Length`, and takes any coding in front of `chunked`: then the client
/// would be given a length or a coding that the body has not. A body of known length was framed by its length alone.
fn check_framing<B: Body>(response: &mut Response<B>) -> Result<(), Failure> {
    let is_framed_by_length = response.body().size_hint().exact().is_some() && !response.body().is_end_stream();
    if !is_framed_by_length {
        check_coding(response.headers())?;
    }
    reduce_length(response.headers_mut())
}

fn check_coding(headers: &HeaderMap) -> Result<(), Failure> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), _) if headers.contains_key(header::CONTENT_LENGTH) => Err(Failure::AmbiguousAnswer),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Failure::AmbiguousAnswer),
    }
}

/// One number in one line. An equal one may be repeated, also in a list (RFC 9110 §8.6); the client gets it once.
fn reduce_length(headers: &mut HeaderMap) -> Result<(), Failure> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(()) };
    if lines.next().is_none() && is_number(first.as_bytes()) {
        return Ok(());
    }
    let length = only_length(headers).ok_or(Failure::AmbiguousAnswer)?;
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(())
}

fn only_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let first = lengths.next().filter(|length| is_number(length))?;
    lengths.all(|length| length == first).then(|| HeaderValue::from_bytes(first).ok())?
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether a 204 says that content follows, which it cannot have (RFC 9110 §15.3.5). It is delivered, but what comes next
/// on its connection is nobody's answer.
fn announces_forbidden_body<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::NO_CONTENT
        && (headers.contains_key(header::TRANSFER_ENCODING)
            || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0"))
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    fn answer<B: Body>(fields: &[(&'static str, &'static str)], body: B) -> Response<B> {
        let builder = fields.iter().fold(Response::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.body(body).unwrap()
    }

    #[test]
    fn an_answer_with_two_lengths_or_an_unknown_coding_is_ambiguous() {
        let refused = |fields: &[_]| check_framing(&mut answer(fields, Empty::<&[u8]>::new())).is_err();
        assert!(refused(&[("transfer-encoding", "chunked"), ("content-length", "3")]));
        assert!(refused(&[("transfer-encoding", "gzip, chunked")]));
        assert!(refused(&[("transfer-encoding", "gzip")]));
        assert!(refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
        assert!(refused(&[("content-length", "3"), ("content-length", "4")]));
        assert!(refused(&[("content-length", "3, 4")]));
        assert!(refused(&[("content-length", "+3")]) && refused(&[("content-length", "")]));
        assert!(!refused(&[("transfer-encoding", "Chunked")]) && !refused(&[]));
    }

    #[test]
    fn an_equal_length_stands_there_once() {
        for repeated in [&[("content-length", "3"), ("content-length", "3")][..], &[("content-length", "3, 3")]] {
            let mut response = answer(repeated, Full::new(&b"abc"[..]));
            check_framing(&mut response).unwrap();
            let lengths: Vec<_> = response.headers().get_all("content-length").iter().collect();
            assert_eq!(lengths, ["3"]);
        }
    }

    #[test]
    fn only_a_204_that_announces_a_body_is_doubted() {
        let doubted = |status: u16, fields: &[_]| {
            let mut response = answer(fields, Empty::<&[u8]>::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            announces_forbidden_body(&response)
        };
        assert!(doubted(204, &[("content-length", "5")]) && doubted(204, &[("transfer-encoding", "chunked")]));
        assert!(!doubted(204, &[]) && !doubted(204, &[("content-length", "0")]));
        assert!(!doubted(304, &[("content-length", "5")]));
    }
}
