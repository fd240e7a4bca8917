//! How many loads a second may be made for strangers.

use std::time::{Duration, Instant};

/// Lets so many through in a second, and a burst of them at once (the generic cell rate algorithm of ITU-T I.371).
pub(super) struct Pace {
    interval: Duration,
    /// How far ahead of its time one may come.
    ahead_max: Duration,
    /// When the next one is due, were they spread evenly.
    due: Option<Instant>,
}

impl Pace {
    /// Both are at least one.
    pub(super) fn new(per_second: usize, burst: usize) -> Self {
        let count = |number: usize| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) / count(per_second);
        Self { interval, ahead_max: interval * (count(burst) - 1), due: None }
    }

    /// Whether one more may go at `now`; it counts then.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let due = self.due.map_or(now, |due| due.max(now));
        let goes = due - now <= self.ahead_max;
        if goes {
            self.due = Some(due + self.interval);
        }
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, attempts: usize, now: Instant) -> usize {
        (0..attempts).filter(|_| pace.take(now)).count()
    }

    #[test]
    fn a_burst_goes_at_once_and_then_as_many_as_a_second_has() {
        let (mut pace, began) = (Pace::new(1000, 50), Instant::now());
        assert_eq!(taken(&mut pace, 10_000, began), 50);
        let later = (1..=2000).map(|ms| taken(&mut pace, 10, began + Duration::from_millis(ms)));
        assert_eq!(later.sum::<usize>(), 2000);
    }

    #[test]
    fn what_was_not_used_is_a_burst_at_most() {
        let (mut pace, began) = (Pace::new(10, 5), Instant::now());
        assert!(pace.take(began));
        assert_eq!(taken(&mut pace, 100, began + Duration::from_hours(1)), 5);
    }

    #[test]
    fn an_earlier_moment_is_no_error() {
        let (mut pace, began) = (Pace::new(1, 2), Instant::now());
        assert!(pace.take(began + Duration::from_secs(10)));
        assert!(!pace.take(began));
    }
}
