//! Every series of usher, in one place. Hot counters are per-worker atomics, added up when scraped.
//!
//! `series` is the list, with `upstreams` for app servers. Labels come from closed sets and from the configuration, so that no client can invent one.

mod acme;
mod histogram;
mod process;
mod series;
mod upstreams;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry};

use super::outcome::{AttemptOutcome, ConnectionLimit, EndpointReason, EndpointState};
pub use acme::AcmeCounts;
use process::Process;
pub use worker::{EndpointMetrics, WorkerMetrics};

/// The media type of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All series of the process; a cheap clone.
#[derive(Clone)]
pub struct Metrics {
    workers: Arc<Workers>,
    registry: Arc<Mutex<Registry>>,
}

/// What was counted at one app server since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// How often attempts ended in which way.
    pub attempts: Vec<(AttemptOutcome, u64)>,
    /// Connections opened for attempts.
    pub connections_opened: u64,
    /// Attempts on connections that were there already.
    pub connections_reused: u64,
    /// How often connections have reached which limit.
    pub connection_limits: Vec<(ConnectionLimit, u64)>,
}

/// An app server as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointGauges {
    /// Where its upstream stands in the configuration.
    pub upstream: usize,
    /// Its address.
    pub endpoint: Arc<str>,
    /// In which state it is.
    pub state: EndpointState,
    /// Why it is out of use, where it is.
    pub reason: Option<EndpointReason>,
    /// Requests running there.
    pub in_flight: usize,
    /// Connections that are open.
    pub connections: usize,
    /// What an answer may be expected to take; `None` where nothing is known.
    pub latency: Option<Duration>,
}

/// What the directory counts; all since the start but for the last seven, which are as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    /// Look-ups by how they ended.
    pub lookups: Vec<(&'static str, u64)>,
    /// Loads that found a tenant; refreshes are loads too, and many look-ups may wait for one.
    pub loads_found: u64,
    /// Loads that found nobody.
    pub loads_absent: u64,
    /// Loads that could not ask the database.
    pub loads_failed: u64,
    /// Queries sent for all of them; one can read for many loads.
    pub queries: u64,
    /// Tenants held.
    pub entries_found: u64,
    /// Absences held.
    pub entries_absent: u64,
    /// Loads under way.
    pub loads_in_flight: u64,
    /// Tenants held that are still to be compared with the database, after changes may have been missed.
    pub entries_unchecked: u64,
    /// Names in the tables, where all of them are known.
    pub names: u64,
    /// What they take.
    pub names_bytes: u64,
    /// Whether the database counts as away.
    pub is_away: bool,
}

/// What the feed of edits counts; all but the changes are as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Whether every edit is heard of.
    pub following: bool,
    /// How often that began since the start.
    pub follows: u64,
    /// Changes applied since the start: of a domain, a label, a tenant, and of everything.
    pub changes: [u64; 4],
    /// Since the last sign of life of the database; `None` where there was none yet.
    pub silence: Option<Duration>,
}

/// What the access log counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogCounts {
    /// Lines dropped since the start.
    pub dropped: u64,
}

/// What the buffers of bodies count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferCounts {
    /// Bytes held now.
    pub held: u64,
    /// Bodies that found no room since the start.
    pub refused: u64,
}

/// How it stands with the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateCounts {
    /// Certificates held now.
    pub held: u64,
    /// The Unix time at which the first of them ends to be valid.
    pub earliest_expiry: Option<Duration>,
    /// Changed files that could not be followed since the start.
    pub failures: u64,
    /// Looks into the database since the start.
    pub loads: u64,
    /// Those of them that failed.
    pub loads_failed: u64,
    /// What usher asks CAs for; `None` where it asks none.
    pub acme: Option<AcmeCounts>,
}

/// What the looks at custom domains have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainCounts {
    /// Looks that ended since the start, by what became of the proof of ownership.
    pub looks: Vec<(&'static str, u64)>,
    /// Those of them that came to no end in time.
    pub late: u64,
    /// How often a domain came into a state since the start.
    pub entered: Vec<(&'static str, u64)>,
    /// Looks in the air now.
    pub running: u64,
    /// How often as many were in the air as may be.
    pub full: u64,
}

impl Metrics {
    /// The registry with the series of workers and process in it. The names of the `upstreams` become labels; counters
    /// refer to them by their position.
    pub fn new(upstreams: Vec<String>) -> Self {
        let workers = Arc::new(Workers { upstreams, workers: Mutex::default() });
        let metrics = Self { workers: workers.clone(), registry: Arc::new(Mutex::new(Registry::with_prefix("usher"))) };
        metrics.register(move |encoder| series::workers(encoder, &workers.upstreams, &workers.lock()));
        let process = Process::starting();
        metrics.register(move |encoder| series::process(encoder, &process));
        metrics
    }

    /// A worker's own counters, to be asked for once per worker.
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::new(self.workers.upstreams.len()));
        self.workers.lock().push(worker.clone());
        worker
    }

    /// What all workers have counted at an app server of the upstream at this position in the configuration.
    pub fn endpoint(&self, upstream: usize, endpoint: &str) -> EndpointCounts {
        upstreams::endpoint(upstream, endpoint, &self.workers.lock())
    }

    /// Adds the series that tell how app servers are; `gauges` is called for each scrape. Once per process.
    pub fn register_endpoints(&self, gauges: impl Fn() -> Vec<EndpointGauges> + Send + Sync + 'static) {
        let workers = Arc::clone(&self.workers);
        self.register(move |encoder| upstreams::endpoints(encoder, &workers.upstreams, &gauges()));
    }

    /// Adds the series that tell how often names of app servers were resolved and how often that failed, by upstream in the order of
    /// the configuration; `counts` is called for each scrape. Once per process.
    pub fn register_resolutions(&self, counts: impl Fn() -> Vec<[u64; 2]> + Send + Sync + 'static) {
        let workers = Arc::clone(&self.workers);
        self.register(move |encoder| upstreams::resolutions(encoder, &workers.upstreams, &counts()));
    }

    /// Adds the directory's series; `counts` is called for each scrape. Once per process.
    pub fn register_directory(&self, counts: impl Fn() -> DirectoryCounts + Send + Sync + 'static) {
        self.register(move |encoder| series::directory(encoder, &counts()));
    }

    /// Adds the series of what is amiss while requests are served all the same, by reasons of a closed list; `reasons` is called for
    /// each scrape. Once per process.
    pub fn register_degradations(&self, reasons: impl Fn() -> Vec<&'static str> + Send + Sync + 'static) {
        self.register(move |encoder| series::degradations(encoder, &reasons()));
    }

    /// Adds the series of the feed; `counts` is called for each scrape. Once per process.
    pub fn register_feed(&self, counts: impl Fn() -> FeedCounts + Send + Sync + 'static) {
        self.register(move |encoder| series::feed(encoder, &counts()));
    }

    /// Adds the access log's series; `counts` is called for each scrape. Once per process.
    pub fn register_access_log(&self, counts: impl Fn() -> AccessLogCounts + Send + Sync + 'static) {
        self.register(move |encoder| series::access_log(encoder, &counts()));
    }

    /// Adds the series of the buffers; `counts` is called for each scrape. Once per process.
    pub fn register_buffers(&self, counts: impl Fn() -> BufferCounts + Send + Sync + 'static) {
        self.register(move |encoder| series::buffers(encoder, &counts()));
    }

    /// Adds the series of the certificates; `counts` is called for each scrape. Once per process.
    pub fn register_certificates(&self, counts: impl Fn() -> CertificateCounts + Send + Sync + 'static) {
        self.register(move |encoder| {
            let counts = counts();
            series::certificates(encoder, &counts)?;
            counts.acme.as_ref().map_or(Ok(()), |acme| acme::encode(encoder, acme))
        });
    }

    /// Adds the series of the looks at custom domains; `counts` is called for each scrape. Once per process.
    pub fn register_domains(&self, counts: impl Fn() -> DomainCounts + Send + Sync + 'static) {
        self.register(move |encoder| series::domains(encoder, &counts()));
    }

    /// The OpenMetrics text, of type [`CONTENT_TYPE`]. It reads `/proc` and is for the control runtime only.
    ///
    /// Fails where a series cannot be formatted, which would be a bug; half a text would be taken for the whole one.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut encoded = String::with_capacity(16 * 1024);
        text::encode(&mut encoded, &lock(&self.registry))?;
        Ok(encoded)
    }

    fn register(&self, write: impl Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static) {
        lock(&self.registry).register_collector(Box::new(Section(write)));
    }
}

/// The workers of the process and the names of what they count for.
struct Workers {
    upstreams: Vec<String>,
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<WorkerMetrics>>> {
        lock(&self.workers)
    }
}

/// Part of the list, written by a function.
struct Section<F>(F);

impl<F> fmt::Debug for Section<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Section")
    }
}

impl<F: Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static> Collector for Section<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut encoder)
    }
}

/// Both lists only grow, by whole entries: a panic elsewhere cannot have left them half changed.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
