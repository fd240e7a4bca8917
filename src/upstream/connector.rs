//! A worker's way to an upstream, as that changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{Upstream, view::View};
use crate::telemetry::metrics::WorkerMetrics;

/// Requests that a worker counts by itself before all workers hear of them: that count is one word, which would go from core to core
/// with each. With the built-in share these are three repetitions, by which the budget may lag behind for each other worker.
const EARNED_MAX: u32 = 16;

/// One worker's way to one upstream.
pub struct Connector<B> {
    upstream: Arc<Upstream>,
    /// Where the upstream stands in the configuration.
    position: usize,
    metrics: Arc<WorkerMetrics>,
    view: ArcSwap<View<B>>,
    /// Requests that were sent and have earned nothing yet.
    earned: AtomicU32,
}

impl<B: Send + 'static> Connector<B> {
    /// A way to `upstream`, which stands at `position` in the configuration; with no open connections yet.
    pub fn new(upstream: Arc<Upstream>, position: usize, metrics: Arc<WorkerMetrics>) -> Self {
        let view = ArcSwap::from_pointee(View::of(&upstream, &[], position, &metrics));
        Self { upstream, position, metrics, view, earned: AtomicU32::new(0) }
    }

    /// The group it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A request is sent for the first time, at `now`: it earns a part of a repetition.
    pub fn earn(&self, now: Instant) {
        if self.earned.fetch_add(1, Relaxed) + 1 >= EARNED_MAX {
            self.hand_in(now);
        }
    }

    /// Whether a request may be repeated at `now` that may have been processed; it has been paid for then.
    pub fn may_repeat(&self, now: Instant) -> bool {
        self.hand_in(now);
        self.upstream.may_repeat(now)
    }

    fn hand_in(&self, now: Instant) {
        self.upstream.earn(self.earned.swap(0, Relaxed), now);
    }

    /// The endpoints, as they were a second ago at most.
    pub fn view(&self) -> Arc<View<B>> {
        self.view.load_full()
    }

    /// The endpoints as they are now.
    pub fn newest(&self) -> Arc<View<B>> {
        self.follow();
        self.view()
    }

    /// Follows changes of the endpoints, and closes what has been unused for too long; called about once a second.
    pub fn sweep(&self, now: Instant) {
        self.follow();
        self.view.load().sweep(now);
    }

    fn follow(&self) {
        let view = self.view.load();
        if !view.is_current() {
            self.view.store(Arc::new(View::of(&self.upstream, view.seats(), self.position, &self.metrics)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{telemetry::metrics::Metrics, upstream::Settings};

    #[test]
    fn what_one_worker_has_earned_is_for_all_before_long_and_for_itself_at_once() {
        let upstream = Arc::new(Upstream::new(Settings { repeat_percent: 20, ..Settings::default() }).unwrap());
        let metrics = Metrics::new(vec!["default".into()]);
        let now = Instant::now();
        let [one, other] = [(); 2].map(|()| Connector::<()>::new(Arc::clone(&upstream), 0, metrics.worker()));
        let repeats = |worker: &Connector<()>| (0..100).filter(|_| worker.may_repeat(now)).count();
        assert_eq!(repeats(&other), 10, "what is there at the start");
        (1..EARNED_MAX).for_each(|_| one.earn(now));
        assert_eq!((repeats(&other), repeats(&one)), (0, 3));
        (0..EARNED_MAX).for_each(|_| one.earn(now));
        assert_eq!(repeats(&other), 3);
    }
}
