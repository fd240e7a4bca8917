//! The app's answer on its way to the client.

use std::{sync::Arc, time::Instant};

use http::{HeaderValue, Response, StatusCode, Version, header};
use hyper::body::Body;

use super::{
    ahead,
    body::{Relay, RequestBody, Source},
    endless::is_stream,
    error::Failure,
    exchange::Exchange,
    headers::remove_hop_by_hop,
    patience::Patience,
    upgrade::Upgrade,
    worker::Worker,
};
use crate::{
    telemetry::metrics::EndpointMetrics,
    upstream::{Connection, InFlight},
};

/// The head of an answer, with what still holds on to the app.
pub(super) struct Answered {
    pub(super) head: http::response::Parts,
    /// The body comes from here.
    pub(super) connection: Connection<RequestBody>,
    pub(super) in_flight: InFlight,
    pub(super) counts: Arc<EndpointMetrics>,
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
    let Answered { mut head, connection, in_flight, counts } = answered;
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
    let mut relay = relayed(worker, position, &head, (connection, in_flight), counts);
    relay.ends_by_length = !exchange.is_http2();
    Ok(Response::from_parts(head, Source::Upstream(relay)))
}

/// The body behind `head`, with the time that the app has for it.
fn relayed(
    worker: &Worker,
    position: usize,
    head: &http::response::Parts,
    (connection, mut in_flight): (Connection<RequestBody>, InFlight),
    counts: Arc<EndpointMetrics>,
) -> Relay {
    let settings = &worker.upstreams[position].upstream().settings;
    let ahead_max = ahead::limit_for(&head.headers, connection.size_hint().exact(), settings.buffer_response);
    let is_stream = is_stream(&head.headers);
    // What an app nevertheless says behind a head that has no content goes with its connection, or stream.
    let connection = Some(connection).filter(|body| may_have_content(head.status) || body.is_end_stream());
    if is_stream || connection.is_none() {
        // The end of a stream may be far off, and tells nothing.
        in_flight.delivered(Instant::now());
    }
    let limit = if is_stream { settings.stream_idle_timeout } else { settings.answer_timeout };
    let patience = limit.map(|limit| Patience::new(&worker.clock, limit));
    let in_flight = connection.is_some().then_some(in_flight);
    Relay { connection, in_flight, counts, patience, is_stream, ends_by_length: false, ahead_max }
}

/// Not behind 204 and 304 (RFC 9110 §6.4.1). HTTP/1.1 has no way to write it, HTTP/2 has.
fn may_have_content(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
