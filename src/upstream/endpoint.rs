//! One address of an upstream, and what is running there.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    allowance::Allowance,
    health::{Condition, Health, HealthRules},
    latency::Latency,
    moment::Moment,
};

/// `host:port` of one app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host name or address literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One app server, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the requests, beside those of the others; at least 1.
    pub weight: usize,
}

/// One app server as all workers see it. Aligned to two cache lines, so that counting at one slows nobody at another.
#[derive(Debug)]
#[repr(align(128))]
pub struct Endpoint {
    in_flight: AtomicUsize,
    latency: Latency,
    health: Health,
    server: Server,
    label: Arc<str>,
    /// When the upstream was made.
    start: Instant,
}

impl Endpoint {
    pub(super) fn new(server: Server, rules: HealthRules, allowance: &Arc<Allowance>, start: Instant) -> Self {
        let label = server.address.to_string().into();
        let health = Health::new(rules, Arc::clone(allowance));
        Self { in_flight: AtomicUsize::new(0), latency: Latency::default(), health, server, label, start }
    }

    /// Where it is.
    pub fn address(&self) -> &ServerAddress {
        &self.server.address
    }

    /// `host:port`, for logs.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Requests running there, of all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its share of the requests, as it is configured.
    pub(super) fn weight(&self) -> usize {
        self.server.weight
    }

    /// Its share of the requests at the moment: one that is back begins with less.
    pub(super) fn weight_at(&self, now: Moment) -> f32 {
        self.server.weight as f32 * self.health.share(now)
    }

    /// Whether it is fit for requests.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// How long it takes to answer.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment::of(self.start, now)
    }

    fn announce(&self, condition: Option<Condition>) {
        match condition {
            None => {}
            Some(Condition::Ejected) => {
                tracing::warn!(endpoint = %self.label, "app server fails and gets no requests for a while")
            }
            Some(condition) => {
                tracing::info!(endpoint = %self.label, condition = condition.as_str(), "app server is tried again")
            }
        }
    }
}

/// Counts one request at its endpoint until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(super) fn begin(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// The endpoint that is counted at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }

    /// The head of an answer came after `took`.
    pub fn answered(&self, took: Duration, now: Instant) {
        let now = self.0.moment(now);
        self.0.latency.observe(took, now);
        self.0.announce(self.0.health.answered(now));
    }

    /// The app server failed, after as long as `waited`.
    pub fn failed(&self, waited: Duration, now: Instant) {
        self.unanswered(waited, now);
        self.0.announce(self.0.health.failed(self.0.moment(now)));
    }

    /// Nobody waits any more, after as long as `waited`. It need not be the app server's fault.
    pub fn unanswered(&self, waited: Duration, now: Instant) {
        self.0.latency.observe_unanswered(waited, self.0.moment(now));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Endpoint {
    /// One on `port` with this weight, in an upstream that was just made.
    pub(super) fn example(port: u16, weight: usize) -> Arc<Self> {
        let address = ServerAddress { host: "app".into(), port };
        let allowance = Arc::new(Allowance::new(2, 50));
        Arc::new(Self::new(Server { address, weight }, HealthRules::default(), &allowance, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_a_dialer_would_take_it() {
        let v6 = ServerAddress { host: "::1".into(), port: 80 };
        let name = ServerAddress { host: "app".into(), port: 8000 };
        assert_eq!((v6.to_string(), name.to_string()), ("[::1]:80".to_owned(), "app:8000".to_owned()));
    }

    #[test]
    fn a_request_is_counted_until_its_guard_drops() {
        let endpoint = Endpoint::example(1, 1);
        let guard = InFlight::begin(&endpoint);
        assert_eq!(endpoint.in_flight(), 1);
        drop(guard);
        assert_eq!(endpoint.in_flight(), 0);
    }
}
