//! What parts that know nothing of metrics have counted, under the names that the metrics give it.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use crate::{
    directory::{Directory, Event, FeedStats},
    domains::{State, Verifier},
    lifecycle::Readiness,
    proxy::Buffers,
    telemetry::{
        access_log::AccessLog,
        metrics::{
            AccessLogCounts, AcmeCounts, BufferCounts, CertificateCounts, DirectoryCounts, DomainCounts,
            EndpointGauges, FeedCounts, Metrics,
        },
    },
    tls::{Certificates, Issuer, StandingCounts, Vault},
    upstream::{Endpoint, Upstream},
};

/// Makes the series of directory, access log, buffers and certificates readable for a scrape.
pub(super) fn register(
    metrics: &Metrics,
    directory: &Directory,
    access_log: &AccessLog,
    buffers: &Arc<Buffers>,
    certificates: &Arc<Certificates>,
    vault: Option<Vault>,
    issuer: Option<Issuer>,
) {
    let directory = directory.clone();
    metrics.register_directory(move || directory_counts(&directory));
    let dropped = access_log.dropped_counter();
    metrics.register_access_log(move || AccessLogCounts { dropped: dropped() });
    let buffers = Arc::clone(buffers);
    metrics.register_buffers(move || BufferCounts { held: buffers.held() as u64, refused: buffers.refusals() });
    let certificates = Arc::clone(certificates);
    metrics.register_certificates(move || certificate_counts(&certificates, vault.as_ref(), issuer.as_ref()));
}

fn certificate_counts(
    certificates: &Certificates,
    vault: Option<&Vault>,
    issuer: Option<&Issuer>,
) -> CertificateCounts {
    let (loads, loads_failed) = vault.map(Vault::loads).unwrap_or_default();
    let counts = certificates.counts();
    CertificateCounts {
        held: counts.held as u64,
        earliest_expiry: counts.earliest_expiry.map(|expiry| expiry.duration_since(UNIX_EPOCH).unwrap_or_default()),
        failures: counts.failures,
        loads,
        loads_failed,
        acme: issuer.map(acme_counts),
    }
}

fn acme_counts(issuer: &Issuer) -> AcmeCounts {
    let StandingCounts { waiting, failing, earliest_expiry, is_limited } = issuer.standing();
    AcmeCounts {
        orders: issuer.outcomes(),
        answered: issuer.answered(),
        full: issuer.full(),
        names: std::iter::once(("waiting", waiting)).chain(failing).collect(),
        earliest_expiry: earliest_expiry.map(|expiry| Duration::from_secs(expiry.unsigned_abs())),
        is_limited,
    }
}

/// The names that the counters of `upstreams` go by.
pub(super) fn names(upstreams: &[Arc<Upstream>]) -> Vec<String> {
    upstreams.iter().map(|upstream| upstream.settings.name.clone()).collect()
}

/// Makes the state of app servers readable for a scrape, and how often their names were resolved.
pub(super) fn register_endpoints(metrics: &Metrics, upstreams: &[Arc<Upstream>]) {
    let groups = upstreams.to_vec();
    metrics.register_endpoints(move || {
        let now = Instant::now();
        groups.iter().enumerate().flat_map(|(upstream, group)| gauges(upstream, group, now)).collect()
    });
    let groups = upstreams.to_vec();
    metrics.register_resolutions(move || groups.iter().map(|upstream| upstream.resolutions()).collect());
}

fn gauges(upstream: usize, group: &Upstream, now: Instant) -> Vec<EndpointGauges> {
    let gauges = |endpoint: &Arc<Endpoint>| {
        let snapshot = endpoint.snapshot(now);
        EndpointGauges {
            upstream,
            endpoint: Arc::clone(endpoint.label()),
            state: snapshot.state,
            reason: snapshot.reason,
            in_flight: snapshot.in_flight,
            connections: snapshot.connections,
            latency: snapshot.latency,
        }
    };
    group.members().endpoints().iter().map(gauges).collect()
}

fn directory_counts(directory: &Directory) -> DirectoryCounts {
    let events = directory.stats().snapshot();
    let held = directory.held();
    let (names, names_bytes) = held.names.unwrap_or_default();
    DirectoryCounts {
        lookups: events.lookups().collect(),
        loads_found: events.count(Event::LoadFound),
        loads_absent: events.count(Event::LoadAbsent),
        loads_failed: events.count(Event::LoadFailed),
        queries: events.count(Event::Queried),
        entries_found: held.found,
        entries_absent: held.absent,
        loads_in_flight: held.loads as u64,
        entries_unchecked: held.unchecked as u64,
        names: names as u64,
        names_bytes: names_bytes as u64,
        is_away: held.is_away,
    }
}

/// Makes it readable for a scrape what is amiss.
pub(super) fn register_readiness(metrics: &Metrics, readiness: &Readiness) {
    let readiness = readiness.clone();
    metrics.register_degradations(move || readiness.degradations());
}

/// Makes the series of the feed readable for a scrape.
pub(super) fn register_feed(metrics: &Metrics, feed: Arc<FeedStats>) {
    metrics.register_feed(move || FeedCounts {
        following: feed.is_following(),
        follows: feed.follows(),
        changes: feed.changes(),
        silence: feed.silence(),
    });
}

/// Makes the series of the looks at custom domains readable for a scrape, where there are any.
pub(super) fn register_domains(metrics: &Metrics, verifier: Option<&Verifier>) {
    let Some(verifier) = verifier else { return };
    let counts = verifier.counts();
    metrics.register_domains(move || {
        let (looks, late) = counts.looks();
        DomainCounts {
            looks: ["present", "absent", "unknown"].into_iter().zip(looks).collect(),
            late,
            entered: State::ALL.iter().map(|state| state.as_str()).zip(counts.entered()).collect(),
            running: counts.running(),
            full: counts.full(),
        }
    });
}
