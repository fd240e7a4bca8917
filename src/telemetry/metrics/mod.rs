//! Every series of usher, in one place. Hot counters are per-worker atomics, summed when scraped.

use std::{sync::Arc, time::Duration};

use super::outcome::{AttemptOutcome, Outcome};

/// All series of the process; a cheap clone.
#[derive(Clone)]
pub struct Metrics {}

impl Metrics {
    /// The registry with every series in it.
    #[allow(clippy::new_without_default, reason = "one per process, made deliberately")]
    pub fn new() -> Self {
        todo!()
    }

    /// A worker's own counters.
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        todo!()
    }

    /// Adds series that another part counts itself (the directory, the access log); read when scraped.
    pub fn register(&self, collector: Box<dyn prometheus_client::collector::Collector>) {
        let _ = collector;
        todo!()
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> String {
        todo!()
    }
}

/// One worker's counters.
#[derive(Debug)]
pub struct WorkerMetrics {}

impl WorkerMetrics {
    /// One exchange ended. `status` is 0 where nothing was sent.
    pub fn exchange(&self, outcome: Outcome, status: u16, duration: Duration) {
        let _ = (outcome, status, duration);
        todo!()
    }

    /// One attempt against `upstream` (its position in the configuration) ended.
    pub fn attempt(&self, upstream: usize, outcome: AttemptOutcome) {
        let _ = (upstream, outcome);
        todo!()
    }

    /// A response head came from `upstream` after `waited`.
    pub fn upstream_head(&self, upstream: usize, waited: Duration) {
        let _ = (upstream, waited);
        todo!()
    }

    /// A connection to an app server of `upstream` was opened (`reused` false) or taken from the pool (true).
    pub fn upstream_connection(&self, upstream: usize, reused: bool) {
        let _ = (upstream, reused);
        todo!()
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        todo!()
    }

    /// A client connection ended.
    pub fn connection_closed(&self) {
        todo!()
    }

    /// `accept` failed (descriptors exhausted, or the client was gone already).
    pub fn accept_failed(&self) {
        todo!()
    }
}
