//! How exchanges, attempts and look-ups end: closed sets, so that no client can invent a label.

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
    /// The request was ambiguous or malformed (400, 414, 431).
    BadRequest,
    /// The method is not served (405).
    MethodRefused,
    /// A limit of usher was reached (413, 429).
    Limited,
    /// The database could not be asked (503).
    DirectoryUnavailable,
    /// No app server could be connected to (502).
    ConnectFailed,
    /// No app server accepted a connection in time (504).
    ConnectTimeout,
    /// The app sent no response head in time (504).
    HeadTimeout,
    /// The app closed or broke the connection before a whole response head (502).
    HeadBroken,
    /// The app broke off in the middle of the body.
    BodyBroken,
    /// The client broke off in the middle of its request body.
    RequestBroken,
    /// The client went away before the end of the answer.
    ClientGone,
    /// A bug: the exchange panicked (500).
    Panicked,
}

impl Outcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Redirected,
        Self::UnknownHost,
        Self::BadRequest,
        Self::MethodRefused,
        Self::Limited,
        Self::DirectoryUnavailable,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::HeadTimeout,
        Self::HeadBroken,
        Self::BodyBroken,
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
            Self::BadRequest => "bad_request",
            Self::MethodRefused => "method_refused",
            Self::Limited => "limited",
            Self::DirectoryUnavailable => "directory_unavailable",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::HeadBroken => "head_broken",
            Self::BodyBroken => "body_broken",
            Self::RequestBroken => "request_broken",
            Self::ClientGone => "client_gone",
            Self::Panicked => "panicked",
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
    /// The app server said that it has not processed the request (HTTP/2); the request went on.
    Refused,
    /// No head in time.
    TimedOut,
    /// The connection broke after the request was written.
    Broken,
    /// The client went away first.
    Cancelled,
}

impl AttemptOutcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 7] =
        [Self::Answered, Self::NotConnected, Self::Stale, Self::Refused, Self::TimedOut, Self::Broken, Self::Cancelled];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotConnected => "not_connected",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}
