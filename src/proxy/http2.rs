//! HTTP/2 on one connection. Its limits are chosen for an edge where anybody may come: what one client can make usher hold, or
//! do for nothing, is bounded by the numbers here.

use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use h2::Reason;
use hyper::{server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{
    clock::{CoarseTimer, Deadline},
    connection::{Announced, Client},
    handler,
    idle::Idle,
    overheard::Overheard,
    stream::ClientStream,
    streams::{SEND_BUFFER, Streams},
};
use crate::telemetry::outcome::Limit;

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes of one upload that may be under way: a client 100 ms away can send 2.5 MB/s.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The largest window there is (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// How much larger than `header_max_bytes` a head may be for h2, which answers a bare 431 beyond that and tells nobody. What lies
/// between gets an answer of ours, a line and a count.
const LIST_FACTOR: usize = 2;

/// A peer that answers no ping for [`PING_TIMEOUT`] is gone, whatever TCP still believes.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How many of its streams a client may end for nothing before its connection does.
struct ResetBudgets {
    /// Those that it had reset before usher got to see them (CVE-2023-44487); the others count as resets.
    unseen: usize,
    /// Those that were reset because of what it sent there ("MadeYouReset", CVE-2025-8671), in the whole life of the connection.
    provoked: Option<usize>,
}

impl ResetBudgets {
    /// Twenty unseen at once is what h2 recommends: a browser that leaves a page takes back what it has seen accepted. No browser
    /// provokes any; a client with a fault may, once in a while.
    const OF_A_CLIENT: Self = Self { unseen: 20, provoked: Some(100) };

    /// A proxy of ours hands on what thousands of clients take back, on a connection without an end. What it may leave unseen is
    /// what it can send between two looks: eight times the streams that it has by default.
    const OF_A_PROXY: Self = Self { unseen: 1024, provoked: None };

    fn of(client: &Client) -> Self {
        if client.is_trusted() { Self::OF_A_PROXY } else { Self::OF_A_CLIENT }
    }
}

/// After its farewell a connection that does not end is cut off.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves HTTP/2 on `stream` until client, limit or drain ends it.
pub(super) async fn serve(client: &Arc<Client>, stream: Box<ClientStream>, announced: &mut Announced<'_>) {
    let exchanges = {
        let client = Arc::clone(client);
        service_fn(move |request| handler::handle(Arc::clone(&client), request))
    };
    let mut hyper = Box::pin(builder(client).serve_connection(TokioIo::new(Overheard::new(stream, client)), exchanges));
    let mut watch = Watch::new(client);
    poll_fn(|context| {
        let look = watch.poll(context);
        let ended = matches!(look, Look::Enough) || announced.poll(context);
        if watch.farewell_at.is_none() && (ended || client.has_served_enough()) {
            watch.say_farewell();
            hyper.as_mut().graceful_shutdown();
        }
        match look {
            Look::CutOff => Poll::Ready(()),
            Look::Fine | Look::Enough => hyper.as_mut().poll(context).map(|ended| note(client, &ended)),
        }
    })
    .await;
}

/// How a connection ended is in the records of its exchanges; a flood need not have any.
fn note(client: &Client, ended: &hyper::Result<()>) {
    if ended.as_ref().is_err_and(is_flood) {
        client.worker.metrics.limit(Limit::Flood);
    }
}

/// Whether h2 has asked the client to be calm, and gone (RFC 9113 §10.5).
fn is_flood(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(Reason::ENHANCE_YOUR_CALM))
}

/// What is to become of a connection.
enum Look {
    Fine,
    /// It should come to its end.
    Enough,
    /// It ends here.
    CutOff,
}

/// Looks at a connection from time to time.
struct Watch<'a> {
    client: &'a Client,
    next: Deadline,
    farewell_at: Option<u64>,
    idle: Idle<'a>,
    /// It ends for a new connection.
    is_displaced: bool,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            next: client.worker.clock.after(LOOK),
            farewell_at: None,
            idle: Idle::new(client),
            is_displaced: false,
        }
    }

    /// The connection is told to end.
    fn say_farewell(&mut self) {
        self.farewell_at = Some(self.client.worker.clock.now_ms());
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Look {
        let mut look = Look::Fine;
        while Pin::new(&mut self.next).poll(context).is_ready() {
            look = self.look();
            self.next = self.client.worker.clock.after(LOOK);
        }
        if self.client.resets_too_much() {
            return Look::CutOff;
        }
        if self.farewell_at.is_none() && self.idle.has_to_end(context) {
            self.is_displaced = true;
            return Look::Enough;
        }
        look
    }

    fn look(&mut self) -> Look {
        let (worker, pulse) = (&self.client.worker, &self.client.pulse);
        if self.client.takes_too_little() || self.has_unfinished_head() {
            return Look::CutOff;
        }
        if pulse.running() > 0 {
            return Look::Fine;
        }
        self.idle.look();
        match self.farewell_at {
            // Somebody waits for its place, and whoever sleeps does not hear it.
            Some(_) if self.is_displaced => Look::CutOff,
            Some(said) if worker.clock.since(said) >= FAREWELL => Look::CutOff,
            Some(_) => Look::Fine,
            None if worker.clock.since(pulse.quiet_since()) >= self.idle_limit() => {
                worker.metrics.limit(if pulse.begun() == 0 { Limit::HeaderTimeout } else { Limit::KeepAlive });
                Look::Enough
            }
            None => Look::Fine,
        }
    }

    /// Whether a head does not come to its end. Nothing else may come between its frames (RFC 9113 §4.3): nobody is heard any more.
    fn has_unfinished_head(&self) -> bool {
        let (worker, pulse) = (&self.client.worker, &self.client.pulse);
        let is_overdue = |since| worker.clock.since(since) >= worker.settings.header_timeout;
        let is_unfinished = pulse.unfinished_since().is_some_and(is_overdue);
        if is_unfinished {
            // Who was told to end was counted then.
            if self.farewell_at.is_none() {
                worker.metrics.limit(Limit::HeaderTimeout);
            }
            pulse.cut_off_all();
        }
        is_unfinished
    }

    /// The first request has to come as soon as one of HTTP/1.1 would have to.
    fn idle_limit(&self) -> Duration {
        let settings = &self.client.worker.settings;
        if self.client.pulse.begun() == 0 { settings.header_timeout } else { settings.keep_alive_timeout }
    }
}

/// Room for as many uploads as there may be streams: one that its app does not read must not take the room of another, whose
/// client would then seem to pause. What one client can make usher hold is bounded by `requests_per_client_max`.
fn connection_window(streams_max: u32) -> u32 {
    STREAM_WINDOW.saturating_mul(streams_max).min(WINDOW_MAX)
}

fn list_max(header_max_bytes: usize) -> u32 {
    u32::try_from(header_max_bytes.saturating_mul(LIST_FACTOR)).unwrap_or(u32::MAX)
}

fn builder(client: &Arc<Client>) -> Builder<Streams> {
    let worker = &client.worker;
    let (settings, resets) = (&worker.settings, ResetBudgets::of(client));
    let mut builder = Builder::new(Streams(Arc::clone(client)));
    builder
        .timer(CoarseTimer(Arc::clone(&worker.clock)))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(settings.http2_streams_max))
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(settings.http2_streams_max)
        .max_header_list_size(list_max(settings.header_max_bytes))
        .max_pending_accept_reset_streams(resets.unseen)
        .max_local_error_reset_streams(resets.provoked)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .enable_connect_protocol();
    builder
}
