//! Who sends a request: whoever waits for the answer, and a task of its own once that has begun.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use tokio_util::task::AbortOnDropHandle;

use super::outgoing::Outgoing;
use crate::upstream::{AnswerError, stream::WriteHalf};

/// The sending of one request after the other.
pub(super) struct Sending<B> {
    by: By<B>,
    /// Why no more can be written. The answer may come nevertheless: many app servers refuse an upload and close.
    fault: Option<AnswerError>,
}

enum By<B> {
    /// Whoever waits for the answer.
    Reader(Outgoing<B>),
    /// A task, which ends with the exchange.
    Task(AbortOnDropHandle<Sent<B>>),
    /// Nobody any more.
    None,
}

type Sent<B> = (Outgoing<B>, Result<(), AnswerError>);

impl<B> Sending<B> {
    pub(super) fn new(half: WriteHalf) -> Self {
        Self { by: By::Reader(Outgoing::new(half)), fault: None }
    }

    /// Whether all was sent.
    pub(super) fn is_done(&self) -> bool {
        self.fault.is_none() && matches!(&self.by, By::Reader(outgoing) if outgoing.is_done())
    }

    /// Whether some of the request was sent.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(&self.by, By::Reader(outgoing) if !outgoing.has_begun())
    }

    /// Whether a task sends.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.by, By::Task(_))
    }

    /// Why no more could be sent.
    pub(super) fn take_fault(&mut self) -> Option<AnswerError> {
        self.fault.take()
    }

    /// The body and what was read of it, if none of the request has gone anywhere.
    pub(super) fn take_unsent(&mut self) -> Option<(B, Vec<Bytes>)> {
        match &mut self.by {
            By::Reader(outgoing) => outgoing.take_unsent(),
            By::Task(_) | By::None => None,
        }
    }

    pub(super) fn into_half(self) -> Option<WriteHalf> {
        match self.by {
            By::Reader(outgoing) => Some(outgoing.into_half()),
            By::Task(_) | By::None => None,
        }
    }
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn begin(&mut self, head: &Parts, body: B) {
        if let By::Reader(outgoing) = &mut self.by {
            outgoing.begin(head, body);
        }
    }

    /// Sends what can be sent. It fails where no answer is to be expected.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Result<(), AnswerError> {
        if self.fault.is_some() {
            return Ok(());
        }
        let sent = match &mut self.by {
            By::Reader(outgoing) if !outgoing.is_done() => outgoing.poll(context),
            By::Task(_) => self.poll_apart(context).map(|()| self.fault.take().map_or(Ok(()), Err)),
            By::Reader(_) | By::None => return Ok(()),
        };
        match sent {
            Poll::Ready(Err(error @ AnswerError::Broken(_))) if self.has_begun() => self.fault = Some(error),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }

    /// The answer has begun, and may wait for its client from now on. What is left of the request must not wait with it.
    pub(super) fn go_on_apart(&mut self) {
        if self.fault.is_some() || self.is_done() {
            return;
        }
        if let By::Reader(mut outgoing) = std::mem::replace(&mut self.by, By::None) {
            self.by = By::Task(AbortOnDropHandle::new(tokio::spawn(async move {
                let sent = poll_fn(|context| outgoing.poll(context)).await;
                (outgoing, sent)
            })));
        }
    }

    /// Ready once no task sends any more.
    pub(super) fn poll_apart(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let By::Task(task) = &mut self.by else { return Poll::Ready(()) };
        // A task that has panicked has nothing to give back.
        self.by = match ready!(Pin::new(task).poll(context)) {
            Ok((outgoing, sent)) => {
                self.fault = sent.err();
                By::Reader(outgoing)
            }
            Err(_panic) => By::None,
        };
        Poll::Ready(())
    }
}
