//! Bodies on their way through: nothing is buffered whole, and what must end with the exchange rides on its body.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    clock::Clock,
    exchange::Exchange,
    expectation::{Expectation, Hold},
    headers::HeaderRules,
    replay::KeptBody,
    tunnel::Tunnel,
};
use crate::{
    telemetry::outcome::Outcome,
    upstream::{Connection, InFlight},
};

pub(super) type NextFrame = Option<Result<Frame<Bytes>, hyper::Error>>;

/// What the app receives.
pub(super) enum RequestBody {
    /// The request has none.
    Empty,
    /// As the client sends it, trailers freed of what no client may set.
    Streaming {
        /// From the client.
        incoming: Incoming,
        /// Shared with the exchange.
        tally: Arc<Tally>,
        /// For the trailers.
        rules: Arc<HeaderRules>,
        /// Where the app has yet to ask for it.
        hold: Option<Box<Hold>>,
    },
    /// The same, kept so that it can be sent again.
    Kept(KeptBody),
}

/// What came of a request body so far; read by the exchange, which lives on another task.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes: AtomicU64,
    broken: AtomicBool,
    ended: AtomicBool,
    /// Whether the app wants it.
    pub(super) expectation: Expectation,
}

impl Tally {
    /// Bytes received from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the client broke off, or sent what is no body.
    pub(super) fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Whether it went on to the app to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn note(&self, frame: &NextFrame, is_last: bool) {
        match frame {
            Some(Ok(frame)) => {
                self.bytes.fetch_add(data_length(frame), Ordering::Relaxed);
            }
            Some(Err(_broken)) => self.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        if is_last {
            self.ended.store(true, Ordering::Relaxed);
        }
    }
}

impl RequestBody {
    /// The body of a request, and its tally where there is one.
    pub(super) fn new(incoming: Incoming, rules: &Arc<HeaderRules>) -> (Self, Option<Arc<Tally>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let tally = Arc::new(Tally::default());
        (Self::Streaming { incoming, tally: Arc::clone(&tally), rules: Arc::clone(rules), hold: None }, Some(tally))
    }

    /// Holds it back until the app asks for it; what the app says is for the returned to hear. `None` without a body.
    pub(super) fn hold_back(&mut self, clock: &Arc<Clock>) -> Option<Arc<Tally>> {
        let Self::Streaming { tally, hold, .. } = self else { return None };
        tally.expectation.wait();
        *hold = Some(Box::new(Hold::new(clock)));
        Some(Arc::clone(tally))
    }

    /// Whether there is none, so that the request can be sent again.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<NextFrame> {
        let (incoming, tally, rules, hold) = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Kept(body) => return body.poll_frame(context),
            Self::Streaming { incoming, tally, rules, hold } => (incoming, tally, rules, hold),
        };
        if let Some(held) = hold {
            ready!(held.poll(&tally.expectation, context));
            *hold = None;
        }
        let mut frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
        tally.note(&frame, is_last(&frame) || incoming.is_end_stream());
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            rules.strip_trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
            Self::Kept(body) => body.size_hint(),
        }
    }
}

/// Where the body of an answer comes from.
pub(super) enum Source {
    /// usher itself.
    Page(Bytes),
    /// The app.
    Upstream(Relay),
    /// Nothing; what follows is no HTTP any more.
    Tunnel(Box<Tunnel>),
}

/// An answer of the app while its body runs.
pub(super) struct Relay {
    /// From the app.
    pub(super) incoming: Incoming,
    /// Kept for the next exchange after a clean end, closed otherwise.
    pub(super) connection: Option<Connection<RequestBody>>,
    /// Counts the exchange at its endpoint.
    pub(super) in_flight: Option<InFlight>,
}

/// What the client receives; carries the record of the exchange to its end.
pub(super) struct ResponseBody {
    source: Source,
    /// `None` where the record goes on elsewhere.
    exchange: Option<Box<Exchange>>,
}

impl ResponseBody {
    pub(super) fn new(source: Source, exchange: Box<Exchange>) -> Self {
        let mut body = Self { source, exchange: Some(exchange) };
        body.finish_if_at_end();
        body
    }

    /// The body of an answer that is only a head.
    pub(super) fn none() -> Self {
        Self { source: Source::Page(Bytes::new()), exchange: None }
    }

    /// Where hyper needs no further frame it asks for none: the end has to be noticed with the last one.
    fn finish_if_at_end(&mut self) {
        if let (Source::Upstream(relay), Some(exchange)) = (&mut self.source, &mut self.exchange)
            && relay.incoming.is_end_stream()
        {
            relay.finish(exchange);
        }
    }
}

impl Relay {
    fn finish(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        exchange.finish(now);
        self.in_flight = None;
        let Some(connection) = self.connection.take() else { return };
        match exchange.request_tally.as_deref() {
            Some(upload) if upload.expectation.is_refused() => drop(connection),
            Some(upload) if !upload.ended() => connection.retire(),
            _ => connection.release(now),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, exchange: &mut Exchange) -> Poll<NextFrame> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match &frame {
            // Nobody asks for a further frame after the trailers.
            Some(Ok(frame)) if frame.is_trailers() => self.finish(exchange),
            Some(Ok(frame)) => exchange.bytes_out += data_length(frame),
            Some(Err(error)) => exchange.fail(Outcome::BodyBroken, error),
            None => self.finish(exchange),
        }
        Poll::Ready(frame)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<NextFrame> {
        let body = self.get_mut();
        let Some(exchange) = &mut body.exchange else { return Poll::Ready(None) };
        let frame = match &mut body.source {
            Source::Page(bytes) if bytes.is_empty() => None,
            Source::Page(bytes) => {
                exchange.bytes_out = bytes.len() as u64;
                Some(Ok(Frame::data(std::mem::take(bytes))))
            }
            Source::Upstream(relay) => ready!(relay.poll(context, exchange)),
            Source::Tunnel(_) => None,
        };
        if matches!(frame, Some(Ok(_))) {
            body.finish_if_at_end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Page(bytes) => bytes.is_empty(),
            Source::Upstream(relay) => relay.incoming.is_end_stream(),
            Source::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Page(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(relay) => relay.incoming.size_hint(),
        }
    }
}

/// Nothing follows an error or the trailers.
fn is_last(frame: &NextFrame) -> bool {
    frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers))
}

fn data_length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
