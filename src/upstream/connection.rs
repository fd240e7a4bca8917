//! One exchange's hold on a connection: send, take the answer, and give it back after a clean end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::{
    AnswerError, Unanswered,
    http1::{Line, Switched},
    http2::{Call, Lease},
    pool::Pool,
};

/// How long a connection whose answer was read whole may take to become ready for the next request.
/// Usually it is ready at once; an app that still reads an upload it has answered already gets this much time.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection in use by one exchange, and the body of its answer. Dropping it ends what the exchange has begun there: one of
/// HTTP/1.1 is closed, of one of HTTP/2 only the stream is reset. [`Connection::release`] keeps it.
pub struct Connection<B> {
    held: Held<B>,
    reused: bool,
}

/// What an exchange holds.
pub(super) enum Held<B> {
    /// A connection of its own, and where it goes afterwards.
    Own(Box<Line<B>>, Option<Arc<Pool<B>>>),
    /// A share of one.
    Share(Box<Call<B>>),
}

impl<B> Held<B> {
    pub(super) fn share(lease: Lease) -> Self {
        Self::Share(Box::new(Call::new(lease)))
    }
}

impl<B> Connection<B> {
    pub(super) fn new(held: Held<B>, reused: bool) -> Self {
        Self { held, reused }
    }

    /// Whether it has served another request before: the app may have closed it in the meantime.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Whether others use it at the same time, in which case [`Connection::written`] knows nothing.
    pub fn is_shared(&self) -> bool {
        matches!(self.held, Held::Share(_))
    }

    /// The last request, with `body`, if it was repeatable and nothing was taken of the body of its answer.
    pub fn written(&mut self, body: B) -> Option<Request<B>> {
        match &mut self.held {
            Held::Own(line, _) => line.written(body),
            Held::Share(..) => None,
        }
    }

    /// Lets no further exchange use it: what is silent now may be dead.
    pub fn leave(&self) {
        if let Held::Share(call) = &self.held {
            call.leave();
        }
    }

    /// The connection for another protocol, where the answer has agreed to it.
    pub fn switch(self) -> Option<Switched> {
        match self.held {
            Held::Own(line, _) => line.switch(),
            Held::Share(..) => None,
        }
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins an exchange with `request`. If it is `repeatable`, [`Connection::written`] can give it back afterwards. Dropping
    /// the connection cancels it.
    pub fn begin(&mut self, request: Request<B>, repeatable: bool) {
        match &mut self.held {
            Held::Own(line, _) => line.begin(request, repeatable),
            Held::Share(call) => call.begin(request),
        }
    }

    /// Sends, and reads the head of the answer. `hear` is told of interim answers.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        hear: &mut impl FnMut(StatusCode),
    ) -> Poll<Result<Parts, Unanswered<B>>> {
        match &mut self.held {
            Held::Own(line, _) => line.poll_head(context, hear),
            Held::Share(call) => call.poll_head(context, hear),
        }
    }

    /// Gives the connection back after an exchange that ended cleanly on both sides.
    pub fn release(self, now: Instant) {
        let (mut line, pool) = match self.held {
            Held::Own(line, Some(pool)) => (line, pool),
            Held::Own(_, None) => return,
            Held::Share(call) => return call.release(),
        };
        line.forget();
        if line.is_ready() {
            pool.put(line, now);
        } else if line.is_sending() {
            tokio::spawn(async move {
                if let Some(mut line) = settled(line).await
                    && line.is_ready()
                {
                    pool.put(line, Instant::now());
                }
            });
        }
    }

    /// Closes the connection after an answer to a request that is still being sent: the app may not have read it and
    /// would take the rest of it for another request. It gets the time to read on if it wants to.
    pub fn retire(self) {
        match self.held {
            Held::Own(line, _) if line.is_sending() => drop(tokio::spawn(async move { drop(settled(line).await) })),
            Held::Own(..) => {}
            Held::Share(call) => call.release(),
        }
    }
}

/// The line once its request is sent.
async fn settled<B>(mut line: Box<Line<B>>) -> Option<Box<Line<B>>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    timeout(SETTLE_TIMEOUT, line.settle()).await.is_ok().then_some(line)
}

/// The body of the answer.
impl<B> Body for Connection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut self.held {
            Held::Own(line, _) => line.poll_frame(context),
            Held::Share(call) => call.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.held {
            Held::Own(line, _) => line.is_ended(),
            Held::Share(call) => call.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.held {
            Held::Own(line, _) => line.size_hint(),
            Held::Share(call) => call.size_hint(),
        }
    }
}
