//! `/api/v1/resolve?url=`: where a request would go, and why, as `usher resolve` tells it; by what this instance remembers.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{Parts, problem::Problem, query::Query};
use crate::{
    proxy::explain::{Explanation, Question},
    telemetry::causes::one_line,
};

/// What is asked.
#[derive(Deserialize)]
pub(super) struct Asked {
    /// A URL, or a host and perhaps a path.
    url: String,
}

/// All steps of it.
pub(super) async fn show(
    State(parts): State<Parts>,
    Query(Asked { url }): Query<Asked>,
) -> Result<Json<Explanation>, Problem> {
    let question = Question::read(&url)
        .map_err(|cause| Problem::new(StatusCode::BAD_REQUEST, format!("the host in url {cause}")))?;
    let explained = parts.explainer.explain(&question).await;
    explained.map(Json).map_err(|error| {
        tracing::warn!(error = one_line(&error), "the database cannot be asked for a route");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be asked; the log says why")
    })
}
