//! How long an app server takes to answer, as one number for all workers.
//!
//! A peak-sensitive moving average: a slower answer counts at once and in full, a faster one little by little. What is not
//! heard of is forgotten with time, so that a server which was slow once is asked again.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::moment::{Moment, pack, unpack};

/// In this time half of what was known is forgotten. A server ten times slower than the others is asked about every half
/// minute; one that was slow for a moment is back within the same time.
const HALF_LIFE_MS: f32 = 7_000.0;

/// The average, and the last moment that counted. Two workers may write at once, and one of them is lost: it is an estimate.
///
/// Microseconds as `f32` above, the low half of the moment below: one atomic, so that the two belong together.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    /// An answer took so long.
    pub(super) fn observe(&self, took: Duration, now: Moment) {
        let sample = micros(took);
        let (average, weight) = self.faded(now);
        self.store(if sample >= average { sample } else { sample + (average - sample) * weight }, now);
    }

    /// There is no answer yet after this time. Less than what is known tells nothing.
    pub(super) fn observe_unanswered(&self, waited: Duration, now: Moment) {
        let (average, weight) = self.faded(now);
        if micros(waited) > average * weight {
            self.store(micros(waited), now);
        }
    }

    /// Microseconds that an answer may be expected to take; `None` where nothing is known.
    pub(super) fn expected_us(&self, now: Moment) -> Option<f32> {
        let (average, weight) = self.faded(now);
        (average > 0.0).then_some(average * weight)
    }

    /// What was stored, and how much of it counts still.
    fn faded(&self, now: Moment) -> (f32, f32) {
        let (average, elapsed_ms) = unpack(self.0.load(Relaxed), now);
        (average, (-(elapsed_ms as f32) / HALF_LIFE_MS).exp2())
    }

    fn store(&self, average: f32, now: Moment) {
        self.0.store(pack(average, now), Relaxed);
    }
}

fn micros(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    fn after(answers: &[(u64, u64)], now_ms: u64) -> Option<u32> {
        let latency = Latency::default();
        for (at_ms, took_ms) in answers {
            latency.observe(Duration::from_millis(*took_ms), Moment(*at_ms));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds are compared")]
        latency.expected_us(Moment(now_ms)).map(|micros| (micros / 1000.0).round() as u32)
    }

    #[test]
    fn nothing_is_known_before_the_first_answer() {
        assert_eq!(after(&[], SECOND), None);
    }

    #[test]
    fn a_slower_answer_counts_in_full_and_a_faster_one_little_by_little() {
        assert_eq!(after(&[(0, 10), (1, 500)], 1), Some(500));
        assert_eq!(after(&[(0, 500), (7 * SECOND, 100)], 7 * SECOND), Some(300));
        assert_eq!(after(&[(0, 500), (1, 100)], 1), Some(500));
    }

    #[test]
    fn many_fast_answers_within_a_millisecond_each_are_believed_in_the_end() {
        let answers: Vec<_> = std::iter::once((0, 500)).chain((1..70 * SECOND).map(|at| (at, 2))).collect();
        assert_eq!(after(&answers, 70 * SECOND), Some(2));
    }

    #[test]
    fn what_is_not_heard_of_is_forgotten() {
        assert_eq!(after(&[(0, 400)], 14 * SECOND), Some(100));
    }

    #[test]
    fn a_wait_counts_where_it_is_longer_than_what_is_known() {
        let latency = Latency::default();
        latency.observe(Duration::from_millis(50), Moment(0));
        latency.observe_unanswered(Duration::from_millis(20), Moment(0));
        assert_eq!(latency.expected_us(Moment(0)), Some(50_000.0));
        latency.observe_unanswered(Duration::from_secs(3), Moment(0));
        assert_eq!(latency.expected_us(Moment(0)), Some(3_000_000.0));
    }

    #[test]
    fn a_moment_that_another_worker_has_already_passed_is_now() {
        assert_eq!(after(&[(5, 80)], 3), Some(80));
        let wrap = u64::from(u32::MAX);
        assert_eq!(after(&[(wrap, 80)], wrap + 7 * SECOND), Some(40));
    }
}
