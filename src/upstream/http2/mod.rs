//! An HTTP/2 connection to an app server, by prior knowledge (RFC 9113 §3.3) or agreed on in TLS: exchanges share it, each
//! with a stream of its own.

mod call;
mod content;
mod driver;
mod hearing;
mod sending;
#[cfg(test)]
mod tests;
mod usage;

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::{call::Call, usage::Room};
use self::{
    driver::{Terms, drive},
    hearing::Heard,
    usage::{StreamPermit, Usage},
};
use super::{AnswerError, ConnectError, life::Life, stream::Stream as Socket};

/// Streams at once on one connection, fewer if the app server allows fewer. What every server is advised to allow (RFC
/// 9113 §6.5.2); further exchanges get another connection, so that one lost packet does not hold up hundreds.
const STREAMS: u32 = 100;

/// The same as a count.
pub(super) const STREAMS_MAX: usize = STREAMS as usize;

/// Bytes of an answer that its client has not taken yet, per stream: 250 MB/s at half a millisecond, and what a client
/// that reads slowly costs.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for all streams of a connection together: each can fill its own, so a slow client never stops its neighbours.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;

/// What small pieces of answers may cost that their clients have not taken yet, in the units of h2: 256 less the bytes of each. With all
/// windows full of events of 64 bytes it is three times the window. Beyond it h2 ends the connection.
const SMALL_PIECES_MAX: usize = 4 * CONNECTION_WINDOW as usize;

/// Bytes of an upload that the app server has room for and the socket has not, per stream.
const SEND_BUFFER_MAX: usize = 128 * 1024;

/// Bytes of the head of an answer as RFC 9113 §6.5.2 counts them. A shop's page with a dozen large cookies has a quarter.
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// Streams remembered for a second after a client has gone in the middle: their late frames are expected then, and what
/// is not remembered counts as an error of the app server.
const RESETS_REMEMBERED: usize = 1024;

/// An open connection, used by any number of exchanges up to its limit.
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    terms: Arc<Terms>,
    opened: Instant,
    usage: Arc<Usage>,
}

impl Shared {
    /// Starts HTTP/2 on `socket`, and waits for the app server's SETTINGS: only then it is known to speak HTTP/2 and how
    /// many streams it allows, and until then nothing of a request is sent. `room` is told when there may be some.
    pub(super) async fn start(socket: Socket, life: Life, room: Option<Arc<Room>>) -> Result<Self, ConnectError> {
        let (stream, greeting, last_heard) = Heard::of(socket);
        let (sender, connection) = builder().handshake(stream).await.map_err(ConnectError::Handshake)?;
        let (terms, usage) = (Arc::<Terms>::default(), Arc::new(Usage::new(life, room, Instant::now())));
        let driven = drive(connection, Arc::clone(&terms), last_heard, Arc::downgrade(&usage));
        let driver = AbortOnDropHandle::new(tokio::spawn(driven));
        if greeting.await.is_err() || driver.is_finished() {
            let ended = driver.await.unwrap_or(Ok(()));
            return Err(ended.map_or_else(ConnectError::Handshake, |()| ConnectError::Closed));
        }
        drop(driver.detach());
        // Who has asked until now may share it.
        Ok(Self { sender, terms, opened: Instant::now(), usage })
    }

    /// A share of it for one exchange that begins at `now`, if there is room for another.
    pub(super) fn lease(&self, now: Instant) -> Option<Lease> {
        let Some(sender) = self.ready() else {
            self.leave();
            return None;
        };
        // The first one is let through whatever is allowed: it waits in the connection until it may open.
        let permit = self.usage.begin(self.streams_max().max(1), now)?;
        Some(Lease { sender, permit })
    }

    /// What opens a stream, unless the server goes away: it says so before it closes.
    fn ready(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.clone();
        let is_ready = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        (!matches!(is_ready, Poll::Ready(Err(_)))).then_some(sender)
    }

    /// Leaves it where it serves nobody else any more.
    pub(super) fn look(&self, now: Instant) {
        if self.ready().is_none() {
            self.leave();
        }
        self.usage.look(now);
    }

    /// No further stream begins; those that run go on.
    pub(super) fn leave(&self) {
        self.usage.leave();
    }

    /// Streams that there may be at the moment.
    pub(super) fn streams_max(&self) -> usize {
        self.terms.streams_max().min(STREAMS_MAX)
    }

    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether it is worth keeping: open, wanted, and in use or not unused for `idle_timeout` yet.
    pub(super) fn is_kept(&self, idle_timeout: Duration, now: Instant) -> bool {
        !self.terms.has_ended() && self.usage.is_kept(idle_timeout, now)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_PIECES_MAX)
        .max_send_buffer_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_concurrent_reset_streams(RESETS_REMEMBERED);
    builder
}

/// The share of one exchange in a connection.
pub(super) struct Lease {
    sender: SendRequest<Bytes>,
    permit: Arc<StreamPermit>,
}

/// Whether the app server says that it has done nothing with the request (RFC 9113 §8.7): it refused the stream, or went
/// away before it came to it.
pub fn was_refused(error: &AnswerError) -> bool {
    match error {
        AnswerError::Unsent(_) => true,
        // A GOAWAY is told only to the streams behind the last one that it promises to process.
        AnswerError::Http2(error) if error.is_remote() => {
            error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
        }
        _ => false,
    }
}

/// Whether the connection ended under the request, as one does that the app server was closing at the same moment.
pub fn connection_died(error: &AnswerError) -> bool {
    matches!(error, AnswerError::Http2(error) if error.is_io())
}
