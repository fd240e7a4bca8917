//! Loads in the air: one per key, however many requests wait for it.
//!
//! A load that a change has overtaken stays in the air for those who wait for it already; whoever comes later gets another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

use super::{
    CouldNotAsk, Settings, SourceError,
    marks::{Departed, Marks},
    pace::Pace,
    source::Blame,
};
use crate::routing::{KeyRef, Tenant, TenantKey};

pub(super) type Outcome = Result<Option<Arc<Tenant>>, CouldNotAsk>;

/// The loads in the air, by key.
pub(super) struct Flights {
    in_air: Mutex<HashMap<TenantKey, Arc<Flight>, RandomState>>,
    marks: Arc<Marks>,
    /// Of loads for strangers.
    pace: Mutex<Pace>,
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
}

/// One load; those who wait for it hold it.
pub(super) struct Flight {
    pub(super) outcome: SetOnce<Outcome>,
    pub(super) departed: Departed,
}

/// At whose expense a load is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// Of a key of which nothing is known.
    Stranger,
    /// Of a key that is known to exist: strangers take nothing of it.
    Known,
    /// Of the directory itself, which paces what it asks.
    Own,
}

/// What becomes of somebody who needs a load.
pub(super) enum Boarding {
    /// One is in the air.
    Joined(Arc<Flight>),
    /// The caller is to make one.
    Leading(Departure),
    /// There are too many.
    Full,
}

impl Flights {
    pub(super) fn new(settings: &Settings, marks: Arc<Marks>) -> Self {
        let budget = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let [strangers, known] = [settings.loads_max, settings.known_loads_max].map(budget);
        let burst = settings.loads_max.max(settings.loads_per_second / 10);
        let pace = Mutex::new(Pace::new(settings.loads_per_second, burst));
        Self { in_air: Mutex::default(), marks, pace, strangers, known }
    }

    /// `now` is when the need arose.
    pub(super) fn board(self: &Arc<Self>, key: KeyRef<'_>, budget: Budget, now: Instant) -> Boarding {
        let (hash, key) = (self.marks.hash(key), TenantKey::from(key));
        let mut in_air = self.lock();
        if let Some(flight) = in_air.get(&key).filter(|flight| self.marks.is_current(&flight.departed)) {
            return Boarding::Joined(Arc::clone(flight));
        }
        let Some(permit) = self.permit(budget, now) else { return Boarding::Full };
        let flight = Arc::new(Flight { outcome: SetOnce::new(), departed: self.marks.depart(hash) });
        in_air.insert(key.clone(), Arc::clone(&flight));
        Boarding::Leading(Departure { flights: Arc::clone(self), key, flight, read_at: now, _permit: permit })
    }

    /// Permission for one more load; `None` where there are too many.
    fn permit(&self, budget: Budget, now: Instant) -> Option<Permit> {
        let (places, pace) = match budget {
            Budget::Stranger => (&self.strangers, Some(&self.pace)),
            Budget::Known => (&self.known, None),
            Budget::Own => return Some(None),
        };
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        let goes = pace.is_none_or(|pace| pace.lock().unwrap_or_else(PoisonError::into_inner).take(now));
        goes.then_some(Some(permit))
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantKey, Arc<Flight>, RandomState>> {
        self.in_air.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the loads in the air; the directory itself needs none.
type Permit = Option<OwnedSemaphorePermit>;

/// The duty to land a flight. Dropped without landing (the source panicked, the runtime ends), it lands with an error.
pub(super) struct Departure {
    pub(super) key: TenantKey,
    pub(super) flight: Arc<Flight>,
    /// Before the query begins.
    pub(super) read_at: Instant,
    flights: Arc<Flights>,
    _permit: Permit,
}

impl Departure {
    /// Tells the outcome to all who wait. Whatever is to be kept must have been stored before: whoever comes next finds no
    /// flight any more.
    pub(super) fn land(self, outcome: Outcome) {
        // Fails only where an outcome is set already, and nobody else sets one.
        let _ = self.flight.outcome.set(outcome);
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut in_air = self.flights.lock();
        if in_air.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            in_air.remove(&self.key);
        }
        drop(in_air);
        if !self.flight.outcome.initialized() {
            let _ = self.flight.outcome.set(Err(interrupted()));
        }
    }
}

fn interrupted() -> CouldNotAsk {
    CouldNotAsk::Source(Arc::new(SourceError {
        context: "the load did not come to an end",
        blame: Blame::Row,
        cause: "its task panicked or was cancelled".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tenant, *};

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("a");
    const OTHER: KeyRef<'static> = KeyRef::CustomDomain("b");

    fn flights() -> Arc<Flights> {
        let settings = Settings { loads_max: 1, known_loads_max: 1, ..Settings::default() };
        Arc::new(Flights::new(&settings, Arc::new(Marks::new())))
    }

    fn board(flights: &Arc<Flights>, key: KeyRef<'_>) -> Boarding {
        flights.board(key, Budget::Stranger, Instant::now())
    }

    fn lead(flights: &Arc<Flights>, key: KeyRef<'_>, budget: Budget) -> Departure {
        match flights.board(key, budget, Instant::now()) {
            Boarding::Leading(departure) => departure,
            Boarding::Joined(_) | Boarding::Full => panic!("expected to lead"),
        }
    }

    #[test]
    fn the_second_joins_the_first() {
        let flights = flights();
        let departure = lead(&flights, HOST, Budget::Stranger);
        let Boarding::Joined(flight) = board(&flights, HOST) else { panic!("expected to join") };
        departure.land(Ok(Some(tenant("1"))));
        assert_eq!(flight.outcome.get().unwrap().as_ref().unwrap(), &Some(tenant("1")));
        assert_eq!(flights.count(), 0);
    }

    #[test]
    fn a_place_is_free_again_after_landing() {
        let flights = flights();
        let departure = lead(&flights, HOST, Budget::Stranger);
        assert!(matches!(board(&flights, OTHER), Boarding::Full));
        drop(departure);
        lead(&flights, OTHER, Budget::Stranger);
    }

    #[test]
    fn strangers_have_a_pace_and_the_known_have_none() {
        let settings = Settings { loads_max: 2, loads_per_second: 1, ..Settings::default() };
        let flights = Arc::new(Flights::new(&settings, Arc::new(Marks::new())));
        for _ in 0..2 {
            drop(lead(&flights, HOST, Budget::Stranger));
        }
        assert!(matches!(board(&flights, HOST), Boarding::Full));
        drop(lead(&flights, HOST, Budget::Known));
    }

    #[test]
    fn strangers_take_no_place_of_the_known() {
        let flights = flights();
        let _strangers = lead(&flights, HOST, Budget::Stranger);
        let _known = lead(&flights, OTHER, Budget::Known);
        let _own = lead(&flights, KeyRef::CustomDomain("c"), Budget::Own);
        assert!(matches!(board(&flights, KeyRef::CustomDomain("d")), Boarding::Full));
    }

    #[test]
    fn a_flight_that_is_given_up_lands_with_an_error() {
        let flights = flights();
        let departure = lead(&flights, HOST, Budget::Stranger);
        let flight = Arc::clone(&departure.flight);
        drop(departure);
        assert!(matches!(flight.outcome.get(), Some(Err(CouldNotAsk::Source(_)))));
    }

    #[test]
    fn whoever_comes_after_a_change_does_not_join_a_flight_from_before_it() {
        let flights = flights();
        let old = lead(&flights, HOST, Budget::Stranger);
        flights.marks.change_key(flights.marks.hash(HOST));
        let new = lead(&flights, HOST, Budget::Known);
        drop(old);
        assert!(matches!(board(&flights, HOST), Boarding::Joined(_)));
        assert!(flights.marks.is_current(&new.flight.departed));
    }
}
