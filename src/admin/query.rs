//! What stands behind the question mark; what cannot be understood is refused as everything else is (RFC 9457).

use axum::{
    extract::{self, FromRequestParts},
    http::{StatusCode, request},
};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of a request; 400 where they are missing or malformed.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let read = extract::Query::from_request_parts(parts, state).await;
        let bad = |rejection: extract::rejection::QueryRejection| {
            Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
        };
        read.map(|extract::Query(read)| Self(read)).map_err(bad)
    }
}
