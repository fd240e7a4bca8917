//! How often requests may be repeated: a share of them all. When every app server is in trouble, repetitions must not become
//! a load of their own.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What one repetition costs; a request earns as many of these as the share has percent.
const REPETITION: usize = 100;

/// Repetitions that can be saved up: as many as a restart of an app server may need at once.
const SAVED_MAX: usize = 100;

/// Repetitions that are there at the start, since the first requests have earned nothing yet.
const SAVED_AT_START: usize = 10;

/// One worker's budget for one upstream. Only its own tasks use it, and none of them between a look and a change.
#[derive(Debug)]
pub struct Budget {
    saved: AtomicUsize,
    percent: usize,
}

impl Budget {
    pub(super) fn new(percent: usize) -> Self {
        let saved = if percent == 0 { 0 } else { SAVED_AT_START * REPETITION };
        Self { saved: AtomicUsize::new(saved), percent }
    }

    /// A request is sent for the first time.
    pub fn earn(&self) {
        let saved = self.saved.load(Relaxed) + self.percent;
        self.saved.store(saved.min(SAVED_MAX * REPETITION), Relaxed);
    }

    /// Whether a request may be repeated; it has been paid for then.
    pub fn spend(&self) -> bool {
        let left = self.saved.load(Relaxed).checked_sub(REPETITION);
        if let Some(left) = left {
            self.saved.store(left, Relaxed);
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `requests` that all fail are repeated.
    fn repeated(budget: &Budget, requests: usize) -> usize {
        (0..requests)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count()
    }

    #[test]
    fn in_the_long_run_no_more_than_the_share_is_repeated() {
        assert_eq!(repeated(&Budget::new(20), 1000), 200 + SAVED_AT_START);
        assert_eq!(repeated(&Budget::new(100), 1000), 1000);
    }

    #[test]
    fn what_is_saved_in_good_times_has_a_bound() {
        let budget = Budget::new(20);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), SAVED_MAX);
    }

    #[test]
    fn without_a_share_nothing_is_ever_repeated() {
        assert_eq!(repeated(&Budget::new(0), 1000), 0);
    }
}
