//! Limits that were reached.

/// A limit that was reached: what one client may take of usher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Limit {
    /// `connections_max`: one more found no room at once.
    Connections,
    /// `connections_max`: an idle connection was closed for a new one.
    Displaced,
    /// `connections_per_client_max`: one more was closed at once.
    ConnectionsPerClient,
    /// `requests_per_client_max` (429).
    RequestsPerClient,
    /// `header_timeout` (408 where a head had begun).
    HeaderTimeout,
    /// `header_max_bytes` or `header_max_count` (431).
    HeaderSize,
    /// `target_max_bytes` (414).
    TargetLength,
    /// `body_max_bytes` of an upstream (413).
    BodySize,
    /// `body_timeout` (408).
    BodyTimeout,
    /// `rate_min`, for a request body (408).
    BodyRate,
    /// `write_timeout`: the connection was cut off.
    WriteTimeout,
    /// `rate_min`, for an answer: the connection was cut off.
    WriteRate,
    /// `keep_alive_timeout`: the connection was closed.
    KeepAlive,
    /// `connection_requests_max`: the connection ends with the request.
    ConnectionRequests,
    /// `connection_lifetime`: the connection ends with its running requests.
    ConnectionLifetime,
    /// `http2_streams_max`: one more was refused.
    Streams,
    /// Too many requests taken back (HTTP/2): the connection was cut off.
    Resets,
    /// `tunnel_idle_timeout`: the tunnel was closed.
    TunnelIdle,
    /// Too much for nothing on HTTP/2 (requests taken back unseen, endless heads, empty frames): the connection was cut off.
    Flood,
    /// `store_requests_max` of an upstream (503).
    StoreRequests,
}

impl Limit {
    /// Every limit, in order of declaration.
    pub const ALL: [Self; 20] = [
        Self::Connections,
        Self::Displaced,
        Self::ConnectionsPerClient,
        Self::RequestsPerClient,
        Self::HeaderTimeout,
        Self::HeaderSize,
        Self::TargetLength,
        Self::BodySize,
        Self::BodyTimeout,
        Self::BodyRate,
        Self::WriteTimeout,
        Self::WriteRate,
        Self::KeepAlive,
        Self::ConnectionRequests,
        Self::ConnectionLifetime,
        Self::Streams,
        Self::Resets,
        Self::TunnelIdle,
        Self::Flood,
        Self::StoreRequests,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Displaced => "displaced",
            Self::ConnectionsPerClient => "connections_per_client",
            Self::RequestsPerClient => "requests_per_client",
            Self::HeaderTimeout => "header_timeout",
            Self::HeaderSize => "header_size",
            Self::TargetLength => "target_length",
            Self::BodySize => "body_size",
            Self::BodyTimeout => "body_timeout",
            Self::BodyRate => "body_rate",
            Self::WriteTimeout => "write_timeout",
            Self::WriteRate => "write_rate",
            Self::KeepAlive => "keep_alive",
            Self::ConnectionRequests => "connection_requests",
            Self::ConnectionLifetime => "connection_lifetime",
            Self::Streams => "streams",
            Self::Resets => "resets",
            Self::TunnelIdle => "tunnel_idle",
            Self::Flood => "flood",
            Self::StoreRequests => "store_requests",
        }
    }
}

/// A limit on connections to an app server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionLimit {
    /// `connections_max`: a request had to wait, or took over a connection of another worker.
    Connections,
    /// `connection_requests_max`: a connection was closed.
    Requests,
    /// `connection_lifetime`: the same.
    Lifetime,
}

impl ConnectionLimit {
    /// Every limit, in order of declaration.
    pub const ALL: [Self; 3] = [Self::Connections, Self::Requests, Self::Lifetime];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Lifetime => "lifetime",
        }
    }
}
