//! What one worker keeps for one endpoint: its connections there, and what it counts.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http_body::Body;
use tokio::time::{Instant as Deadline, timeout_at};

use super::{
    ClientAddresses, ConnectError, Connection, ConnectionPermit, Endpoint, InFlight, Protocol, ProxyProtocol, Settings,
    connection::Held,
    connections::{Lender, Lent},
    dial::dial,
    http1::Line,
    http2::Shared,
    life::Life,
    pool::Pool,
    stream::Parked,
    trunk::Trunk,
};
use crate::telemetry::{metrics::EndpointMetrics, outcome::ConnectionLimit};

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
    Shared(Arc<Trunk>),
    /// None: each begins with the addresses of its client.
    Single,
}

impl<B> Way<B> {
    fn new(endpoint: &Endpoint, settings: &Settings) -> Self {
        match (settings.proxy_protocol, settings.protocol) {
            (ProxyProtocol::V2, _) => Self::Single,
            (ProxyProtocol::Off, Protocol::Http1) => {
                Self::Idle(Arc::new(Pool::new(settings.idle_timeout, settings.idle_max)))
            }
            (ProxyProtocol::Off, Protocol::Http2) => {
                let of_all = endpoint.trunk().cloned();
                Self::Shared(of_all.unwrap_or_else(|| Arc::new(Trunk::new(settings.idle_timeout))))
            }
        }
    }
}

impl<B> Seat<B> {
    /// Without connections.
    pub(super) fn new(endpoint: &Arc<Endpoint>, settings: &Settings, counts: Arc<EndpointMetrics>) -> Self
    where
        B: Send + 'static,
    {
        let way = Way::new(endpoint, settings);
        if let Way::Idle(pool) = &way {
            let pool: Arc<dyn Lender> = Arc::clone(pool) as Arc<dyn Lender>;
            endpoint.connections().add_lender(Arc::downgrade(&pool));
        }
        Self { endpoint: Arc::clone(endpoint), way, counts }
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
            Way::Shared(trunk) => {
                if trunk.sweep(now) {
                    self.endpoint.has_grown();
                }
            }
            Way::Single => {}
        }
    }
}

impl<B> Seat<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection that is open and has room, if there is one; looked at closely where the request is not `repeatable`.
    pub(super) fn reuse(&self, now: Instant, repeatable: bool) -> Option<Connection<B>> {
        let held = match &self.way {
            Way::Idle(pool) => Held::Own(pool.take(now, repeatable)?, Some(Arc::clone(pool))),
            Way::Shared(trunk) => Held::share(trunk.take(now)?),
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
        match timeout_at(deadline, self.start(client, settings, deadline)).await {
            Ok(started) => started.map(|(held, is_lent)| Connection::new(held, is_lent)),
            Err(_elapsed) => Err(self.overdue()),
        }
    }

    /// What was waited for in vain.
    fn overdue(&self) -> ConnectError {
        match &self.way {
            Way::Shared(_) if self.endpoint.connections().are_full() => {
                self.counts.connection_limit(ConnectionLimit::Connections);
                ConnectError::ConnectionsFull
            }
            _ => ConnectError::Timeout,
        }
    }

    /// A connection, and whether it has served before: one that is lent may be too old, as one of our own may, and one that others have
    /// opened is theirs.
    async fn start(
        &self,
        client: &ClientAddresses,
        settings: &Settings,
        deadline: Deadline,
    ) -> Result<(Held<B>, bool), ConnectError> {
        let held = match &self.way {
            Way::Idle(pool) => {
                let (line, is_lent) = self.line(settings, deadline).await?;
                return Ok((Held::Own(line, Some(Arc::clone(pool))), is_lent));
            }
            Way::Shared(trunk) => {
                let (lease, is_shared) = trunk.open(self.shared(trunk, settings, deadline)).await?;
                if !is_shared {
                    self.endpoint.has_grown();
                }
                return Ok((Held::share(lease), is_shared));
            }
            Way::Single => self.start_single(client, settings, deadline).await,
        };
        Ok((held?, false))
    }

    async fn start_single(
        &self,
        client: &ClientAddresses,
        settings: &Settings,
        deadline: Deadline,
    ) -> Result<Held<B>, ConnectError> {
        let life = self.life(self.permit(deadline).await?, settings);
        let stream = dial(&self.endpoint, &client.header(), deadline).await?;
        match settings.protocol {
            Protocol::Http1 => Ok(Held::Own(Line::new(stream, life), None)),
            Protocol::Http2 => {
                let shared = Shared::start(stream, life, None).await?;
                shared.lease(Instant::now()).map(Held::share).ok_or(ConnectError::Closed)
            }
        }
    }

    /// A connection of HTTP/1.1: a new one, or one that another worker does not use where there may be no more; and whether it is
    /// that.
    async fn line(&self, settings: &Settings, deadline: Deadline) -> Result<(Box<Line<B>>, bool), ConnectError> {
        match self.admit(deadline).await? {
            Admission::New(permit) => {
                let stream = dial(&self.endpoint, b"", deadline).await?;
                Ok((Line::new(stream, self.life(permit, settings)), false))
            }
            Admission::Lent(socket, life) => {
                let stream = socket.unpark().map_err(ConnectError::Refused)?;
                Ok((Line::new(stream, life), true))
            }
        }
    }

    async fn shared(&self, trunk: &Trunk, settings: &Settings, deadline: Deadline) -> Result<Shared, ConnectError> {
        let life = self.life(self.permit(deadline).await?, settings);
        let stream = dial(&self.endpoint, b"", deadline).await?;
        Shared::start(stream, life, trunk.shared_room()).await
    }

    fn life(&self, permit: ConnectionPermit, settings: &Settings) -> Life {
        Life::new(permit, settings, &self.counts, Instant::now())
    }

    /// The right to open a connection, or one that is open.
    async fn admit(&self, deadline: Deadline) -> Result<Admission, ConnectError> {
        let connections = self.endpoint.connections();
        if let Some(permit) = connections.permit() {
            return Ok(Admission::New(permit));
        }
        self.counts.connection_limit(ConnectionLimit::Connections);
        let look = || match connections.borrow() {
            Lent::Connection(socket, life) => Some(Admission::Lent(socket, life)),
            Lent::Closed | Lent::Nothing => connections.permit().map(Admission::New),
        };
        timeout_at(deadline, connections.wait(look)).await.map_err(|_elapsed| ConnectError::ConnectionsFull)
    }

    async fn permit(&self, deadline: Deadline) -> Result<ConnectionPermit, ConnectError> {
        let connections = self.endpoint.connections();
        if let Some(permit) = connections.permit() {
            return Ok(permit);
        }
        self.counts.connection_limit(ConnectionLimit::Connections);
        timeout_at(deadline, connections.wait(|| connections.permit()))
            .await
            .map_err(|_elapsed| ConnectError::ConnectionsFull)
    }
}

/// How a worker comes to a connection.
enum Admission {
    New(ConnectionPermit),
    Lent(Parked, Life),
}
