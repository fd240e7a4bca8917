//! From a request to a healthy app server to the head of its response.

use std::time::Duration;

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

/// `http://host:port` of one app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host name or address literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}
