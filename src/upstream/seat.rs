//! What one worker keeps for one endpoint: its connections there, and what it counts.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http_body::Body;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::{Instant as Deadline, timeout_at};

use super::{
    ClientAddresses, ConnectError, Connection, Endpoint, InFlight, Protocol, ProxyProtocol, Settings, connection::Held,
    dial::dial, http1::Line, http2::Shared, pool::Pool, trunk::Trunk,
};
use crate::telemetry::metrics::EndpointMetrics;

/// Silence after which the system asks whether the other machine is still there, and how often it asks then. With the
/// nine questions of Linux a machine that is gone is noticed after two minutes.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(std::time::Duration::from_secs(30)).with_interval(std::time::Duration::from_secs(10));

/// One worker's way to one endpoint.
pub(super) struct Seat<B> {
    endpoint: Arc<Endpoint>,
    way: Way<B>,
    counts: Arc<EndpointMetrics>,
}

/// What is kept of the connections.
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

impl<B> Seat<B> {
    /// Without connections.
    pub(super) fn new(endpoint: &Arc<Endpoint>, settings: &Settings, counts: Arc<EndpointMetrics>) -> Self {
        Self { endpoint: Arc::clone(endpoint), way: Way::new(settings), counts }
    }

    /// Whether it is for `endpoint`, and not for another one at the same address.
    pub(super) fn is_for(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint)
    }

    /// What this worker counts there.
    pub(super) fn counts(&self) -> &Arc<EndpointMetrics> {
        &self.counts
    }

    /// Counts a request at the endpoint; `None` where all places there are taken.
    pub(super) fn begin(&self) -> Option<InFlight> {
        InFlight::begin(&self.endpoint)
    }

    /// Closes what has been unused for too long.
    pub(super) fn sweep(&self, settings: &Settings, now: Instant) {
        // Who drains is to be left: nothing that is unused there is kept.
        let now = if self.endpoint.is_draining() { now + settings.idle_timeout } else { now };
        match &self.way {
            Way::Idle(pool) => pool.sweep(now),
            Way::Shared(trunk) => trunk.sweep(now),
            Way::Single => {}
        }
    }
}

impl<B> Seat<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection that is open and has room, if there is one.
    pub(super) fn reuse(&self, now: Instant) -> Option<Connection<B>> {
        let held = match &self.way {
            Way::Idle(pool) => Held::Own(pool.take(now)?, Some(Arc::clone(pool))),
            Way::Shared(trunk) => Held::share(trunk.take()?),
            Way::Single => return None,
        };
        Some(Connection::new(held, true))
    }

    /// Opens a connection for an exchange of `client`, under the connect deadline.
    pub(super) async fn open(
        &self,
        client: &ClientAddresses,
        settings: &Settings,
    ) -> Result<Connection<B>, ConnectError> {
        let deadline = Deadline::now() + settings.connect_timeout;
        timeout_at(deadline, self.start(client, settings, deadline))
            .await
            .map_err(|_elapsed| ConnectError::Timeout)?
            .map(|held| Connection::new(held, false))
    }

    async fn start(
        &self,
        client: &ClientAddresses,
        settings: &Settings,
        deadline: Deadline,
    ) -> Result<Held<B>, ConnectError> {
        match &self.way {
            Way::Idle(pool) => {
                let stream = dial(&self.endpoint, b"", deadline).await?;
                Ok(Held::Own(Line::new(stream), Some(Arc::clone(pool))))
            }
            Way::Shared(trunk) => trunk.open(open_shared(&self.endpoint, deadline)).await.map(Held::share),
            Way::Single => self.start_single(client, settings.protocol, deadline).await,
        }
    }

    async fn start_single(
        &self,
        client: &ClientAddresses,
        protocol: Protocol,
        deadline: Deadline,
    ) -> Result<Held<B>, ConnectError> {
        let stream = dial(&self.endpoint, &client.header(), deadline).await?;
        match protocol {
            Protocol::Http1 => Ok(Held::Own(Line::new(stream), None)),
            Protocol::Http2 => {
                let shared = Arc::new(Shared::start(stream).await?);
                shared.stream().map(Held::share).ok_or(ConnectError::Closed)
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
