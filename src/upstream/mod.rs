//! App servers: named groups, the choice among them, and each worker's own connections to them.
//!
//! What always holds: a connection goes back to the pool only after an exchange that ended cleanly, and every request in
//! flight is counted at its endpoint until its guard drops.

mod balancer;
mod connection;
mod endpoint;
mod pool;
mod recorder;

use std::{sync::Arc, time::Duration};

pub use balancer::Tried;
pub use connection::{ConnectError, Connection, Connector};
pub use endpoint::{Endpoint, InFlight, ServerAddress};

/// What `[upstreams.NAME]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the group; a label of its metrics.
    pub name: String,
    /// Its app servers, at least one.
    pub servers: Vec<ServerAddress>,
    /// For a TCP connection to one server.
    pub connect_timeout: Duration,
    /// From the request sent to the head of the response.
    pub head_timeout: Duration,
    /// How long an unused connection is kept; below the app's own keep-alive (uvicorn and Node close after 5 s).
    pub idle_timeout: Duration,
    /// Unused connections kept per worker and server; beyond it they are closed.
    pub idle_max: usize,
}

/// A named group of app servers, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    /// What was asked for.
    pub settings: Settings,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Upstream {
    /// Prepares the group; connects nothing.
    pub fn new(settings: Settings) -> Self {
        let endpoints = settings.servers.iter().cloned().map(Endpoint::new).map(Arc::new).collect();
        Self { settings, endpoints }
    }

    /// The addresses of the group, in the order of the configuration.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }
}
