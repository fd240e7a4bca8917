//! HTTP/1.1 on one connection: served by hyper while something happens, parked while nothing does.
//!
//! hyper keeps some 20 KB for a connection, and an edge has tens of thousands that are idle. A connection that has been quiet for
//! a while (`park_after`) is therefore taken apart to its socket; the next byte builds it up again.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{
    clock::Deadline,
    connection::{Announced, Client},
    error::Failure,
    handler,
    idle::Idle,
    refused,
    stream::ClientStream,
    worker::Worker,
};
use crate::telemetry::outcome::Limit;

/// How often a connection is looked at: short beside every limit that is looked after.
const LOOK: Duration = Duration::from_millis(500);

/// Header fields that hyper parses on its stack; another limit costs an allocation per request.
const HYPER_HEADER_COUNT: usize = 100;

/// hyper refuses a smaller buffer.
const HYPER_BUFFER_MIN: usize = 8192;

/// Serves HTTP/1.1 on `stream` until client, limit or drain ends it.
pub(super) async fn serve(client: &Arc<Client>, mut stream: Box<ClientStream>, announced: &mut Announced<'_>) {
    stream.speak_http1();
    let _handed_over = HandedOver(client);
    let mut habit = Habit::Busy;
    loop {
        let end;
        // In boxes of their own: what hyper needs, and what happens once at most. A parked connection should not carry them.
        (end, stream) = Box::pin(active(client, stream, announced, habit)).await;
        match end {
            End::Quiet if stream.has_ahead() => {
                client.pulse.heard(client.worker.clock.now_ms());
                habit = Habit::Busy;
            }
            End::Quiet => {
                client.pulse.answer().let_go();
                match parked(client, &stream, announced).await {
                    Woken::ByClient => habit = Habit::Sparse,
                    Woken::ToEnd => return Box::pin(stream.leave()).await,
                }
            }
            end => return Box::pin(finish(end, client, stream)).await,
        }
    }
}

/// How a client asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Request upon request: it is parked when it has been quiet for `park_after`.
    Busy,
    /// A request now and then, as after its last pause: it is parked with its answer. What hyper took for the request is given back
    /// while it is at hand, and is there for the next connection; nobody has to look at the connection once more for that.
    Sparse,
}

async fn finish(end: End, client: &Arc<Client>, mut stream: Box<ClientStream>) {
    if let Some((tunnel, exchange)) = client.take_over() {
        stream.speak_freely();
        return tunnel.run(client, stream, exchange).await;
    }
    match (end, stream.take_held_back()) {
        (End::Displaced, _) => stream.leave().await,
        // Browsers connect ahead of what they may want.
        (End::HeadTimeout, _) if !stream.was_heard() => stream.leave().await,
        (End::HeadTimeout, _) => refused::answer(client, stream, Failure::HeaderTimeout).await,
        (End::BadHead(error), Some(status)) => {
            refused::answer(client, stream, Failure::unreadable(status, &error)).await;
        }
        (End::CutOff | End::HungUp, _) => {}
        (End::BadHead(_) | End::Done | End::Quiet | End::Idle, _) => stream.close().await,
    }
}

/// Takes what was handed over when serving ends, however it ends.
struct HandedOver<'a>(&'a Client);

impl Drop for HandedOver<'_> {
    fn drop(&mut self) {
        drop(self.0.take_over());
    }
}

/// Why hyper stops serving a connection.
enum End {
    /// Nothing has happened for a while.
    Quiet,
    /// A head did not come to its end in time.
    HeadTimeout,
    /// It has asked for nothing, and stands back for another one.
    Displaced,
    /// Nothing has happened for as long as an idle connection is kept.
    Idle,
    /// A head cannot be read.
    BadHead(hyper::Error),
    /// Both sides have said all they wanted, or HTTP broke; the records of the exchanges tell.
    Done,
    /// The client does not take what it asked for.
    CutOff,
    /// The client has gone: it has ended its direction, and had no answer within a moment.
    HungUp,
}

/// hyper's part of the work, in a box that is given back afterwards.
async fn active(
    client: &Arc<Client>,
    stream: Box<ClientStream>,
    announced: &mut Announced<'_>,
    habit: Habit,
) -> (End, Box<ClientStream>) {
    let exchanges = {
        let client = Arc::clone(client);
        service_fn(move |request| handler::handle(Arc::clone(&client), request))
    };
    let mut hyper = Box::new(builder(&client.worker).serve_connection(TokioIo::new(stream), exchanges));
    let (mut told, mut watch, begun) = (false, Watch::new(client), client.pulse.begun());
    let end = poll_fn(|context| {
        if !told && announced.poll(context) {
            told = true;
            Pin::new(&mut *hyper).graceful_shutdown();
        }
        match Pin::new(&mut *hyper).poll(context) {
            Poll::Ready(Err(error)) if error.is_parse() => Poll::Ready(End::BadHead(error)),
            Poll::Ready(_) => Poll::Ready(End::Done),
            Poll::Pending => {
                if client.pulse.writes().is_blocked() {
                    client.pulse.answer().read_ahead(context);
                }
                if habit == Habit::Sparse && client.pulse.has_answered(begun) {
                    return Poll::Ready(End::Quiet);
                }
                watch.poll(context)
            }
        }
    })
    .await;
    let parts = hyper.into_parts();
    let mut stream = parts.io.into_inner();
    stream.put_back(parts.read_buf);
    (end, stream)
}

/// What wakes a parked connection.
enum Woken {
    ByClient,
    ToEnd,
}

/// Waits for the next request with little but the socket in memory.
async fn parked(client: &Client, stream: &ClientStream, announced: &mut Announced<'_>) -> Woken {
    let worker = &client.worker;
    let quiet_for = worker.clock.since(client.pulse.quiet_since());
    let left = worker.settings.keep_alive_timeout.saturating_sub(quiet_for);
    // In a box, which takes less than it would take here: the task grows in larger steps.
    let (mut limit, mut turn) = (worker.clock.after(left), Box::pin(worker.parked.turn()));
    poll_fn(|context| {
        if announced.poll(context) {
            return Poll::Ready(Woken::ToEnd);
        }
        // What has come by now may be no request: parts of a TLS record wake, and are nothing to be heard.
        if !left.is_zero() && stream.tcp().poll_read_ready(context).is_ready() {
            return Poll::Ready(Woken::ByClient);
        }
        if turn.as_mut().poll(context).is_ready() {
            worker.metrics.limit(Limit::Displaced);
            return Poll::Ready(Woken::ToEnd);
        }
        Pin::new(&mut limit).poll(context).map(|()| {
            worker.metrics.limit(Limit::KeepAlive);
            Woken::ToEnd
        })
    })
    .await
}

/// Looks at an active connection from time to time.
struct Watch<'a> {
    client: &'a Client,
    next: Deadline,
    idle: Idle<'a>,
    /// With which request the client had ended its direction at the look before.
    hung_up_with: Option<u64>,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client) -> Self {
        let next = client.worker.clock.after(LOOK);
        Self { client, next, idle: Idle::new(client), hung_up_with: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        while Pin::new(&mut self.next).poll(context).is_ready() {
            if let Some(end) = self.look() {
                return Poll::Ready(end);
            }
            self.next = self.client.worker.clock.after(LOOK);
        }
        if self.idle.has_to_end(context) { Poll::Ready(End::Displaced) } else { Poll::Pending }
    }

    /// Whether the client had ended its direction with the same request at the look before already. It gets an answer that comes until
    /// then: it may have had nothing more to say.
    fn has_gone(&mut self) -> bool {
        let pulse = &self.client.pulse;
        pulse.look_for_client();
        let now = pulse.has_hung_up().then(|| pulse.begun());
        let before = std::mem::replace(&mut self.hung_up_with, now);
        now.is_some() && now == before
    }

    /// Whether a connection that cannot be parked has to end: what comes may be the next head or what is left of a body, and gets no
    /// answer if it does not come to its end.
    fn has_idled(&self) -> bool {
        let (worker, pulse) = (&self.client.worker, &self.client.pulse);
        let (since, limit, name) = match pulse.head_since() {
            Some(since) => (since, worker.settings.header_timeout, Limit::HeaderTimeout),
            None => (pulse.quiet_since(), worker.settings.keep_alive_timeout, Limit::KeepAlive),
        };
        let has_idled = pulse.is_silent() && worker.clock.since(since) >= limit;
        if has_idled {
            worker.metrics.limit(name);
        }
        has_idled
    }

    fn look(&mut self) -> Option<End> {
        let (worker, pulse) = (&self.client.worker, &self.client.pulse);
        if self.client.takes_too_little() {
            return Some(End::CutOff);
        }
        // Later on it is parked.
        let is_unparked = pulse.has_unread() && pulse.is_silent() && pulse.head_since().is_none();
        if pulse.begun() == 0 || is_unparked {
            self.idle.look();
        }
        if pulse.has_unread() {
            return self.has_idled().then_some(End::Idle);
        }
        if let Some(since) = pulse.head_since() {
            return (worker.clock.since(since) >= worker.settings.header_timeout).then_some(End::HeadTimeout);
        }
        if pulse.running() > 0 {
            return self.has_gone().then_some(End::HungUp);
        }
        // The end of an idle connection comes while it is parked.
        let parked_after = worker.settings.park_after.min(worker.settings.keep_alive_timeout);
        (pulse.is_silent() && worker.clock.since(pulse.quiet_since()) >= parked_after).then_some(End::Quiet)
    }
}

fn builder(worker: &Worker) -> Builder {
    let settings = &worker.settings;
    let mut builder = Builder::new();
    builder
        // Whether the client has gone is looked for here.
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(settings.header_max_bytes)
        .max_buf_size(settings.header_max_bytes.max(HYPER_BUFFER_MIN));
    if settings.header_max_count != HYPER_HEADER_COUNT {
        builder.max_headers(settings.header_max_count);
    }
    builder
}
