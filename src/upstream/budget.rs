//! How often requests may be repeated: a share of them all. When every app server is in trouble, repetitions must not become
//! a load of their own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::moment::{Moment, pack, unpack};

/// What one repetition costs; a request earns as many of these as the share has percent.
const REPETITION: f32 = 100.0;

/// Repetitions that can be saved up: as many as a restart of an app server may need at once.
const SAVED_MAX: f32 = 100.0 * REPETITION;

/// Repetitions that are there at the start, since the first requests have earned nothing yet. So many are not forgotten either: with
/// little traffic, what was earned lately may be less than one.
const SAVED_AT_START: f32 = 10.0 * REPETITION;

/// In this time half of what was saved beyond that is forgotten: what is repeated is a share of the requests of the last minute, not
/// of those of a better hour.
const HALF_LIFE_MS: f32 = 10_000.0;

/// The budget of one upstream, for all workers. Aligned to two cache lines: nobody is slowed down by it who does not count.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Budget {
    /// What was saved, and when that was counted. One word, so that neither is lost when two workers count at once.
    saved: AtomicU64,
    percent: usize,
}

impl Budget {
    pub(super) fn new(percent: usize) -> Self {
        let saved = if percent == 0 { 0.0 } else { SAVED_AT_START };
        Self { saved: AtomicU64::new(pack(saved, Moment::default())), percent }
    }

    /// So many `requests` were sent for the first time until `now`.
    pub(super) fn earn(&self, requests: u32, now: Moment) {
        let earned = (self.percent * requests as usize) as f32;
        let add = |saved: u64| Some(pack((left(saved, now) + earned).min(SAVED_MAX), now));
        let _always_added = self.saved.fetch_update(Relaxed, Relaxed, add);
    }

    /// Whether a request may be repeated at `now`; it has been paid for then.
    pub(super) fn spend(&self, now: Moment) -> bool {
        let pay = |saved: u64| Some(left(saved, now) - REPETITION).filter(|left| *left >= 0.0);
        self.saved.fetch_update(Relaxed, Relaxed, |saved| pay(saved).map(|left| pack(left, now))).is_ok()
    }
}

/// What is left of what was `saved`.
fn left(saved: u64, now: Moment) -> f32 {
    let (saved, elapsed_ms) = unpack(saved, now);
    if saved <= SAVED_AT_START || elapsed_ms == 0 {
        return saved;
    }
    SAVED_AT_START + (saved - SAVED_AT_START) * (-(elapsed_ms as f32) / HALF_LIFE_MS).exp2()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const START: Moment = Moment(0);

    /// How many of `requests` that all fail are repeated.
    fn repeated(budget: &Budget, requests: usize, now: Moment) -> usize {
        (0..requests)
            .filter(|_| {
                budget.earn(1, now);
                budget.spend(now)
            })
            .count()
    }

    fn saved(budget: &Budget, now: Moment) -> usize {
        (0..1000).filter(|_| budget.spend(now)).count()
    }

    fn full() -> Budget {
        let budget = Budget::new(20);
        (0..10_000).for_each(|_| budget.earn(1, START));
        budget
    }

    #[test]
    fn in_the_long_run_no_more_than_the_share_is_repeated() {
        assert_eq!(repeated(&Budget::new(20), 1000, START), 200 + 10);
        assert_eq!(repeated(&Budget::new(100), 1000, START), 1000);
    }

    #[test]
    fn all_workers_have_one_budget() {
        let budget = Budget::new(20);
        let all: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| repeated(&budget, 1000, START))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(all, 800 + 10);
    }

    #[test]
    fn what_is_saved_in_good_times_has_a_bound() {
        assert_eq!(saved(&full(), START), 100);
    }

    #[test]
    fn what_was_saved_is_forgotten_but_for_what_was_there_at_the_start() {
        assert_eq!([10_000, 20_000, 600_000].map(|now| saved(&full(), Moment(now))), [55, 32, 10]);
        let spent = Budget::new(20);
        assert_eq!([0, 600_000].map(|now| saved(&spent, Moment(now))), [10, 0], "time earns nothing");
    }

    /// One that earns next to nothing, and is asked each millisecond.
    #[test]
    fn what_is_forgotten_in_small_steps_is_forgotten_too() {
        let budget = Budget { percent: 0, ..full() };
        (1..=60_000).for_each(|now| budget.earn(1, Moment(now)));
        assert!((10..=12).contains(&saved(&budget, Moment(60_000))));
    }

    #[test]
    fn without_a_share_nothing_is_ever_repeated() {
        assert_eq!(repeated(&Budget::new(0), 1000, START), 0);
    }
}
