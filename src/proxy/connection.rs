//! One client connection, from its first byte to its last.

use std::{
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
};

use http::HeaderValue;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{
    Scheme, Standing,
    clock::Elapsed,
    exchange::Exchange,
    handshake::{Secured, secure},
    http1, http2,
    idle::unless_displaced,
    places::{Place, Turn},
    preface::{self, Protocol},
    proxy_protocol,
    pulse::Pulse,
    requester::printed,
    socket::Socket,
    stream::ClientStream,
    transport::Transport,
    tunnel::Tunnel,
    worker::Worker,
};
use crate::{
    lifecycle::DrainWatch,
    telemetry::outcome::{HandshakeFailure, Limit},
    tls::Acceptor,
    upstream::ClientAddresses,
};

/// Time that a client may make us wait before its rate counts: its socket and the network hold that much back.
const RATE_GRACE_MS: u64 = 10_000;

/// Resets that are forgiven whatever their share: closing a page that is loading resets all its streams.
const RESETS_FORGIVEN: u64 = 100;

/// What all requests of one connection have in common.
pub(super) struct Client {
    pub(super) worker: Arc<Worker>,
    /// The peer, or whom it announced by a PROXY header; IPv4-mapped addresses as IPv4.
    met: SocketAddr,
    /// Where it was met, if some app server wants to be told.
    local: Option<Box<SocketAddr>>,
    /// Its address, ready to be sent in `X-Forwarded-For` and `X-Real-IP`.
    pub(super) address_header: HeaderValue,
    /// Whether the peer itself is on the loopback interface, whomever it announced.
    pub(super) peer_is_loopback: bool,
    /// How far the word of `address` goes.
    pub(super) standing: Standing,
    /// What was agreed on in the handshake; unset on plain connections.
    secured: OnceLock<Box<Secured>>,
    pub(super) pulse: Pulse,
    pub(super) drain: DrainWatch,
    /// What the connection is for once HTTP/1.1 has ended on it.
    handed_over: Mutex<Option<(Box<Tunnel>, Box<Exchange>)>>,
    accepted_at: u64,
    /// Among the connections of the same client; proxies of ours need none.
    place: Option<Place>,
}

impl Client {
    /// `address` is whom the peer announced, or its own.
    fn new(worker: Arc<Worker>, drain: DrainWatch, addresses: ClientAddresses, address: IpAddr) -> Self {
        let accepted_at = worker.clock.now_ms();
        Self {
            peer_is_loopback: addresses.client.ip().is_loopback(),
            met: addresses.of(address).client,
            local: addresses.local.map(Box::new),
            address_header: printed(address),
            standing: worker.settings.trusted_proxies.standing(address),
            secured: OnceLock::new(),
            pulse: Pulse::new(accepted_at),
            drain,
            handed_over: Mutex::default(),
            accepted_at,
            place: None,
            worker,
        }
    }

    /// The address of the peer, or of whom it announced by a PROXY header.
    pub(super) fn address(&self) -> IpAddr {
        self.met.ip()
    }

    /// What was agreed on in the handshake; `None` on a plain connection.
    pub(super) fn secured(&self) -> Option<&Secured> {
        self.secured.get().map(|secured| &**secured)
    }

    /// The scheme by which the peer has reached usher.
    pub(super) fn scheme(&self) -> Scheme {
        if self.secured.get().is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Both ends of the connection, for app servers that are told by PROXY protocol.
    pub(super) fn addresses(&self) -> ClientAddresses {
        ClientAddresses { client: self.met, local: self.local.as_deref().copied() }
    }

    /// Keeps what begins once HTTP/1.1 has ended on this connection.
    pub(super) fn hand_over(&self, tunnel: Box<Tunnel>, exchange: Box<Exchange>) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some((tunnel, exchange));
    }

    /// What was handed over. Whoever serves the connection has to ask, in any case: the record that is kept here keeps the client.
    pub(super) fn take_over(&self) -> Option<(Box<Tunnel>, Box<Exchange>)> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A proxy of ours carries thousands of clients over few connections: limits that are meant for one client do not apply.
    pub(super) fn is_trusted(&self) -> bool {
        self.standing != Standing::Stranger
    }

    /// A place among the connections of the client; an error where the client has too many. Proxies of ours need none.
    fn take_place(&self) -> Result<Option<Place>, TooMany> {
        if self.is_trusted() {
            return Ok(None);
        }
        let place = self.worker.places.connect(self.address());
        if place.is_none() {
            self.worker.metrics.limit(Limit::ConnectionsPerClient);
        }
        place.map(Some).ok_or(TooMany)
    }

    /// One more request of `requester` among those that it has at once; an error where it has too many. Requests that a proxy
    /// of ours makes for itself are not counted.
    pub(super) fn take_turn(&self, requester: IpAddr) -> Result<Option<Turn>, TooMany> {
        let turn = match &self.place {
            Some(place) => place.begin(),
            None if self.worker.settings.trusted_proxies.standing(requester) != Standing::Stranger => return Ok(None),
            None => self.worker.places.visit(requester).begin_visit(),
        };
        turn.map(Some).ok_or(TooMany)
    }

    /// Whether the connection has reached its share of requests or time: closing it now and then lets a load balancer in front
    /// even things out, and frees what a long life has gathered.
    pub(super) fn has_served_enough(&self) -> bool {
        if self.is_trusted() {
            return false;
        }
        let settings = &self.worker.settings;
        let limit = if self.pulse.begun() >= settings.connection_requests_max {
            Limit::ConnectionRequests
        } else if self.worker.clock.since(self.accepted_at) >= settings.connection_lifetime {
            Limit::ConnectionLifetime
        } else {
            return false;
        };
        self.worker.metrics.limit(limit);
        true
    }

    /// Whether the client lets us wait with what it has asked for, altogether or by taking it in drops.
    pub(super) fn takes_too_little(&self) -> bool {
        // With HTTP/2 the other answers of the connection have limits of their own.
        if self.pulse.has_streams() {
            return false;
        }
        let (settings, writes, now) = (&self.worker.settings, self.pulse.writes(), self.worker.clock.now_ms());
        let limit = if u128::from(writes.blocked_ms(now)) >= settings.write_timeout.as_millis() {
            Limit::WriteTimeout
        } else if writes.rate(now, RATE_GRACE_MS).is_some_and(|rate| rate < settings.rate_min) {
            Limit::WriteRate
        } else {
            return false;
        };
        self.worker.metrics.limit(limit);
        self.pulse.cut_off_all();
        true
    }

    /// Whether the client takes back too many of its requests (CVE-2023-44487): more than [`RESETS_FORGIVEN`], and more than
    /// half of all.
    pub(super) fn resets_too_much(&self) -> bool {
        let resets = self.pulse.resets();
        let too_many = resets > RESETS_FORGIVEN && resets * 2 > self.pulse.begun() && !self.is_trusted();
        if too_many {
            self.worker.metrics.limit(Limit::Resets);
        }
        too_many
    }
}

/// A client has as many connections, or requests at once, as it may.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("client has as many requests at once as it may")]
pub(super) struct TooMany;

/// Serves `tcp` to its end. What goes wrong on one connection ends that connection and nothing else.
///
/// The future is a good part of what a parked connection takes. What happens once is therefore in boxes of its own, and this is
/// no `async fn`: what such a function hands on it goes on to have room for.
pub(super) fn serve(
    worker: Arc<Worker>,
    tcp: TcpStream,
    scheme: Scheme,
    drain: DrainWatch,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send {
    let open = Open::count(Arc::clone(&worker), permit);
    let met = Box::pin(meet(worker, tcp, scheme, drain));
    async move {
        let _until_the_end = &open;
        let Some((client, stream, protocol)) = met.await else { return };
        let announcement = pin!(client.drain.draining());
        let mut announced = Announced { drain: &client.drain, announcement, is_heard: false };
        match protocol {
            Protocol::Http1 => http1::serve(&client, stream, &mut announced).await,
            Protocol::Http2 => Box::pin(http2::serve(&client, stream, &mut announced)).await,
        }
    }
}

/// Who is at the other end of `tcp`, and what is spoken there; `None` where the connection comes to nothing.
async fn meet(
    worker: Arc<Worker>,
    mut tcp: TcpStream,
    scheme: Scheme,
    drain: DrainWatch,
) -> Option<(Arc<Client>, Box<ClientStream>, Protocol)> {
    let peer = tcp.peer_addr().map(canonical).ok()?;
    tcp.set_nodelay(true).ok()?;
    let address = proxy_protocol::client_of(peer.ip(), &worker, &mut tcp, &drain).await?;
    let local = worker.tells_addresses.then(|| tcp.local_addr().ok()).flatten();
    let mut client = Client::new(worker, drain.clone(), ClientAddresses { client: peer, local }, address);
    client.place = client.take_place().ok()?;
    let client = Arc::new(client);
    let socket = Socket::new(tcp, Arc::clone(&client));
    let mut announced = Announced { drain: &drain, announcement: pin!(drain.draining()), is_heard: false };
    let (stream, protocol) = open(&client, socket, scheme, &mut announced).await?;
    Some((client, stream, protocol))
}

/// IPv4-mapped addresses as IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// The connection as HTTP sees it, and what the client speaks; `None` where that does not become clear, or not in time, or the
/// drain comes first. In a box, since it goes from hand to hand, and each would reserve space for it.
async fn open(
    client: &Client,
    socket: Socket,
    scheme: Scheme,
    announced: &mut Announced<'_>,
) -> Option<(Box<ClientStream>, Protocol)> {
    match &client.worker.https {
        Some(https) if scheme == Scheme::Https => open_tls(client, &https.acceptor, socket, announced).await,
        _ => {
            let mut stream = Box::new(ClientStream::new(Transport::Plain(socket)));
            let first = unless_displaced(client, preface::protocol(&mut stream));
            let protocol = in_time(client, announced, first).await?.ok()??;
            Some((stream, protocol.ok()?))
        }
    }
}

async fn open_tls(
    client: &Client,
    acceptor: &Acceptor,
    socket: Socket,
    announced: &mut Announced<'_>,
) -> Option<(Box<ClientStream>, Protocol)> {
    let handshake = Box::pin(secure(client, acceptor, socket));
    let secured = in_time(client, announced, handshake).await?;
    match secured.unwrap_or(Err(HandshakeFailure::Late)) {
        Ok(None) => None,
        Ok(Some((stream, protocol, secured))) => {
            // Set here and nowhere else.
            let _first = client.secured.set(Box::new(secured));
            Some((Box::new(ClientStream::new(Transport::Tls(stream))), protocol))
        }
        Err(failure) => {
            client.worker.metrics.handshake_failed(failure);
            None
        }
    }
}

/// Waits for what comes `first` on a connection, for as long as a head may take; `None` where the drain comes before it.
async fn in_time<T>(
    client: &Client,
    announced: &mut Announced<'_>,
    first: impl Future<Output = T>,
) -> Option<Result<T, Elapsed>> {
    let mut first = pin!(client.worker.clock.within(client.worker.settings.header_timeout, first));
    let first = poll_fn(|context| match announced.poll(context) {
        true => Poll::Ready(None),
        false => first.as_mut().poll(context).map(Some),
    })
    .await;
    if let Some(Err(Elapsed)) = first {
        client.worker.metrics.limit(Limit::HeaderTimeout);
    }
    first
}

/// The announcement of the drain, as a connection hears it.
pub(super) struct Announced<'a> {
    drain: &'a DrainWatch,
    announcement: Pin<&'a mut (dyn Future<Output = ()> + Send + 'a)>,
    is_heard: bool,
}

impl Announced<'_> {
    /// Whether the drain was announced. The first call leaves the task's waker there; all others only read a flag: a shared lock
    /// per poll would be one per read and write of every client.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_heard {
            self.is_heard = true;
            let _pending = self.announcement.as_mut().poll(context);
        }
        self.drain.is_draining()
    }
}

/// Counts a connection as open until dropped.
struct Open {
    worker: Arc<Worker>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn count(worker: Arc<Worker>, permit: OwnedSemaphorePermit) -> Self {
        worker.metrics.connection_opened();
        Self { worker, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.metrics.connection_closed();
    }
}
