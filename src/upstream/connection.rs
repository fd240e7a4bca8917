//! One exchange's hold on a connection: send, and give it back after a clean end.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::timeout;
use tokio_util::either::Either;

use super::{
    http1::Line,
    http2::{Stream, StreamPermit},
    pool::Pool,
};

/// How long a connection whose answer was read whole may take to become ready for the next request.
/// Usually it is ready at once; an app that still reads an upload it has answered already gets this much time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection in use by one exchange. Dropping it ends what the exchange has begun there: one of HTTP/1.1 is closed, of
/// one of HTTP/2 only the stream is reset, once the answer is dropped too. [`Connection::release`] keeps it. Where the
/// answer switches protocols it is held until hyper has handed over the upgraded connection.
pub struct Connection<B> {
    held: Held<B>,
    reused: bool,
}

/// What an exchange holds.
pub(super) enum Held<B> {
    /// A connection of its own, and where it goes afterwards.
    Own(Line<B>, Option<Arc<Pool<B>>>),
    /// A share of one.
    Stream(Stream<B>),
}

impl<B> Connection<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(held: Held<B>, reused: bool) -> Self {
        Self { held, reused }
    }

    /// Whether it has served another request before: the app may have closed it in the meantime.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// What counts the exchange where others use the connection at the same time, in which case [`Connection::written`]
    /// knows nothing. The body of a request holds it as long as it is sent.
    pub fn permit(&self) -> Option<Arc<StreamPermit>> {
        match &self.held {
            Held::Own(..) => None,
            Held::Stream(stream) => Some(Arc::clone(stream.permit())),
        }
    }

    /// Sends `request`; the error hands it back if nothing of it was written. If it is `repeatable`,
    /// [`Connection::written`] can tell afterwards what it was. Dropping the future cancels the request.
    pub fn send(
        &mut self,
        request: Request<B>,
        repeatable: bool,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        match &mut self.held {
            Held::Own(line, _) => Either::Left(line.send(request, repeatable)),
            Held::Stream(stream) => Either::Right(stream.send(request)),
        }
    }

    /// The last request, with `body`, if it was repeatable and its head was written whole.
    pub fn written(&self, body: B) -> Option<Request<B>> {
        match &self.held {
            Held::Own(line, _) => line.written(body),
            Held::Stream(_) => None,
        }
    }

    /// Lets no further exchange use it: what is silent now may be dead.
    pub fn leave(&self) {
        if let Held::Stream(stream) = &self.held {
            stream.leave();
        }
    }

    /// Gives the connection back after an exchange that ended cleanly on both sides.
    pub fn release(self, now: Instant) {
        let Held::Own(line, Some(pool)) = self.held else { return };
        if line.is_ready() {
            pool.put(line, now);
        } else if !line.is_closed() {
            tokio::spawn(async move {
                if let Some(line) = settled(line).await {
                    pool.put(line, Instant::now());
                }
            });
        }
    }

    /// Closes the connection after an answer to a request that is still being sent: the app may not have read it and
    /// would take the rest of it for another request. It gets the time to read on if it wants to.
    pub fn retire(self) {
        if let Held::Own(line, _) = self.held
            && !line.is_closed()
        {
            tokio::spawn(async move { drop(settled(line).await) });
        }
    }
}

/// The line once it is ready for another request.
async fn settled<B>(mut line: Line<B>) -> Option<Line<B>> {
    timeout(SETTLE_TIMEOUT, line.becomes_ready()).await.unwrap_or(false).then_some(line)
}

/// Why no connection to an endpoint came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// All places at app servers are taken, and so were those for who waits, or the time for it was over.
    #[error("all app servers have as many requests as they may")]
    Full,
    /// All app servers are draining.
    #[error("all app servers are draining")]
    Draining,
    /// Not within `connect_timeout`.
    #[error("no connection within the deadline")]
    Timeout,
    /// Name look-up or TCP failed.
    #[error("connection refused or unreachable")]
    Refused(#[source] io::Error),
    /// The app server closed it before it took a request, or said that it did not process the one it took.
    #[error("the connection was closed or the request refused at once")]
    Closed,
    /// HTTP could not be started on it.
    #[error("the connection broke at once")]
    Handshake(#[source] hyper::Error),
}
