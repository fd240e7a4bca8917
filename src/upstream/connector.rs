//! A worker's way to an upstream, as that changes.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;

use super::{Upstream, view::View};
use crate::telemetry::metrics::WorkerMetrics;

/// One worker's way to one upstream.
pub struct Connector<B> {
    upstream: Arc<Upstream>,
    /// Where the upstream stands in the configuration.
    position: usize,
    metrics: Arc<WorkerMetrics>,
    view: ArcSwap<View<B>>,
}

impl<B: Send + 'static> Connector<B> {
    /// A way to `upstream`, which stands at `position` in the configuration; with no open connections yet.
    pub fn new(upstream: Arc<Upstream>, position: usize, metrics: Arc<WorkerMetrics>) -> Self {
        let view = ArcSwap::from_pointee(View::of(&upstream, &[], position, &metrics));
        Self { upstream, position, metrics, view }
    }

    /// The group it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
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
