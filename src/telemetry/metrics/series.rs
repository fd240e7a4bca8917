//! Every series of usher but those of app servers (`upstreams`): its name, what it says, and the question it is there to answer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{
    AccessLogCounts, BufferCounts, CertificateCounts, DirectoryCounts, DomainCounts, FeedCounts,
    histogram::HistogramSum,
    process::Process,
    upstreams,
    worker::{STATUS_CLASSES, WorkerMetrics},
};
use crate::telemetry::outcome::{HandshakeFailure, Limit, Outcome, ProxyHeaderRefusal, TlsVersion};

/// Writes the series of all workers, added up.
pub(super) fn workers(
    encoder: &mut DescriptorEncoder<'_>,
    names: &[String],
    workers: &[Arc<WorkerMetrics>],
) -> fmt::Result {
    let sum = |counter: fn(&WorkerMetrics) -> &AtomicU64| total(workers.iter().map(|worker| counter(worker)));
    requests(encoder, workers)?;
    upstreams::counts(encoder, names, workers)?;
    // Does a row name an upstream that was removed, or never was?
    let help = "Requests of stores whose row names an upstream that does not exist";
    counter(encoder, "unknown_upstream_requests", help, sum(|worker| &worker.unknown_upstreams))?;

    // Accepted before counted as ended, so the ended are read first: their difference is never negative.
    let closed = sum(|worker| &worker.connections_closed);
    let opened = sum(|worker| &worker.connections_opened);
    // How close is the ceiling on connections?
    gauge(encoder, "connections", "Client connections open", None, opened.saturating_sub(closed))?;
    // Do clients keep their connections? Compare with the requests.
    counter(encoder, "connections_accepted", "Client connections accepted", opened)?;
    let closed = sum(|worker| &worker.tunnels_closed);
    let opened = sum(|worker| &worker.tunnels_opened);
    // How many clients will have to come back when the process is replaced?
    gauge(encoder, "tunnels", "WebSockets open", None, opened.saturating_sub(closed))?;
    counter(encoder, "tunnels_opened", "WebSockets opened", opened)?;
    // Is the process out of descriptors?
    counter(encoder, "accept_errors", "Failed attempts to accept a connection", sum(|worker| &worker.accept_errors))?;
    proxy_headers(encoder, workers)?;
    handshakes(encoder, workers)?;
    limits(encoder, workers)
}

fn handshakes(encoder: &mut DescriptorEncoder<'_>, workers: &[Arc<WorkerMetrics>]) -> fmt::Result {
    // Do clients come back with their sessions? A full handshake costs ten times as much.
    let mut handshakes = family(encoder, "tls_handshakes", "Handshakes of TLS that succeeded", MetricType::Counter)?;
    for version in TlsVersion::ALL {
        let full = total(workers.iter().map(|worker| &worker.handshakes_full[version as usize]));
        labelled(&mut handshakes, &[("version", version.as_str()), ("resumed", "false")], full)?;
        let resumed = total(workers.iter().map(|worker| &worker.handshakes_resumed[version as usize]));
        labelled(&mut handshakes, &[("version", version.as_str()), ("resumed", "true")], resumed)?;
    }
    // Is a certificate missing or not trusted, or is somebody trying names?
    let mut failures = family(encoder, "tls_handshake_failures", "Handshakes of TLS that failed", MetricType::Counter)?;
    for failure in HandshakeFailure::ALL {
        let count = total(workers.iter().map(|worker| &worker.handshakes_failed[failure as usize]));
        labelled(&mut failures, &[("reason", failure.as_str())], count)?;
    }
    Ok(())
}

fn limits(encoder: &mut DescriptorEncoder<'_>, workers: &[Arc<WorkerMetrics>]) -> fmt::Result {
    // Is somebody attacking, or is a limit too narrow for honest clients?
    let mut limits = family(encoder, "limits", "Limits reached by clients", MetricType::Counter)?;
    for limit in Limit::ALL {
        let count = total(workers.iter().map(|worker| &worker.limits[limit as usize]));
        labelled(&mut limits, &[("limit", limit.as_str())], count)?;
    }
    Ok(())
}

fn proxy_headers(encoder: &mut DescriptorEncoder<'_>, workers: &[Arc<WorkerMetrics>]) -> fmt::Result {
    // Do the proxies in front send the PROXY headers that were agreed on?
    let help = "Connections closed for the lack of a good PROXY header";
    let mut refused = family(encoder, "proxy_headers_refused", help, MetricType::Counter)?;
    for refusal in ProxyHeaderRefusal::ALL {
        let count = total(workers.iter().map(|worker| &worker.proxy_headers_refused[refusal as usize]));
        labelled(&mut refused, &[("reason", refusal.as_str())], count)?;
    }
    Ok(())
}

fn requests(encoder: &mut DescriptorEncoder<'_>, workers: &[Arc<WorkerMetrics>]) -> fmt::Result {
    // How much is served, how much of it fails, and in which phase?
    let mut requests = family(encoder, "requests", "Exchanges ended", MetricType::Counter)?;
    for outcome in Outcome::ALL {
        for (class, status_class) in STATUS_CLASSES.iter().enumerate() {
            let count = total(workers.iter().map(|worker| &worker.requests[outcome as usize][class]));
            // Most pairs cannot happen (a redirect with 5xx); a series starts with its first count.
            if count > 0 {
                labelled(&mut requests, &[("outcome", outcome.as_str()), ("status_class", *status_class)], count)?;
            }
        }
    }
    // How long do clients wait, from the complete head to the last byte?
    let durations = HistogramSum::of(workers.iter().map(|worker| &worker.request_duration));
    let help = "From the complete request head to the last byte of the response";
    let unit = Unit::Seconds;
    let mut encoder = encoder.encode_descriptor("request_duration", help, Some(&unit), MetricType::Histogram)?;
    histogram(&mut encoder, &durations)
}

/// Writes the series of the directory.
pub(super) fn directory(encoder: &mut DescriptorEncoder<'_>, counts: &DirectoryCounts) -> fmt::Result {
    // Does the cache hold the tenants that are asked for, and what do requests for the others get?
    let mut lookups = family(encoder, "directory_lookups", "Look-ups of tenants", MetricType::Counter)?;
    for &(outcome, count) in &counts.lookups {
        labelled(&mut lookups, &[("outcome", outcome)], count)?;
    }
    // What does the database have to do, and can it?
    let mut loads = family(encoder, "directory_loads", "Tenant keys asked for", MetricType::Counter)?;
    let counts_by_outcome =
        [("found", counts.loads_found), ("absent", counts.loads_absent), ("failed", counts.loads_failed)];
    for (outcome, count) in counts_by_outcome {
        labelled(&mut loads, &[("outcome", outcome)], count)?;
    }
    counter(encoder, "directory_queries", "Queries sent for them", counts.queries)?;
    // How full are the caches? A full cache of absences is a flood of unknown hosts.
    let mut entries = family(encoder, "directory_entries", "Entries held", MetricType::Gauge)?;
    for (kind, held) in [("found", counts.entries_found), ("absent", counts.entries_absent)] {
        entries.encode_family(&[("kind", kind)])?.encode_gauge(&held)?;
    }
    // Are strangers' names turned away without a query? 0 while the names are being read, or are too many.
    gauge(encoder, "directory_names", "Names in the tables, all of which are known", None, counts.names)?;
    gauge(encoder, "directory_names_memory", "Memory of these", Some(Unit::Bytes), counts.names_bytes)?;
    // Is what is held compared already, after changes may have been missed?
    gauge(encoder, "directory_entries_unchecked", "Entries still to be compared", None, counts.entries_unchecked)?;
    // Is the database keeping up, and is it there at all?
    gauge(encoder, "directory_loads_in_flight", "Tenant keys asked for now", None, counts.loads_in_flight)?;
    gauge(encoder, "directory_database_away", "1 while the database does not answer", None, u32::from(counts.is_away))
}

/// Writes the series of what is amiss.
pub(super) fn degradations(encoder: &mut DescriptorEncoder<'_>, reasons: &[&'static str]) -> fmt::Result {
    // Is something amiss that takes no instance out of service, such as a start from a snapshot, without the database?
    let help = "1 for each reason for which /ready says degraded";
    let mut degraded = family(encoder, "degraded", help, MetricType::Gauge)?;
    reasons.iter().try_for_each(|reason| degraded.encode_family(&[("reason", *reason)])?.encode_gauge(&1_u32))
}

/// Writes the series of the feed.
pub(super) fn feed(encoder: &mut DescriptorEncoder<'_>, counts: &FeedCounts) -> fmt::Result {
    // Does an edit show at once, or only when what is held is no longer fresh?
    let help = "Whether every edit in the database is heard of";
    gauge(encoder, "directory_following", help, None, u64::from(counts.following))?;
    // Does it break again and again? Everything that is held is read anew each time.
    counter(encoder, "directory_follows", "How often following the edits began", counts.follows)?;
    // What do edits cost? A change of everything is a bulk edit.
    let mut changes = family(encoder, "directory_changes", "Edits applied", MetricType::Counter)?;
    for (kind, count) in ["domain", "label", "tenant", "everything"].into_iter().zip(counts.changes) {
        labelled(&mut changes, &[("kind", kind)], count)?;
    }
    // Is the database silent?
    let Some(silence) = counts.silence else { return Ok(()) };
    let help = "Since the last sign of life of the database";
    gauge(encoder, "directory_silence", help, Some(Unit::Seconds), silence.as_secs_f64())
}

/// Writes the series of the access log.
pub(super) fn access_log(encoder: &mut DescriptorEncoder<'_>, counts: &AccessLogCounts) -> fmt::Result {
    // Is the access log complete?
    counter(encoder, "access_log_dropped_lines", "Access log lines that could not be written", counts.dropped)
}

/// Writes the series of the buffers.
pub(super) fn buffers(encoder: &mut DescriptorEncoder<'_>, counts: &BufferCounts) -> fmt::Result {
    // How much do slow clients take, and how far is that from buffers_max?
    gauge(encoder, "buffers_held", "Bodies held for a slower side", Some(Unit::Bytes), counts.held)?;
    // Do slow clients hold app workers again, since there is no room?
    counter(encoder, "buffers_refused", "Bodies passed on unbuffered for lack of room", counts.refused)
}

/// Writes the series of the certificates.
pub(super) fn certificates(encoder: &mut DescriptorEncoder<'_>, counts: &CertificateCounts) -> fmt::Result {
    gauge(encoder, "tls_certificates", "Certificates from files", None, counts.held)?;
    // Will a certificate run out over the weekend?
    if let Some(expiry) = counts.earliest_expiry {
        let help = "When the first certificate ends to be valid, since the Unix epoch";
        gauge(encoder, "tls_certificate_earliest_expiry", help, Some(Unit::Seconds), expiry.as_secs_f64())?;
    }
    // Can the certificates in the database be had? A failure is the database, a damaged row or a missing key.
    let mut loads =
        family(encoder, "tls_certificate_loads", "Certificates looked for in the database", MetricType::Counter)?;
    labelled(&mut loads, &[("outcome", "answered")], counts.loads.saturating_sub(counts.loads_failed))?;
    labelled(&mut loads, &[("outcome", "failed")], counts.loads_failed)?;
    // Has somebody put files in place that cannot be used?
    counter(
        encoder,
        "tls_certificate_reload_failures",
        "Changed certificate files that were not taken",
        counts.failures,
    )
}

/// Writes the series of the looks at custom domains.
pub(super) fn domains(encoder: &mut DescriptorEncoder<'_>, counts: &DomainCounts) -> fmt::Result {
    // Do customers get it right, and can the DNS be asked?
    let mut looks = family(encoder, "domain_looks", "Looks at custom domains that ended", MetricType::Counter)?;
    for (proof, count) in &counts.looks {
        labelled(&mut looks, &[("proof", *proof)], *count)?;
    }
    counter(encoder, "domain_looks_late", "Looks that came to no end in time", counts.late)?;
    // Are domains being lost?
    let mut changes = family(encoder, "domain_changes", "Custom domains that came into a state", MetricType::Counter)?;
    for (state, count) in &counts.entered {
        labelled(&mut changes, &[("state", *state)], *count)?;
    }
    // Does checks_max make customers wait?
    gauge(encoder, "domain_looks_in_flight", "Looks in the air", None, counts.running)?;
    counter(encoder, "domain_looks_full", "How often as many were in the air as may be", counts.full)
}

/// Writes the series of the process. On systems without `/proc` the last two are left out.
pub(super) fn process(encoder: &mut DescriptorEncoder<'_>, process: &Process) -> fmt::Result {
    // Which version is it that behaves like this?
    let mut build = family(encoder, "build", "The running version", MetricType::Info)?;
    build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
    // Was it restarted?
    let help = "Start of the process since the Unix epoch";
    gauge(encoder, "process_start_time", help, Some(Unit::Seconds), process.started.as_secs_f64())?;
    // Does memory grow?
    if let Some(bytes) = process.resident_bytes() {
        gauge(encoder, "process_resident_memory", "Resident memory", Some(Unit::Bytes), bytes)?;
    }
    // Do descriptors leak, and how close is their limit?
    match process.open_fds() {
        Some(open) => gauge(encoder, "process_open_fds", "Open file descriptors", None, open),
        None => Ok(()),
    }
}

pub(super) fn total<'a>(counters: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    counters.map(|counter| counter.load(Relaxed)).sum()
}

pub(super) fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

pub(super) fn labelled<S: EncodeLabelSet>(family: &mut MetricEncoder<'_>, labels: &S, count: u64) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
}

pub(super) fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let mut encoder = family(encoder, name, help, MetricType::Counter)?;
    encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
}

pub(super) fn histogram(encoder: &mut MetricEncoder<'_>, sum: &HistogramSum) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(sum.seconds(), sum.count(), &sum.buckets(), None)
}
