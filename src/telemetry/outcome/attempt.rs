//! How tries against app servers end, and waiting for a place at one.

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
