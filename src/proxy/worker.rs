//! One core: a single-threaded runtime, its own listening sockets, its own connections to the app servers.
//!
//! The accept loop outlives bad clients and exhausted descriptors; it ends only when the drain is announced.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{interval, sleep, timeout},
};

use tokio_util::task::TaskTracker;

use super::{
    Buffers, Https, Places, Roles, Scheme, Settings, UnknownNames, body::RequestBody, clock::Clock, connection,
    headers::HeaderRules, listener::ListeningSocket, parked::Parked, strangers::Strangers,
};
use crate::{
    directory::Reader,
    domains::SelfCheck,
    lifecycle::DrainWatch,
    routing::Rules,
    telemetry::{access_log::Writer, metrics::WorkerMetrics, outcome::Limit},
    upstream::{Connector, ProxyProtocol, Upstream},
};

/// How long accepting pauses when the process or the machine is out of descriptors or memory: long enough for running
/// exchanges to end, short enough that nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An exhausted process fails twenty times a second; one line in this time says so.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How often unused upstream connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// More than blocks of memory are shared for, so that one of its own becomes free.
const NUDGE: usize = 1 << 20;

/// Everything a request needs, one copy per core.
pub struct Worker {
    pub(super) settings: Settings,
    pub(super) rules: Arc<Rules>,
    pub(super) directory: Reader,
    pub(super) headers: Arc<HeaderRules>,
    pub(super) https: Option<Https>,
    pub(super) self_check: SelfCheck,
    pub(super) upstreams: Vec<Connector<RequestBody>>,
    pub(super) roles: Roles,
    pub(super) unknown_names: UnknownNames,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) access_log: Writer,
    pub(super) clock: Arc<Clock>,
    /// Whether some app server wants to be told both ends of a client's connection, which costs a system call each.
    pub(super) tells_addresses: bool,
    pub(super) places: Arc<Places>,
    pub(super) buffers: Arc<Buffers>,
    /// Connections and tunnels that have not ended.
    pub(super) open: TaskTracker,
    connections: Arc<Semaphore>,
    pub(super) parked: Parked,
    pub(super) strangers: Strangers,
    /// The drain deadline is over: what ends now is cut off.
    pub(super) is_over: AtomicBool,
}

/// What a worker is made of.
pub struct Parts {
    /// `[listen]`.
    pub settings: Settings,
    /// The decision order.
    pub rules: Arc<Rules>,
    /// This worker's door to the directory.
    pub directory: Reader,
    /// TLS; there has to be some if there are sockets for it.
    pub https: Option<Https>,
    /// What instances know each other by.
    pub self_check: SelfCheck,
    /// All upstreams, in the order of the configuration.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Who is served by which of them.
    pub roles: Roles,
    /// What the log has told of, of the whole process.
    pub unknown_names: UnknownNames,
    /// This worker's counters.
    pub metrics: Arc<WorkerMetrics>,
    /// This worker's buffer of the access log.
    pub access_log: Writer,
    /// Permits for connections, of the whole process.
    pub connections: Arc<Semaphore>,
    /// Each client's share of them, in the whole process.
    pub places: Arc<Places>,
    /// Memory for bodies, of the whole process.
    pub buffers: Arc<Buffers>,
}

impl Worker {
    /// A worker that has accepted nothing yet.
    pub fn new(parts: Parts) -> Self {
        let tells_addresses =
            parts.upstreams.iter().any(|upstream| upstream.settings.proxy_protocol != ProxyProtocol::Off);
        Self {
            headers: Arc::new(HeaderRules::new(parts.settings.owned_headers.clone(), parts.settings.drop_underscores)),
            settings: parts.settings,
            rules: parts.rules,
            directory: parts.directory,
            https: parts.https,
            self_check: parts.self_check,
            upstreams: connectors(parts.upstreams, &parts.metrics),
            roles: parts.roles,
            unknown_names: parts.unknown_names,
            metrics: parts.metrics,
            access_log: parts.access_log,
            clock: Clock::new(),
            open: TaskTracker::new(),
            tells_addresses,
            places: parts.places,
            buffers: parts.buffers,
            connections: parts.connections,
            parked: Parked::default(),
            strangers: Strangers::new(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Serves `sockets` until the drain is announced, and then what is open until it ends or the drain deadline has come.
    pub async fn run(self, sockets: Vec<ListeningSocket>, drain: DrainWatch) -> io::Result<()> {
        let worker = Arc::new(self);
        let clock = tokio::spawn(Arc::clone(&worker.clock).run());
        let sweeper = tokio::spawn(sweep(Arc::clone(&worker)));
        for ListeningSocket { socket, scheme } in sockets {
            let listener = TcpListener::from_std(socket)?;
            tokio::spawn(accept(Arc::clone(&worker), listener, scheme, drain.clone()));
        }
        drain.draining().await;
        worker.open.close();
        // What is left then is dropped with the runtime, and each exchange writes its line as it goes.
        let drained = timeout(worker.settings.drain_timeout, worker.open.wait()).await;
        worker.is_over.store(drained.is_err(), Relaxed);
        sweeper.abort();
        clock.abort();
        Ok(())
    }
}

fn connectors(upstreams: Vec<Arc<Upstream>>, metrics: &Arc<WorkerMetrics>) -> Vec<Connector<RequestBody>> {
    let upstreams = upstreams.into_iter().enumerate();
    upstreams.map(|(position, upstream)| Connector::new(upstream, position, Arc::clone(metrics))).collect()
}

async fn sweep(worker: Arc<Worker>) {
    let mut tick = interval(SWEEP_INTERVAL);
    loop {
        tick.tick().await;
        let now = Instant::now();
        worker.upstreams.iter().for_each(|upstream| upstream.sweep(now));
        nudge_allocator();
    }
}

/// mimalloc gives memory back to the system when some becomes free for which there is no use, a second later, and only if more
/// becomes free then. After a rush of connections nothing does: this is a little more.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE)));
}

async fn accept(worker: Arc<Worker>, listener: TcpListener, scheme: Scheme, drain: DrainWatch) {
    let mut warned = None;
    loop {
        let next = tokio::select! {
            biased;
            () = drain.draining() => return,
            next = next_connection(&worker, &listener, &mut warned) => next,
        };
        if let Some((stream, permit)) = next {
            worker.open.spawn(connection::serve(Arc::clone(&worker), stream, scheme, drain.clone(), permit));
        }
    }
}

/// The next client under a permit, or `None` where accepting failed, after a pause if the failure will last.
async fn next_connection(
    worker: &Worker,
    listener: &TcpListener,
    warned: &mut Option<Instant>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    match listener.accept().await {
        // The permit comes second: a worker that waits for a client must not hold what another's client needs.
        Ok((stream, _peer)) => Some((stream, permit(worker).await?)),
        Err(error) => {
            worker.metrics.accept_failed();
            if !is_the_clients(&error) {
                warn(&error, warned);
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

async fn permit(worker: &Worker) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&worker.connections).try_acquire_owned() {
        return Some(permit);
    }
    worker.metrics.limit(Limit::Connections);
    worker.parked.displace(&worker.connections).await
}

fn warn(error: &io::Error, warned: &mut Option<Instant>) {
    if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
        tracing::warn!(%error, "cannot accept connections for the moment");
        *warned = Some(Instant::now());
    }
}

/// Errors of one client that went away between the handshake and `accept` (accept(2)); the next may be fine at once.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_the_process_pause_the_accept_loop() {
        const EMFILE: i32 = 24;
        const ECONNABORTED: i32 = 103;
        assert!(!is_the_clients(&io::Error::from_raw_os_error(EMFILE)));
        assert!(is_the_clients(&io::Error::from_raw_os_error(ECONNABORTED)));
    }
}
