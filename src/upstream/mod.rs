//! App servers: named groups, the choice among them, and each worker's own connections to them.
//!
//! What always holds: a connection of HTTP/1.1 goes back to the pool only after an exchange that ended cleanly, one of
//! HTTP/2 outlives whatever becomes of its streams, and every request in flight is counted at its endpoint until its guard
//! drops.

mod allowance;
mod balancer;
mod budget;
mod connection;
mod connections;
mod connector;
mod dial;
mod discovery;
mod endpoint;
mod error;
mod health;
pub mod http1;
mod http2;
mod in_flight;
mod latency;
mod length;
mod life;
mod maker;
mod members;
mod moment;
mod movable;
mod origin;
mod overlay;
mod pool;
mod prober;
mod proxy_header;
mod queue;
mod resolver;
mod seat;
mod server;
mod settings;
mod shares;
mod silence;
mod stream;
mod tls;
mod tls_files;
mod trunk;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use crate::routing::TenantId;
pub use balancer::{Asking, Balance, Tried};
use budget::Budget;
pub use connection::Connection;
pub use connections::ConnectionPermit;
pub use connector::Connector;
pub use dial::reach;
pub use discovery::{discover, resolve};
pub use endpoint::{Endpoint, Snapshot};
pub use error::{AnswerError, ConnectError, Unanswered, Unsent};
pub use health::HealthRules;
pub use http2::{connection_died, was_refused};
pub use in_flight::InFlight;
use maker::Maker;
pub use members::Members;
use moment::Moment;
use origin::Origin;
pub use prober::{Probe, probe};
pub use proxy_header::{ClientAddresses, SIGNATURE as PROXY_SIGNATURE};
use queue::Queue;
pub use queue::{Waiting, Wish};
use resolver::Found;
pub use resolver::ResolveError;
pub use server::{Server, ServerAddress};
pub use settings::{Protocol, ProxyProtocol, Settings};
pub use shares::Share;
use shares::Shares;
pub use tls::{ClientFiles, TlsError, TlsSettings};
pub use tls_files::watch_files;
pub use view::View;

/// A store has as many requests as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has as many requests at the app servers as it may")]
pub struct StoreFull;

/// A named group of app servers, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    /// What was asked for.
    pub settings: Settings,
    maker: Maker,
    /// The items of `servers`, in their order. Locked when names lead elsewhere, and by orders.
    origins: Mutex<Vec<Origin>>,
    members: ArcSwap<Members>,
    queue: Arc<Queue>,
    shares: Option<Arc<Shares>>,
    budget: Budget,
    /// When it was made.
    start: Instant,
    /// How often names were resolved, and how often that failed.
    resolutions: [AtomicU64; 2],
}

impl Upstream {
    /// Prepares the group: reads the files that TLS needs, and neither connects nor asks DNS.
    pub fn new(settings: Settings) -> Result<Self, TlsError> {
        let queue = Arc::new(Queue::new(settings.queue_max));
        let maker = Maker::new(&settings, &queue)?;
        let origins: Vec<_> =
            settings.servers.iter().map(|server| Origin::new(server, &maker)).collect::<Result<_, TlsError>>()?;
        let members = ArcSwap::from_pointee(maker.members(&origins, &settings));
        let shares = settings.store_requests_max.map(Shares::new).map(Arc::new);
        let (budget, start) = (Budget::new(settings.repeat_percent), Instant::now());
        Ok(Self {
            settings,
            maker,
            origins: Mutex::new(origins),
            members,
            queue,
            shares,
            budget,
            start,
            resolutions: Default::default(),
        })
    }

    /// A place for one more request of `tenant`, where those of a store are limited; an error where it has as many as it may.
    pub fn share(&self, tenant: Option<&TenantId>) -> Result<Option<Share>, StoreFull> {
        match (&self.shares, tenant) {
            (Some(shares), Some(tenant)) => shares.take(tenant).map(Some).ok_or(StoreFull),
            _ => Ok(None),
        }
    }

    /// So many `requests` were sent for the first time until `now`: each earns a part of a repetition.
    fn earn(&self, requests: u32, now: Instant) {
        self.budget.earn(requests, Moment::of(self.start, now));
    }

    /// Whether a request may be repeated at `now` that may have been processed; it has been paid for then.
    fn may_repeat(&self, now: Instant) -> bool {
        self.budget.spend(Moment::of(self.start, now))
    }

    /// The endpoints as they are now.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// A place among those who wait for one, if there is one left.
    pub fn wait(&self, wish: Wish) -> Option<Waiting<'_>> {
        self.queue.enter(wish)
    }

    /// How often names were resolved since the start, and how often that failed.
    pub fn resolutions(&self) -> [u64; 2] {
        self.resolutions.each_ref().map(|count| count.load(Relaxed))
    }

    fn count_resolution(&self, succeeded: bool) {
        self.resolutions[usize::from(!succeeded)].fetch_add(1, Relaxed);
    }

    /// The files that TLS towards the servers needs.
    fn tls_files(&self) -> Vec<PathBuf> {
        self.settings.tls.as_ref().map(TlsSettings::files).unwrap_or_default()
    }

    /// Reads them again if they are others than before; whether that is so.
    fn reload_tls(&self) -> Result<bool, TlsError> {
        let Some(tls) = self.maker.reload_tls()? else { return Ok(false) };
        self.origins().iter().filter_map(|origin| origin.handshake.as_ref()).for_each(|handshake| handshake.renew(tls));
        Ok(true)
    }

    /// The items of `servers` that are names, by position.
    fn named_origins(&self) -> Vec<usize> {
        let servers = self.settings.servers.iter().enumerate();
        servers.filter(|(_, server)| server.address.is_resolved()).map(|(position, _)| position).collect()
    }

    /// The endpoint with this label drains from now on, or goes on; whether there is one. An order lasts until the next one, also
    /// where DNS drops the address and brings it back.
    pub fn order(&self, label: &str, drain: bool, now: Instant) -> bool {
        self.origins().iter_mut().map(|origin| origin.order(label, drain, now)).fold(false, |any, known| any | known)
    }

    /// The item at `position` leads to `found` and nowhere else.
    fn lead_to(&self, position: usize, found: &[Found], now: Instant) {
        let mut origins = self.origins();
        if origins.get_mut(position).is_some_and(|origin| origin.lead_to(found, now, &self.maker)) {
            let (upstream, server) = (&self.settings.name, &self.settings.servers[position].address);
            tracing::info!(upstream, %server, addresses = found.len(), "a name leads elsewhere than before");
            self.members.store(Arc::new(self.maker.members(&origins, &self.settings)));
            drop(origins);
            self.queue.look();
        }
    }

    /// Lets go of endpoints that are gone from DNS and have nothing left to do.
    fn retire(&self) {
        let mut origins = self.origins();
        let retired = origins.iter_mut().map(Origin::retire).filter(|retired| *retired).count();
        if retired > 0 {
            self.members.store(Arc::new(self.maker.members(&origins, &self.settings)));
        }
    }

    fn origins(&self) -> MutexGuard<'_, Vec<Origin>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
