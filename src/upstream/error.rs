//! What goes wrong on the way to an app server and back.

use std::{error::Error, fmt, io};

use bytes::Bytes;
use http::Request;
use rustix::io::Errno;

/// Why no connection to an endpoint came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// All places at app servers are taken, and so are those for who waits.
    #[error("all app servers have as many requests as they may, and as many wait")]
    QueueFull,
    /// No place at an app server has become free within `queue_timeout`.
    #[error("all app servers had as many requests as they may, for as long as one may wait")]
    QueueTimeout,
    /// There are as many connections to the app server as there may be, and none was free within `connect_timeout`.
    #[error("all connections to the app server that there may be are in use")]
    ConnectionsFull,
    /// The time for an answer was over before the request could be sent.
    #[error("the time for an answer was over before the request could be sent")]
    Late,
    /// The names of the app servers have led nowhere yet.
    #[error("no address of an app server is known yet")]
    NoAddress,
    /// All app servers are draining.
    #[error("all app servers are draining")]
    Draining,
    /// Not within `connect_timeout`.
    #[error("no connection within the deadline")]
    Timeout,
    /// Name look-up or TCP failed.
    #[error("connection refused or unreachable")]
    Refused(#[source] io::Error),
    /// TLS was not agreed on within what `connect_timeout` had left for it.
    #[error("no TLS within the deadline")]
    TlsTimeout,
    /// The handshake failed: another name or CA, no common protocol, or no TLS at all.
    #[error("TLS with the app server failed")]
    Tls(#[source] io::Error),
    /// The app server closed it before it took a request, or said that it did not process the one it took.
    #[error("the connection was closed or the request refused at once")]
    Closed,
    /// HTTP/2 could not be started on it.
    #[error("the connection broke at once")]
    Handshake(#[source] h2::Error),
}

impl ConnectError {
    /// Whether nothing has failed: there is nobody to ask, or too many do, and the reason passes by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout | Self::ConnectionsFull | Self::NoAddress | Self::Draining)
    }

    /// Whether usher itself could open no connection, which says nothing of the server: it may open no more, or has used up its files,
    /// ports or memory.
    pub fn is_own_shortage(&self) -> bool {
        match self {
            Self::ConnectionsFull => true,
            Self::Refused(cause) => Errno::from_io_error(cause).is_some_and(|error| OWN_SHORTAGES.contains(&error)),
            _ => false,
        }
    }
}

const OWN_SHORTAGES: [Errno; 5] = [Errno::NOMEM, Errno::NFILE, Errno::MFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];

/// Why there is no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The app server closed the connection before the end of the answer.
    #[error("connection was closed before the end of the answer")]
    Closed,
    /// The connection broke.
    #[error("connection broke")]
    Broken(#[source] io::Error),
    /// What came is no head of an answer.
    #[error("answer is no HTTP/1.1: {0}")]
    Unreadable(httparse::Error),
    /// The head of the answer has no end.
    #[error("head of the answer is too large")]
    HeadTooLarge,
    /// Two readers could see the end of the answer in different places (RFC 9112 §6.3).
    #[error("app server's answer has an ambiguous end")]
    Ambiguous,
    /// The coding of a body is broken.
    #[error("body of the answer is not coded as it says: {0}")]
    BadCoding(&'static str),
    /// The app server said nothing for too long in the middle of the answer.
    #[error("app server did not go on with its answer in time")]
    Silent,
    /// The body of the request did not come to its end, so that no answer can be expected.
    #[error("body of the request broke off")]
    Upload(#[source] Box<dyn Error + Send + Sync>),
    /// An HTTP/2 connection ended before the request could be sent on it.
    #[error(transparent)]
    Unsent(h2::Error),
    /// An HTTP/2 connection or stream ended early.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl AnswerError {
    /// Whether the app server has said something that is no answer: then it has processed the request.
    pub fn is_an_answer(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::HeadTooLarge | Self::Ambiguous | Self::BadCoding(_))
    }
}

/// A request that was not answered.
pub struct Unanswered<B> {
    /// Why.
    pub error: AnswerError,
    /// The request, if nothing of it was written.
    pub unsent: Option<Box<Unsent<B>>>,
}

/// A request of which nothing was written.
pub struct Unsent<B> {
    /// The request.
    pub request: Request<B>,
    /// What was read of its body already, to be put in front of the rest.
    pub read: Vec<Bytes>,
}

impl<B> fmt::Debug for Unanswered<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unanswered").field("error", &self.error).field("unsent", &self.unsent.is_some()).finish()
    }
}
