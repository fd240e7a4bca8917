//! `/ask?domain=`: whether a certificate may be asked for, as Caddy's `ask` and kamal-proxy's `--tls-on-demand-url` want to know it.

use std::{net::SocketAddr, time::Instant};

use axum::{
    extract::{ConnectInfo, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::{Parts, problem::Problem, query::Query};
use crate::{
    directory::{CouldNotAsk, Reader},
    routing::{Host, Hostname, Inquiry, Path, RequestFacts, Rules},
};

/// What is asked.
#[derive(Deserialize)]
pub(super) struct Question {
    domain: String,
}

/// 200 for a host that is served, 404 for any other. It costs no query that a request for the host would not cost.
pub(super) async fn answer(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(Question { domain }): Query<Question>,
) -> Result<&'static str, Problem> {
    super::allow(&parts, peer)?;
    match is_served(&parts.rules, &parts.directory, &domain).await {
        Ok(true) => Ok("yes\n"),
        Ok(false) => Err(Problem::new(StatusCode::NOT_FOUND, "nobody is served under this name")),
        Err(error) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

/// As for a request from elsewhere for the host's first page.
async fn is_served(rules: &Rules, directory: &Reader, domain: &str) -> Result<bool, CouldNotAsk> {
    let Ok(host) = Hostname::parse(domain).map(Host::Name) else { return Ok(false) };
    let path = Path::read("/");
    let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: false };
    // A path is ambiguous by what it says of admin or a tenant, and this one says nothing.
    let Ok(route) = rules.route(&facts) else { return Ok(false) };
    let (mut inquiry, now) = (Inquiry::new(rules, route), Instant::now());
    while let Some(key) = inquiry.question() {
        let answer = directory.lookup(key, now).await;
        inquiry.answer(answer)?;
    }
    Ok(inquiry.subject().refusal().is_none())
}
