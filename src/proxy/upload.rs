//! The body of a request on its way from the client to the app, under the limits that a client has to keep.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    body::{NextFrame, data_length},
    buffers::Room,
    endless::has_grpc,
    expectation::{Expectation, Hold},
    pace::Pace,
    worker::Worker,
};
use crate::{
    telemetry::outcome::Limit,
    upstream::{self, Protocol},
};

/// A body as the client sends it, trailers freed of what no client may set.
pub(super) struct Upload {
    incoming: Incoming,
    /// Shared with the exchange.
    tally: Arc<Tally>,
    worker: Arc<Worker>,
    /// Where the app has yet to ask for it.
    hold: Option<Hold>,
    /// `None` where the client may be as slow as it likes.
    pace: Option<Pace>,
    /// Bytes that may still come.
    left: u64,
    /// Read already, and first to go on.
    beginning: VecDeque<Bytes>,
    /// For the beginning.
    room: Option<Room>,
}

impl Upload {
    /// The body that a client has announced by `headers` in `version`, for `upstream`.
    pub(super) fn new(
        incoming: Incoming,
        (version, headers): (Version, &HeaderMap),
        worker: &Arc<Worker>,
        upstream: &upstream::Settings,
    ) -> Self {
        let settings = &worker.settings;
        // In gRPC both sides may talk and be silent as they please. It needs HTTP/2 from end to end: anywhere else its name alone
        // would free a client of its limits.
        let is_http2 = version == Version::HTTP_2 && upstream.protocol == Protocol::Http2;
        let is_stream = is_http2 && has_grpc(headers);
        let pace = (!is_stream).then(|| Pace::new(&worker.clock, settings.body_timeout, settings.rate_min));
        let left = upstream.body_max_bytes.unwrap_or(u64::MAX);
        Self {
            incoming,
            tally: Arc::new(Tally { is_stream, ..Tally::default() }),
            worker: Arc::clone(worker),
            hold: None,
            pace,
            left,
            beginning: VecDeque::new(),
            room: None,
        }
    }

    /// Whether it comes to its end by itself: nobody has to ask for it, or to answer meanwhile.
    pub(super) fn is_readable_ahead(&self) -> bool {
        self.hold.is_none() && self.pace.is_some()
    }

    /// Puts what was read of it in front again, with the room that it takes.
    pub(super) fn put_back(&mut self, beginning: Vec<Bytes>, room: Option<Room>) {
        self.beginning = beginning.into();
        self.room = room;
    }

    /// Puts what was read of it, and not sent, in front of the rest.
    pub(super) fn put_ahead(&mut self, read: Vec<Bytes>) {
        read.into_iter().rev().for_each(|piece| self.beginning.push_front(piece));
    }

    fn take_beginning(&mut self) -> Option<Bytes> {
        let piece = self.beginning.pop_front();
        if piece.is_none() {
            self.room = None;
        }
        piece
    }

    /// What comes of it.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Holds it back until the app asks for it.
    pub(super) fn hold_back(&mut self) {
        self.tally.expectation.wait();
        self.hold = Some(Hold::new(&self.worker.clock));
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        if let Some(piece) = self.take_beginning() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(hold) = &mut self.hold {
            ready!(hold.poll(&self.tally.expectation, context));
            self.hold = None;
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(self.receive(frame)),
            Poll::Pending => self.poll_wait(context),
        }
    }

    fn receive(&mut self, frame: NextFrame<hyper::Error>) -> NextFrame<UploadError> {
        if let Some(pace) = &mut self.pace {
            pace.heard();
            self.tally.awaited.store(false, Relaxed);
        }
        let frame = match frame {
            Some(Ok(frame)) => Some(self.check(frame)),
            Some(Err(error)) => {
                self.tally.fail(Fault::Broken);
                Some(Err(UploadError::Client(error)))
            }
            None => None,
        };
        self.tally.note(&frame, is_last(&frame) || self.incoming.is_end_stream());
        frame
    }

    fn check(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        match self.left.checked_sub(data_length(&frame)) {
            Some(left) => self.left = left,
            None => return Err(self.fail(BodyLimit::Size)),
        }
        if let Some(trailers) = frame.trailers_mut() {
            self.worker.headers.strip_trailers(trailers);
        }
        Ok(frame)
    }

    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        let Some(pace) = &mut self.pace else { return Poll::Pending };
        self.tally.awaited.store(true, Relaxed);
        let limit = ready!(pace.poll_wait(self.tally.bytes(), context));
        Poll::Ready(Some(Err(self.fail(limit))))
    }

    fn fail(&self, limit: BodyLimit) -> UploadError {
        self.tally.fail(Fault::Limit(limit));
        UploadError::Limit(limit)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let beginning: u64 = self.beginning.iter().map(|piece| piece.len() as u64).sum();
        longer(&self.incoming.size_hint(), beginning)
    }
}

/// What came of a request body so far; read by the exchange, which lives on another task.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes: AtomicU64,
    ended: AtomicBool,
    awaited: AtomicBool,
    fault: OnceLock<Fault>,
    /// Whether it may pause for as long as it likes.
    is_stream: bool,
    /// Whether the app wants it.
    pub(super) expectation: Expectation,
}

impl Tally {
    /// Bytes received from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether it went on to the app to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Whether it is the client's turn, under a deadline.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Relaxed)
    }

    /// Whether it is a stream that may go on at any time, so that the app need not answer yet.
    pub(super) fn is_open_stream(&self) -> bool {
        self.is_stream && !self.ended()
    }

    /// Why it ended too early.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    fn fail(&self, fault: Fault) {
        self.awaited.store(false, Relaxed);
        let _was_told_before = self.fault.set(fault);
    }

    fn note(&self, frame: &NextFrame<UploadError>, is_last: bool) {
        if let Some(Ok(frame)) = frame {
            self.bytes.fetch_add(data_length(frame), Relaxed);
        }
        if is_last {
            self.ended.store(true, Relaxed);
        }
    }
}

/// Why a request body does not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client broke off, or sent what is no body.
    Broken,
    /// It reached a limit.
    Limit(BodyLimit),
}

/// A limit that a request body has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyLimit {
    #[error("request body is too large")]
    Size,
    #[error("request body did not go on in time")]
    Timeout,
    #[error("request body comes too slowly")]
    Rate,
}

impl From<BodyLimit> for Limit {
    fn from(limit: BodyLimit) -> Self {
        match limit {
            BodyLimit::Size => Self::BodySize,
            BodyLimit::Timeout => Self::BodyTimeout,
            BodyLimit::Rate => Self::BodyRate,
        }
    }
}

/// What the connection to the app is told when a request body ends too early.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// The client broke off.
    #[error(transparent)]
    Client(hyper::Error),
    /// It reached a limit.
    #[error(transparent)]
    Limit(BodyLimit),
}

/// The hint of a body that has `bytes` more in front.
pub(super) fn longer(rest: &SizeHint, bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower() + bytes);
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper + bytes);
    }
    hint
}

/// Nothing follows an error or the trailers.
fn is_last(frame: &NextFrame<UploadError>) -> bool {
    frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers))
}
