//! Ready means that no named reason is left; degraded, that something is amiss and requests are served all the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many guards hold each reason; no entry is ever 0.
type Holds = BTreeMap<&'static str, usize>;

/// The reasons for which the process is not ready, or degraded; a cheap clone.
#[derive(Clone, Default)]
pub struct Readiness {
    unready: Reasons,
    degraded: Reasons,
}

impl Readiness {
    /// Not ready until the guard is dropped, for this reason. Several guards may share a reason; the last one releases it.
    pub fn hold(&self, reason: &'static str) -> ReadinessGuard {
        self.unready.hold(reason)
    }

    /// Degraded until the guard is dropped, for this reason: the same for what takes nobody out of service.
    pub fn degrade(&self, reason: &'static str) -> ReadinessGuard {
        self.degraded.hold(reason)
    }

    /// The reasons left, in alphabetical order; none: ready.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.unready.list()
    }

    /// What is amiss, in alphabetical order.
    pub fn degradations(&self) -> Vec<&'static str> {
        self.degraded.list()
    }
}

#[derive(Clone, Default)]
struct Reasons(Arc<Mutex<Holds>>);

impl Reasons {
    fn hold(&self, reason: &'static str) -> ReadinessGuard {
        *self.lock().entry(reason).or_default() += 1;
        ReadinessGuard { reasons: self.clone(), reason }
    }

    fn list(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    fn release(&self, reason: &'static str) {
        let mut holds = self.lock();
        let left = holds.get(reason).map_or(0, |held| held - 1);
        if left == 0 {
            holds.remove(reason);
        } else {
            holds.insert(reason, left);
        }
    }

    /// Each change is one complete step, so a panic elsewhere cannot have left the map half changed.
    fn lock(&self) -> MutexGuard<'_, Holds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the process from being ready, or from being well, until dropped.
#[must_use = "the reason is released when the guard is dropped"]
pub struct ReadinessGuard {
    reasons: Reasons,
    reason: &'static str,
}

impl Drop for ReadinessGuard {
    fn drop(&mut self) {
        self.reasons.release(self.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_held_is_ready() {
        assert!(Readiness::default().reasons().is_empty());
    }

    #[test]
    fn reasons_are_listed_in_order_until_their_guards_are_dropped() {
        let readiness = Readiness::default();
        let workers = readiness.hold("workers");
        let database = readiness.clone().hold("database");
        assert_eq!(readiness.reasons(), ["database", "workers"]);
        drop(workers);
        assert_eq!(readiness.reasons(), ["database"]);
        drop(database);
        assert!(readiness.reasons().is_empty());
    }

    #[test]
    fn a_reason_held_twice_is_released_by_the_last_guard() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.hold("worker"), readiness.hold("worker"));
        drop(first);
        assert_eq!(readiness.reasons(), ["worker"]);
        drop(second);
        assert!(readiness.reasons().is_empty());
    }

    #[test]
    fn what_is_degraded_is_ready() {
        let readiness = Readiness::default();
        let guard = readiness.degrade("feed");
        assert_eq!((readiness.reasons(), readiness.degradations()), (vec![], vec!["feed"]));
        drop(guard);
        assert!(readiness.degradations().is_empty());
    }

    #[test]
    fn a_guard_lost_in_a_panic_releases_its_reason() {
        let readiness = Readiness::default();
        let guard = readiness.hold("database");
        let panicked = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(readiness.reasons().is_empty());
    }
}
