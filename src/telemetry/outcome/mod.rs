//! How exchanges, attempts, look-ups, PROXY headers and handshakes end: closed sets, so that no client can invent a label.

mod attempt;
mod connection;
mod endpoint;
mod limit;

pub use attempt::{AttemptOutcome, QueueOutcome};
pub use connection::{HandshakeFailure, ProxyHeaderRefusal, TlsVersion};
pub use endpoint::{EndpointReason, EndpointState};
pub use limit::{ConnectionLimit, Limit};

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
    /// It had not ended when `drain_timeout` was over.
    Drained,
    /// A bug: the exchange panicked (500).
    Panicked,
}

impl Outcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 26] = [
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
        Self::Drained,
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
            Self::Drained => "drained",
            Self::Panicked => "panicked",
        }
    }
}
