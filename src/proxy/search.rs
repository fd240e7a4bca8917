//! The search for an app server and a connection on which a request has not failed yet.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use http::response::Parts;

use super::{
    again::{Again, Ending, again},
    body::RequestBody,
    error::Failure,
    exchange::Exchange,
    response::Answered,
    worker::Worker,
};
use crate::{
    telemetry::{
        metrics::EndpointMetrics,
        outcome::{AttemptOutcome, QueueOutcome},
    },
    upstream::{Asking, ConnectError, Connection, InFlight, Tried, View},
};

/// How often a request is repeated that app servers may have processed. Where three of them fail a fourth one hardly helps.
const REPEATS_MAX: u32 = 2;

/// How often it is sent to the same app server again that has not processed it: kept connections that were too old, and refusals on one
/// that others use as well.
const STALE_MAX: u32 = 3;

/// One request's way through the endpoints of the upstream at `position`.
pub(super) struct Search<'a> {
    pub(super) worker: &'a Worker,
    pub(super) position: usize,
    /// Whether the request may be applied twice, and can be.
    pub(super) is_repeatable: bool,
    pub(super) began: Instant,
    view: Arc<View<RequestBody>>,
    tried: Tried,
    /// The endpoint of the last attempt.
    chosen: usize,
    /// That of the next one, where it had to be known beforehand.
    next: Option<usize>,
    /// The place of the last attempt, where the next one is made there too.
    kept: Option<InFlight>,
    /// A kept connection was found closed: its siblings were probably closed with it.
    fresh_only: bool,
    repeats: u32,
    stale: u32,
    /// Why the last endpoint that was given up did not do.
    last: ConnectError,
}

/// A connection for one attempt.
pub(super) struct Found {
    pub(super) connection: Connection<RequestBody>,
    pub(super) in_flight: InFlight,
    pub(super) counts: Arc<EndpointMetrics>,
    pub(super) since: Instant,
    /// When the connection was there, and the request could be sent.
    pub(super) ready: Instant,
}

impl Found {
    /// The answer to what was asked on it.
    pub(super) fn answered(self, head: Parts) -> Answered {
        let Self { connection, in_flight, counts, .. } = self;
        Answered { head, connection, in_flight, counts }
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(worker: &'a Worker, position: usize, is_repeatable: bool) -> Self {
        let upstream = &worker.upstreams[position];
        let began = Instant::now();
        upstream.earn(began);
        Self {
            worker,
            position,
            is_repeatable,
            began,
            view: upstream.view(),
            tried: Tried::default(),
            chosen: 0,
            next: None,
            kept: None,
            fresh_only: false,
            repeats: 0,
            stale: 0,
            last: ConnectError::Draining,
        }
    }

    /// A connection to the endpoint to try at `now`.
    pub(super) async fn find(&mut self, mut now: Instant, exchange: &mut Exchange) -> Result<Found, Failure> {
        while let Some(mut in_flight) = self.place(&mut now, exchange).await? {
            in_flight.ask(now);
            exchange.attempts += 1;
            exchange.endpoint = Some(in_flight.endpoint().clone());
            match self.take_or_open(now, exchange).await {
                // A new connection has taken its time.
                Ok((_, ready)) if self.is_late(ready) => {
                    self.last = ConnectError::Late;
                    break;
                }
                Ok((connection, ready)) => {
                    let counts = Arc::clone(self.view.counts(self.chosen));
                    counts.connection(connection.reused());
                    return Ok(Found { connection, in_flight, counts, since: now, ready });
                }
                Err(error) => {
                    let asked = mem::replace(&mut now, Instant::now());
                    self.not_connected(error, &mut in_flight, now.saturating_duration_since(asked), exchange);
                }
            }
            if self.is_late(now) {
                break;
            }
        }
        Err(Failure::NotConnected(mem::replace(&mut self.last, ConnectError::Closed)))
    }

    /// A place at the endpoint to try next; `None` once all were tried. Where it had to be waited for, it is later than `now`.
    async fn place(&mut self, now: &mut Instant, exchange: &Exchange) -> Result<Option<InFlight>, Failure> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        loop {
            while let Some(chosen) = self.next.take().or_else(|| self.choose(exchange, *now)) {
                // Another worker may have taken the last place meanwhile.
                if let Some(in_flight) = self.begin(chosen) {
                    return Ok(Some(in_flight));
                }
            }
            if self.view.is_full(&self.tried) {
                break;
            }
            // A place may have been given back since.
            if !self.view.has_untried(&self.tried) && !self.renew_view() {
                return Ok(None);
            }
        }
        // Rare, and its state would make that of every request larger.
        let in_flight = Box::pin(self.wait(*now, exchange)).await?;
        *now = Instant::now();
        Ok(Some(in_flight))
    }

    /// Looks whether there are other app servers by now.
    fn renew_view(&mut self) -> bool {
        let newest = self.worker.upstreams[self.position].newest();
        let is_new = !Arc::ptr_eq(&self.view, &newest);
        if is_new {
            self.tried = newest.carry(&self.tried, &self.view);
            self.view = newest;
        } else if self.view.is_empty() {
            self.last = ConnectError::NoAddress;
        }
        is_new
    }

    /// The attempt on `found` is over, and another one follows. Where the endpoint can be asked once more the request keeps its place
    /// there: it was the connection that did not do.
    pub(super) fn give_up(&mut self, found: Found, now: Instant) {
        if self.next.is_none() && !self.tried.contains(self.chosen) {
            self.kept = found.in_flight.kept(self.is_repeatable, now);
        }
    }

    fn begin(&mut self, chosen: usize) -> Option<InFlight> {
        self.chosen = chosen;
        self.view.begin(chosen)
    }

    /// Waits until there is a place.
    async fn wait(&mut self, now: Instant, exchange: &Exchange) -> Result<InFlight, Failure> {
        let (worker, position) = (self.worker, self.position);
        let upstream = worker.upstreams[position].upstream();
        let Some(waiting) = upstream.wait(self.view.wish(&self.tried, self.is_repeatable)) else {
            worker.metrics.queued(position, QueueOutcome::Full);
            return Err(Failure::NotConnected(ConnectError::QueueFull));
        };
        let (patience, limit) = (self.patience(now), upstream.settings.queue_timeout);
        let place = async {
            loop {
                // It may have become free a moment ago, or be at an app server that is new.
                self.renew_view();
                if let Some(in_flight) = self.choose(exchange, Instant::now()).and_then(|chosen| self.begin(chosen)) {
                    return in_flight;
                }
                if let Some(in_flight) = waiting.next().await
                    && self.is_seen(&in_flight)
                {
                    return in_flight;
                }
            }
        };
        let place = worker.clock.within(limit.min(patience), place).await;
        worker.metrics.queued(position, if place.is_ok() { QueueOutcome::Served } else { QueueOutcome::TimedOut });
        let error = if patience < limit { ConnectError::Late } else { ConnectError::QueueTimeout };
        place.map_err(|_elapsed| Failure::NotConnected(error))
    }

    /// Whether a place that was handed over is at an endpoint that is there by now.
    fn is_seen(&mut self, place: &InFlight) -> bool {
        if self.view.position(place.endpoint()).is_none() {
            self.renew_view();
        }
        let position = self.view.position(place.endpoint());
        self.chosen = position.unwrap_or(self.chosen);
        position.is_some()
    }

    fn not_connected(&mut self, error: ConnectError, at: &mut InFlight, waited: Duration, exchange: &mut Exchange) {
        if !error.is_own_shortage() {
            at.failed(waited, Instant::now());
        }
        self.view.counts(self.chosen).attempt(AttemptOutcome::NotConnected);
        exchange.note_attempt(at.endpoint(), AttemptOutcome::NotConnected, waited);
        self.tried.add(self.chosen);
        self.last = error;
    }

    /// A connection, and when it was ready.
    async fn take_or_open(
        &self,
        now: Instant,
        exchange: &Exchange,
    ) -> Result<(Connection<RequestBody>, Instant), ConnectError> {
        if !self.fresh_only
            && let Some(connection) = self.view.reuse(self.chosen, now, self.is_repeatable)
        {
            return Ok((connection, now));
        }
        // Rare, and its state is larger than that of all the rest of an exchange.
        let opened = Box::pin(self.view.open(self.chosen, &exchange.addresses())).await?;
        Ok((opened, Instant::now()))
    }

    /// Whether the request may be sent again after an attempt that ended so, on a connection that was `reused` or not.
    pub(super) fn goes_on(&mut self, ending: Ending, reused: bool, exchange: &Exchange) -> bool {
        // A kept connection may have been too old. An endpoint that closes even a fresh one, or refuses on it, is given up, so
        // that the search ends.
        self.stale += 1;
        if ending == Ending::Failed || !reused || self.stale > STALE_MAX {
            self.tried.add(self.chosen);
            self.last = ConnectError::Closed;
            self.stale = 0;
        }
        self.fresh_only = ending != Ending::Failed;
        match again(ending, self.is_repeatable) {
            Again::No => false,
            Again::Free if ending == Ending::Crossed => self.crosses(),
            Again::Free => true,
            Again::Paid => self.repeats(exchange),
        }
    }

    /// Whether it may be sent once more without being paid for: nobody is to blame, and it may have been processed all the same.
    fn crosses(&mut self) -> bool {
        let goes_on = self.repeats < REPEATS_MAX && !self.is_late(Instant::now());
        self.repeats += u32::from(goes_on);
        goes_on
    }

    /// Whether there is somebody to send it to once more, and something left to pay for it.
    fn repeats(&mut self, exchange: &Exchange) -> bool {
        let now = Instant::now();
        if self.repeats >= REPEATS_MAX || self.is_late(now) {
            return false;
        }
        self.next = self.choose(exchange, now);
        if self.next.is_none() {
            return false;
        }
        let is_paid = self.worker.upstreams[self.position].may_repeat(now);
        self.worker.metrics.repeat(self.position, is_paid);
        self.repeats += u32::from(is_paid);
        is_paid
    }

    fn choose(&self, exchange: &Exchange, now: Instant) -> Option<usize> {
        let asking = Asking { tenant: exchange.store_id(), is_repeatable: self.is_repeatable };
        self.view.choose(&asking, &self.tried, now)
    }

    /// How long the head of an answer may be waited for at `now`: what is left of the time after waiting, connecting and other servers.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        self.head_timeout().saturating_sub(now.saturating_duration_since(self.began))
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= self.head_timeout()
    }

    /// How long one app server is waited for before another one is asked; a request that cannot be repeated waits on.
    pub(super) fn attempt_timeout(&self) -> Duration {
        match self.is_repeatable {
            true => self.worker.upstreams[self.position].upstream().settings.attempt_timeout,
            false => Duration::MAX,
        }
    }

    fn head_timeout(&self) -> Duration {
        self.worker.upstreams[self.position].upstream().settings.head_timeout
    }
}
