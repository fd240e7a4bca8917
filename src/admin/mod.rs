//! The admin listener, on the control runtime: is it alive, is it ready, what does it count?
//!
//! It answers people and programs inside the house. A page in somebody's browser is neither: there are no CORS headers,
//! and `host` refuses names that only DNS leads here.

mod ask;
mod cache;
mod certificates;
mod domains;
mod host;
mod listener;
mod listeners;
mod openapi;
mod problem;
mod query;
mod resolve;
mod token;
mod upstreams;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use ipnet::IpNet;
use serde::Serialize;

use crate::{
    database::session::Session,
    directory::{Directory, Reader},
    lifecycle::Readiness,
    proxy::explain::Explainer,
    routing::Rules,
    telemetry::metrics::{self, Metrics},
    tls::Archive,
    upstream::Upstream,
};
pub use listener::serve;
pub use listeners::Addresses;
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
    /// What the API explains requests by.
    pub explainer: Arc<Explainer>,
    /// What the API tells of it: how much is remembered.
    pub cache: Directory,
    /// Where usher listens.
    pub addresses: Addresses,
}

/// The pages of the admin listener. They need the peer's address as an `axum` `ConnectInfo<SocketAddr>`.
pub fn router(parts: Parts) -> Router {
    let api = with(api_routes()).layer(middleware::from_fn_with_state(parts.clone(), token::require));
    with(routes())
        .nest(API, api)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(host::refuse_foreign_names))
        .with_state(parts)
}

/// A path, the method that it is asked by, and who answers.
type Route = (&'static str, Method, MethodRouter<Parts>);

/// Where the API stands.
const API: &str = "/api/v1";

/// Below [`API`]; each needs the token, or a peer on this machine that reads.
fn api_routes() -> Vec<Route> {
    vec![
        ("/openapi.json", Method::GET, get(openapi::show)),
        ("/resolve", Method::GET, get(resolve::show)),
        ("/cache", Method::GET, get(cache::show)),
        ("/listeners", Method::GET, get(listeners::show)),
        ("/upstreams", Method::GET, get(upstreams::show)),
        ("/upstreams/{upstream}/endpoints/{endpoint}/drain", Method::POST, post(upstreams::drain)),
        ("/upstreams/{upstream}/endpoints/{endpoint}/resume", Method::POST, post(upstreams::resume)),
        ("/domains", Method::GET, get(domains::show)),
        ("/certificates", Method::GET, get(certificates::show)),
    ]
}

/// Beside it; each decides for itself who may read it.
fn routes() -> Vec<Route> {
    vec![
        ("/live", Method::GET, get(live)),
        ("/ready", Method::GET, get(ready)),
        ("/metrics", Method::GET, get(show_metrics)),
        ("/ask", Method::GET, get(ask::answer)),
    ]
}

fn with(routes: Vec<Route>) -> Router<Parts> {
    routes.into_iter().fold(Router::new(), |router, (path, _, answer)| router.route(path, answer))
}

/// The process runs and its control runtime answers; nothing else, so that no outage elsewhere gets it restarted.
async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(parts): State<Parts>, ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap) -> Response {
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
            "there is no {}; there are /live, /ready, /metrics, /ask, and what /api/v1/openapi.json describes",
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

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let described: serde_json::Value = serde_json::from_str(openapi::TEXT).unwrap();
        let methods = |of: &serde_json::Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let paths = described["paths"].as_object().unwrap().iter();
        let mut found: Vec<_> = paths.map(|(path, of)| (path.clone(), methods(of))).collect();
        let below = api_routes().into_iter().map(|(path, method, _)| (format!("{API}{path}"), method));
        let beside = routes().into_iter().map(|(path, method, _)| (path.to_owned(), method));
        let mut there: Vec<_> =
            below.chain(beside).map(|(path, method)| (path, vec![method.as_str().to_lowercase()])).collect();
        found.sort();
        there.sort();
        assert_eq!(found, there);
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        let described: serde_json::Value = serde_json::from_str(openapi::TEXT).unwrap();
        let references: Vec<_> =
            openapi::TEXT.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(described.pointer(reference).is_some(), "{reference}");
        }
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
