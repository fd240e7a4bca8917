//! The admin listener, on the control runtime: is it alive, is it ready, what does it count?
//!
//! It answers people and programs inside the house. A page in somebody's browser is neither: there are no CORS headers,
//! and `host` refuses names that only DNS leads here.

mod ask;
mod certificates;
mod domains;
mod host;
mod listener;
mod problem;
mod token;
mod upstreams;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ipnet::IpNet;
use serde::Serialize;

use crate::{
    database::session::Session,
    directory::Reader,
    lifecycle::Readiness,
    routing::Rules,
    telemetry::metrics::{self, Metrics},
    tls::Archive,
    upstream::Upstream,
};
pub use listener::serve;
use problem::Problem;
pub use token::Token;

/// What `[admin]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may read `/metrics` and `/ask`; everybody may read `/live` and `/ready`.
    pub allow: Vec<IpNet>,
    /// What the API asks for; without one it can be read on this machine, and changes nothing.
    pub token: Option<Token>,
}

/// What the admin listener tells about.
#[derive(Clone)]
pub struct Parts {
    /// Who may read `/metrics` and `/ask`.
    pub allow: Vec<IpNet>,
    /// What `/ready` answers by.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What the API asks for.
    pub token: Option<Token>,
    /// What the API shows and takes orders for.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What `/ask` answers by.
    pub rules: Arc<Rules>,
    /// The same.
    pub directory: Arc<Reader>,
    /// Where domains are told of, if it is usher that decides who owns them.
    pub domains: Option<Arc<Session>>,
    /// Certificates in the database, which the API shows.
    pub certificates: Arc<Archive>,
}

/// The pages of the admin listener. They need the peer's address as an `axum` `ConnectInfo<SocketAddr>`.
pub fn router(parts: Parts) -> Router {
    let api = Router::new()
        .route("/certificates", get(certificates::show))
        .route("/upstreams", get(upstreams::show))
        .route("/upstreams/{upstream}/endpoints/{endpoint}/drain", post(upstreams::drain))
        .route("/upstreams/{upstream}/endpoints/{endpoint}/resume", post(upstreams::resume))
        .route("/domains", get(domains::show))
        .layer(middleware::from_fn_with_state(parts.clone(), token::require));
    Router::new()
        .nest("/api/v1", api)
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(show_metrics))
        .route("/ask", get(ask::answer))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(host::refuse_foreign_names))
        .with_state(parts)
}

/// The process runs and its control runtime answers; nothing else, so that no outage elsewhere gets it restarted.
async fn live() -> &'static str {
    "live\n"
}

async fn ready(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let is_told = peer.ip().to_canonical().is_loopback() || token::holds(&headers, parts.token.as_ref());
    readiness(&parts.readiness.reasons(), &parts.readiness.degradations(), is_told)
}

/// What takes no instance out of service is told with 200: an outage of the database concerns all of them at once. The reasons
/// name parts of the installation: they are for those who are on the machine or hold the token.
fn readiness(reasons: &[&'static str], degradations: &[&'static str], is_told: bool) -> Response {
    let (code, status, why) = match (reasons, degradations) {
        ([], []) => (StatusCode::OK, "ready", reasons),
        ([], amiss) => (StatusCode::OK, "degraded", amiss),
        (left, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", left),
    };
    let told = Some(why).filter(|why| is_told && !why.is_empty());
    (code, Json(ReadinessShown { status, reasons: told })).into_response()
}

#[derive(Serialize)]
struct ReadinessShown<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<&'a [&'static str]>,
}

/// Lets only those through who are listed.
fn allow(parts: &Parts, peer: SocketAddr) -> Result<(), Problem> {
    let peer = peer.ip().to_canonical();
    if parts.allow.iter().any(|network| network.contains(&peer)) {
        return Ok(());
    }
    let detail = format!("{peer} may not read this; networks that may are listed in admin.allow");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

async fn show_metrics(State(parts): State<Parts>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if let Err(problem) = allow(&parts, peer) {
        return problem.into_response();
    }
    match parts.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be formatted");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be formatted").into_response()
        }
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is no {}; there are /live, /ready, /metrics, /ask, /api/v1/upstreams, /api/v1/domains and \
             /api/v1/certificates",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn reasons_are_told_to_those_who_may_know_them_only() {
        for (is_told, expected) in
            [(true, r#"{"status":"not ready","reasons":["database"]}"#), (false, r#"{"status":"not ready"}"#)]
        {
            let response = readiness(&["database"], &["feed"], is_told);
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(text(response).await, expected);
        }
    }

    #[tokio::test]
    async fn ready_is_the_same_for_all() {
        for is_told in [true, false] {
            let response = readiness(&[], &[], is_told);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
            assert_eq!(text(response).await, r#"{"status":"ready"}"#);
        }
    }

    #[tokio::test]
    async fn what_is_amiss_takes_nobody_out_of_service() {
        let response = readiness(&[], &["feed"], true);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, r#"{"status":"degraded","reasons":["feed"]}"#);
    }
}
