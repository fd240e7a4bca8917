//! One client connection: HTTP/1.1 until the client, a limit or the drain ends it.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::pin,
    sync::Arc,
};

use http::{HeaderValue, Request, Response};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use super::{
    Standing, body::ResponseBody, clock::CoarseTimer, handler, proxy_protocol, requester::printed,
    stream::ClientStream, worker::Worker,
};
use crate::lifecycle::DrainWatch;

/// Header fields that hyper parses on its stack; another limit costs an allocation per request.
const HYPER_HEADER_COUNT: usize = 100;

/// hyper refuses a smaller buffer.
const HYPER_BUFFER_MIN: usize = 8192;

/// What all requests of one connection have in common.
pub(super) struct Client {
    pub(super) worker: Arc<Worker>,
    /// The peer, or whom it announced by a PROXY header; IPv4-mapped addresses as IPv4.
    pub(super) address: IpAddr,
    /// The same, ready to be sent in `X-Forwarded-For` and `X-Real-IP`.
    pub(super) address_header: HeaderValue,
    /// Whether the peer itself is on the loopback interface, whomever it announced.
    pub(super) peer_is_loopback: bool,
    /// How far the word of `address` goes.
    pub(super) standing: Standing,
}

impl Client {
    fn new(worker: Arc<Worker>, peer: IpAddr, address: IpAddr) -> Self {
        let standing = worker.settings.trusted_proxies.standing(address);
        Self { worker, address, address_header: printed(address), peer_is_loopback: peer.is_loopback(), standing }
    }
}

/// Serves `stream` to its end. What goes wrong on one connection ends that connection and nothing else.
pub(super) async fn serve(worker: Arc<Worker>, mut stream: TcpStream, drain: DrainWatch, permit: OwnedSemaphorePermit) {
    let _open = Open::count(Arc::clone(&worker), permit);
    let Ok(peer) = stream.peer_addr().map(|peer| peer.ip().to_canonical()) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(address) = proxy_protocol::client_of(peer, &worker, &mut stream, &drain).await else { return };
    let builder = http1_builder(&worker);
    let client = Arc::new(Client::new(worker, peer, address));
    let service = service_fn(move |request| handler::handle(Arc::clone(&client), request));
    let connection = builder.serve_connection(TokioIo::new(ClientStream(stream)), service);
    until_drained(connection, &drain).await;
}

fn http1_builder(worker: &Worker) -> http1::Builder {
    let settings = &worker.settings;
    let mut builder = http1::Builder::new();
    builder
        .timer(CoarseTimer(Arc::clone(&worker.clock)))
        .header_read_timeout(settings.header_timeout)
        .max_header_size(settings.header_max_bytes)
        .max_buf_size(settings.header_max_bytes.max(HYPER_BUFFER_MIN));
    if settings.header_max_count != HYPER_HEADER_COUNT {
        builder.max_headers(settings.header_max_count);
    }
    builder
}

/// Runs `connection`; once the drain is announced its running exchange may finish and no other begins.
///
/// The drain is polled once, to leave the task's waker there, and after that only its flag is read: a shared lock per
/// poll would be one per read and write of every client.
async fn until_drained<S>(connection: http1::Connection<TokioIo<ClientStream>, S>, drain: &DrainWatch)
where
    S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible>,
{
    let mut connection = pin!(connection);
    let mut announced = pin!(drain.draining());
    let mut watching = false;
    let mut told = false;
    poll_fn(|context| {
        if !watching {
            watching = true;
            let _pending = announced.as_mut().poll(context);
        }
        if !told && drain.is_draining() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        // How it ended is in the access log of its exchanges; a connection that broke between two is nobody's fault.
        connection.as_mut().poll(context).map(drop)
    })
    .await;
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
