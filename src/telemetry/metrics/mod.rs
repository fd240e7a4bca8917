//! Every series of usher, in one place. Hot counters are per-worker atomics, added up when scraped.
//!
//! `series` is the list, with `upstreams` for app servers. Labels come from closed sets and from the configuration, so that no client can invent one.

mod acme;
mod histogram;
mod process;
mod series;
mod upstreams;
mod worker;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry};

use super::outcome::{AttemptOutcome, ConnectionLimit, EndpointState};
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
    /// Requests running there.
    pub in_flight: usize,
    /// Connections that are open.
    pub connections: usize,
    /// What an answer may be expected to take; `None` where nothing is known.
    pub latency: Option<Duration>,
}

/// What the directory counts; all since the start but for the last seven, which are as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    /// Answered by a worker's own first level.
    pub recent_hit: u64,
    /// Answered by the cache of tenants.
    pub found_hit: u64,
    /// Answered by the cache of absences.
    pub absent_hit: u64,
    /// Answered by an entry past its time, while a new load runs or because none was possible.
    pub stale: u64,
    /// Known to be absent by the list of all names.
    pub unlisted: u64,
    /// Waited for a load that found the tenant.
    pub loaded: u64,
    /// Waited for a load that found nobody.
    pub absent: u64,
    /// The load took longer than a request may wait.
    pub timeout: u64,
    /// Too many loads under way for another one.
    pub overloaded: u64,
    /// The database had not answered lately, and was not asked.
    pub away: u64,
    /// Waited for a load that could not ask the database.
    pub failed: u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::outcome::{HandshakeFailure, Outcome, ProxyHeaderRefusal, TlsVersion};

    fn metrics() -> Metrics {
        Metrics::new(vec!["default".into(), "admin".into()])
    }

    /// The value of a series as it stands in the text.
    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line[series.len() + 1..].parse().ok()
    }

    #[test]
    fn counts_of_all_workers_are_added_up() {
        let metrics = metrics();
        let workers = [metrics.worker(), metrics.worker()];
        let of = |worker: &WorkerMetrics, upstream, label: &str| worker.endpoint(upstream, &label.into());
        let counts =
            workers.each_ref().map(|worker| [of(worker, 1, "b:2"), of(worker, 0, "a:1"), of(worker, 0, "b:2")]);
        for (worker, [admin, default, _]) in workers.iter().zip(&counts) {
            worker.exchange(Outcome::Ok, 200, Duration::from_millis(2));
            admin.attempt(AttemptOutcome::Stale);
            worker.upstream_head(1, Duration::from_millis(70));
            default.connection(true);
            worker.accept_failed();
            worker.proxy_header_refused(ProxyHeaderRefusal::Late);
            worker.handshake(TlsVersion::Tls13, true);
            worker.handshake_failed(HandshakeFailure::UnknownName);
        }
        workers[1].exchange(Outcome::ClientGone, 0, Duration::from_secs(90));
        let text = metrics.encode().unwrap();
        for (series, expected) in [
            (r#"usher_requests_total{outcome="ok",status_class="2xx"}"#, 2.0),
            (r#"usher_requests_total{outcome="client_gone",status_class="none"}"#, 1.0),
            (r#"usher_request_duration_seconds_bucket{le="0.001"}"#, 0.0),
            (r#"usher_request_duration_seconds_bucket{le="0.0025"}"#, 2.0),
            (r#"usher_request_duration_seconds_bucket{le="60.0"}"#, 2.0),
            (r#"usher_request_duration_seconds_bucket{le="+Inf"}"#, 3.0),
            ("usher_request_duration_seconds_count", 3.0),
            ("usher_request_duration_seconds_sum", 90.004),
            (r#"usher_upstream_attempts_total{upstream="admin",endpoint="b:2",outcome="stale"}"#, 2.0),
            (r#"usher_upstream_attempts_total{upstream="default",endpoint="b:2",outcome="stale"}"#, 0.0),
            (r#"usher_upstream_head_seconds_bucket{le="0.1",upstream="admin"}"#, 2.0),
            (r#"usher_upstream_connections_total{upstream="default",endpoint="a:1",reused="true"}"#, 2.0),
            (r#"usher_upstream_connections_total{upstream="default",endpoint="a:1",reused="false"}"#, 0.0),
            ("usher_accept_errors_total", 2.0),
            (r#"usher_proxy_headers_refused_total{reason="late"}"#, 2.0),
            (r#"usher_proxy_headers_refused_total{reason="absent"}"#, 0.0),
            (r#"usher_tls_handshakes_total{version="1.3",resumed="true"}"#, 2.0),
            (r#"usher_tls_handshakes_total{version="1.3",resumed="false"}"#, 0.0),
            (r#"usher_tls_handshake_failures_total{reason="unknown_name"}"#, 2.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
        }
    }

    #[test]
    fn connections_open_are_those_accepted_less_those_ended() {
        let metrics = metrics();
        let (one, two) = (metrics.worker(), metrics.worker());
        one.connection_opened();
        one.connection_opened();
        two.connection_opened();
        two.connection_closed();
        let text = metrics.encode().unwrap();
        assert_eq!(value(&text, "usher_connections"), Some(2.0));
        assert_eq!(value(&text, "usher_connections_accepted_total"), Some(3.0));
    }

    #[test]
    fn what_others_count_is_asked_for_at_each_scrape() {
        let metrics = metrics();
        assert!(!metrics.encode().unwrap().contains("usher_directory"));
        metrics.register_directory(|| DirectoryCounts { overloaded: 7, entries_absent: 3, ..Default::default() });
        let silence = Some(Duration::from_millis(1500));
        metrics.register_feed(move || FeedCounts { following: true, follows: 2, changes: [1, 2, 3, 4], silence });
        metrics.register_access_log(|| AccessLogCounts { dropped: 11 });
        metrics.register_buffers(|| BufferCounts { held: 5, refused: 13 });
        let earliest_expiry = Some(Duration::from_secs(1_800_000_000));
        metrics.register_certificates(move || CertificateCounts {
            held: 2,
            earliest_expiry,
            failures: 17,
            loads: 23,
            loads_failed: 19,
            acme: Some(AcmeCounts {
                orders: vec![("issued", 29)],
                answered: 3,
                names: vec![("waiting", 4), ("astray", 5)],
                earliest_expiry: Some(Duration::from_secs(6)),
                is_limited: true,
            }),
        });
        metrics.register_domains(|| DomainCounts {
            looks: vec![("present", 31)],
            late: 37,
            entered: vec![("live", 41)],
            running: 43,
            full: 47,
        });
        let text = metrics.encode().unwrap();
        assert_eq!(value(&text, r#"usher_domain_looks_total{proof="present"}"#), Some(31.0));
        assert_eq!(value(&text, "usher_domain_looks_late_total"), Some(37.0));
        assert_eq!(value(&text, r#"usher_domain_changes_total{state="live"}"#), Some(41.0));
        assert_eq!(value(&text, "usher_domain_looks_in_flight"), Some(43.0));
        assert_eq!(value(&text, "usher_domain_looks_full_total"), Some(47.0));
        assert_eq!(value(&text, r#"usher_directory_lookups_total{outcome="overloaded"}"#), Some(7.0));
        assert_eq!(value(&text, r#"usher_directory_entries{kind="absent"}"#), Some(3.0));
        assert_eq!(value(&text, "usher_directory_loads_in_flight"), Some(0.0));
        assert_eq!(value(&text, "usher_directory_following"), Some(1.0));
        assert_eq!(value(&text, "usher_directory_follows_total"), Some(2.0));
        assert_eq!(value(&text, r#"usher_directory_changes_total{kind="tenant"}"#), Some(3.0));
        assert_eq!(value(&text, "usher_directory_silence_seconds"), Some(1.5));
        assert_eq!(value(&text, "usher_access_log_dropped_lines_total"), Some(11.0));
        assert_eq!(value(&text, "usher_buffers_held_bytes"), Some(5.0));
        assert_eq!(value(&text, "usher_buffers_refused_total"), Some(13.0));
        assert_eq!(value(&text, "usher_tls_certificates"), Some(2.0));
        assert_eq!(value(&text, "usher_tls_certificate_earliest_expiry_seconds"), Some(1.8e9));
        assert_eq!(value(&text, "usher_tls_certificate_reload_failures_total"), Some(17.0));
        assert_eq!(value(&text, r#"usher_tls_certificate_loads_total{outcome="answered"}"#), Some(4.0));
        assert_eq!(value(&text, r#"usher_tls_certificate_loads_total{outcome="failed"}"#), Some(19.0));
        assert_eq!(value(&text, r#"usher_acme_orders_total{outcome="issued"}"#), Some(29.0));
        assert_eq!(value(&text, "usher_acme_proofs_shown_total"), Some(3.0));
        assert_eq!(value(&text, r#"usher_acme_names{state="astray"}"#), Some(5.0));
        assert_eq!(value(&text, "usher_acme_earliest_expiry_seconds"), Some(6.0));
        assert_eq!(value(&text, "usher_acme_limited"), Some(1.0));
    }

    #[test]
    fn the_process_is_described() {
        let text = metrics().encode().unwrap();
        assert_eq!(
            value(&text, concat!(r#"usher_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#)),
            Some(1.0)
        );
        assert!(value(&text, "usher_process_start_time_seconds").unwrap() > 1.6e9);
        assert!(value(&text, "usher_process_resident_memory_bytes").unwrap() > 1e5);
        assert!(value(&text, "usher_process_open_fds").unwrap() >= 3.0);
    }

    #[test]
    fn every_family_is_declared_once_with_our_prefix_and_the_text_is_complete() {
        let metrics = metrics();
        metrics.register_directory(DirectoryCounts::default);
        metrics.register_feed(FeedCounts::default);
        metrics.register_access_log(AccessLogCounts::default);
        metrics.register_buffers(BufferCounts::default);
        metrics.register_certificates(CertificateCounts::default);
        metrics.register_domains(DomainCounts::default);
        let text = metrics.encode().unwrap();
        let mut families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect::<Vec<_>>();
        let declared = families.len();
        families.sort_unstable();
        families.dedup_by_key(|family| family.split(' ').next());
        assert_eq!(families.len(), declared, "{text}");
        assert!(families.iter().all(|family| family.starts_with("usher_")), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
