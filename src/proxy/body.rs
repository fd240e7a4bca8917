//! Bodies on their way through: nothing is buffered whole, and what must end with the exchange rides on its body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    exchange::Exchange,
    replay::KeptBody,
    tunnel::Tunnel,
    upload::{Upload, UploadError},
};
use crate::upstream::{Connection, InFlight};

pub(super) type NextFrame<E = hyper::Error> = Option<Result<Frame<Bytes>, E>>;

/// What the app receives.
pub(super) enum RequestBody {
    /// The request has none.
    Empty,
    /// As the client sends it.
    Streaming(Box<Upload>),
    /// The same, kept so that it can be sent again.
    Kept(KeptBody),
}

impl RequestBody {
    /// Whether there is none, so that the request can be sent again.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(upload) => upload.poll_frame(context),
            Self::Kept(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(upload) => upload.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(upload) => upload.size_hint(),
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

impl Source {
    fn poll(&mut self, context: &mut Context<'_>, exchange: &mut Exchange) -> Poll<NextFrame> {
        match self {
            Self::Page(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Page(bytes) => {
                exchange.bytes_out = bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Self::Upstream(relay) => relay.poll(context, exchange),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }
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
            Some(Err(error)) => exchange.break_off(error),
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
        let next = body.source.poll(context, exchange);
        exchange.pulse().answer().say(&next);
        if matches!(next, Poll::Ready(Some(Ok(_)))) {
            body.finish_if_at_end();
        }
        next
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

/// Bytes of content in `frame`.
pub(super) fn data_length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
