//! App servers: named groups, the choice among them, and each worker's own connections to them.
//!
//! What always holds: a connection of HTTP/1.1 goes back to the pool only after an exchange that ended cleanly, one of
//! HTTP/2 outlives whatever becomes of its streams, and every request in flight is counted at its endpoint until its guard
//! drops.

mod allowance;
mod balancer;
mod budget;
mod connection;
mod connector;
mod dial;
mod endpoint;
mod error;
mod greeting;
mod health;
pub mod http1;
mod http2;
mod latency;
mod length;
mod moment;
mod overlay;
mod pool;
mod prober;
mod proxy_header;
mod queue;
mod server;
mod settings;
mod shares;
mod silence;
mod stream;
mod tls;
mod trunk;

use std::{sync::Arc, time::Instant};

use fastrand::Rng;

use crate::routing::TenantId;
use allowance::Allowance;
use balancer::Balancer;
pub use balancer::{Asking, Balance, Tried};
pub use budget::Budget;
pub use connection::Connection;
pub use connector::Connector;
use endpoint::Limit;
pub use dial::reach;
pub use endpoint::{Endpoint, InFlight, Snapshot};
pub use error::{AnswerError, ConnectError, Unanswered};
use health::Health;
pub use health::HealthRules;
pub use http2::{StreamPermit, connection_died, was_refused};
use moment::Moment;
pub use prober::{Probe, probe};
pub use proxy_header::{ClientAddresses, SIGNATURE as PROXY_SIGNATURE};
use queue::Queue;
pub use queue::Waiting;
pub use server::{Server, ServerAddress};
pub use settings::{Protocol, ProxyProtocol, Settings};
pub use shares::Share;
use shares::Shares;
use tls::Tls;
pub use tls::{ClientFiles, TlsError, TlsSettings};

/// A store has as many requests as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has as many requests at the app servers as it may")]
pub struct StoreFull;

/// A named group of app servers, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    /// What was asked for.
    pub settings: Settings,
    endpoints: Vec<Arc<Endpoint>>,
    balancer: Balancer,
    allowance: Arc<Allowance>,
    queue: Arc<Queue>,
    shares: Option<Arc<Shares>>,
    start: Instant,
}

impl Upstream {
    /// Prepares the group: reads the files that TLS needs, and connects nothing.
    pub fn new(settings: Settings) -> Result<Self, TlsError> {
        let start = Instant::now();
        let rules = HealthRules { is_probed: settings.probe.is_some(), ..settings.health };
        let allowance = Arc::new(Allowance::new(settings.servers.len(), rules.ejected_max_percent));
        let queue = Arc::new(Queue::new(settings.queue_max));
        let limit = settings.requests_max.map(|max| Limit { max, queue: Arc::clone(&queue) });
        let tls = settings.tls.as_ref().map(|tls| Tls::load(tls, settings.protocol)).transpose()?;
        let endpoint = |server: &Server| {
            let handshake = tls.as_ref().zip(server.address.host()).map(|(tls, host)| tls.handshake(host)).transpose()?;
            let health = Health::new(rules, Arc::clone(&allowance));
            Ok(Arc::new(Endpoint::new(server.clone(), handshake, health, limit.clone(), start)))
        };
        let endpoints: Vec<_> = settings.servers.iter().map(endpoint).collect::<Result<_, TlsError>>()?;
        let shares = settings.store_requests_max.map(Shares::new).map(Arc::new);
        let balancer = Balancer::new(settings.balance, &endpoints);
        Ok(Self { settings, endpoints, balancer, allowance, queue, shares, start })
    }

    /// A place for one more request of `tenant`, where those of a store are limited; an error where it has as many as it may.
    pub fn share(&self, tenant: Option<&TenantId>) -> Result<Option<Share>, StoreFull> {
        match (&self.shares, tenant) {
            (Some(shares), Some(tenant)) => shares.take(tenant).map(Some).ok_or(StoreFull),
            _ => Ok(None),
        }
    }

    /// The position of the endpoint to try next; `None` once all were tried.
    pub fn choose(&self, asking: &Asking<'_>, tried: &Tried, now: Instant, rng: &mut Rng) -> Option<usize> {
        let now = Moment::of(self.start, now);
        self.due_for_trial(asking, tried, now)
            .or_else(|| self.balancer.choose(&self.endpoints, asking, tried, now, rng))
    }

    /// The endpoint that was out for long enough, if there is one: it gets this request, to show whether it is back.
    fn due_for_trial(&self, asking: &Asking<'_>, tried: &Tried, now: Moment) -> Option<usize> {
        // What has failed once must not be what shows whether somebody else is well.
        if self.allowance.is_unused() || !tried.is_empty() {
            return None;
        }
        self.endpoints.iter().position(|endpoint| endpoint.health().claim_trial(asking.is_repeatable, now))
    }

    /// Whether a place at some endpoint that was not tried is worth waiting for: all of them are taken.
    pub fn is_full(&self, tried: &Tried) -> bool {
        let untried = self.endpoints.iter().enumerate().filter(|(position, _)| !tried.contains(*position));
        untried.map(|(_, endpoint)| endpoint).any(|endpoint| !endpoint.is_draining() && !endpoint.has_room())
    }

    /// A place among those who wait for one, if there is one left.
    pub fn wait(&self) -> Option<Waiting<'_>> {
        self.queue.enter()
    }

    /// The addresses of the group, in the order of the configuration.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }
}
