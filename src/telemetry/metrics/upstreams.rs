//! The series of upstreams and app servers: their names, what they say, and the question each is there to answer.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

use super::{
    EndpointCounts, EndpointGauges,
    histogram::HistogramSum,
    series::{family, histogram, labelled, total},
    worker::{EndpointMetrics, UpstreamMetrics, WorkerMetrics},
};
use crate::telemetry::outcome::{AttemptOutcome, ConnectionLimit, EndpointReason, EndpointState, QueueOutcome};

/// Writes what all workers have counted, added up.
pub(super) fn counts(
    encoder: &mut DescriptorEncoder<'_>,
    names: &[String],
    workers: &[Arc<WorkerMetrics>],
) -> fmt::Result {
    Upstreams { names, workers }.encode(encoder)
}

/// The upstreams with what each worker counted of them.
struct Upstreams<'a> {
    names: &'a [String],
    workers: &'a [Arc<WorkerMetrics>],
}

/// An app server, and what each worker counted there.
struct EndpointSum<'a> {
    upstream: &'a str,
    endpoint: Arc<str>,
    workers: Vec<Arc<EndpointMetrics>>,
}

impl EndpointSum<'_> {
    fn total(&self, counter: impl Fn(&EndpointMetrics) -> &AtomicU64) -> u64 {
        total(self.workers.iter().map(|worker| counter(worker)))
    }
}

impl<'a> Upstreams<'a> {
    fn iter(&self) -> impl Iterator<Item = (&'a str, impl Iterator<Item = &'a UpstreamMetrics> + Clone)> {
        let Self { names, workers } = *self;
        let of = move |index| workers.iter().filter_map(move |worker| worker.upstreams.get(index));
        names.iter().enumerate().map(move |(index, name)| (name.as_str(), of(index)))
    }

    /// The app servers that some worker has, upstream by upstream.
    fn endpoints(&self) -> Vec<EndpointSum<'a>> {
        let mut sums: Vec<EndpointSum<'a>> = Vec::new();
        for (upstream, workers) in self.iter() {
            let first = sums.len();
            for (label, counts) in workers.flat_map(UpstreamMetrics::endpoints) {
                match sums[first..].iter_mut().find(|sum| sum.endpoint == label) {
                    Some(sum) => sum.workers.push(counts),
                    None => sums.push(EndpointSum { upstream, endpoint: label, workers: vec![counts] }),
                }
            }
        }
        sums
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.attempts(encoder)?;
        self.repeats(encoder)?;
        self.queued(encoder)?;
        self.connections(encoder)?;
        self.connection_limits(encoder)?;
        self.heads(encoder)
    }

    fn attempts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Does the app answer at the first attempt, and if not, why not?
        let mut attempts = family(encoder, "upstream_attempts", "Attempts against app servers", MetricType::Counter)?;
        for sum in self.endpoints() {
            for outcome in AttemptOutcome::ALL {
                let count = sum.total(|metrics| &metrics.attempts[outcome as usize]);
                let labels = [("upstream", sum.upstream), ("endpoint", &*sum.endpoint), ("outcome", outcome.as_str())];
                labelled(&mut attempts, &labels, count)?;
            }
        }
        Ok(())
    }

    fn repeats(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // How much is done twice for the sake of app servers in trouble, and is the budget for it too small?
        let help = "Requests sent again that may have been processed, and those that were not for lack of budget";
        let mut repeats = family(encoder, "upstream_repeats", help, MetricType::Counter)?;
        for (upstream, workers) in self.iter() {
            let paid = total(workers.clone().map(|metrics| &metrics.repeats));
            labelled(&mut repeats, &[("upstream", upstream), ("allowed", "true")], paid)?;
            let refused = total(workers.map(|metrics| &metrics.repeats_refused));
            labelled(&mut repeats, &[("upstream", upstream), ("allowed", "false")], refused)?;
        }
        Ok(())
    }

    fn queued(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Are there too few app servers, or is requests_max too low?
        let help = "Requests that had to wait for a place at an app server";
        let mut queued = family(encoder, "upstream_queued", help, MetricType::Counter)?;
        for (upstream, workers) in self.iter() {
            for outcome in QueueOutcome::ALL {
                let count = total(workers.clone().map(|metrics| &metrics.queued[outcome as usize]));
                labelled(&mut queued, &[("upstream", upstream), ("outcome", outcome.as_str())], count)?;
            }
        }
        Ok(())
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Are app connections kept? A low share of reused ones costs a handshake per request.
        let help = "Connections to app servers taken for an attempt";
        let mut connections = family(encoder, "upstream_connections", help, MetricType::Counter)?;
        for sum in self.endpoints() {
            let labels = |reused| [("upstream", sum.upstream), ("endpoint", &*sum.endpoint), ("reused", reused)];
            labelled(&mut connections, &labels("false"), sum.total(|metrics| &metrics.connections_opened))?;
            labelled(&mut connections, &labels("true"), sum.total(|metrics| &metrics.connections_reused))?;
        }
        Ok(())
    }

    fn connection_limits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Do requests wait for connections, and why are connections opened anew?
        let help = "Limits reached by connections to app servers";
        let mut limits = family(encoder, "upstream_connection_limits", help, MetricType::Counter)?;
        for sum in self.endpoints() {
            for limit in ConnectionLimit::ALL {
                let count = sum.total(|metrics| &metrics.connection_limits[limit as usize]);
                let labels = [("upstream", sum.upstream), ("endpoint", &*sum.endpoint), ("limit", limit.as_str())];
                labelled(&mut limits, &labels, count)?;
            }
        }
        Ok(())
    }

    fn heads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Is it the app that is slow, or usher? Compare with the whole duration.
        let (help, unit) = ("From the attempt to the response head", Unit::Seconds);
        let mut heads = encoder.encode_descriptor("upstream_head", help, Some(&unit), MetricType::Histogram)?;
        for (upstream, workers) in self.iter() {
            let sum = HistogramSum::of(workers.map(|metrics| &metrics.head));
            histogram(&mut heads.encode_family(&[("upstream", upstream)])?, &sum)?;
        }
        Ok(())
    }
}

/// The sum of what `workers` have counted at one endpoint.
pub(super) fn endpoint(upstream: usize, label: &str, workers: &[Arc<WorkerMetrics>]) -> EndpointCounts {
    let upstreams = workers.iter().filter_map(|worker| worker.upstreams.get(upstream));
    let found = upstreams.flat_map(UpstreamMetrics::endpoints).filter(|(endpoint, _)| **endpoint == *label);
    let sum = EndpointSum { upstream: "", endpoint: label.into(), workers: found.map(|(_, counts)| counts).collect() };
    EndpointCounts {
        attempts: AttemptOutcome::ALL
            .map(|outcome| (outcome, sum.total(|metrics| &metrics.attempts[outcome as usize])))
            .to_vec(),
        connections_opened: sum.total(|metrics| &metrics.connections_opened),
        connections_reused: sum.total(|metrics| &metrics.connections_reused),
        connection_limits: ConnectionLimit::ALL
            .map(|limit| (limit, sum.total(|metrics| &metrics.connection_limits[limit as usize])))
            .to_vec(),
    }
}

/// Writes how the endpoints are now.
pub(super) fn endpoints(
    encoder: &mut DescriptorEncoder<'_>,
    upstreams: &[String],
    gauges: &[EndpointGauges],
) -> fmt::Result {
    let named = gauges.iter().filter_map(|gauges| {
        let upstream = upstreams.get(gauges.upstream)?;
        Some((upstream.as_str(), &*gauges.endpoint, gauges))
    });
    // Which app servers are out of use, since when, and why?
    let help = "The state of an app server and the reason for it, as the series with 1";
    let mut state = family(encoder, "endpoint_state", help, MetricType::Gauge)?;
    for (upstream, endpoint, gauges) in named.clone() {
        for (possible, reason) in EndpointState::ALL.into_iter().flat_map(possibilities) {
            let labels = [
                ("upstream", upstream),
                ("endpoint", endpoint),
                ("state", possible.as_str()),
                ("reason", reason.map_or("none", EndpointReason::as_str)),
            ];
            let is_so = (gauges.state, gauges.reason) == (possible, reason);
            state.encode_family(&labels)?.encode_gauge(&u64::from(is_so))?;
        }
    }
    // Does one have more to do than the others?
    let mut in_flight = family(encoder, "endpoint_in_flight", "Requests at an app server", MetricType::Gauge)?;
    for (upstream, endpoint, gauges) in named.clone() {
        in_flight
            .encode_family(&[("upstream", upstream), ("endpoint", endpoint)])?
            .encode_gauge(&(gauges.in_flight as u64))?;
    }
    // How close is connections_max?
    let help = "Connections to an app server that are open";
    let mut connections = family(encoder, "endpoint_connections", help, MetricType::Gauge)?;
    for (upstream, endpoint, gauges) in named.clone() {
        let labels = [("upstream", upstream), ("endpoint", endpoint)];
        connections.encode_family(&labels)?.encode_gauge(&(gauges.connections as u64))?;
    }
    // Is one slower than the others? It is what they are chosen by.
    let (help, unit) = ("What an answer may be expected to take", Unit::Seconds);
    let mut latency = encoder.encode_descriptor("endpoint_latency", help, Some(&unit), MetricType::Gauge)?;
    for (upstream, endpoint, gauges) in named {
        if let Some(expected) = gauges.latency {
            let labels = [("upstream", upstream), ("endpoint", endpoint)];
            latency.encode_family(&labels)?.encode_gauge(&expected.as_secs_f64())?;
        }
    }
    Ok(())
}

/// A state with each of its reasons.
fn possibilities(state: EndpointState) -> Vec<(EndpointState, Option<EndpointReason>)> {
    match state.reasons() {
        [] => vec![(state, None)],
        reasons => reasons.iter().map(|reason| (state, Some(*reason))).collect(),
    }
}

/// Writes how often names of app servers were resolved.
pub(super) fn resolutions(
    encoder: &mut DescriptorEncoder<'_>,
    upstreams: &[String],
    counts: &[[u64; 2]],
) -> fmt::Result {
    // Does DNS answer? While it does not, addresses are those of before.
    let help = "Questions to DNS where app servers are";
    let mut family = family(encoder, "upstream_resolutions", help, MetricType::Counter)?;
    for (upstream, [answered, failed]) in upstreams.iter().zip(counts) {
        labelled(&mut family, &[("upstream", upstream.as_str()), ("outcome", "answered")], *answered)?;
        labelled(&mut family, &[("upstream", upstream.as_str()), ("outcome", "failed")], *failed)?;
    }
    Ok(())
}
