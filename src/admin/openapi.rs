//! `/api/v1/openapi.json`: the admin listener, described for programs (OpenAPI 3.1).

use axum::http::{HeaderName, header};

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// The description.
pub(super) const TEXT: &str = include_str!("openapi.json");

/// The description, as it stands.
pub(super) async fn show() -> ([(HeaderName, &'static str); 1], &'static str) {
    (JSON, TEXT)
}
