//! What `[upstreams.NAME]` means.

use std::{net::SocketAddr, time::Duration};

use http::{StatusCode, uri::Scheme};

use super::{Balance, HealthRules, Probe, Server, ServerAddress, TlsSettings};

/// What the app servers of an upstream speak, all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, agreed on in TLS, without TLS by prior knowledge (RFC 9113 §3.3).
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
    pub servers: Vec<Server>,
    /// Whom names of app servers are asked of; none: the system's resolvers.
    pub resolvers: Vec<SocketAddr>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// What they speak.
    pub protocol: Protocol,
    /// How TLS is spoken to them; `None`: it is not.
    pub tls: Option<TlsSettings>,
    /// How connections to them begin.
    pub proxy_protocol: ProxyProtocol,
    /// Bytes of a request body at most (413); `None`: any number.
    pub body_max_bytes: Option<u64>,
    /// Bytes of a request body that are read before a server is chosen; 0: none.
    pub buffer_request: usize,
    /// Bytes of an answer that are read ahead of a client that is slower than the server; 0: none.
    pub buffer_response: usize,
    /// For a connection to one server, with TLS until the handshake is over, with HTTP/2 until it has sent its settings.
    pub connect_timeout: Duration,
    /// To the head of the response, with waiting, connecting and all servers that are asked.
    pub head_timeout: Duration,
    /// How long one server is waited for before another one is asked, where the request may be sent twice.
    pub attempt_timeout: Duration,
    /// How long a server may be silent in the middle of an answer; `None`: as long as it likes.
    pub answer_timeout: Option<Duration>,
    /// The same in event streams and gRPC.
    pub stream_idle_timeout: Option<Duration>,
    /// Answers that say that the server failed; where the request may be sent twice another server is asked.
    pub failure_status: Vec<StatusCode>,
    /// How many of a hundred requests may be sent again that may have been processed.
    pub repeat_percent: usize,
    /// How many requests may run at one server, in the whole process; `None`: any number.
    pub requests_max: Option<usize>,
    /// How many connections may be open to one server, in the whole process; `None`: any number.
    pub connections_max: Option<usize>,
    /// How many requests one connection serves; `None`: any number.
    pub connection_requests_max: Option<usize>,
    /// For how long, give or take a tenth; `None`: as long as it is used.
    pub connection_lifetime: Option<Duration>,
    /// How many requests of one store may run at the group at once; `None`: any number.
    pub store_requests_max: Option<usize>,
    /// How many requests may wait while all servers have so many.
    pub queue_max: usize,
    /// For how long.
    pub queue_timeout: Duration,
    /// When a server gets no requests for a while.
    pub health: HealthRules,
    /// How servers are asked whether they are well; `None`: they are not.
    pub probe: Option<Probe>,
    /// How long an unused connection is kept; below the app's own keep-alive (uvicorn and Node close after 5 s).
    pub idle_timeout: Duration,
    /// Unused connections of HTTP/1.1 kept per worker and server; beyond it they are closed.
    pub idle_max: usize,
}

impl Settings {
    /// The scheme of requests on connections to them.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// What stands in front of the address of a server in the configuration.
    pub fn url_scheme(&self) -> &'static str {
        match (self.protocol, &self.tls) {
            (Protocol::Http1, None) => "http",
            (Protocol::Http1, Some(_)) => "https",
            (Protocol::Http2, None) => "h2c",
            (Protocol::Http2, Some(_)) => "h2",
        }
    }

    /// `server` as the configuration writes it.
    pub fn url(&self, server: &ServerAddress) -> String {
        match server {
            ServerAddress::Tcp { .. } => format!("{}://{server}", self.url_scheme()),
            ServerAddress::Service(_) => format!("srv+{}://{server}", self.url_scheme()),
            ServerAddress::Unix(_) => server.to_string(),
        }
    }
}

/// A bug, a gateway of the app's own without anybody behind it, a server that is full or being stopped, or waits in vain.
const FAILURE_STATUS: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The defaults, for a group without servers.
impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "default".into(),
            servers: Vec::new(),
            resolvers: Vec::new(),
            balance: Balance::LeastLoaded,
            protocol: Protocol::Http1,
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            // More than a photograph or a spreadsheet has, and less than fills a disk of an app that stores what it gets.
            body_max_bytes: Some(100 << 20),
            buffer_request: 64 * 1024,
            buffer_response: 256 * 1024,
            connect_timeout: Duration::from_secs(1),
            head_timeout: Duration::from_secs(60),
            // Longer than nearly any page takes, and than most polls that wait for news.
            attempt_timeout: Duration::from_secs(30),
            // As nginx has it: an app that computes for longer has not begun its answer.
            answer_timeout: Some(Duration::from_secs(60)),
            // Who watches for changes may hear nothing for days, and TCP tells of a server that is gone.
            stream_idle_timeout: None,
            failure_status: FAILURE_STATUS.to_vec(),
            repeat_percent: 20,
            requests_max: None,
            connections_max: None,
            connection_requests_max: None,
            connection_lifetime: None,
            store_requests_max: None,
            queue_max: 100,
            queue_timeout: Duration::from_secs(1),
            health: HealthRules::default(),
            probe: None,
            idle_timeout: Duration::from_secs(4),
            idle_max: 256,
        }
    }
}
