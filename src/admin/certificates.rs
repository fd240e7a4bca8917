//! `/api/v1/certificates`: certificates in the database, and the names that wait for one, with what stands in the way.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{Parts, problem::Problem, query::Query};
use crate::{
    telemetry::causes::one_line,
    tls::{Entry, State as Standing},
};

/// Entries in an answer, unless fewer are asked for.
const PAGE: usize = 1000;

/// What is wanted of them.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Behind which name to go on.
    #[serde(default)]
    after: String,
    /// In which state.
    state: Option<String>,
    /// How many at most.
    limit: Option<usize>,
}

/// Some of them, in the order of their names.
#[derive(Serialize)]
pub(super) struct Shown {
    certificates: Vec<Entry>,
    /// What to ask for as `after` next; nothing where these were the last.
    next: Option<String>,
}

/// A page of them.
pub(super) async fn show(State(parts): State<Parts>, Query(wanted): Query<Wanted>) -> Result<Json<Shown>, Problem> {
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let state = match wanted.state.as_deref() {
        None => None,
        Some(text) => Some(Standing::parse(text).ok_or_else(|| bad("state is good, waiting, failing or ended"))?),
    };
    let count = wanted.limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&count) {
        return Err(bad("limit is from 1 to 1000"));
    }
    let certificates = parts.certificates.page(&wanted.after, state, count).await.map_err(|error| {
        let error = one_line(&error);
        tracing::warn!(error, "certificates could not be shown");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database could not be asked; the log says why")
    })?;
    let is_full = certificates.len() == count;
    let next = certificates.last().filter(|_| is_full).map(|entry| entry.name.clone());
    Ok(Json(Shown { certificates, next }))
}
