//! Sending a request until one app server answers it, or until it must not be sent again.
//!
//! A request of which nothing was written goes on to the next connection or endpoint, whatever its method. One that was
//! written may have been processed, and is sent again only if that cannot be noticed: an idempotent method (RFC 9110
//! §9.2.2) without a body, on a kept connection that the app has closed at the same moment.

use std::time::Instant;

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::timeout;

use super::{body::RequestBody, error::Failure, exchange::Exchange, response::Answered, worker::Worker};
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
    let spare = if connection.reused() { copy_if_repeatable(&request) } else { None };
    let mut counted = Counted { worker, position, outcome: AttemptOutcome::Cancelled };
    match timeout(head_timeout, connection.send(request)).await {
        Ok(Ok(response)) => {
            counted.outcome = AttemptOutcome::Answered;
            Attempt::Answered(response, connection)
        }
        Ok(Err(error)) => {
            let (outcome, attempt) = broken(error, spare);
            counted.outcome = outcome;
            attempt
        }
        Err(_elapsed) => {
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
fn broken(error: TrySendError<Outgoing>, spare: Option<Box<Outgoing>>) -> (AttemptOutcome, Attempt) {
    let mut error = error;
    if let Some(unsent) = error.take_message() {
        return (AttemptOutcome::Stale, Attempt::Again(Box::new(unsent)));
    }
    match spare {
        Some(copy) => (AttemptOutcome::Stale, Attempt::Again(copy)),
        None => (AttemptOutcome::Broken, Attempt::Failed(Failure::HeadBroken(error.into_error()))),
    }
}

/// A copy of a request that may be applied twice without harm and has no body that would have to be kept.
fn copy_if_repeatable(request: &Outgoing) -> Option<Box<Outgoing>> {
    if !request.method().is_idempotent() || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(Box::new(copy))
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
