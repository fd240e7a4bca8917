//! An answer, read ahead of its client: the app is done with it, and free for others, while a client on a slow line still
//! takes it.
//!
//! Nothing is ever held back: what the app has sent is passed on as soon as the client has room for it. Reading ahead begins
//! when a client has none, and is done by the task that serves the client, between two looks of hyper at the socket. So it ends
//! with the client, and answers that are taken at once never come here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use hyper::body::{Frame, SizeHint};

use super::{
    body::{NextFrame, Relay, data_length},
    buffers::{Buffers, Room, alone, weight},
    endless::is_stream,
    upload::{Tally, longer},
};
use crate::upstream::AnswerError;

/// Room that is taken for a piece before it is read: nobody knows how long it will be, but no read brings more.
const PIECE_MAX: usize = 72 * 1024;

/// Bytes of an answer after which reading ahead may begin: hyper takes so much at least, whether its client does or not.
pub(super) const AHEAD_AFTER: u64 = 8 * 1024;

/// Said by the app of answers that must not be gathered, as nginx takes it. It is left in the answer for a proxy in front.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How many bytes of an answer of this `length` may be read ahead, where the upstream allows `limit`.
///
/// None of a small one, which needs no look at its fields, and none of a stream that has no end: the app should notice when
/// nobody listens.
pub(super) fn limit_for(headers: &HeaderMap, length: Option<u64>, limit: usize) -> usize {
    if length.is_some_and(|length| length <= AHEAD_AFTER) {
        return 0;
    }
    let declined = headers.get(X_ACCEL_BUFFERING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"));
    if declined || is_stream(headers) { 0 } else { limit }
}

/// The rest of an answer, from the app to the client.
pub(super) struct Ahead(Mutex<State>);

struct State {
    relay: Relay,
    /// What became of the body of the request.
    upload: Option<Arc<Tally>>,
    pieces: VecDeque<Result<Frame<Bytes>, AnswerError>>,
    /// Of the pieces.
    weight: usize,
    room: Room,
    /// Nothing more comes from the app.
    ended: bool,
    /// There was no room once.
    refused: bool,
}

impl Ahead {
    /// What `relay` still brings.
    pub(super) fn new(relay: Relay, upload: Option<Arc<Tally>>, buffers: &Arc<Buffers>) -> Arc<Self> {
        let (pieces, room) = (VecDeque::new(), Room::none(buffers));
        Arc::new(Self(Mutex::new(State { relay, upload, pieces, weight: 0, room, ended: false, refused: false })))
    }

    /// Takes what the app has sent, as far as there is room: its client cannot take it now.
    pub(super) fn read(&self, context: &mut Context<'_>) {
        let mut state = self.state();
        while state.wants_more() && state.read_one(context).is_ready() {}
    }

    /// The next piece for the client.
    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<NextFrame> {
        self.state().poll_frame(context)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.pieces.is_empty() && (state.ended || state.relay.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state();
        let held: u64 = state.pieces.iter().flatten().map(data_length).sum();
        longer(&state.relay.size_hint(), held)
    }

    /// Locked by the client's task only, and never across a wait.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wants_more(&mut self) -> bool {
        if self.ended || self.weight >= self.relay.ahead_max {
            return false;
        }
        let has_room = self.room.grow(PIECE_MAX);
        if !has_room && !self.refused {
            self.refused = true;
            self.room.refuse();
        }
        has_room
    }

    fn read_one(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let frame = self.relay.poll_frame(context, self.upload.as_deref());
        let weight = match &frame {
            Poll::Ready(Some(Ok(frame))) => weight_of(frame),
            _ => 0,
        };
        self.room.shrink(PIECE_MAX.saturating_sub(weight));
        self.weight += weight;
        let frame = ready!(frame);
        self.ended = self.relay.is_end_stream() || !matches!(frame, Some(Ok(_)));
        self.pieces.extend(frame.map(|frame| frame.map(|frame| frame.map_data(alone))));
        Poll::Ready(())
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<NextFrame> {
        let Some(piece) = self.pieces.pop_front() else {
            return match self.ended {
                true => Poll::Ready(None),
                false => self.relay.poll_frame(context, self.upload.as_deref()),
            };
        };
        let weight = piece.as_ref().map_or(0, weight_of);
        self.weight -= weight;
        self.room.shrink(weight);
        Poll::Ready(Some(piece))
    }
}

/// What a piece counts for; no more than was taken for it.
fn weight_of(frame: &Frame<Bytes>) -> usize {
    weight(frame.data_ref().map_or(0, Bytes::len)).min(PIECE_MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn small_answers_are_not_read_ahead() {
        let limit = |length| limit_for(&HeaderMap::new(), Some(length), 7);
        assert_eq!((limit(AHEAD_AFTER), limit(AHEAD_AFTER + 1)), (0, 7));
    }

    #[test]
    fn streams_without_an_end_and_whoever_declines_are_not_read_ahead() {
        let limit = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            limit_for(&headers, None, 7)
        };
        for media_type in
            ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/grpc", "application/grpc+proto"]
        {
            assert_eq!(limit("content-type", media_type), 0, "{media_type}");
        }
        assert_eq!((limit("x-accel-buffering", "no"), limit("x-accel-buffering", "No")), (0, 0));
        assert_eq!(
            (limit("x-accel-buffering", "yes"), limit("content-type", "text/html"), limit("age", "0")),
            (7, 7, 7)
        );
    }
}
