//! Sending a request until one app server answers it, or until it must not be sent again.
//!
//! A request of which nothing was written goes on to the next connection or endpoint, whatever its method, and so does one
//! that an HTTP/2 server has refused unprocessed. Any other one that was written may have been processed, and is sent
//! again only if that cannot be noticed: an idempotent method (RFC 9110 §9.2.2) whose body, if any, is held whole, on a kept
//! connection that the app has closed at the same moment.

use std::{
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};

use super::{
    body::RequestBody,
    clock::Elapsed,
    error::Failure,
    exchange::Exchange,
    replay::Replay,
    response::Answered,
    upload::{Fault, Tally},
    worker::Worker,
};
use crate::{
    telemetry::outcome::AttemptOutcome,
    upstream::{Asking, ConnectError, Connection, InFlight, Tried, connection_died, was_refused},
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
    let mut asked = began;
    let mut search = Search::new(worker, position);
    loop {
        let (connection, in_flight) = search.connection(asked, exchange).await?;
        let reused = connection.reused();
        match attempt(worker, position, connection, request, exchange.request_tally.as_deref()).await {
            Attempt::Answered(response, connection) => {
                let now = Instant::now();
                exchange.upstream_wait = now.saturating_duration_since(began);
                if !response.status().is_server_error() {
                    in_flight.answered(now.saturating_duration_since(asked), now);
                }
                worker.metrics.upstream_head(position, exchange.upstream_wait);
                return Ok(Answered { response, connection, in_flight });
            }
            Attempt::Again(unsent) => {
                request = *unsent;
                search.closed(reused);
                asked = Instant::now();
            }
            Attempt::Failed(failure) => {
                in_flight.unanswered(asked.elapsed(), Instant::now());
                return Err(refine(failure, exchange));
            }
        }
    }
}

/// The search for a connection on which a request has not failed yet.
struct Search<'a> {
    worker: &'a Worker,
    position: usize,
    tried: Tried,
    /// The endpoint of the last attempt.
    chosen: usize,
    /// A kept connection was found closed: its siblings were probably closed with it.
    fresh_only: bool,
    /// Why the last endpoint that was given up did not do.
    last: ConnectError,
}

impl<'a> Search<'a> {
    fn new(worker: &'a Worker, position: usize) -> Self {
        Self { worker, position, tried: Tried::default(), chosen: 0, fresh_only: false, last: ConnectError::Closed }
    }

    /// The last connection did not take the request. A kept one may have been too old; an endpoint that closes even a
    /// fresh one, or refuses on it, is given up, so that the search ends.
    fn closed(&mut self, reused: bool) {
        self.fresh_only = true;
        if !reused {
            self.tried.add(self.chosen);
            self.last = ConnectError::Closed;
        }
    }

    async fn connection(
        &mut self,
        now: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Connection<RequestBody>, InFlight), Failure> {
        let upstream = &self.worker.upstreams[self.position];
        while let Some(chosen) = upstream.choose(&asking(exchange), &self.tried, now) {
            self.chosen = chosen;
            let in_flight = upstream.begin(chosen);
            exchange.attempts += 1;
            exchange.endpoint = Some(in_flight.endpoint().clone());
            match self.take_or_open(chosen, now, exchange).await {
                Ok(connection) => {
                    self.worker.metrics.upstream_connection(self.position, connection.reused());
                    return Ok((connection, in_flight));
                }
                Err(error) => {
                    self.worker.metrics.attempt(self.position, AttemptOutcome::NotConnected);
                    self.tried.add(chosen);
                    self.last = error;
                }
            }
        }
        Err(Failure::NotConnected(std::mem::replace(&mut self.last, ConnectError::Closed)))
    }

    async fn take_or_open(
        &self,
        chosen: usize,
        now: Instant,
        exchange: &Exchange,
    ) -> Result<Connection<RequestBody>, ConnectError> {
        let upstream = &self.worker.upstreams[self.position];
        if !self.fresh_only
            && let Some(connection) = upstream.reuse(chosen, now)
        {
            return Ok(connection);
        }
        // Rare, and its state is larger than that of all the rest of an exchange.
        Box::pin(upstream.open(chosen, &exchange.addresses())).await
    }
}

/// For whom an app server is chosen.
fn asking(exchange: &Exchange) -> Asking<'_> {
    Asking { tenant: exchange.tenant.as_ref() }
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
    mut request: Outgoing,
    tally: Option<&Tally>,
) -> Attempt {
    let head_timeout = worker.upstreams[position].upstream().settings.head_timeout;
    let repeatable = connection.reused() && is_repeatable(&request);
    let body = repeatable.then(|| request.body().again()).flatten();
    let replay = connection.permit().map(|permit| Replay::of(&mut request, permit));
    let mut counted = Counted { worker, position, outcome: AttemptOutcome::Cancelled };
    match head_within(worker, head_timeout, pin!(connection.send(request, repeatable)), tally).await {
        Ok(Ok(response)) => {
            counted.outcome = AttemptOutcome::Answered;
            if let Some(tally) = tally {
                tally.expectation.answer();
            }
            if let Some(replay) = replay {
                replay.forget();
            }
            Attempt::Answered(response, connection)
        }
        Ok(Err(error)) => {
            let (outcome, attempt) = match replay {
                Some(replay) => failed_on_stream(error, replay, repeatable),
                None => broken(error, &connection, body),
            };
            let is_the_clients = tally.is_some_and(|tally| tally.fault().is_some());
            counted.outcome = if is_the_clients { AttemptOutcome::Cancelled } else { outcome };
            attempt
        }
        Err(Elapsed) => {
            connection.leave();
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
fn broken(
    mut error: TrySendError<Outgoing>,
    connection: &Connection<RequestBody>,
    body: Option<RequestBody>,
) -> (AttemptOutcome, Attempt) {
    if let Some(unsent) = error.take_message() {
        return (AttemptOutcome::Stale, Attempt::Again(Box::new(unsent)));
    }
    // An answer that cannot be parsed is an answer still: the app has processed the request.
    match body.filter(|_| !error.error().is_parse()).and_then(|body| connection.written(body)) {
        Some(written) => (AttemptOutcome::Stale, Attempt::Again(Box::new(written))),
        None => (AttemptOutcome::Broken, Attempt::Failed(Failure::HeadBroken(error.into_error()))),
    }
}

/// The same on HTTP/2, where an app server can say that it has not processed the request.
fn failed_on_stream(mut error: TrySendError<Outgoing>, replay: Replay, repeatable: bool) -> (AttemptOutcome, Attempt) {
    if let Some(unsent) = error.take_message() {
        return (AttemptOutcome::Stale, Attempt::Again(Box::new(unsent)));
    }
    let error = error.into_error();
    let outcome = match was_refused(&error) {
        true => Some(AttemptOutcome::Refused),
        false => (repeatable && connection_died(&error)).then_some(AttemptOutcome::Stale),
    };
    match outcome.and_then(|outcome| Some((outcome, replay.request()?))) {
        Some((outcome, request)) => (outcome, Attempt::Again(Box::new(request))),
        None => (AttemptOutcome::Broken, Attempt::Failed(Failure::HeadBroken(error))),
    }
}

/// Whether a request may be applied twice without harm, and has no body or one that is held whole.
fn is_repeatable(request: &Outgoing) -> bool {
    request.method().is_idempotent() && matches!(request.body(), RequestBody::Empty | RequestBody::Whole(_))
}

/// The limit is for the app: while the client's body goes on coming or is waited for, it begins anew.
async fn head_within<F: Future>(
    worker: &Worker,
    limit: Duration,
    mut sending: Pin<&mut F>,
    tally: Option<&Tally>,
) -> Result<F::Output, Elapsed> {
    let received = || tally.map_or(0, Tally::bytes);
    loop {
        let before = received();
        match worker.clock.within(limit, sending.as_mut()).await {
            Err(Elapsed) if received() > before || tally.is_some_and(Tally::is_awaited) => {}
            outcome => return outcome,
        }
    }
}

/// An attempt fails alike when the app and when the client breaks off; the request body knows which it was.
fn refine(failure: Failure, exchange: &Exchange) -> Failure {
    match (failure, exchange.upload_fault()) {
        (Failure::HeadBroken(error), Some(Fault::Broken)) => Failure::RequestBroken(error),
        (Failure::HeadBroken(_), Some(Fault::Limit(limit))) => Failure::BodyLimit(limit),
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_applied_twice_is_repeatable() {
        let is = |method: &str| is_repeatable(&Request::builder().method(method).body(RequestBody::Empty).unwrap());
        assert!(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].into_iter().all(is));
        assert!(!["POST", "PATCH", "FETCH"].into_iter().any(is));
    }
}
