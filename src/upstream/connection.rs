//! A worker's way to an upstream: choose an endpoint, take or open a connection, give it back after a clean end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Endpoint, InFlight, Tried, Upstream,
    balancer::least_in_flight,
    pool::Pool,
    recorder::{Record, Recorder},
};

/// Bytes of an answer that are read at once, and so what a client that takes nothing of it can make usher hold; also the
/// largest head of an answer. hyper's own limit is 400 KB: one client with many streams could hold gigabytes.
const READ_MAX: usize = 64 * 1024;

/// How long a connection whose answer was read whole may take to become ready for the next request.
/// Usually it is ready at once; an app that still reads an upload it has answered already gets this much time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// One worker's way to one upstream.
pub struct Connector<B> {
    upstream: Arc<Upstream>,
    pools: Vec<Arc<Pool<B>>>,
    turn: AtomicUsize,
}

impl<B> Connector<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A way with no open connections yet.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        let settings = &upstream.settings;
        let pool = || Arc::new(Pool::new(settings.idle_timeout, settings.idle_max));
        let pools = upstream.endpoints().iter().map(|_| pool()).collect();
        Self { upstream, pools, turn: AtomicUsize::new(0) }
    }

    /// The group it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The endpoint to try next, by position; `None` once all were tried.
    pub fn choose(&self, tried: &Tried) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        least_in_flight(self.upstream.endpoints(), tried, turn)
    }

    /// Counts a request at the endpoint at `position`.
    pub fn begin(&self, position: usize) -> InFlight {
        InFlight::begin(&self.upstream.endpoints()[position])
    }

    /// An unused connection to the endpoint at `position`, if there is one.
    pub fn reuse(&self, position: usize, now: Instant) -> Option<Connection<B>> {
        let pool = &self.pools[position];
        pool.take(now).map(|line| Connection { line, pool: Arc::clone(pool), reused: true })
    }

    /// Opens a connection to the endpoint at `position`, under the connect deadline.
    pub async fn open(&self, position: usize) -> Result<Connection<B>, ConnectError> {
        let endpoint = &self.upstream.endpoints()[position];
        let line = timeout(self.upstream.settings.connect_timeout, dial(endpoint))
            .await
            .map_err(|_elapsed| ConnectError::Timeout)??;
        Ok(Connection { line, pool: Arc::clone(&self.pools[position]), reused: false })
    }

    /// Closes what has been unused for too long; called about once a second.
    pub fn sweep(&self, now: Instant) {
        self.pools.iter().for_each(|pool| pool.sweep(now));
    }
}

async fn dial<B>(endpoint: &Endpoint) -> Result<Line<B>, ConnectError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = endpoint.address();
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(ConnectError::Refused)?;
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    let (stream, record) = Recorder::new(stream);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(READ_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
    // Its errors reach the exchange that is using it; an idle connection's end is nobody's loss.
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    Ok(Line { sender, record })
}

/// An open connection: the way to send on it, and what was written to it.
pub(super) struct Line<B> {
    sender: http1::SendRequest<B>,
    record: Record,
}

impl<B> Line<B> {
    /// Whether another request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

/// A connection in use by one exchange. Dropping it closes it; [`Connection::release`] keeps it.
pub struct Connection<B> {
    line: Line<B>,
    pool: Arc<Pool<B>>,
    reused: bool,
}

impl<B> Connection<B>
where
    B: Body + Send + 'static,
{
    /// Whether it has served another request before: the app may have closed it in the meantime.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Sends `request`; the error hands it back if nothing of it was written. If it is `repeatable`, which one without a
    /// body can be, [`Connection::written`] can tell afterwards what it was. Dropping the future closes the connection.
    pub fn send(
        &mut self,
        request: Request<B>,
        repeatable: bool,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> {
        self.line.record.mark(repeatable);
        self.line.sender.try_send_request(request)
    }

    /// The last request, with `body`, if it was repeatable and was written whole.
    pub fn written(&self, body: B) -> Option<Request<B>> {
        self.line.record.request(body)
    }

    /// Gives the connection back after an answer that was read to its end.
    pub fn release(self, now: Instant) {
        if self.line.is_ready() {
            self.pool.put(self.line, now);
        } else if !self.line.sender.is_closed() {
            tokio::spawn(self.settle());
        }
    }

    async fn settle(mut self) {
        if let Ok(Ok(())) = timeout(SETTLE_TIMEOUT, self.line.sender.ready()).await {
            self.pool.put(self.line, Instant::now());
        }
    }
}

/// Why no connection to an endpoint came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not within `connect_timeout`.
    #[error("no connection within the deadline")]
    Timeout,
    /// Name look-up or TCP failed.
    #[error("connection refused or unreachable")]
    Refused(#[source] io::Error),
    /// The app server closed it before it took a request.
    #[error("the connection was closed at once")]
    Closed,
    /// HTTP could not be started on it.
    #[error("the connection broke at once")]
    Handshake(#[source] hyper::Error),
}
