//! One exchange on a shared connection.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{Request, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Lease, content::Content, sending::Sending};
use crate::upstream::{AnswerError, Unanswered, Unsent, connection::SETTLE_TIMEOUT, length::only_length};

/// A request and its answer. Dropping it resets its stream alone.
pub(crate) struct Call<B> {
    lease: Lease,
    /// What waits to be sent.
    request: Option<Request<B>>,
    progress: Progress<B>,
}

enum Progress<B> {
    /// Nothing was sent.
    None,
    /// Whoever waits for the answer sends what is left of the request.
    Awaited(ResponseFuture, Option<Box<Sending<B>>>),
    /// The head was taken. The answer may wait for its client from now on; what is left of the request must not wait with it.
    Answered(Content, Option<AbortOnDropHandle<()>>),
}

impl<B> Call<B> {
    /// One that may begin.
    pub(in crate::upstream) fn new(lease: Lease) -> Self {
        Self { lease, request: None, progress: Progress::None }
    }

    /// Begins with `request`. Nothing is sent before [`Call::poll_head`].
    pub(in crate::upstream) fn begin(&mut self, request: Request<B>) {
        self.request = Some(request);
    }

    /// Opens no further stream on this connection; those that run go on.
    pub(in crate::upstream) fn leave(&self) {
        self.lease.permit.leave();
    }

    /// The answer was read to its end. What is left of the request has a moment still: an app server that neither reads nor refuses it
    /// would hold the stream for ever.
    pub(in crate::upstream) fn release(self) {
        if let Progress::Answered(content, Some(sending)) = self.progress {
            tokio::spawn(async move {
                let _in_time = timeout(SETTLE_TIMEOUT, sending).await;
                drop(content);
            });
        }
    }

    /// Whether all of the answer was taken.
    pub(in crate::upstream) fn is_ended(&self) -> bool {
        !matches!(&self.progress, Progress::Answered(content, _) if !content.is_ended())
    }

    /// What is known of the length of the answer.
    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match &self.progress {
            Progress::Answered(content, _) => content.size_hint(),
            _ => SizeHint::with_exact(0),
        }
    }

    /// The next piece of the answer.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut self.progress {
            Progress::Answered(content, _) => content.poll_frame(context),
            _ => Poll::Ready(None),
        }
    }
}

impl<B> Call<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends, and waits for the head of the answer. `hear` is told of interim answers.
    pub(in crate::upstream) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(StatusCode),
    ) -> Poll<Result<Parts, Unanswered<B>>> {
        if let Some(request) = self.request.take() {
            self.send(request, context)?;
        }
        let Progress::Awaited(answer, sending) = &mut self.progress else { return Poll::Pending };
        let head = poll_answer(answer, sending, context, hear);
        let (mut head, stream) = ready!(head).map_err(unanswered)?.into_parts();
        let length = only_length(&mut head.headers).map_err(unanswered)?;
        let sending = sending.take().map(|sending| AbortOnDropHandle::new(tokio::spawn(send(*sending))));
        self.progress = Progress::Answered(Content::new(stream, length), sending);
        Poll::Ready(Ok(head))
    }

    /// Sends the head of `request`. An error has the request, if nothing of it was sent.
    fn send(&mut self, request: Request<B>, context: &mut Context<'_>) -> Result<(), Unanswered<B>> {
        if let Poll::Ready(Err(error)) = self.lease.sender.poll_ready(context) {
            self.leave();
            let unsent = Some(Box::new(Unsent { request, read: Vec::new() }));
            return Err(Unanswered { error: error.into(), unsent });
        }
        let (head, body) = request.into_parts();
        let is_whole = body.is_end_stream();
        let sent = self.lease.sender.send_request(Request::from_parts(head, ()), is_whole);
        let (answer, stream) = sent.map_err(|error| unanswered(AnswerError::Unsent(error)))?;
        let sending = (!is_whole).then(|| Box::new(Sending::new(stream, body, Arc::clone(&self.lease.permit))));
        self.progress = Progress::Awaited(answer, sending);
        Ok(())
    }
}

fn poll_answer<B>(
    answer: &mut ResponseFuture,
    sending: &mut Option<Box<Sending<B>>>,
    context: &mut Context<'_>,
    hear: &mut impl FnMut(StatusCode),
) -> Poll<Result<http::Response<h2::RecvStream>, AnswerError>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // First, since one may be what the body waits for. The answer itself is asked for only behind the last: it drops them.
    let interim = poll_interim(answer, context, hear);
    if let Some(running) = sending
        && let Poll::Ready(sent) = running.poll(context)
    {
        *sending = None;
        sent?;
    }
    ready!(interim);
    Pin::new(answer).poll(context).map_err(AnswerError::Http2)
}

/// Ready once no further interim answer comes.
fn poll_interim(answer: &mut ResponseFuture, context: &mut Context<'_>, hear: &mut impl FnMut(StatusCode)) -> Poll<()> {
    while let Some(Ok(interim)) = ready!(answer.poll_informational(context)) {
        hear(interim.status());
    }
    Poll::Ready(())
}

/// Sends what is left. Why it cannot be is told where the answer is read.
async fn send<B>(mut sending: Sending<B>)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _sent = poll_fn(|context| sending.poll(context)).await;
}

fn unanswered<B>(error: AnswerError) -> Unanswered<B> {
    Unanswered { error, unsent: None }
}
