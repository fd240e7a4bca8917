//! The body of an answer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};

use crate::upstream::AnswerError;

type NextFrame = Option<Result<Frame<Bytes>, AnswerError>>;

/// What is to come of an answer. Dropping it before its end, and what is sent with it, resets the stream.
pub(super) struct Content {
    stream: RecvStream,
    /// Bytes that are to come; `None` where nobody knows.
    left: Option<u64>,
    /// Only trailers may follow.
    has_data_ended: bool,
}

impl Content {
    /// What comes on `stream` behind a head that says so many bytes of it. h2 holds the app server to them.
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        let left = length.or_else(|| stream.is_end_stream().then_some(0));
        Self { stream, left, has_data_ended: false }
    }

    /// Whether all of it was taken.
    pub(super) fn is_ended(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<NextFrame> {
        if !self.has_data_ended {
            match ready!(self.stream.poll_data(context)) {
                Some(data) => return Poll::Ready(self.receive(data)),
                None => self.has_data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(context)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => self.end(error),
        })
    }

    fn receive(&mut self, data: Result<Bytes, h2::Error>) -> NextFrame {
        let data = match data {
            Ok(data) => data,
            Err(error) => return self.end(error),
        };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        // There is room for as much again. It fails where the stream has ended, which needs none.
        let _given_back = self.stream.flow_control().release_capacity(data.len());
        Some(Ok(Frame::data(data)))
    }

    /// A reset that says that nothing is wrong (RFC 9113 §8.1) may come instead of an end where all was said; behind an end it is not
    /// told.
    fn end(&self, error: h2::Error) -> NextFrame {
        let is_whole = error.is_reset() && error.reason() == Some(Reason::NO_ERROR) && self.left == Some(0);
        (!is_whole).then_some(Err(AnswerError::Http2(error)))
    }
}
