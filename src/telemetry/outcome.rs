//! How exchanges, attempts, look-ups, PROXY headers and handshakes end: closed sets, so that no client can invent a label.

/// How an exchange ended; `outcome` in the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The app's answer was delivered whole.
    Ok,
    /// usher answered with a redirect.
    Redirected,
    /// The host is unknown, inactive or unverified (404).
    UnknownHost,
    /// The store is switched off, and `routing.inactive_store` says so (410, 503).
    StoreInactive,
    /// The request was ambiguous or malformed (400, 414, 431).
    BadRequest,
    /// The method is not served (405).
    MethodRefused,
    /// A limit of usher was reached (408, 413, 429).
    Limited,
    /// The database could not be asked (503).
    DirectoryUnavailable,
    /// The store's row names an upstream that does not exist, and `routing.unknown_upstream` says so (503).
    UnknownUpstream,
    /// All app servers had as many requests as they may, and `queue_max` waited (503).
    QueueFull,
    /// None of them had a place within `queue_timeout` (503).
    QueueTimeout,
    /// The store had as many requests at its app servers as `store_requests_max` lets it have (503).
    StoreFull,
    /// All connections to app servers that there may be were in use (503).
    ConnectionsFull,
    /// `head_timeout` was over before the request could be sent: it has waited, or connecting took so long (504).
    SendTimeout,
    /// No app server could be connected to (502), or all are draining (503).
    ConnectFailed,
    /// No app server accepted a connection in time (504).
    ConnectTimeout,
    /// TLS with the app servers failed (502).
    TlsFailed,
    /// No app server has completed the handshake of TLS in time (504).
    TlsTimeout,
    /// The app sent no response head in time (504).
    HeadTimeout,
    /// The app closed or broke the connection before a whole response head (502).
    HeadBroken,
    /// The app broke off in the middle of the body.
    BodyBroken,
    /// The app said nothing for too long in the middle of the body.
    AnswerTimeout,
    /// The client broke off in the middle of its request body.
    RequestBroken,
    /// The client went away before the end of the answer.
    ClientGone,
    /// A bug: the exchange panicked (500).
    Panicked,
}

impl Outcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 25] = [
        Self::Ok,
        Self::Redirected,
        Self::UnknownHost,
        Self::StoreInactive,
        Self::BadRequest,
        Self::MethodRefused,
        Self::Limited,
        Self::DirectoryUnavailable,
        Self::UnknownUpstream,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::StoreFull,
        Self::ConnectionsFull,
        Self::SendTimeout,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::TlsTimeout,
        Self::HeadTimeout,
        Self::HeadBroken,
        Self::BodyBroken,
        Self::AnswerTimeout,
        Self::RequestBroken,
        Self::ClientGone,
        Self::Panicked,
    ];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Redirected => "redirected",
            Self::UnknownHost => "unknown_host",
            Self::StoreInactive => "store_inactive",
            Self::BadRequest => "bad_request",
            Self::MethodRefused => "method_refused",
            Self::Limited => "limited",
            Self::DirectoryUnavailable => "directory_unavailable",
            Self::UnknownUpstream => "unknown_upstream",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::StoreFull => "store_full",
            Self::ConnectionsFull => "connections_full",
            Self::SendTimeout => "send_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimeout => "tls_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::HeadBroken => "head_broken",
            Self::BodyBroken => "body_broken",
            Self::AnswerTimeout => "answer_timeout",
            Self::RequestBroken => "request_broken",
            Self::ClientGone => "client_gone",
            Self::Panicked => "panicked",
        }
    }
}

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
    pub const ALL: [Self; 19] = [
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

/// How one try against one endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttemptOutcome {
    /// A response head came.
    Answered,
    /// Connecting failed or timed out; the request went on to the next endpoint or failed.
    NotConnected,
    /// A kept connection was found closed before anything was written; the request went on.
    Stale,
    /// A kept connection ended just as the request was written, as one does that the app server was closing; the request went on.
    Crossed,
    /// The app server said that it has not processed the request (HTTP/2); the request went on.
    Refused,
    /// No head in time.
    TimedOut,
    /// The connection broke after the request was written, or what came was no answer.
    Broken,
    /// A response head came whose status says that the app server failed.
    ServerError,
    /// The body behind a response head broke off, or did not go on in time; the attempt counts as answered too.
    BodyBroken,
    /// The client went away or reached a limit first.
    Cancelled,
}

impl AttemptOutcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::NotConnected,
        Self::Stale,
        Self::Crossed,
        Self::Refused,
        Self::TimedOut,
        Self::Broken,
        Self::ServerError,
        Self::BodyBroken,
        Self::Cancelled,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotConnected => "not_connected",
            Self::Stale => "stale",
            Self::Crossed => "crossed",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::ServerError => "server_error",
            Self::BodyBroken => "body_broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of a request that had to wait for a place at an app server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum QueueOutcome {
    /// It got one.
    Served,
    /// Too many waited already.
    Full,
    /// None became free in time.
    TimedOut,
}

impl QueueOutcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 3] = [Self::Served, Self::Full, Self::TimedOut];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Full => "full",
            Self::TimedOut => "timed_out",
        }
    }
}

/// In which state an app server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointState {
    /// It gets its share of the requests.
    Healthy,
    /// It has failed too often and gets none.
    Ejected,
    /// It was ejected for long enough and gets one now and then.
    Probing,
    /// It is to finish what it has, and gets nothing new.
    Draining,
}

impl EndpointState {
    /// Every state, in order of declaration.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Ejected, Self::Probing, Self::Draining];

    /// Why an app server can be in this state; none where it needs no reason.
    pub fn reasons(self) -> &'static [EndpointReason] {
        use EndpointReason::{FailedProbes, FailedTrial, FailuresInARow, Order, ShareOfFailures, Trial, Unlisted};
        match self {
            Self::Healthy => &[],
            Self::Ejected => &[FailuresInARow, ShareOfFailures, FailedTrial, FailedProbes],
            Self::Probing => &[Trial],
            Self::Draining => &[Order, Unlisted],
        }
    }

    /// The name in logs, metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Draining => "draining",
        }
    }
}

/// Why an app server is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointReason {
    /// `eject_after` requests have failed in a row.
    FailuresInARow,
    /// `eject_percent` of the requests have failed.
    ShareOfFailures,
    /// It has failed again when it was tried.
    FailedTrial,
    /// `probe_fall` probes have failed.
    FailedProbes,
    /// It is being tried.
    Trial,
    /// An operator has said so.
    Order,
    /// Its name does not lead to it any more.
    Unlisted,
}

impl EndpointReason {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailuresInARow => "failures_in_a_row",
            Self::ShareOfFailures => "share_of_failures",
            Self::FailedTrial => "failed_trial",
            Self::FailedProbes => "failed_probes",
            Self::Trial => "trial",
            Self::Order => "order",
            Self::Unlisted => "unlisted",
        }
    }

    /// The same in words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::FailuresInARow => "failures in a row",
            Self::ShareOfFailures => "share of failures",
            Self::FailedTrial => "failed again when it was tried",
            Self::FailedProbes => "failed probes",
            Self::Trial => "is being tried",
            Self::Order => "by order",
            Self::Unlisted => "gone from DNS",
        }
    }
}

/// Why a connection that had to begin with a PROXY header was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProxyHeaderRefusal {
    /// It began with something else.
    Absent,
    /// It was not complete in time.
    Late,
    /// The connection ended before it was complete, as those of some health checks do.
    CutOff,
    /// It broke the format.
    Malformed,
    /// It was longer than any header that makes sense.
    TooLong,
    /// A version, command, family or transport that cannot be meant for a listener of TCP connections.
    Unsupported,
}

impl ProxyHeaderRefusal {
    /// Every reason, in order of declaration.
    pub const ALL: [Self; 6] =
        [Self::Absent, Self::Late, Self::CutOff, Self::Malformed, Self::TooLong, Self::Unsupported];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Late => "late",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why a handshake of TLS failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFailure {
    /// It was not over in time.
    Late,
    /// The connection ended before.
    CutOff,
    /// What the client said is no TLS, or breaks it.
    Malformed,
    /// Client and usher have no version, cipher or protocol in common.
    Incompatible,
    /// The client asked for no name, and there is no default certificate.
    NoName,
    /// Nobody is known under the name.
    UnknownName,
    /// There is no certificate for the name.
    NoCertificate,
    /// The certificate could not be loaded from the database.
    NotLoaded,
    /// The client broke off with an alert: it does not trust the certificate, for one.
    RefusedByClient,
}

impl HandshakeFailure {
    /// Every reason, in order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Late,
        Self::CutOff,
        Self::Malformed,
        Self::Incompatible,
        Self::NoName,
        Self::UnknownName,
        Self::NoCertificate,
        Self::NotLoaded,
        Self::RefusedByClient,
    ];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::Incompatible => "incompatible",
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::NoCertificate => "no_certificate",
            Self::NotLoaded => "not_loaded",
            Self::RefusedByClient => "refused_by_client",
        }
    }
}

/// A version of TLS that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// Every version, in order of declaration.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The number in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
