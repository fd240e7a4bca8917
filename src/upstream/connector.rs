//! A worker's way to an upstream: choose an endpoint, take or open a connection to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use http_body::Body;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::{Instant as Deadline, timeout_at};

use super::{
    Asking, Budget, ClientAddresses, ConnectError, Connection, Endpoint, InFlight, Protocol, ProxyProtocol, Settings,
    Tried, Upstream, connection::Held, dial::dial, http1::Line, http2::Shared, pool::Pool, trunk::Trunk,
};

/// Silence after which the system asks whether the other machine is still there, and how often it asks then. With the
/// nine questions of Linux a machine that is gone is noticed after two minutes.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// One worker's way to one upstream.
pub struct Connector<B> {
    upstream: Arc<Upstream>,
    ways: Vec<Way<B>>,
    budget: Budget,
}

/// What is kept of the connections to one endpoint.
enum Way<B> {
    /// Those of HTTP/1.1 that nobody uses.
    Idle(Arc<Pool<B>>),
    /// Those of HTTP/2.
    Shared(Trunk<B>),
    /// None: each begins with the addresses of its client.
    Single,
}

impl<B> Way<B> {
    fn new(settings: &Settings) -> Self {
        match (settings.proxy_protocol, settings.protocol) {
            (ProxyProtocol::V2, _) => Self::Single,
            (ProxyProtocol::Off, Protocol::Http1) => {
                Self::Idle(Arc::new(Pool::new(settings.idle_timeout, settings.idle_max)))
            }
            (ProxyProtocol::Off, Protocol::Http2) => Self::Shared(Trunk::new(settings.idle_timeout)),
        }
    }
}

impl<B> Connector<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A way with no open connections yet.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        let ways = upstream.endpoints().iter().map(|_| Way::new(&upstream.settings)).collect();
        let budget = Budget::new(upstream.settings.repeat_percent);
        Self { upstream, ways, budget }
    }

    /// The group it leads to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What this worker may repeat.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The endpoint to try next, by position; `None` once all were tried.
    pub fn choose(&self, asking: &Asking<'_>, tried: &Tried, now: Instant) -> Option<usize> {
        self.upstream.choose(asking, tried, now, &mut Rng::with_seed(fastrand::u64(..)))
    }

    /// Counts a request at the endpoint at `position`; `None` where all places there are taken.
    pub fn begin(&self, position: usize) -> Option<InFlight> {
        InFlight::begin(&self.upstream.endpoints()[position])
    }

    /// A connection to the endpoint at `position` that is open and has room, if there is one.
    pub fn reuse(&self, position: usize, now: Instant) -> Option<Connection<B>> {
        let held = match &self.ways[position] {
            Way::Idle(pool) => Held::Own(pool.take(now)?, Some(Arc::clone(pool))),
            Way::Shared(trunk) => Held::share(trunk.take()?),
            Way::Single => return None,
        };
        Some(Connection::new(held, true))
    }

    /// Opens a connection to the endpoint at `position` for an exchange of `client`, under the connect deadline.
    pub async fn open(&self, position: usize, client: &ClientAddresses) -> Result<Connection<B>, ConnectError> {
        let deadline = Deadline::now() + self.upstream.settings.connect_timeout;
        timeout_at(deadline, self.start(position, client, deadline))
            .await
            .map_err(|_elapsed| ConnectError::Timeout)?
            .map(|held| Connection::new(held, false))
    }

    async fn start(
        &self,
        position: usize,
        client: &ClientAddresses,
        deadline: Deadline,
    ) -> Result<Held<B>, ConnectError> {
        let endpoint = &self.upstream.endpoints()[position];
        match &self.ways[position] {
            Way::Idle(pool) => {
                let stream = dial(endpoint, b"", deadline).await?;
                Ok(Held::Own(Line::new(stream), Some(Arc::clone(pool))))
            }
            Way::Shared(trunk) => trunk.open(open_shared(endpoint, deadline)).await.map(Held::share),
            Way::Single => self.start_single(endpoint, client, deadline).await,
        }
    }

    async fn start_single(
        &self,
        endpoint: &Endpoint,
        client: &ClientAddresses,
        deadline: Deadline,
    ) -> Result<Held<B>, ConnectError> {
        let stream = dial(endpoint, &client.header(), deadline).await?;
        match self.upstream.settings.protocol {
            Protocol::Http1 => Ok(Held::Own(Line::new(stream), None)),
            Protocol::Http2 => {
                let shared = Arc::new(Shared::start(stream).await?);
                shared.stream().map(Held::share).ok_or(ConnectError::Closed)
            }
        }
    }

    /// Closes what has been unused for too long; called about once a second.
    pub fn sweep(&self, now: Instant) {
        for (way, endpoint) in self.ways.iter().zip(self.upstream.endpoints()) {
            // Who drains is to be left: nothing that is unused there is kept.
            let now = if endpoint.is_draining() { now + self.upstream.settings.idle_timeout } else { now };
            match way {
                Way::Idle(pool) => pool.sweep(now),
                Way::Shared(trunk) => trunk.sweep(now),
                Way::Single => {}
            }
        }
    }
}

async fn open_shared<B>(endpoint: &Endpoint, deadline: Deadline) -> Result<Shared<B>, ConnectError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = dial(endpoint, b"", deadline).await?;
    if let Some(tcp) = stream.tcp() {
        SockRef::from(tcp).set_tcp_keepalive(&KEEPALIVE).map_err(ConnectError::Refused)?;
    }
    Shared::start(stream).await
}
