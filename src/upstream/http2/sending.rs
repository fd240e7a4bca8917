//! The body of one request on its way into its stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

use super::StreamPermit;
use crate::upstream::AnswerError;

/// A body that is being sent. Dropping it with the answer resets the stream.
pub(super) struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    piece: Option<Piece>,
    /// As long as it goes on the app server counts its stream, whether it has answered or not.
    _permit: Arc<StreamPermit>,
}

/// What the body has given, and the app server has no room for yet.
struct Piece {
    data: Bytes,
    is_last: bool,
}

impl<B> Sending<B> {
    pub(super) fn new(stream: SendStream<Bytes>, body: B, permit: Arc<StreamPermit>) -> Self {
        Self { stream, body, piece: None, _permit: permit }
    }
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Goes on, and is ready once no more is to be sent. It fails where the body does, so that no answer is to be expected; what else
    /// ends the stream is told where the answer is read.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnswerError>> {
        loop {
            // The app server has had enough, or the connection has ended.
            if self.stream.poll_reset(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.piece.is_some() && !ready!(self.poll_room(context)) {
                return Poll::Ready(Ok(()));
            }
            if let Some(Piece { data, is_last }) = self.piece.take()
                && (self.stream.send_data(data, is_last).is_err() || is_last)
            {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match self.take(frame) {
                    Progress::Goes => {}
                    Progress::Ends => return Poll::Ready(Ok(())),
                },
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(AnswerError::Upload(error.into())));
                }
                None => {
                    // Where it fails the stream has ended already.
                    let _sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Ready with `true` once there is room for some of a piece; what there is no room for waits within the connection. With `false`
    /// the stream has ended.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Progress {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                // The connection's window is for others again.
                self.stream.reserve_capacity(0);
                let _sent = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                return Progress::Ends;
            }
        };
        let is_last = self.body.is_end_stream();
        if !data.is_empty() {
            // Asked for once there is something: a body that pauses keeps nobody's share of the connection's window.
            self.stream.reserve_capacity(1);
            self.piece = Some(Piece { data, is_last });
        } else if is_last {
            let _sent = self.stream.send_data(data, true);
            return Progress::Ends;
        }
        Progress::Goes
    }
}

enum Progress {
    Goes,
    Ends,
}
