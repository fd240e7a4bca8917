//! For how long an app server has owed answers and given none. An average knows nothing of requests that nobody answers: a server
//! that has just stopped looks as quick as it was, and would be given dozens of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::moment::Moment;

/// The answers that are owed. Two workers may be seen in another order than they came: it is off by a request for a moment.
#[derive(Debug, Default)]
pub(super) struct Silence {
    owed: AtomicUsize,
    since: AtomicU64,
}

impl Silence {
    /// A request is on its way.
    pub(super) fn ask(&self, now: Moment) {
        if self.owed.fetch_add(1, Relaxed) == 0 {
            self.since.store(now.0, Relaxed);
        }
    }

    /// It was answered.
    pub(super) fn hear(&self, now: Moment) {
        self.owed.fetch_sub(1, Relaxed);
        self.since.store(now.0, Relaxed);
    }

    /// Nobody waits for its answer any more.
    pub(super) fn forget(&self) {
        self.owed.fetch_sub(1, Relaxed);
    }

    /// Milliseconds since the last answer, or since the first request after it; 0 where nothing is owed.
    pub(super) fn lasts_ms(&self, now: Moment) -> u64 {
        if self.owed.load(Relaxed) == 0 { 0 } else { now.0.saturating_sub(self.since.load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_request_and_anew_with_each_answer() {
        let silence = Silence::default();
        assert_eq!(silence.lasts_ms(Moment(500)), 0);
        silence.ask(Moment(500));
        silence.ask(Moment(700));
        assert_eq!(silence.lasts_ms(Moment(800)), 300);
        silence.hear(Moment(900));
        assert_eq!(silence.lasts_ms(Moment(950)), 50);
        silence.forget();
        assert_eq!(silence.lasts_ms(Moment(9000)), 0);
        silence.ask(Moment(9000));
        assert_eq!(silence.lasts_ms(Moment(9001)), 1);
    }
}
