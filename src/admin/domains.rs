//! `/api/v1/domains`: what is known of custom domains, page by page.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Parts, problem::Problem, query::Query};
use crate::{
    domains::register::{self, Entry},
    telemetry::causes::one_line,
};

/// Domains of a page unless so many others are asked for, and at most: an answer is read in a moment and costs one short query.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Which page.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    after: String,
    count: Option<usize>,
}

/// A page.
#[derive(Serialize)]
pub(super) struct Page {
    domains: Vec<Entry>,
    /// What `after` is for the next page; none behind the last.
    next: Option<String>,
}

/// The domains whose names come after `after`.
pub(super) async fn show(State(parts): State<Parts>, Query(wanted): Query<Wanted>) -> Result<Json<Page>, Problem> {
    let Some(session) = &parts.domains else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "domains.verification leaves domains to the app"));
    };
    let count = wanted.count.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let domains = register::list(session, &wanted.after, count).await.map_err(|error| {
        tracing::warn!(error = one_line(&error), "the database cannot be asked for domains");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be asked; the log says why")
    })?;
    let next = domains.last().filter(|_| domains.len() >= count).map(|last| last.name.clone());
    Ok(Json(Page { domains, next }))
}
