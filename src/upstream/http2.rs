//! An HTTP/2 connection to an app server, by prior knowledge (RFC 9113 §3.3) or agreed on in TLS: exchanges share it, each
//! with a stream of its own.

use std::{
    error::Error,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    client::conn::{TrySendError, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::{AnswerError, ConnectError, Unanswered, Unsent, greeting::Greeted, life::Life, stream::Stream as Socket};

/// Streams at once on one connection, fewer if the app server allows fewer. What every server is advised to allow (RFC
/// 9113 §6.5.2); further exchanges get another connection, so that one lost packet does not hold up hundreds.
const STREAMS_MAX: u32 = 100;

/// Bytes of an answer that its client has not taken yet, per stream: 250 MB/s at half a millisecond, and what a client
/// that reads slowly costs.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for all streams of a connection together: each can fill its own, so a slow client never stops its neighbours.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;

/// Bytes of an upload that the app server has room for and the socket has not, per stream.
const SEND_BUFFER_MAX: usize = 128 * 1024;

/// Bytes of the head of an answer as RFC 9113 §6.5.2 counts them. A shop's page with a dozen large cookies has a quarter.
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// Streams remembered for a second after a client has gone in the middle: their late frames are expected then, and what
/// is not remembered counts as an error of the app server.
const RESETS_REMEMBERED: usize = 1024;

/// Silence on a connection with open streams after which the app server is asked for a sign of life. gRPC servers take a
/// ping more often than every five minutes for an attack and close; a machine that is gone is told by TCP before that.
const PING_INTERVAL: Duration = Duration::from_secs(310);

/// For the answer to a ping. Then the connection is closed, and its exchanges fail.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// An open connection, used by any number of exchanges up to its limit.
pub(super) struct Shared<B> {
    sender: http2::SendRequest<B>,
    /// What the app server allows at the moment.
    allowed: Arc<AtomicUsize>,
    opened: Instant,
    usage: Arc<Usage>,
}

/// How a connection is used. Its lock is the worker's own and never contended.
struct Usage {
    counts: Mutex<Counts>,
    /// Told when a stream has ended, where somebody may wait for that.
    freed: Option<Arc<Notify>>,
}

struct Counts {
    streams: usize,
    /// When the last stream ended.
    unused_since: Instant,
    /// No further stream is wanted on it.
    left: bool,
    life: Life,
}

impl Usage {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as one stream of a connection until the last copy is dropped. An upload holds one too: as long as it goes on,
/// the app server counts its stream, whether it has answered or not.
pub struct StreamPermit(Arc<Usage>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.streams -= 1;
        if counts.streams == 0 {
            counts.unused_since = Instant::now();
        }
        drop(counts);
        if let Some(freed) = &self.0.freed {
            freed.notify_one();
        }
    }
}

impl<B> Shared<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Starts HTTP/2 on `stream`, and waits for the app server's SETTINGS: only then it is known to speak HTTP/2 and how
    /// many streams it allows, and until then nothing of a request is sent.
    pub(super) async fn start(socket: Socket, life: Life, freed: Option<Arc<Notify>>) -> Result<Self, ConnectError> {
        let (stream, greeting) = Greeted::of(socket);
        let (sender, connection) =
            builder().handshake::<_, B>(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
        greeting.await.map_err(|_closed| ConnectError::Closed)?;
        let mut connection = connection;
        match poll_fn(|context| Poll::Ready(Pin::new(&mut connection).poll(context))).await {
            Poll::Ready(Err(error)) => return Err(ConnectError::Handshake(error)),
            Poll::Ready(Ok(())) => return Err(ConnectError::Closed),
            Poll::Pending => {}
        }
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        tokio::spawn(drive(connection, Arc::clone(&allowed)));
        let now = Instant::now();
        let counts = Mutex::new(Counts { streams: 0, unused_since: now, left: false, life });
        let usage = Usage { counts, freed };
        Ok(Self { sender, allowed, opened: now, usage: Arc::new(usage) })
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Runs the connection to its end, and tells how many streams are allowed whenever it moves.
async fn drive<B>(connection: http2::Connection<TokioIo<Greeted>, B, TokioExecutor>, allowed: Arc<AtomicUsize>)
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    poll_fn(|context| {
        let ended = connection.as_mut().poll(context).map(drop);
        allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
        ended
    })
    .await;
}

impl<B> Shared<B> {
    /// A stream for one exchange that begins at `now`, if there is room for another.
    pub(super) fn stream(self: &Arc<Self>, now: Instant) -> Option<Stream<B>> {
        let mut counts = self.usage.counts();
        // The first one is let through whatever is allowed: it waits in the connection until it may open.
        let limit = self.allowed.load(Ordering::Relaxed).clamp(1, STREAMS_MAX as usize);
        if counts.left || counts.streams >= limit || self.sender.is_closed() {
            return None;
        }
        if counts.life.is_over(now) {
            counts.left = true;
            return None;
        }
        counts.streams += 1;
        counts.life.spend();
        let permit = Arc::new(StreamPermit(Arc::clone(&self.usage)));
        Some(Stream { shared: Arc::clone(self), permit })
    }

    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether it is worth keeping: open, wanted, and in use or not unused for `idle_timeout` yet.
    pub(super) fn is_kept(&self, idle_timeout: Duration, now: Instant) -> bool {
        let counts = self.usage.counts();
        let in_time = counts.streams > 0 || now.saturating_duration_since(counts.unused_since) < idle_timeout;
        in_time && !counts.left && !self.sender.is_closed()
    }
}

/// The share of one exchange in a connection.
pub(super) struct Stream<B> {
    shared: Arc<Shared<B>>,
    permit: Arc<StreamPermit>,
}

impl<B: Body + 'static> Stream<B> {
    /// Sends `request`. Dropping the future, or the body of the answer, resets this stream alone.
    pub(super) fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unanswered<B>>> + use<B> {
        let sent = self.shared.sender.clone().try_send_request(request);
        async { sent.await.map_err(unanswered) }
    }
}

impl<B> Stream<B> {
    /// What counts it.
    pub(super) fn permit(&self) -> &Arc<StreamPermit> {
        &self.permit
    }

    /// Opens no further stream on this connection; those that run go on.
    pub(super) fn leave(&self) {
        self.shared.usage.counts().left = true;
    }
}

fn unanswered<B>(mut error: TrySendError<Request<B>>) -> Unanswered<B> {
    let unsent = error.take_message().map(|request| Box::new(Unsent { request, read: Vec::new() }));
    Unanswered { error: error.into_error().into(), unsent }
}

/// Whether the app server says that it has done nothing with the request (RFC 9113 §8.7): it refused the stream, or went
/// away before it came to it.
pub fn was_refused(error: &AnswerError) -> bool {
    // A GOAWAY is told only to the streams behind the last one that it promises to process.
    stream_error(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Whether the connection ended under the request, as one does that the app server was closing at the same moment.
pub fn connection_died(error: &AnswerError) -> bool {
    stream_error(error).is_none_or(h2::Error::is_io)
}

fn stream_error(error: &AnswerError) -> Option<&h2::Error> {
    match error {
        AnswerError::Http2(error) => error.source()?.downcast_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::upstream::trunk::Trunk;

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// A connection to a server that greets and is never heard again.
    async fn to_a_silent_server() -> Arc<Shared<Empty<Bytes>>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&SETTINGS).await.unwrap();
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        });
        Arc::new(
            Shared::start(Socket::Tcp(TcpStream::connect(address).await.unwrap()), Life::example(), None)
                .await
                .unwrap(),
        )
    }

    #[tokio::test]
    async fn a_server_that_gives_no_sign_of_life_is_given_up() {
        let shared = to_a_silent_server().await;
        let stream = shared.stream(Instant::now()).unwrap();
        let request = Request::get("http://shop.example/").body(Empty::new()).unwrap();
        let answer = tokio::spawn(stream.send(request));
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let error = answer.await.unwrap().unwrap_err().error;
        assert!((PING_INTERVAL..PING_INTERVAL + 2 * PING_TIMEOUT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!(connection_died(&error) && !was_refused(&error), "{error:?}");
        assert!(shared.stream(Instant::now()).is_none());
    }

    #[tokio::test]
    async fn what_was_unused_for_too_long_is_not_used_before_it_is_swept() {
        let idle_timeout = Duration::from_secs(4);
        let trunk = Trunk::new(idle_timeout, None);
        let shared = Arc::into_inner(to_a_silent_server().await).unwrap();
        drop(trunk.open(async { Ok(shared) }).await.unwrap());
        assert!(trunk.take(Instant::now() + idle_timeout).is_none());
        let running = trunk.take(Instant::now()).unwrap();
        assert!(trunk.take(Instant::now() + idle_timeout).is_some(), "it is in use");
        drop(running);
    }

    #[tokio::test]
    async fn a_connection_is_kept_while_it_is_in_use_wanted_and_young() {
        let (shared, idle_timeout) = (to_a_silent_server().await, Duration::from_secs(4));
        let late = || Instant::now() + idle_timeout;
        assert!(shared.is_kept(idle_timeout, Instant::now()) && !shared.is_kept(idle_timeout, late()));
        let streams: Vec<_> = std::iter::from_fn(|| shared.stream(Instant::now())).collect();
        assert_eq!(streams.len(), STREAMS_MAX as usize, "nothing was said about a limit, so ours counts");
        assert!(shared.is_kept(idle_timeout, late()));
        streams[0].leave();
        assert!(!shared.is_kept(idle_timeout, Instant::now()));
    }
}
