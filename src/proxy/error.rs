//! What ends an exchange without an answer of the app: one table of what the client may read and what the operator needs.

use std::error::Error;

use http::StatusCode;

use super::{
    connection::TooMany,
    upload::{BodyLimit, UploadError},
};
use crate::{
    directory::CouldNotAsk,
    routing::{AmbiguousPath, Closed, HostnameError, Refusal},
    telemetry::{
        causes,
        outcome::{Limit, Outcome},
    },
    upstream::{AnswerError, ConnectError, StoreFull},
};

/// Why usher answers itself. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{reason}")]
    Unreadable { status: StatusCode, reason: String },
    #[error("the request head did not come in time")]
    HeaderTimeout,
    #[error("too many header fields")]
    HeaderCount,
    #[error("header fields are too large")]
    HeaderSize,
    #[error("a field value begins or ends with white space")]
    PaddedField,
    #[error("target is too long")]
    TargetTooLong,
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("method is not served")]
    MethodRefused,
    #[error("target names no path")]
    BadTarget,
    #[error("body framing is ambiguous")]
    BadFraming,
    #[error("unknown transfer coding")]
    UnknownCoding,
    #[error("no host")]
    NoHost,
    #[error("several hosts")]
    SeveralHosts,
    #[error("host is not ASCII")]
    HostNotAscii,
    #[error("host {0}")]
    BadHost(HostnameError),
    #[error("host and target disagree")]
    HostsDisagree,
    #[error("host is another than the certificate's on this connection")]
    Misdirected,
    #[error(transparent)]
    AmbiguousPath(#[from] AmbiguousPath),
    #[error("{0}")]
    Unknown(Refusal),
    #[error("{0}")]
    Closed(Closed),
    #[error(transparent)]
    CouldNotAsk(#[from] CouldNotAsk),
    #[error(transparent)]
    StoreFull(#[from] StoreFull),
    #[error("the store's row names an upstream that does not exist")]
    UnknownUpstream,
    #[error("no app server could be reached")]
    NotConnected(#[source] ConnectError),
    #[error("app server sent no response head in time")]
    HeadTimeout,
    #[error("app server broke off before the response head")]
    HeadBroken(#[source] AnswerError),
    #[error("no such protocol can be switched to here")]
    UpgradeRefused,
    #[error("app server switched protocols unasked")]
    UnaskedUpgrade,
    #[error("app server's answer has an ambiguous end")]
    AmbiguousAnswer,
    #[error("client broke off in its request body")]
    RequestBroken(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    BodyLimit(#[from] BodyLimit),
    #[error("the exchange panicked")]
    Panicked,
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Client(error) => Self::RequestBroken(error.into()),
            UploadError::Limit(limit) => Self::BodyLimit(limit),
        }
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Ambiguous => Self::AmbiguousAnswer,
            error => Self::HeadBroken(error),
        }
    }
}

impl Failure {
    /// What hyper could not read, and the status that it has for it.
    pub(super) fn unreadable(status: StatusCode, error: &hyper::Error) -> Self {
        Self::Unreadable { status, reason: causes::one_line(error) }
    }

    /// The status to answer with.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unreadable { status, .. } => *status,
            Self::HeaderTimeout | Self::BodyLimit(BodyLimit::Timeout | BodyLimit::Rate) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyLimit(BodyLimit::Size) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeaderCount | Self::HeaderSize => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownCoding | Self::UpgradeRefused => StatusCode::NOT_IMPLEMENTED,
            Self::BadTarget
            | Self::PaddedField
            | Self::BadFraming
            | Self::NoHost
            | Self::SeveralHosts
            | Self::HostNotAscii
            | Self::BadHost(_)
            | Self::HostsDisagree
            | Self::AmbiguousPath(_)
            | Self::RequestBroken(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Closed(Closed::Gone) => StatusCode::GONE,
            Self::Closed(Closed::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::CouldNotAsk(_) | Self::UnknownUpstream => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotConnected(error) if error.passes() => StatusCode::SERVICE_UNAVAILABLE,
            Self::StoreFull(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotConnected(ConnectError::Timeout | ConnectError::TlsTimeout | ConnectError::Late)
            | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::NotConnected(_) | Self::HeadBroken(_) | Self::UnaskedUpgrade | Self::AmbiguousAnswer => {
                StatusCode::BAD_GATEWAY
            }
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How the exchange counts.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::MethodRefused => Outcome::MethodRefused,
            Self::Unknown(_) => Outcome::UnknownHost,
            Self::Closed(_) => Outcome::StoreInactive,
            Self::CouldNotAsk(_) => Outcome::DirectoryUnavailable,
            Self::UnknownUpstream => Outcome::UnknownUpstream,
            Self::NotConnected(ConnectError::QueueFull) => Outcome::QueueFull,
            Self::NotConnected(ConnectError::QueueTimeout) => Outcome::QueueTimeout,
            Self::NotConnected(ConnectError::ConnectionsFull) => Outcome::ConnectionsFull,
            Self::NotConnected(ConnectError::Late) => Outcome::SendTimeout,
            Self::StoreFull(_) => Outcome::StoreFull,
            Self::TooMany(_) => Outcome::Limited,
            Self::NotConnected(ConnectError::Timeout) => Outcome::ConnectTimeout,
            Self::NotConnected(ConnectError::Tls(_)) => Outcome::TlsFailed,
            Self::NotConnected(ConnectError::TlsTimeout) => Outcome::TlsTimeout,
            Self::NotConnected(_) => Outcome::ConnectFailed,
            Self::HeadTimeout => Outcome::HeadTimeout,
            Self::HeadBroken(_) | Self::UnaskedUpgrade | Self::AmbiguousAnswer => Outcome::HeadBroken,
            Self::RequestBroken(_) => Outcome::RequestBroken,
            Self::HeaderTimeout | Self::BodyLimit(_) => Outcome::Limited,
            Self::Panicked => Outcome::Panicked,
            _ => Outcome::BadRequest,
        }
    }

    /// The limit that was reached, if it was one.
    pub(super) fn limit(&self) -> Option<Limit> {
        match (self, self.status()) {
            (Self::BodyLimit(limit), _) => Some((*limit).into()),
            (Self::TooMany(_), _) => Some(Limit::RequestsPerClient),
            (Self::StoreFull(_), _) => Some(Limit::StoreRequests),
            (_, StatusCode::REQUEST_TIMEOUT) => Some(Limit::HeaderTimeout),
            (_, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Some(Limit::HeaderSize),
            (_, StatusCode::URI_TOO_LONG) => Some(Limit::TargetLength),
            _ => None,
        }
    }

    /// Whether the connection must end, since nobody can say where the next request would begin (RFC 9112 §6.3) or wants to
    /// read up to there.
    ///
    /// Behind a CONNECT too: a client that did not wait for its tunnel has sent what was meant for somebody else. And behind
    /// several hosts: two heads may have been put together, and what follows may belong to either.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::BadFraming | Self::UnknownCoding | Self::MethodRefused | Self::SeveralHosts | Self::BodyLimit(_)
        )
    }

    /// Whether nobody is known for whose sake it would be.
    pub(super) fn is_a_strangers(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::CouldNotAsk(CouldNotAsk::Overloaded | CouldNotAsk::Away))
    }

    /// Whether the client should try again soon: the reason passes by itself.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::TooMany(_) | Self::CouldNotAsk(_) | Self::StoreFull(_) => true,
            Self::NotConnected(error) => error.passes(),
            _ => false,
        }
    }

    /// Whether it passes once somebody has done something: edited a row, or the configuration.
    pub(super) fn waits_for_somebody(&self) -> bool {
        matches!(self, Self::Closed(Closed::Unavailable) | Self::UnknownUpstream)
    }

    /// Whether there is no server to ask, however few visitors there are.
    fn leads_nowhere(&self) -> bool {
        use ConnectError::{Draining, NoAddress};
        matches!(self, Self::UnknownUpstream | Self::NotConnected(Draining | NoAddress))
    }

    /// One sentence for whoever sees the answer; never an internal.
    pub(super) fn public(&self) -> &'static str {
        match self.status() {
            StatusCode::GONE => "This shop has closed.",
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::Closed(_)) => "This shop is closed at the moment.",
            StatusCode::SERVICE_UNAVAILABLE if self.leads_nowhere() => {
                "The shop cannot be reached at the moment. Please try again shortly."
            }
            StatusCode::SERVICE_UNAVAILABLE if !matches!(self, Self::CouldNotAsk(_)) => {
                "The shop cannot take more visitors at the moment. Please try again shortly."
            }
            StatusCode::METHOD_NOT_ALLOWED => "This method is not allowed here.",
            StatusCode::REQUEST_TIMEOUT => "The request did not come in time. Please try again.",
            StatusCode::PAYLOAD_TOO_LARGE => "The request is too large.",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests at once. Please try again shortly.",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The header of the request is too large.",
            StatusCode::URI_TOO_LONG => "The address is too long.",
            StatusCode::NOT_IMPLEMENTED => "The request needs something that is not supported here.",
            StatusCode::MISDIRECTED_REQUEST => "This address needs a connection of its own. Please try again.",
            StatusCode::NOT_FOUND => "There is no shop at this address.",
            StatusCode::SERVICE_UNAVAILABLE => {
                "This address cannot be looked up at the moment. Please try again shortly."
            }
            StatusCode::GATEWAY_TIMEOUT => "The shop takes too long to answer. Please try again.",
            StatusCode::BAD_GATEWAY => "The shop cannot be reached at the moment. Please try again.",
            StatusCode::INTERNAL_SERVER_ERROR => "Something went wrong. Please try again.",
            _ => "The request could not be understood.",
        }
    }
}
