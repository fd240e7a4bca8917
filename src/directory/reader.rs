//! A worker's door to the directory.

use std::{sync::Arc, time::Instant};

use atomic_refcell::AtomicRefCell;

use super::{
    CouldNotAsk, Event, Shared,
    entry::Entry,
    flights::{Boarding, Budget, Departure, Flight, Outcome},
    marks::{KeyHash, Marks},
    recent::{Original, Recent},
    stats::Counters,
};
use crate::routing::{KeyRef, Tenant};

/// One worker's door to the directory, in cache lines of its own (two: processors fetch them in pairs).
#[repr(align(128))]
pub struct Reader {
    shared: Arc<Shared>,
    marks: Arc<Marks>,
    /// Only its own worker borrows it. Whoever else came would do without.
    recent: AtomicRefCell<Recent>,
    counters: Arc<Counters>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            marks: Arc::clone(&shared.loader.marks),
            recent: AtomicRefCell::new(Recent::new()),
            counters: shared.loader.stats.reader(),
            shared,
        }
    }

    /// Who is behind `key`; `None` where the database said that nobody is.
    ///
    /// A hit never waits, and allocates only when a key that comes again and again is copied to this worker's first level.
    /// Waiting for a load needs a runtime with timers. `now` is when the request came: all that it waits for here ends
    /// [`Settings::lookup_timeout`](super::Settings::lookup_timeout) later, however many keys it asks for.
    #[inline]
    pub fn lookup<'a>(
        &'a self,
        key: KeyRef<'a>,
        now: Instant,
    ) -> impl Future<Output = Result<Option<Arc<Tenant>>, CouldNotAsk>> + Send + 'a {
        // Before there is a future: what goes into one is written to memory and read again.
        let held = self.held(key, now);
        async move {
            match held {
                Some(answer) => Ok(answer),
                // In a box: it is rare, and would make every look-up large.
                None => Box::pin(self.load(key, now)).await,
            }
        }
    }

    /// The answer, where nobody has to be asked: of what is not in the tables nobody is.
    fn held(&self, key: KeyRef<'_>, now: Instant) -> Option<Option<Arc<Tenant>>> {
        let hash = self.marks.hash(key);
        if let Some(tenant) = self.recall(key, hash, now) {
            return Some(Some(tenant));
        }
        let copies = self.marks.copies();
        match self.shared.loader.cache.get(key, now) {
            Some(entry) => Some(self.answer(key, hash, &entry, copies, now)),
            None if self.shared.names.has(key) == Some(false) => {
                self.counters.count(Event::Unlisted);
                Some(None)
            }
            None => None,
        }
    }

    /// Asks, for what is in the tables at the expense of those that are.
    async fn load(&self, key: KeyRef<'_>, now: Instant) -> Outcome {
        let is_known = self.shared.names.has(key) == Some(true) || self.shared.loader.cache.has_known(key);
        self.wait_for_load(key, if is_known { Budget::Known } else { Budget::Stranger }, now).await
    }

    fn recall(&self, key: KeyRef<'_>, hash: KeyHash, now: Instant) -> Option<Arc<Tenant>> {
        let mut recent = self.recent.try_borrow_mut().ok()?;
        let hit = recent.get(key, hash, now, &self.marks)?;
        self.counters.count_alone(Event::RecentHit);
        drop(recent);
        if hit.touch {
            self.shared.loader.cache.touch(key);
        }
        Some(hit.tenant)
    }

    fn answer(&self, key: KeyRef<'_>, hash: KeyHash, entry: &Entry, copies: u64, now: Instant) -> Option<Arc<Tenant>> {
        let lifetimes = &self.shared.loader.cache.lifetimes;
        let fresh_until = lifetimes.fresh_until(entry);
        self.counters.count(match entry.tenant {
            None => Event::AbsentHit,
            Some(_) if now < fresh_until => Event::FoundHit,
            Some(_) => Event::StaleServed,
        });
        if entry.claim_refresh(now, fresh_until) {
            self.refresh(key, now);
        }
        if let Ok(mut recent) = self.recent.try_borrow_mut() {
            recent.keep(key, hash, &Original { entry, lifetimes, copies });
        }
        entry.tenant.clone()
    }

    pub(super) async fn wait_for_load(&self, key: KeyRef<'_>, budget: Budget, now: Instant) -> Outcome {
        let flight = match self.shared.flights.board(key, budget, now) {
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
            Ok(Err(CouldNotAsk::Away)) => Event::TurnedAway,
            Ok(Err(_)) => Event::WaitedFailed,
            Err(_) => Event::TimedOut,
        });
        landed.map_or(Err(CouldNotAsk::Timeout), Outcome::clone)
    }

    /// Starts the load, unless another has landed between the look into the cache and the boarding.
    fn lead(&self, departure: Departure, now: Instant) -> Arc<Flight> {
        let flight = Arc::clone(&departure.flight);
        match self.shared.loader.cache.get(departure.key.as_ref(), now) {
            Some(entry) => departure.land(Ok(entry.tenant.clone())),
            None => self.depart(departure, now),
        }
        flight
    }

    /// Asks again in the background; where that is impossible now, the entry is tried again later.
    fn refresh(&self, key: KeyRef<'_>, now: Instant) {
        if let Boarding::Leading(departure) = self.shared.flights.board(key, Budget::Known, now) {
            self.depart(departure, now);
        }
    }

    fn depart(&self, departure: Departure, now: Instant) {
        if self.shared.loader.breaker.admits(now) {
            self.shared.loader.stats.count(Event::LoadStarted);
            self.shared.line.enter(departure);
        } else {
            departure.land(Err(CouldNotAsk::Away));
        }
    }
}
