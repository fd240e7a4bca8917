//! A histogram that one worker writes and a scrape reads; prometheus-client's own takes a lock for each observation.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds in microseconds, included in their bucket (`le`).
///
/// An answer from a cache in the app takes about 1 ms, a page with queries 10 to 300 ms, and a person notices from 100 ms
/// on: there the steps are close. Beyond 5 s only deadlines matter, of which 10, 30 and 60 s are the usual ones.
pub(super) const BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// The bounds, and one more bucket without a bound.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Durations counted in the buckets of [`BOUNDS_US`].
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }
}

/// What several histograms hold together.
#[derive(Debug, Default)]
pub(super) struct HistogramSum {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl HistogramSum {
    pub(super) fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut total = Self::default();
        for histogram in histograms {
            for (sum, bucket) in total.buckets.iter_mut().zip(&histogram.buckets) {
                *sum += bucket.load(Relaxed);
            }
            total.sum_us = total.sum_us.wrapping_add(histogram.sum_us.load(Relaxed));
        }
        total
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        seconds(self.sum_us)
    }

    /// Upper bound in seconds and number of observations, not cumulative: the encoder adds them up.
    pub(super) fn buckets(&self) -> [(f64, u64); BUCKETS] {
        std::array::from_fn(|i| (BOUNDS_US.get(i).map_or(f64::INFINITY, |bound| seconds(*bound)), self.buckets[i]))
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds, which are 285 years")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bound() {
        let histogram = Histogram::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let sum = HistogramSum::of([&histogram].into_iter());
        let filled = sum.buckets().into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        assert_eq!(filled, [(0.0005, 2), (0.001, 1), (60.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(sum.count(), 5);
    }

    #[test]
    fn the_sum_is_over_all_histograms() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_millis(1500));
        two.observe(Duration::from_millis(250));
        let sum = HistogramSum::of([&one, &two].into_iter());
        assert_eq!((sum.count(), sum.seconds()), (2, 1.75));
    }

    #[test]
    fn the_bounds_ascend() {
        assert!(BOUNDS_US.is_sorted_by(|a, b| a < b));
    }
}
