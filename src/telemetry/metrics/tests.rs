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
    let counts = workers.each_ref().map(|worker| [of(worker, 1, "b:2"), of(worker, 0, "a:1"), of(worker, 0, "b:2")]);
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
    metrics.register_directory(|| DirectoryCounts {
        lookups: vec![("overloaded", 7)],
        entries_absent: 3,
        ..Default::default()
    });
    metrics.register_degradations(|| vec!["database", "feed: not connected"]);
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
            full: 53,
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
    assert_eq!(value(&text, r#"usher_degraded{reason="feed: not connected"}"#), Some(1.0));
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
    assert_eq!(value(&text, "usher_acme_demands_full_total"), Some(53.0));
    assert_eq!(value(&text, r#"usher_acme_names{state="astray"}"#), Some(5.0));
    assert_eq!(value(&text, "usher_acme_earliest_expiry_seconds"), Some(6.0));
    assert_eq!(value(&text, "usher_acme_limited"), Some(1.0));
}

#[test]
fn the_process_is_described() {
    let text = metrics().encode().unwrap();
    assert_eq!(value(&text, concat!(r#"usher_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#)), Some(1.0));
    assert!(value(&text, "usher_process_start_time_seconds").unwrap() > 1.6e9);
    assert!(value(&text, "usher_process_resident_memory_bytes").unwrap() > 1e5);
    assert!(value(&text, "usher_process_open_fds").unwrap() >= 3.0);
}

#[test]
fn every_family_is_declared_once_with_our_prefix_and_the_text_is_complete() {
    let metrics = metrics();
    metrics.register_directory(DirectoryCounts::default);
    metrics.register_feed(FeedCounts::default);
    metrics.register_degradations(Vec::new);
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
