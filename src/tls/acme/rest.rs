//! When a CA is left alone: after it has asked for that, or did not answer.

/// Between two questions to a CA that does not answer, at first and at most. Everybody's orders wait for it, and it may be back at any
/// moment.
const FIRST_SECONDS: i64 = 15;
const MAX_SECONDS: i64 = 600;

/// However long a CA wants to be left alone, it is asked now and then: what it said may have been meant for less than it seemed.
const TOLD_MAX_SECONDS: i64 = 24 * 3600;

/// A CA's wish to be left alone. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    until: i64,
    silences: u32,
}

impl Rest {
    /// How long it is still to be left alone.
    pub(super) fn left(&self, now: i64) -> i64 {
        self.until.saturating_sub(now).max(0)
    }

    /// It has answered, whatever it said.
    pub(super) fn answered(&mut self) {
        self.silences = 0;
    }

    /// It has not answered.
    pub(super) fn silent(&mut self, now: i64) {
        // Orders that were under way together fail together, and count once.
        if self.left(now) > 0 {
            return;
        }
        let pause = FIRST_SECONDS.saturating_mul(1 << self.silences.min(10)).min(MAX_SECONDS);
        self.silences = self.silences.saturating_add(1);
        self.until = now.saturating_add(pause);
    }

    /// It wants to be left alone for so long.
    pub(super) fn told(&mut self, now: i64, seconds: i64) {
        self.until = self.until.max(now.saturating_add(seconds.min(TOLD_MAX_SECONDS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_met_with_ever_longer_rests_and_an_answer_ends_that() {
        let (mut rest, mut now, mut rests) = (Rest::default(), 0, Vec::new());
        for _ in 0..8 {
            rest.silent(now);
            rest.silent(now);
            rests.push(rest.left(now));
            now += rest.left(now);
        }
        assert_eq!(rests, [15, 30, 60, 120, 240, 480, 600, 600]);
        rest.answered();
        rest.silent(now);
        assert_eq!(rest.left(now), 15);
    }

    #[test]
    fn what_it_asks_for_is_kept_up_to_a_day() {
        let mut rest = Rest::default();
        rest.told(100, 120);
        assert_eq!((rest.left(100), rest.left(219), rest.left(220)), (120, 1, 0));
        rest.told(100, 30);
        assert_eq!(rest.left(100), 120);
        rest.told(100, i64::MAX);
        assert_eq!(rest.left(100), 24 * 3600);
    }
}
