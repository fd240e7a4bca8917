//! App servers: named groups, the choice among them, and each worker's own connections to them.
//!
//! What always holds: a connection of HTTP/1.1 goes back to the pool only after an exchange that ended cleanly, one of
//! HTTP/2 outlives whatever becomes of its streams, and every request in flight is counted at its endpoint until its guard
//! drops.

mod balancer;
mod connection;
mod connector;
mod endpoint;
mod greeting;
mod http1;
mod http2;
mod pool;
mod proxy_header;
mod recorder;
mod trunk;

use std::{sync::Arc, time::Duration};

pub use balancer::Tried;
pub use connection::{ConnectError, Connection};
pub use connector::Connector;
pub use endpoint::{Endpoint, InFlight, ServerAddress};
pub use http2::{StreamPermit, connection_died, was_refused};
pub use proxy_header::ClientAddresses;

/// What the app servers of an upstream speak, all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// Whether a connection begins with the addresses of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// It begins with HTTP.
    Off,
    /// It begins with a header of PROXY protocol version 2, and serves one exchange.
    V2,
}

/// What `[upstreams.NAME]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the group; a label of its metrics.
    pub name: String,
    /// Its app servers, at least one.
    pub servers: Vec<ServerAddress>,
    /// What they speak.
    pub protocol: Protocol,
    /// How connections to them begin.
    pub proxy_protocol: ProxyProtocol,
    /// Bytes of a request body at most (413); `None`: any number.
    pub body_max_bytes: Option<u64>,
    /// Bytes of a request body that are read before a server is chosen; 0: none.
    pub buffer_request: usize,
    /// Bytes of an answer that are read ahead of a client that is slower than the server; 0: none.
    pub buffer_response: usize,
    /// For a connection to one server; with HTTP/2, until it has sent its settings.
    pub connect_timeout: Duration,
    /// From the request sent to the head of the response.
    pub head_timeout: Duration,
    /// How long an unused connection is kept; below the app's own keep-alive (uvicorn and Node close after 5 s).
    pub idle_timeout: Duration,
    /// Unused connections of HTTP/1.1 kept per worker and server; beyond it they are closed.
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
