//! An HTTP/1.1 connection to an app server: one exchange at a time has it to itself.
//!
//! It is driven by whoever waits for the answer: there is no task and no channel between a request and its app server. Only
//! an upload that goes on once its answer has begun gets a task, since a client may read nothing until it has sent all.

mod answer;
mod chunks;
mod content;
mod framing;
mod head;
mod inlet;
mod outgoing;
mod sending;
mod switched;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, StatusCode, request, response};
use http_body::{Body, Frame, SizeHint};

pub use answer::{Head, Reading, read_head};
pub use content::{Content, Next};
pub use switched::Switched;

use self::{inlet::Inlet, sending::Sending};
use super::{
    AnswerError, Unanswered, Unsent,
    life::Life,
    stream::{ReadHalf, Stream},
};

/// An open connection. Dropping it closes it.
pub(super) struct Line<B> {
    reader: ReadHalf,
    sending: Sending<B>,
    inlet: Inlet,
    /// What is to come of the answer.
    content: Content,
    /// The head of the request, as long as it may be wanted back.
    request: Option<request::Parts>,
    /// Whether that is so until the answer is passed on, and not only until something is written.
    repeatable: bool,
    to_head: bool,
    /// Whether another exchange may follow.
    is_kept: bool,
    life: Life,
}

impl<B> Line<B> {
    /// A line over `stream`, on which nothing was said yet.
    pub(super) fn new(stream: Stream, life: Life) -> Box<Self> {
        let (reader, writer) = stream.into_split();
        Box::new(Self {
            reader,
            sending: Sending::new(writer),
            inlet: Inlet::default(),
            content: Content::of_length(0),
            request: None,
            repeatable: false,
            to_head: false,
            is_kept: true,
            life,
        })
    }

    /// Whether another request can be sent now: the last exchange has come to its end, and the app server has neither closed
    /// the connection nor said something unasked. A system call only if something has come.
    pub(super) fn is_ready(&mut self) -> bool {
        self.is_at_rest() && self.reader.is_silent()
    }

    /// The same at this very moment, for a request that could not be sent again: with a system call in any case.
    pub(super) fn is_ready_now(&mut self) -> bool {
        self.is_at_rest() && self.reader.is_silent_now()
    }

    fn is_at_rest(&self) -> bool {
        self.is_kept && self.is_ended() && self.inlet.0.is_empty() && self.sending.is_done()
    }

    /// Whether the request is still being sent, since its answer has begun before.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_apart()
    }

    /// Whether all of the answer was taken.
    pub(super) fn is_ended(&self) -> bool {
        self.content.is_ended()
    }

    /// What is known of the length of the body.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }

    /// The last request, with `body`, if it was repeatable and nothing was taken of the body of its answer.
    pub(super) fn written(&mut self, body: B) -> Option<Request<B>> {
        self.request.take().filter(|_| self.repeatable).map(|head| Request::from_parts(head, body))
    }

    /// The last request will not be wanted back.
    pub(super) fn forget(&mut self) {
        self.request = None;
    }

    /// The connection for another protocol, behind an answer that agrees to it.
    pub(super) fn switch(self) -> Option<Switched> {
        let stream = self.reader.reunite(self.sending.into_half()?)?;
        Some(Switched::of(stream, Bytes::copy_from_slice(&self.inlet.0), self.life.into_permit()))
    }

    /// How long it serves requests.
    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// The connection itself and what is left of its life, where nothing is under way on it.
    pub(super) fn into_parts(self) -> Option<(Stream, Life)> {
        let stream = self.reader.reunite(self.sending.into_half()?)?;
        Some((stream, self.life))
    }
}

impl<B> Line<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins an exchange. Nothing is sent before [`Line::poll_head`].
    pub(super) fn begin(&mut self, request: Request<B>, repeatable: bool) {
        let (head, body) = request.into_parts();
        self.life.spend();
        self.sending.begin(&head, body);
        self.to_head = head.method == Method::HEAD;
        self.repeatable = repeatable;
        self.request = Some(head);
    }

    /// Sends, and reads the head of the answer. `hear` is told of interim answers.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(StatusCode),
    ) -> Poll<Result<response::Parts, Unanswered<B>>> {
        let head = ready!(self.poll_answer(context, hear));
        self.inlet.rest();
        Poll::Ready(head.map(|head| self.receive(head)).map_err(|error| self.unanswered(error)))
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(StatusCode),
    ) -> Poll<Result<Head, AnswerError>> {
        self.sending.poll(context)?;
        if !self.sending.has_begun() {
            return Poll::Pending;
        }
        if !self.repeatable {
            self.forget();
        }
        loop {
            match read_head(&mut self.inlet.0, self.to_head)? {
                Reading::Final(head) => return Poll::Ready(Ok(head)),
                Reading::Interim(status) => hear(status),
                Reading::Missing => match ready!(self.inlet.poll_read(&mut self.reader, context)) {
                    Ok(1..) => {}
                    Ok(0) => return Poll::Ready(Err(self.sending.take_fault().unwrap_or(AnswerError::Closed))),
                    Err(error) => return Poll::Ready(Err(AnswerError::Broken(error))),
                },
            }
        }
    }

    fn receive(&mut self, head: Head) -> response::Parts {
        let Head { parts, content, is_kept } = head;
        self.content = content;
        self.is_kept = is_kept;
        self.sending.go_on_apart();
        parts
    }

    fn unanswered(&mut self, error: AnswerError) -> Unanswered<B> {
        self.is_kept = false;
        let unsent = match (&self.request, self.sending.take_unsent()) {
            (Some(_), Some((body, read))) => self.request.take().map(|head| {
                let request = Request::from_parts(head, body);
                Box::new(Unsent { request, read })
            }),
            _ => None,
        };
        Unanswered { error, unsent }
    }

    /// The next piece of the body.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let next = ready!(self.poll_next(context));
        self.inlet.rest();
        Poll::Ready(match next {
            Ok(Next::Data(piece)) => Some(Ok(Frame::data(piece))),
            Ok(Next::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Next::End | Next::Missing) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Next, AnswerError>> {
        self.forget();
        self.sending.poll(context)?;
        loop {
            match self.content.next(&mut self.inlet.0)? {
                Next::Missing => match ready!(self.inlet.poll_read(&mut self.reader, context)) {
                    Ok(1..) => {}
                    Ok(0) => self.content.close()?,
                    Err(error) => return Poll::Ready(Err(AnswerError::Broken(error))),
                },
                next => return Poll::Ready(Ok(next)),
            }
        }
    }

    /// Waits until the request is sent, if it is still being sent.
    pub(super) async fn settle(&mut self) {
        std::future::poll_fn(|context| self.sending.poll_apart(context)).await;
    }
}
