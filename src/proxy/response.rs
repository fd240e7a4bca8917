//! The app's answer on its way to the client.

use http::{HeaderValue, Response, StatusCode, Version, header};
use hyper::body::Body;

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

/// The head of an answer, with what still holds on to the app.
pub(super) struct Answered {
    pub(super) head: http::response::Parts,
    /// The body comes from here.
    pub(super) connection: Connection<RequestBody>,
    pub(super) in_flight: InFlight,
}

/// Frees the head of what was meant for us only; the body follows as it comes from the upstream at `position`.
pub(super) fn relay(
    worker: &Worker,
    position: usize,
    answered: Answered,
    upgrade: Option<Upgrade>,
    exchange: &Exchange,
) -> Result<Response<Source>, Failure> {
    if answered.head.status == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade.ok_or(Failure::UnaskedUpgrade)?.switch(answered);
    }
    if upgrade.as_ref().is_some_and(|upgrade| upgrade.would_open(answered.head.status)) {
        return Err(Failure::UnaskedUpgrade);
    }
    let Answered { mut head, connection, in_flight } = answered;
    remove_hop_by_hop(&mut head.headers);
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: nothing has no length.
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if exchange.leaves_body_unread() {
        // RFC 9110 §10.1.1: the client is told that its body is not waited for.
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    head.version = Version::HTTP_11;
    let limit = worker.upstreams[position].upstream().settings.buffer_response;
    let ahead_max = ahead::limit_for(&head.headers, connection.size_hint().exact(), limit);
    // What an app nevertheless says behind such a head goes with its connection, or stream.
    let connection = Some(connection).filter(|body| may_have_content(head.status) || body.is_end_stream());
    let in_flight = connection.is_some().then_some(in_flight);
    Ok(Response::from_parts(head, Source::Upstream(Relay { connection, in_flight, ahead_max })))
}

/// Not behind 204 and 304 (RFC 9110 §6.4.1). HTTP/1.1 has no way to write it, HTTP/2 has.
fn may_have_content(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
