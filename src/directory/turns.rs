//! When what is read as a whole may be read again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

/// Several edits of everything in a row are read for once; and a database that has just come back has more urgent work.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Turns to read all of something: a while after it is needed, at once for all needs in that while, and never again before so many
/// times what the last reading took are over. Needs that go on coming put no turn off.
pub(super) struct Turns {
    state: Mutex<State>,
    rest: u32,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// When the next one is, where one is needed.
    due: Option<Instant>,
    /// No turn before.
    rested_at: Option<Instant>,
}

impl Turns {
    pub(super) fn new(rest: u32) -> Self {
        Self { state: Mutex::default(), rest }
    }

    /// Waits for the next turn, which then has begun.
    pub(super) async fn wait(&self) {
        let mut at = self.due(super::now());
        loop {
            sleep_until(at.into()).await;
            match self.begin(super::now()) {
                None => return,
                Some(later) => at = later,
            }
        }
    }

    /// What began then has ended at `now`, whatever came of it.
    pub(super) fn end(&self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.lock().rested_at = now.checked_add(took.saturating_mul(self.rest));
    }

    /// The turn of whoever needs one at `now`.
    fn due(&self, now: Instant) -> Instant {
        let mut state = self.lock();
        let settled = now + SETTLE;
        let due =
            state.due.filter(|due| *due > now).unwrap_or_else(|| state.rested_at.map_or(settled, |at| at.max(settled)));
        state.due = Some(due);
        due
    }

    /// Takes the turn; where the last reading has ended since it was given out, it may be later.
    fn begin(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        state.due = state.rested_at.filter(|at| *at > now);
        state.due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn needs_in_a_row_have_one_turn_and_put_it_off_for_nobody() {
        let (turns, now) = (Turns::new(10), Instant::now());
        let first = turns.due(now);
        assert_eq!(first, now + SETTLE);
        for step in 1..10 {
            assert_eq!(turns.due(now + SETTLE / 10 * step), first);
        }
        assert_eq!(turns.begin(first), None);
        assert_eq!(turns.due(first), first + SETTLE);
    }

    #[test]
    fn a_reading_takes_a_tenth_of_the_time_at_most() {
        let (turns, now) = (Turns::new(10), Instant::now());
        turns.end(now, now + 3 * SECOND);
        assert_eq!(turns.due(now + 4 * SECOND), now + 33 * SECOND);
        let quick = Turns::new(10);
        quick.end(now, now + SECOND / 20);
        assert_eq!(quick.due(now + SECOND), now + SECOND + SETTLE);
    }

    #[test]
    fn a_turn_that_was_given_out_while_the_last_reading_went_on_is_later() {
        let (turns, now) = (Turns::new(10), Instant::now());
        let due = turns.due(now);
        turns.end(now, now + SECOND / 2);
        assert_eq!(turns.begin(due), Some(now + SECOND / 2 + 5 * SECOND));
        assert_eq!(turns.begin(now + SECOND / 2 + 5 * SECOND), None);
    }
}
