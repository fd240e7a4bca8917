//! Who is behind a tenant key: caches in front of the SaaS's own tables.
//!
//! What always holds: "absent" is only ever what the database said, one load runs per key however many requests wait for
//! it, and no wait is without a deadline.

mod cache;
mod flights;
mod postgres;
mod queries;
mod recent;
mod source;
mod sqlite;
mod stats;
mod validity;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use postgres::PostgresSource;
pub use source::{BoxFuture, SourceError, TenantSource};
pub use sqlite::SqliteSource;
pub use stats::{Event, Snapshot, Stats};

use self::{
    cache::{Cache, Entry},
    flights::{Boarding, Departure, Flight, Flights, Outcome},
    recent::{KeyHash, KeyHasher, Recent},
    stats::Counters,
    validity::Validity,
};
use crate::routing::{KeyRef, Tenant, TenantKey};

/// What `[directory]` means for look-ups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Found keys held at most; beyond it the least used go.
    pub found_max: u64,
    /// Absent keys held at most; their own cache, so that strangers' names never push out tenants.
    pub absent_max: u64,
    /// How long a found key is served without asking again.
    pub fresh_for: Duration,
    /// How long a found key is served at all while the database cannot be asked.
    pub usable_for: Duration,
    /// How long an absence is believed.
    pub absent_for: Duration,
    /// How long a request waits for a load.
    pub lookup_timeout: Duration,
    /// Loads in the air at once; beyond it unknown keys are shed.
    pub loads_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // 100,000 tenants with a domain and a subdomain each, in less than 100 MB.
            found_max: 200_000,
            // Enough for the names that scanners repeat; a longer list of them would be remembered for nothing.
            absent_max: 100_000,
            // What an operator is willing to wait for an edit, and one query a minute for each key in use.
            fresh_for: Duration::from_secs(60),
            // The database may be away for a night and the morning after.
            usable_for: Duration::from_hours(24),
            // Whoever adds a domain tries it at once, and again after a few seconds.
            absent_for: Duration::from_secs(5),
            // A thousand times what an indexed query takes; people wait a second without leaving.
            lookup_timeout: Duration::from_secs(1),
            // Thirty-two for each connection of the pool: at a millisecond per query the last is answered well in time.
            loads_max: 256,
        }
    }
}

/// The directory, shared by all workers.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

impl Directory {
    /// Builds the directory over `source`; loads run on `control`, never on a worker.
    pub fn new(settings: Settings, source: Arc<dyn TenantSource>, control: tokio::runtime::Handle) -> Self {
        let cache = Cache::new(&settings);
        let flights = Arc::new(Flights::new(settings.loads_max));
        let lookup_timeout = settings.lookup_timeout;
        let shared = Shared { cache, flights, source, control, lookup_timeout, stats: Stats::default() };
        Self { shared: Arc::new(shared) }
    }

    /// A worker's own door to the directory, with a small first level of its own.
    pub fn reader(&self) -> Reader {
        Reader {
            shared: Arc::clone(&self.shared),
            recent: Mutex::new(Recent::new()),
            hasher: KeyHasher::default(),
            counters: self.shared.stats.reader(),
        }
    }

    /// Forgets what is held about `key`: no look-up that begins after this call is answered from what was read before it.
    pub fn forget(&self, key: KeyRef<'_>) {
        let key = TenantKey::from(key);
        self.shared.flights.revoke(&key);
        self.shared.cache.forget(&key);
    }

    /// What has been asked and answered so far; for the metrics.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// How much is held at the moment; for the metrics.
    pub fn held(&self) -> Held {
        let (found, absent) = self.shared.cache.sizes();
        Held { found, absent, loads: self.shared.flights.count() }
    }
}

/// How much a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Found keys, at most [`Settings::found_max`] but for what is being evicted.
    pub found: u64,
    /// Absent keys, at most [`Settings::absent_max`] but for what is being evicted.
    pub absent: u64,
    /// Loads in the air, at most [`Settings::loads_max`].
    pub loads: usize,
}

/// One worker's door to the directory, in cache lines of its own (two: processors fetch them in pairs).
#[repr(align(128))]
pub struct Reader {
    shared: Arc<Shared>,
    /// Only its own worker takes this lock.
    recent: Mutex<Recent>,
    hasher: KeyHasher,
    counters: Arc<Counters>,
}

impl Reader {
    /// Who is behind `key`; `None` where the database said that nobody is.
    ///
    /// A hit never waits, and allocates only when a key that comes again and again is copied to this worker's first level.
    /// Waiting for a load needs a runtime with timers. `now` is when the request came: all that it waits for here ends
    /// [`Settings::lookup_timeout`] later, however many keys it asks for.
    pub async fn lookup(&self, key: KeyRef<'_>, now: Instant) -> Result<Option<Tenant>, CouldNotAsk> {
        let hash = self.hasher.hash(key);
        if let Some(tenant) = self.recall(key, hash, now) {
            return Ok(Some(tenant));
        }
        match self.shared.cache.get(key, now) {
            Some(entry) => Ok(self.answer(key, hash, &entry, now)),
            None => self.wait_for_load(key, now).await,
        }
    }

    fn recall(&self, key: KeyRef<'_>, hash: KeyHash, now: Instant) -> Option<Tenant> {
        let mut recent = self.recent();
        let hit = recent.get(key, hash, now)?;
        self.counters.count_under_lock(Event::RecentHit);
        drop(recent);
        if hit.touch {
            self.shared.cache.touch(key);
        }
        Some(hit.tenant)
    }

    fn answer(&self, key: KeyRef<'_>, hash: KeyHash, entry: &Entry, now: Instant) -> Option<Tenant> {
        let event = match entry.tenant {
            None => Event::AbsentHit,
            Some(_) if entry.is_fresh(now) => Event::FoundHit,
            Some(_) => Event::StaleServed,
        };
        self.counters.count(event);
        if entry.claim_refresh(now) {
            self.refresh(key, now);
        }
        self.recent().keep(key, hash, entry);
        entry.tenant.clone()
    }

    async fn wait_for_load(&self, key: KeyRef<'_>, now: Instant) -> Outcome {
        let flight = match self.shared.flights.board(key.into()) {
            Boarding::Joined(flight) => flight,
            Boarding::Leading(departure) => self.lead(departure, now),
            Boarding::Full => {
                self.counters.count(Event::Shed);
                return Err(CouldNotAsk::Overloaded);
            }
        };
        let landed = tokio::time::timeout_at((now + self.shared.lookup_timeout).into(), flight.outcome.wait()).await;
        self.counters.count(match landed {
            Ok(Ok(Some(_))) => Event::WaitedFound,
            Ok(Ok(None)) => Event::WaitedAbsent,
            Ok(Err(_)) => Event::WaitedFailed,
            Err(_) => Event::TimedOut,
        });
        landed.map_or(Err(CouldNotAsk::Timeout), Outcome::clone)
    }

    /// Starts the load, unless another has landed between the look into the cache and the boarding.
    fn lead(&self, departure: Departure, now: Instant) -> Arc<Flight> {
        let flight = Arc::clone(&departure.flight);
        match self.shared.cache.get(departure.key.as_ref(), now) {
            Some(entry) => departure.land(Ok(entry.tenant.clone())),
            None => Shared::depart(&self.shared, departure, now),
        }
        flight
    }

    /// Asks again in the background; where that is impossible now, the entry is tried again later.
    fn refresh(&self, key: KeyRef<'_>, now: Instant) {
        match self.shared.flights.board(key.into()) {
            Boarding::Leading(departure) => Shared::depart(&self.shared, departure, now),
            Boarding::Joined(_) | Boarding::Full => {}
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all readers and all loads share.
struct Shared {
    cache: Cache,
    flights: Arc<Flights>,
    source: Arc<dyn TenantSource>,
    control: tokio::runtime::Handle,
    lookup_timeout: Duration,
    stats: Stats,
}

impl Shared {
    /// Loads in a task of its own: whoever waits may go away without ending it for the others.
    fn depart(shared: &Arc<Self>, departure: Departure, now: Instant) {
        shared.stats.count(Event::LoadStarted);
        let shared_by_task = Arc::clone(shared);
        shared.control.spawn(async move {
            let outcome = shared_by_task.load(&departure.key, &departure.flight.validity, now).await;
            departure.land(outcome);
        });
    }

    async fn load(&self, key: &TenantKey, validity: &Validity, read_at: Instant) -> Outcome {
        match self.source.load(key).await {
            Ok(answer) => {
                self.stats.count(if answer.is_some() { Event::LoadFound } else { Event::LoadAbsent });
                if validity.is_valid() {
                    self.cache.store(key.clone(), answer.clone(), read_at, validity.clone());
                }
                Ok(answer)
            }
            Err(error) => {
                self.stats.count(Event::LoadFailed);
                Err(CouldNotAsk::Source(Arc::new(error)))
            }
        }
    }
}

/// The database could not be asked: never to be mistaken for "absent".
#[derive(Clone, Debug, thiserror::Error)]
pub enum CouldNotAsk {
    /// The load did not end within [`Settings::lookup_timeout`].
    #[error("no answer from the database within the deadline")]
    Timeout,
    /// As many loads as [`Settings::loads_max`] were in the air already.
    #[error("too many look-ups in the air")]
    Overloaded,
    /// The source failed.
    #[error("the database could not be asked")]
    Source(#[source] Arc<SourceError>),
}

#[cfg(test)]
mod tests;
