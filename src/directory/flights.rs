//! Loads in the air: one per key, however many requests wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

use super::{CouldNotAsk, SourceError, validity::Validity};
use crate::routing::{Tenant, TenantKey};

pub(super) type Outcome = Result<Option<Tenant>, CouldNotAsk>;

/// The loads in the air, by key.
pub(super) struct Flights {
    in_air: Mutex<HashMap<TenantKey, Arc<Flight>, RandomState>>,
    permits: Arc<Semaphore>,
}

/// One load; those who wait for it hold it.
pub(super) struct Flight {
    pub(super) outcome: SetOnce<Outcome>,
    pub(super) validity: Validity,
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
    pub(super) fn new(max: usize) -> Self {
        Self { in_air: Mutex::default(), permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))) }
    }

    pub(super) fn board(self: &Arc<Self>, key: TenantKey) -> Boarding {
        let mut in_air = self.lock();
        if let Some(flight) = in_air.get(&key) {
            return Boarding::Joined(Arc::clone(flight));
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Boarding::Full };
        let flight = Arc::new(Flight { outcome: SetOnce::new(), validity: Validity::new() });
        in_air.insert(key.clone(), Arc::clone(&flight));
        Boarding::Leading(Departure { flights: Arc::clone(self), key, flight, _permit: permit })
    }

    /// Makes the load of `key` worthless: those who wait may take its answer, nobody keeps it, and whoever comes later starts
    /// anew.
    pub(super) fn revoke(&self, key: &TenantKey) {
        if let Some(flight) = self.lock().remove(key) {
            flight.validity.revoke();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantKey, Arc<Flight>, RandomState>> {
        self.in_air.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to land a flight. Dropped without landing (the source panicked, the runtime ends), it lands with an error.
pub(super) struct Departure {
    pub(super) key: TenantKey,
    pub(super) flight: Arc<Flight>,
    flights: Arc<Flights>,
    _permit: OwnedSemaphorePermit,
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
        cause: "its task panicked or was cancelled".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tenant, *};
    use crate::routing::KeyRef;

    fn key(name: &str) -> TenantKey {
        KeyRef::CustomDomain(name).into()
    }

    fn lead(flights: &Arc<Flights>, name: &str) -> Departure {
        match flights.board(key(name)) {
            Boarding::Leading(departure) => departure,
            Boarding::Joined(_) | Boarding::Full => panic!("expected to lead"),
        }
    }

    #[test]
    fn the_second_joins_the_first() {
        let flights = Arc::new(Flights::new(1));
        let departure = lead(&flights, "a");
        let Boarding::Joined(flight) = flights.board(key("a")) else { panic!("expected to join") };
        departure.land(Ok(Some(tenant("1"))));
        assert_eq!(flight.outcome.get().unwrap().as_ref().unwrap(), &Some(tenant("1")));
        assert_eq!(flights.count(), 0);
    }

    #[test]
    fn a_place_is_free_again_after_landing() {
        let flights = Arc::new(Flights::new(1));
        let departure = lead(&flights, "a");
        assert!(matches!(flights.board(key("b")), Boarding::Full));
        drop(departure);
        lead(&flights, "b");
    }

    #[test]
    fn a_flight_that_is_given_up_lands_with_an_error() {
        let flights = Arc::new(Flights::new(1));
        let departure = lead(&flights, "a");
        let flight = Arc::clone(&departure.flight);
        drop(departure);
        assert!(matches!(flight.outcome.get(), Some(Err(CouldNotAsk::Source(_)))));
    }

    #[test]
    fn a_revoked_flight_lets_its_successor_be() {
        let flights = Arc::new(Flights::new(2));
        let old = lead(&flights, "a");
        flights.revoke(&key("a"));
        assert!(!old.flight.validity.is_valid());
        let new = lead(&flights, "a");
        drop(old);
        assert!(matches!(flights.board(key("a")), Boarding::Joined(_)));
        assert!(new.flight.validity.is_valid());
    }
}
