//! Sending a request until one app server answers it, or until it must not be sent again.
//!
//! A request of which nothing was written goes on to the next connection or endpoint, whatever its method. One that was
//! written may have been processed, and is sent again only if that cannot be noticed: an idempotent method (RFC 9110
//! §9.2.2) without a body, on a kept connection that the app has closed at the same moment.

use std::time::Instant;

use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    body::RequestBody, clock::Elapsed, error::Failure, exchange::Exchange, response::Answered, worker::Worker,
};
use crate::{
    telemetry::outcome::AttemptOutcome,
    upstream::{ConnectError, Connection, InFlight, Tried},
};

type Outgoing = Request<RequestBody>;

/// Sends `request` to the upstream at `position` and waits for the head of the answer.
pub(super) async fn send(
    worker: &Worker,
    position: usize,
    mut request: Outgoing,
    exchange: &mut Exchange,
) -> Result<Answered, Failure> {
    let began = Instant::now();
    let mut search = Search { worker, position, tried: Tried::default(), fresh_only: false };
    loop {
        let (connection, in_flight) = search.connection(began, exchange).await?;
        match attempt(worker, position, connection, request).await {
            Attempt::Answered(response, connection) => {
                exchange.upstream_wait = began.elapsed();
                worker.metrics.upstream_head(position, exchange.upstream_wait);
                return Ok(Answered { response, connection, in_flight });
            }
            Attempt::Again(unsent) => {
                request = *unsent;
                search.fresh_only = true;
            }
            Attempt::Failed(failure) => return Err(refine(failure, exchange)),
        }
    }
}

/// The search for a connection on which a request has not failed yet.
struct Search<'a> {
    worker: &'a Worker,
    position: usize,
    tried: Tried,
    /// A kept connection was found closed: its siblings were probably closed with it.
    fresh_only: bool,
}

impl Search<'_> {
    async fn connection(
        &mut self,
        now: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Connection<RequestBody>, InFlight), Failure> {
        let upstream = &self.worker.upstreams[self.position];
        let mut last = ConnectError::Timeout;
        while let Some(chosen) = upstream.choose(&self.tried) {
            let in_flight = upstream.begin(chosen);
            exchange.attempts += 1;
            exchange.endpoint = Some(in_flight.endpoint().clone());
            match self.take_or_open(chosen, now).await {
                Ok(connection) => {
                    self.worker.metrics.upstream_connection(self.position, connection.reused());
                    return Ok((connection, in_flight));
                }
                Err(error) => {
                    self.worker.metrics.attempt(self.position, AttemptOutcome::NotConnected);
                    self.tried.add(chosen);
                    last = error;
                }
            }
        }
        Err(Failure::NotConnected(last))
    }

    async fn take_or_open(&self, chosen: usize, now: Instant) -> Result<Connection<RequestBody>, ConnectError> {
        let upstream = &self.worker.upstreams[self.position];
        if !self.fresh_only
            && let Some(connection) = upstream.reuse(chosen, now)
        {
            return Ok(connection);
        }
        upstream.open(chosen).await
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Response<Incoming>, Connection<RequestBody>),
    /// Nothing came of it and nobody can have noticed: the request may be sent again.
    Again(Box<Outgoing>),
    Failed(Failure),
}

async fn attempt(
    worker: &Worker,
    position: usize,
    mut connection: Connection<RequestBody>,
    request: Outgoing,
) -> Attempt {
    let head_timeout = worker.upstreams[position].upstream().settings.head_timeout;
    let spare = if connection.reused() { Copy::of_repeatable(&request) } else { None };
    let mut counted = Counted { worker, position, outcome: AttemptOutcome::Cancelled };
    match worker.clock.within(head_timeout, connection.send(request)).await {
        Ok(Ok(response)) => {
            counted.outcome = AttemptOutcome::Answered;
            Attempt::Answered(response, connection)
        }
        Ok(Err(error)) => {
            let (outcome, attempt) = broken(error, spare);
            counted.outcome = outcome;
            attempt
        }
        Err(Elapsed) => {
            counted.outcome = AttemptOutcome::TimedOut;
            Attempt::Failed(Failure::HeadTimeout)
        }
    }
}

/// Counts an attempt when it ends; one whose client went away ends without being told.
struct Counted<'a> {
    worker: &'a Worker,
    position: usize,
    outcome: AttemptOutcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.worker.metrics.attempt(self.position, self.outcome);
    }
}

/// May we try again?
fn broken(error: TrySendError<Outgoing>, spare: Option<Copy>) -> (AttemptOutcome, Attempt) {
    let mut error = error;
    if let Some(unsent) = error.take_message() {
        return (AttemptOutcome::Stale, Attempt::Again(Box::new(unsent)));
    }
    match spare {
        Some(copy) => (AttemptOutcome::Stale, Attempt::Again(Box::new(copy.into_request()))),
        None => (AttemptOutcome::Broken, Attempt::Failed(Failure::HeadBroken(error.into_error()))),
    }
}

/// A copy of a request that may be applied twice without harm and has no body that would have to be kept. Its headers
/// are flat text: one is made for nearly every request and hardly ever used, and a map costs three times as much.
struct Copy {
    method: Method,
    target: Uri,
    /// `name:value\n` each; neither a name has a colon nor a value a line feed.
    headers: Vec<u8>,
}

/// Room for the headers of a usual request, ours included.
const COPY_BYTES: usize = 1024;

impl Copy {
    fn of_repeatable(request: &Outgoing) -> Option<Self> {
        if !request.method().is_idempotent() || !request.body().is_empty() {
            return None;
        }
        let mut headers = Vec::with_capacity(COPY_BYTES);
        for (name, value) in request.headers() {
            headers.extend_from_slice(name.as_str().as_bytes());
            headers.push(b':');
            headers.extend_from_slice(value.as_bytes());
            headers.push(b'\n');
        }
        Some(Self { method: request.method().clone(), target: request.uri().clone(), headers })
    }

    fn into_request(self) -> Outgoing {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        request.headers_mut().extend(self.headers.split(|&byte| byte == b'\n').filter_map(header_line));
        request
    }
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
}

/// An attempt fails alike when the app and when the client breaks off; the request body knows which it was.
fn refine(failure: Failure, exchange: &Exchange) -> Failure {
    match failure {
        Failure::HeadBroken(error) if exchange.request_tally.as_ref().is_some_and(|tally| tally.broken()) => {
            Failure::RequestBroken(error)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str) -> http::request::Builder {
        Request::builder().method(method).uri("/a%2Fb?q").header("host", "shop.example")
    }

    #[test]
    fn a_copy_says_the_same_as_the_request() {
        let opaque = HeaderValue::from_bytes(b"a:b\xff\tc").unwrap();
        let original = request("PUT").header("cookie", "a=1").header("cookie", "b=2").header("x-opaque", opaque);
        let original = original.body(RequestBody::Empty).unwrap();
        let copy = Copy::of_repeatable(&original).unwrap().into_request();
        assert_eq!((copy.method(), copy.uri()), (original.method(), original.uri()));
        assert_eq!(copy.headers(), original.headers());
    }

    #[test]
    fn what_may_not_be_applied_twice_is_not_copied() {
        for method in ["POST", "PATCH", "FETCH"] {
            assert!(Copy::of_repeatable(&request(method).body(RequestBody::Empty).unwrap()).is_none(), "{method}");
        }
    }
}
