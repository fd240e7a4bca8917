//! `/api/v1/upstreams`: app servers as requests find them, and the order to leave one alone.

use std::{collections::BTreeMap, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;

use super::{Parts, problem::Problem};
use crate::{
    telemetry::{metrics::Metrics, outcome::EndpointReason},
    upstream::{Endpoint, Upstream},
};

/// An upstream, as the API tells of it.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    balance: &'static str,
    endpoints: Vec<ShownEndpoint>,
}

#[derive(Serialize)]
struct ShownEndpoint {
    endpoint: String,
    /// What leads to it, where that is a name.
    name: Option<String>,
    weight: usize,
    state: &'static str,
    reason: Option<&'static str>,
    in_flight: usize,
    latency_ms: Option<f64>,
    attempts: BTreeMap<&'static str, u64>,
    connections: usize,
    connections_opened: u64,
    connections_reused: u64,
    connection_limits: BTreeMap<&'static str, u64>,
}

/// All upstreams.
pub(super) async fn show(State(parts): State<Parts>) -> Json<Vec<Shown>> {
    let now = Instant::now();
    let shown = parts.upstreams.iter().enumerate().map(|(position, upstream)| Shown {
        name: upstream.settings.name.clone(),
        balance: upstream.settings.balance.as_str(),
        endpoints: endpoints(position, upstream, &parts.metrics, now),
    });
    Json(shown.collect())
}

fn endpoints(position: usize, upstream: &Upstream, metrics: &Metrics, now: Instant) -> Vec<ShownEndpoint> {
    let members = upstream.members();
    members.endpoints().iter().map(|endpoint| shown(endpoint, position, metrics, now)).collect()
}

fn shown(endpoint: &Endpoint, upstream: usize, metrics: &Metrics, now: Instant) -> ShownEndpoint {
    let (snapshot, counts) = (endpoint.snapshot(now), metrics.endpoint(upstream, endpoint.label()));
    ShownEndpoint {
        endpoint: endpoint.label().to_string(),
        name: Some(endpoint.origin()).filter(|name| **name != **endpoint.label()).map(str::to_owned),
        weight: snapshot.weight,
        state: snapshot.state.as_str(),
        reason: snapshot.reason.map(EndpointReason::in_words),
        in_flight: snapshot.in_flight,
        latency_ms: snapshot.latency.map(|latency| (latency.as_secs_f64() * 1e6).round() / 1e3),
        attempts: counts.attempts.into_iter().map(|(outcome, count)| (outcome.as_str(), count)).collect(),
        connections: snapshot.connections,
        connections_opened: counts.connections_opened,
        connections_reused: counts.connections_reused,
        connection_limits: counts.connection_limits.into_iter().map(|(limit, count)| (limit.as_str(), count)).collect(),
    }
}

/// Gives an app server no new requests.
pub(super) async fn drain(
    State(parts): State<Parts>,
    Path(names): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    order(&parts, &names, true)
}

/// Gives it its share of them again.
pub(super) async fn resume(
    State(parts): State<Parts>,
    Path(names): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    order(&parts, &names, false)
}

fn order(parts: &Parts, (upstream, endpoint): &(String, String), drain: bool) -> Result<StatusCode, Problem> {
    let missing = |what: &str, name: &str| Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} {name}"));
    let found = parts.upstreams.iter().find(|found| found.settings.name == *upstream);
    let found = found.ok_or_else(|| missing("upstream", upstream))?;
    let is_known = found.order(endpoint, drain, Instant::now());
    is_known.then_some(StatusCode::NO_CONTENT).ok_or_else(|| missing("app server", endpoint))
}
