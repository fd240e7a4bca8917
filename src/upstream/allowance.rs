//! How many endpoints of an upstream may be out of use at once: where most seem bad, it is rather something that they share.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the endpoints that are out.
#[derive(Debug)]
pub(super) struct Allowance {
    out: AtomicUsize,
    max: AtomicUsize,
    max_percent: usize,
}

impl Allowance {
    /// For a share of so many endpoints.
    pub(super) fn new(endpoints: usize, max_percent: usize) -> Self {
        let allowance = Self { out: AtomicUsize::new(0), max: AtomicUsize::new(0), max_percent };
        allowance.resize(endpoints, 0);
        allowance
    }

    /// There are so many endpoints from now on; for so many of them others stand by, so that all of these may be out. Those that are out
    /// stay out.
    pub(super) fn resize(&self, endpoints: usize, replaceable: usize) {
        let share = endpoints.saturating_sub(replaceable) * self.max_percent / 100;
        let max = if self.max_percent == 0 { 0 } else { replaceable + share };
        self.max.store(max, Relaxed);
    }

    /// Whether a further one may be out; it is counted then.
    pub(super) fn take(&self) -> bool {
        let max = self.max.load(Relaxed);
        self.out.fetch_update(Relaxed, Relaxed, |out| (out < max).then_some(out + 1)).is_ok()
    }

    /// One of them is back.
    pub(super) fn give_back(&self) {
        self.out.fetch_sub(1, Relaxed);
    }

    /// Whether none is out.
    pub(super) fn is_unused(&self) -> bool {
        self.out.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_share_is_out() {
        let taken = |endpoints, percent| {
            let allowance = Allowance::new(endpoints, percent);
            (0..endpoints).filter(|_| allowance.take()).count()
        };
        assert_eq!(
            [(1, 50), (2, 50), (3, 50), (5, 50), (5, 0), (5, 100)].map(|(n, p)| taken(n, p)),
            [0, 1, 1, 2, 0, 5]
        );
    }

    #[test]
    fn it_follows_the_number_of_endpoints() {
        let allowance = Allowance::new(0, 50);
        assert!(!allowance.take());
        allowance.resize(2, 0);
        assert!(allowance.take() && !allowance.take());
        allowance.resize(3, 2);
        assert!(allowance.take() && !allowance.take(), "the third one stands by");
    }

    #[test]
    fn who_comes_back_makes_room() {
        let allowance = Allowance::new(2, 50);
        assert!(allowance.is_unused() && allowance.take() && !allowance.take());
        allowance.give_back();
        assert!(allowance.is_unused() && allowance.take());
    }
}
