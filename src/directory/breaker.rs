//! No question to a database that does not answer: whoever needs one is told so at once, instead of after a deadline.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// So many failures in a row are no accident: a single connection that was reset fails one query.
const FAILURES: u32 = 5;

/// Between two questions while the database is away: soon enough that its return is noticed within a second, and far from
/// piling up on it.
const PAUSE: Duration = Duration::from_millis(500);

/// Lets questions through while they are answered, and one every so often while they are not.
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Nanoseconds after `epoch` at which the next question may be tried.
    next_try: AtomicU64,
    epoch: Instant,
}

impl Breaker {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { failures: AtomicU32::new(0), next_try: AtomicU64::new(0), epoch }
    }

    /// Whether the database may be asked at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        if !self.is_open() {
            return true;
        }
        let due = self.next_try.load(Relaxed);
        let now = self.nanoseconds(now);
        now >= due && self.next_try.compare_exchange(due, now + nanoseconds(PAUSE), Relaxed, Relaxed).is_ok()
    }

    /// Whether the database counts as away.
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Relaxed) >= FAILURES
    }

    /// The database has answered.
    pub(super) fn succeed(&self) {
        self.failures.store(0, Relaxed);
    }

    /// The database has not answered, at `now`.
    pub(super) fn fail(&self, now: Instant) {
        self.next_try.store(self.nanoseconds(now + PAUSE), Relaxed);
        let counted = self.failures.load(Relaxed).saturating_add(1);
        self.failures.store(counted, Relaxed);
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.epoch))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (Breaker, Instant) {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        (0..FAILURES).for_each(|_| breaker.fail(now));
        (breaker, now)
    }

    #[test]
    fn a_few_failures_are_borne() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        for _ in 1..FAILURES {
            breaker.fail(now);
            assert!(breaker.admits(now));
        }
        breaker.fail(now);
        assert!(!breaker.admits(now) && breaker.is_open());
    }

    #[test]
    fn a_database_that_is_away_is_tried_once_a_pause() {
        let (breaker, now) = opened();
        assert!(!breaker.admits(now + PAUSE / 2));
        assert!(breaker.admits(now + PAUSE));
        assert!(!breaker.admits(now + PAUSE));
        assert!(breaker.admits(now + PAUSE * 2));
    }

    #[test]
    fn an_answer_closes_it() {
        let (breaker, now) = opened();
        breaker.succeed();
        assert!((0..10).all(|_| breaker.admits(now)));
    }
}
