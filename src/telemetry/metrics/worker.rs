//! What one worker counts. One thread writes and a scrape reads, so a relaxed add on a line of its own is all it costs.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::histogram::Histogram;
use crate::telemetry::outcome::{
    AttemptOutcome, ConnectionLimit, HandshakeFailure, Limit, Outcome, ProxyHeaderRefusal, QueueOutcome, TlsVersion,
};

/// Values of the label `status_class`; what was never sent, or is no status, is `none`.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One worker's counters.
///
/// Aligned to two cache lines, since processors fetch lines in pairs: no worker slows another down by counting.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    pub(super) requests: [[AtomicU64; STATUS_CLASSES.len()]; Outcome::ALL.len()],
    pub(super) request_duration: Histogram,
    pub(super) upstreams: Box<[UpstreamMetrics]>,
    pub(super) unknown_upstreams: AtomicU64,
    pub(super) connections_opened: AtomicU64,
    pub(super) connections_closed: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) tunnels_opened: AtomicU64,
    pub(super) tunnels_closed: AtomicU64,
    pub(super) limits: [AtomicU64; Limit::ALL.len()],
    pub(super) proxy_headers_refused: [AtomicU64; ProxyHeaderRefusal::ALL.len()],
    pub(super) handshakes_full: [AtomicU64; TlsVersion::ALL.len()],
    pub(super) handshakes_resumed: [AtomicU64; TlsVersion::ALL.len()],
    pub(super) handshakes_failed: [AtomicU64; HandshakeFailure::ALL.len()],
}

/// One worker's counters of one upstream; in a box of their own, hence aligned once more.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UpstreamMetrics {
    pub(super) head: Histogram,
    pub(super) repeats: AtomicU64,
    pub(super) repeats_refused: AtomicU64,
    pub(super) queued: [AtomicU64; QueueOutcome::ALL.len()],
    /// Of those app servers that the worker has. Locked when one comes, and by a scrape.
    endpoints: Mutex<Vec<(Arc<str>, Weak<EndpointMetrics>)>>,
}

impl UpstreamMetrics {
    /// The counters of the app servers that there are, with their labels.
    pub(super) fn endpoints(&self) -> Vec<(Arc<str>, Arc<EndpointMetrics>)> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|(_, counts)| counts.strong_count() > 0);
        endpoints.iter().filter_map(|(label, counts)| Some((Arc::clone(label), counts.upgrade()?))).collect()
    }

    fn endpoint(&self, label: &Arc<str>) -> Arc<EndpointMetrics> {
        let counts = Arc::<EndpointMetrics>::default();
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.push((Arc::clone(label), Arc::downgrade(&counts)));
        counts
    }
}

/// The same of one app server.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointMetrics {
    pub(super) attempts: [AtomicU64; AttemptOutcome::ALL.len()],
    pub(super) connections_opened: AtomicU64,
    pub(super) connections_reused: AtomicU64,
    pub(super) connection_limits: [AtomicU64; ConnectionLimit::ALL.len()],
}

impl EndpointMetrics {
    /// A limit on connections to it was reached.
    pub fn connection_limit(&self, limit: ConnectionLimit) {
        self.connection_limits[limit as usize].fetch_add(1, Relaxed);
    }

    /// How often that was so.
    pub fn connection_limits(&self, limit: ConnectionLimit) -> u64 {
        self.connection_limits[limit as usize].load(Relaxed)
    }

    /// One attempt at the app server ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.attempts[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A connection to it was opened (`reused` false) or taken from the pool (true).
    pub fn connection(&self, reused: bool) {
        let counter = if reused { &self.connections_reused } else { &self.connections_opened };
        counter.fetch_add(1, Relaxed);
    }
}

impl WorkerMetrics {
    /// For so many upstreams.
    pub(super) fn new(upstreams: usize) -> Self {
        Self {
            requests: Default::default(),
            request_duration: Histogram::default(),
            upstreams: (0..upstreams).map(|_| UpstreamMetrics::default()).collect(),
            unknown_upstreams: AtomicU64::new(0),
            connections_opened: AtomicU64::new(0),
            connections_closed: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            tunnels_opened: AtomicU64::new(0),
            tunnels_closed: AtomicU64::new(0),
            limits: Default::default(),
            proxy_headers_refused: Default::default(),
            handshakes_full: Default::default(),
            handshakes_resumed: Default::default(),
            handshakes_failed: Default::default(),
        }
    }

    /// One exchange ended. `status` is 0 where nothing was sent.
    pub fn exchange(&self, outcome: Outcome, status: u16, duration: Duration) {
        self.requests[outcome as usize][status_class(status)].fetch_add(1, Relaxed);
        self.request_duration.observe(duration);
    }

    /// The counters of an app server of `upstream` (its position in the configuration). They are shown for as long as they are held.
    pub fn endpoint(&self, upstream: usize, label: &Arc<str>) -> Arc<EndpointMetrics> {
        self.upstreams.get(upstream).map_or_else(Arc::default, |metrics| metrics.endpoint(label))
    }

    /// A response head came from `upstream` (its position in the configuration) after `waited`.
    pub fn upstream_head(&self, upstream: usize, waited: Duration) {
        if let Some(metrics) = self.upstreams.get(upstream) {
            metrics.head.observe(waited);
        }
    }

    /// A request to `upstream` was sent again that may have been processed (`is_paid`), or was not since the budget was spent.
    pub fn repeat(&self, upstream: usize, is_paid: bool) {
        self.with_upstream(upstream, |metrics| match is_paid {
            true => &metrics.repeats,
            false => &metrics.repeats_refused,
        });
    }

    /// A request to `upstream` had to wait for a place at an app server.
    pub fn queued(&self, upstream: usize, outcome: QueueOutcome) {
        self.with_upstream(upstream, |metrics| &metrics.queued[outcome as usize]);
    }

    /// The row of a request's store names an upstream that does not exist.
    pub fn unknown_upstream(&self) {
        self.unknown_upstreams.fetch_add(1, Relaxed);
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.connections_opened.fetch_add(1, Relaxed);
    }

    /// A client connection ended.
    pub fn connection_closed(&self) {
        self.connections_closed.fetch_add(1, Relaxed);
    }

    /// A tunnel was opened.
    pub fn tunnel_opened(&self) {
        self.tunnels_opened.fetch_add(1, Relaxed);
    }

    /// A tunnel ended.
    pub fn tunnel_closed(&self) {
        self.tunnels_closed.fetch_add(1, Relaxed);
    }

    /// A client has reached `limit`.
    pub fn limit(&self, limit: Limit) {
        self.limits[limit as usize].fetch_add(1, Relaxed);
    }

    /// `accept` failed (descriptors exhausted, or the client was gone already).
    pub fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    /// A connection was closed for the lack of a good PROXY header.
    pub fn proxy_header_refused(&self, refusal: ProxyHeaderRefusal) {
        self.proxy_headers_refused[refusal as usize].fetch_add(1, Relaxed);
    }

    /// A handshake of TLS is over; `is_resumed` where it went on with an earlier session.
    pub fn handshake(&self, version: TlsVersion, is_resumed: bool) {
        let counters = if is_resumed { &self.handshakes_resumed } else { &self.handshakes_full };
        counters[version as usize].fetch_add(1, Relaxed);
    }

    /// A handshake of TLS failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.handshakes_failed[failure as usize].fetch_add(1, Relaxed);
    }

    /// An upstream that was not announced to `Metrics::new` has no counters; counting must not end an exchange for it.
    fn with_upstream(&self, upstream: usize, counter: impl FnOnce(&UpstreamMetrics) -> &AtomicU64) {
        if let Some(metrics) = self.upstreams.get(upstream) {
            counter(metrics).fetch_add(1, Relaxed);
        }
    }
}

/// Index into [`STATUS_CLASSES`].
fn status_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_belongs_to_the_class_of_its_first_digit() {
        let named = |status| STATUS_CLASSES[status_class(status)];
        assert_eq!([0, 99, 100, 204, 308, 404, 599].map(named), ["none", "none", "1xx", "2xx", "3xx", "4xx", "5xx"]);
        assert_eq!([600, 999, u16::MAX].map(named), ["none"; 3]);
    }

    #[test]
    fn outcomes_index_their_own_place_in_the_list_of_all() {
        assert!(Outcome::ALL.iter().enumerate().all(|(place, outcome)| *outcome as usize == place));
        assert!(ProxyHeaderRefusal::ALL.iter().enumerate().all(|(place, refusal)| *refusal as usize == place));
        assert!(Limit::ALL.iter().enumerate().all(|(place, limit)| *limit as usize == place));
        assert!(HandshakeFailure::ALL.iter().enumerate().all(|(place, failure)| *failure as usize == place));
        assert!(TlsVersion::ALL.iter().enumerate().all(|(place, version)| *version as usize == place));
        assert!(ConnectionLimit::ALL.iter().enumerate().all(|(place, limit)| *limit as usize == place));
        assert!(AttemptOutcome::ALL.iter().enumerate().all(|(place, outcome)| *outcome as usize == place));
    }

    #[test]
    fn an_upstream_that_was_not_announced_is_not_counted_and_does_no_harm() {
        let metrics = WorkerMetrics::new(1);
        let counts = metrics.endpoint(1, &"a:1".into());
        counts.attempt(AttemptOutcome::Answered);
        metrics.upstream_head(1, Duration::from_millis(1));
        metrics.repeat(1, true);
        assert!(metrics.upstreams[0].endpoints().is_empty());
    }

    #[test]
    fn an_app_server_that_is_gone_is_not_shown() {
        let metrics = WorkerMetrics::new(1);
        let (kept, gone) = (metrics.endpoint(0, &"a:1".into()), metrics.endpoint(0, &"b:2".into()));
        kept.connection(true);
        drop(gone);
        let shown = metrics.upstreams[0].endpoints();
        assert_eq!((shown.len(), &*shown[0].0), (1, "a:1"));
        assert_eq!(shown[0].1.connections_reused.load(Relaxed), 1);
    }
}
