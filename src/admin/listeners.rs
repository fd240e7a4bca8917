//! `/api/v1/listeners`: where usher listens, with the ports that the system chose where the configuration says 0.

use std::net::SocketAddr;

use axum::{Json, extract::State};
use serde::Serialize;

use super::Parts;

/// The addresses really bound.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// Plain HTTP, in the order of the configuration.
    pub http: Vec<SocketAddr>,
    /// TLS, in the order of the configuration.
    pub https: Vec<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// All of them.
pub(super) async fn show(State(parts): State<Parts>) -> Json<Addresses> {
    Json(parts.addresses)
}
