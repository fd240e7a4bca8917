//! The request path, read in this order: `worker`, `connection`, `handler`, `forward`, and then the steps that `forward`
//! names.

mod answer;
mod body;
mod clock;
mod connection;
mod error;
mod exchange;
mod facts;
mod forward;
mod forwarded;
mod forwarded_for;
mod handler;
pub mod headers;
mod ids;
mod listener;
mod look_up;
pub mod presets;
pub mod proxy_protocol;
mod request;
mod requester;
mod response;
mod retry;
mod scheme;
mod stream;
mod trust;
mod worker;

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

pub use facts::ForwardedHost;
pub use ids::Ids;
pub use listener::{BindError, Listeners};
pub use requester::ForwardedClient;
pub use scheme::Scheme;
pub use trust::{Standing, TrustedProxies};
pub use worker::{Parts, Roles, Worker};

/// What `[listen]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Connections at once in the whole process; beyond it the accept loop waits.
    pub connections_max: usize,
    /// From the first wait for a request to its complete head; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// Bytes of a request head at most (431).
    pub header_max_bytes: usize,
    /// Header fields of a request at most (431).
    pub header_max_count: usize,
    /// How long running requests may finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Further names that no client may send to the app, lower case.
    pub owned_headers: Vec<http::HeaderName>,
    /// Whether header names with underscores are dropped.
    pub drop_underscores: bool,
    /// Whose word about clients is believed.
    pub trusted_proxies: TrustedProxies,
    /// Peers whose connections begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether the app is sent `Forwarded` too.
    pub forwarded: bool,
}
