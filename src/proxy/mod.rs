//! The request path, read in this order: `worker`, `connection`, `handler`, `forward`, and then the steps that `forward`
//! names.

mod again;
mod ahead;
mod answer;
mod attempt;
mod body;
mod buffered;
mod buffers;
mod chooser;
mod clock;
mod connection;
mod dialect;
mod endless;
mod error;
mod exchange;
mod expectation;
pub mod explain;
mod facts;
mod forward;
mod forwarded;
mod forwarded_for;
mod frames;
mod h2_frames;
mod handler;
mod handshake;
pub mod headers;
mod http1;
mod http2;
mod https;
mod idle;
mod ids;
mod listener;
mod look_up;
mod overheard;
mod pace;
mod parked;
mod patience;
mod places;
mod preface;
pub mod presets;
pub mod proxy_protocol;
mod pulse;
mod refused;
mod replay;
mod request;
mod requester;
mod response;
mod retry;
mod roles;
mod scheme;
mod search;
mod socket;
mod strangers;
mod stream;
mod streams;
mod transport;
mod trust;
mod tunnel;
mod upgrade;
mod upload;
mod well_known;
mod worker;

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

pub use buffers::Buffers;
pub use facts::ForwardedHost;
pub use https::{Https, HttpsPolicy};
pub use ids::Ids;
pub use listener::{BindError, Listeners, ListeningSocket};
pub use places::Places;
pub use requester::ForwardedClient;
pub use roles::{Roles, UnknownNames, UnknownUpstream};
pub use scheme::Scheme;
pub use trust::{Standing, TrustedProxies};
pub use worker::{Parts, Worker};

/// What `[listen]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// TLS.
    pub https: Vec<SocketAddr>,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Connections at once in the whole process; beyond it the accept loop waits.
    pub connections_max: usize,
    /// Connections at once of one client address (IPv6: of one /64); beyond it they are closed. Proxies of ours are exempt.
    pub connections_per_client_max: usize,
    /// Requests at once of one client address, on all its connections and through proxies of ours (429).
    pub requests_per_client_max: usize,
    /// Requests on one connection; the last one closes it. Proxies of ours are exempt.
    pub connection_requests_max: u64,
    /// How long a connection takes new requests. Proxies of ours are exempt.
    pub connection_lifetime: Duration,
    /// Bytes at once of bodies that are held while one side is slower than the other; beyond it they are passed on as they come.
    pub buffers_max: usize,
    /// How long an idle connection is kept.
    pub keep_alive_timeout: Duration,
    /// How long a connection of HTTP/1.1 is quiet before it is parked.
    pub park_after: Duration,
    /// From the first byte of a head, or from the accepted connection, to the complete head.
    pub header_timeout: Duration,
    /// Between two pieces of a request body.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Bytes a second that a client has to send or take while it is waited for.
    pub rate_min: u64,
    /// Bytes of a request's target at most (414).
    pub target_max_bytes: usize,
    /// Streams at once on a connection of HTTP/2.
    pub http2_streams_max: u32,
    /// How long a tunnel may be silent.
    pub tunnel_idle_timeout: Duration,
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
