//! One address of an upstream, and what is running there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Server, ServerAddress, connections::Connections, health::Health, latency::Latency, moment::Moment, queue::Queue,
    silence::Silence, tls::Handshake, trunk::Trunk,
};
use crate::telemetry::outcome::{EndpointReason, EndpointState};

/// How many requests may run at each endpoint of an upstream, and who is told when one has ended.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) max: usize,
    pub(super) queue: Arc<Queue>,
}

/// What there may be at each endpoint of an upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) requests: Option<Limit>,
    pub(super) connections_max: Option<usize>,
    /// For how long connections are kept unused that requests share in all workers.
    pub(super) shared: Option<Duration>,
}

/// One app server as all workers see it. Aligned to two cache lines, so that counting at one slows nobody at another.
#[derive(Debug)]
#[repr(align(128))]
pub struct Endpoint {
    in_flight: AtomicUsize,
    latency: Latency,
    silence: Silence,
    health: Health,
    limit: Option<Limit>,
    connections: Arc<Connections>,
    trunk: Option<Arc<Trunk>>,
    address: ServerAddress,
    weight: AtomicUsize,
    priority: AtomicU16,
    /// Whether others have a better one.
    spare: AtomicBool,
    /// Whether its name in DNS leads to it; always, where it has none.
    listed: AtomicBool,
    /// What follows TCP.
    handshake: Option<Handshake>,
    label: Arc<str>,
    /// The item of `servers` that it comes from.
    origin: Arc<str>,
    /// When the upstream was made.
    start: Instant,
}

impl Endpoint {
    pub(super) fn new(
        server: Server,
        origin: Arc<str>,
        handshake: Option<Handshake>,
        health: Health,
        limits: Limits,
        start: Instant,
    ) -> Self {
        let label = server.address.to_string().into();
        let shared = limits.shared.zip(limits.connections_max);
        let trunk = shared.map(|(idle_timeout, max)| Arc::new(Trunk::limited(idle_timeout, max)));
        Self {
            in_flight: AtomicUsize::new(0),
            latency: Latency::default(),
            silence: Silence::default(),
            health,
            limit: limits.requests,
            connections: Arc::new(Connections::new(limits.connections_max)),
            trunk,
            address: server.address,
            weight: AtomicUsize::new(server.weight),
            priority: AtomicU16::new(0),
            spare: AtomicBool::new(false),
            listed: AtomicBool::new(true),
            handshake,
            label,
            origin,
            start,
        }
    }

    /// Where it is.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// The handshake of TLS with it, where it speaks TLS.
    pub(super) fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    /// Its address, for logs.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The item of `servers` that it comes from: itself, or the name that leads to it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Requests running there, of all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether only so many may run there.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether another request may run there.
    pub(super) fn has_room(&self) -> bool {
        self.limit.as_ref().is_none_or(|limit| self.in_flight() < self.requests_max(limit))
    }

    /// How many requests may run there: not more than there may be streams, where they share connections.
    fn requests_max(&self, limit: &Limit) -> usize {
        let streams_max = self.trunk.as_ref().and_then(|trunk| trunk.requests_max());
        streams_max.map_or(limit.max, |streams_max| streams_max.min(limit.max))
    }

    /// The connections of all workers to it.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The connections that all workers share there, where they share them.
    pub(super) fn trunk(&self) -> Option<&Arc<Trunk>> {
        self.trunk.as_ref()
    }

    /// There may be more places than before: who waits for one looks.
    pub(super) fn has_grown(&self) {
        if let Some(limit) = &self.limit {
            limit.queue.look();
        }
    }

    /// Counts one more request, if there is room for it.
    pub(super) fn begin(&self) -> bool {
        let Some(limit) = &self.limit else {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let max = self.requests_max(limit);
        let add = |running| (running < max).then_some(running + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// One request less: its place goes to who waits for one.
    pub(super) fn end(self: &Arc<Self>) {
        let Some(limit) = &self.limit else {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let max = self.requests_max(limit);
        // More run than may where less is allowed than was thought: then it has no place to give.
        if self.in_flight() > max || !limit.queue.hand_over(self) {
            let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
            if before <= max {
                limit.queue.free_one();
            }
        }
    }

    /// Its share of the requests, as it is configured.
    pub(super) fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// Gives it another share; whether it is another one.
    pub(super) fn reweigh(&self, weight: usize) -> bool {
        self.weight.swap(weight, Ordering::Relaxed) != weight
    }

    /// Its place among all: those with a higher number stand by until the ones before them are out.
    pub(super) fn priority(&self) -> u16 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Gives it another place; whether it is another one.
    pub(super) fn rank(&self, priority: u16) -> bool {
        self.priority.swap(priority, Ordering::Relaxed) != priority
    }

    /// Whether it stands by: others come before it, as long as they are not out.
    pub(super) fn is_spare(&self) -> bool {
        self.spare.load(Ordering::Relaxed)
    }

    /// It stands by from now on, or does not.
    pub(super) fn stand_by(&self, spare: bool) {
        self.spare.store(spare, Ordering::Relaxed);
    }

    /// Whether its name leads to it.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Its name leads to it, or does not any more: then it finishes what it has. Whether that is new.
    pub(super) fn list(&self, listed: bool, now: Instant) -> bool {
        self.announce(self.health.list(listed, self.moment(now)));
        self.listed.swap(listed, Ordering::Relaxed) != listed
    }

    /// Its share of the requests at the moment: one that is back begins with less.
    pub(super) fn weight_at(&self, now: Moment) -> f32 {
        self.weight() as f32 * self.health.share(now)
    }

    /// Whether it is to finish what it has and get nothing new.
    pub(super) fn is_draining(&self) -> bool {
        self.health.is_draining()
    }

    /// Whether an operator has said so.
    pub(super) fn is_ordered_to_drain(&self) -> bool {
        self.health.is_ordered_to_drain()
    }

    /// Whether it is fit for requests.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether it has just failed.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        self.health.is_suspect(self.moment(now))
    }

    /// For how long it has given no answer that it owes.
    pub(super) fn silence(&self) -> &Silence {
        &self.silence
    }

    /// How long it takes to answer.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// As many probes in a row as are asked for were answered well, or were not.
    pub(super) fn probed(&self, pass: bool, now: Instant) {
        self.announce(self.health.probed(pass, self.moment(now)));
    }

    /// From now on it finishes what it has and gets nothing new, or gets its share again.
    pub(super) fn drain(&self, drain: bool, now: Instant) {
        self.announce(self.health.drain(drain, self.moment(now)));
    }

    /// How it is at `now`.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let expected_us = self.latency.expected_us(self.moment(now));
        Snapshot {
            state: self.health.standing(),
            reason: self.health.reason(),
            weight: self.weight(),
            in_flight: self.in_flight(),
            connections: self.connections.open(),
            latency: expected_us.map(|micros| Duration::from_secs_f32(micros / 1e6)),
        }
    }

    /// `now`, as the upstream counts.
    pub(super) fn moment(&self, now: Instant) -> Moment {
        Moment::of(self.start, now)
    }

    /// Says that it is in another `state`, where it is, to the log and to who waits.
    pub(super) fn announce(&self, state: Option<EndpointState>) {
        if state.is_some()
            && let Some(limit) = &self.limit
        {
            limit.queue.look();
        }
        let endpoint = &*self.label;
        match state {
            None => {}
            Some(EndpointState::Healthy) => tracing::info!(endpoint, "app server gets requests again"),
            Some(EndpointState::Ejected) => {
                let reason = self.health.reason().map(EndpointReason::in_words);
                tracing::warn!(endpoint, reason, "app server fails and gets no requests for a while");
            }
            Some(EndpointState::Probing) => tracing::info!(endpoint, "app server is tried"),
            Some(EndpointState::Draining) => tracing::info!(endpoint, "app server drains and gets nothing new"),
        }
    }
}

/// An endpoint as it was at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// In which state it was.
    pub state: EndpointState,
    /// Why it was out of use; `None` where it was not.
    pub reason: Option<EndpointReason>,
    /// Its share of the requests, as it is configured.
    pub weight: usize,
    /// Requests running there, of all workers.
    pub in_flight: usize,
    /// Connections that are open, of all workers.
    pub connections: usize,
    /// What an answer might be expected to take; `None` where nothing was known.
    pub latency: Option<Duration>,
}

#[cfg(test)]
impl Endpoint {
    /// One on `port` with this weight, in an upstream that was just made.
    pub(super) fn example(port: u16, weight: usize) -> Arc<Self> {
        Self::example_with(port, weight, Limits::default())
    }

    /// One that was out, and is back since `back`.
    pub(super) fn example_back(port: u16, back: Moment) -> Arc<Self> {
        let endpoint = Self::example(port, 1);
        (0..5).for_each(|_| _ = endpoint.health.failed(Moment(0)));
        assert!(endpoint.health.claim_trial(true, back));
        endpoint.health.answered(back);
        endpoint
    }

    /// The same, where so many requests may run.
    pub(super) fn example_for(requests_max: usize) -> Arc<Self> {
        let requests = Some(Limit { max: requests_max, queue: Arc::new(Queue::new(1)) });
        Self::example_with(1, 1, Limits { requests, ..Limits::default() })
    }

    /// The same, and so many may wait in the queue.
    pub(super) fn example_in_queue(requests_max: usize, queue_max: usize) -> (Arc<Self>, Arc<Queue>) {
        let queue = Arc::new(Queue::new(queue_max));
        let requests = Some(Limit { max: requests_max, queue: Arc::clone(&queue) });
        (Self::example_with(1, 1, Limits { requests, ..Limits::default() }), queue)
    }

    fn example_with(port: u16, weight: usize, limits: Limits) -> Arc<Self> {
        let address = ServerAddress::Tcp { host: "app".into(), port };
        let allowance = Arc::new(super::allowance::Allowance::new(2, 50));
        let health = Health::new(super::HealthRules::default(), allowance, Moment(0));
        Arc::new(Self::new(Server { address, weight }, "app".into(), None, health, limits, Instant::now()))
    }
}
