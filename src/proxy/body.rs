//! Bodies on their way through: nothing is buffered whole, and what must end with the exchange rides on its body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{
    ahead::{AHEAD_AFTER, Ahead},
    buffered::Whole,
    exchange::Exchange,
    headers::remove_hop_by_hop,
    patience::Patience,
    replay::KeptBody,
    tunnel::Tunnel,
    upload::{Tally, Upload, UploadError},
};
use crate::{
    telemetry::{metrics::EndpointMetrics, outcome::AttemptOutcome},
    upstream::{AnswerError, Connection, InFlight},
};

pub(super) type NextFrame<E = AnswerError> = Option<Result<Frame<Bytes>, E>>;

/// What the app receives.
#[derive(Default)]
pub(super) enum RequestBody {
    /// The request has none.
    #[default]
    Empty,
    /// Held whole before an app server was chosen.
    Whole(Box<Whole>),
    /// As the client sends it.
    Streaming(Box<Upload>),
    /// The same, kept so that it can be sent again.
    Kept(KeptBody),
}

impl RequestBody {
    /// The same, to be sent a second time, where it is held whole. To be asked for before it is sent.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Whole(whole) => Some(Self::Whole(Box::new(whole.again()))),
            Self::Streaming(_) | Self::Kept(_) => None,
        }
    }

    /// Puts what was read of it, and not sent, in front again.
    pub(super) fn put_back(&mut self, read: Vec<Bytes>) {
        match self {
            // One that is kept is sent on shared connections alone, which give nothing back that was read.
            Self::Empty | Self::Kept(_) => {}
            Self::Whole(whole) => whole.put_back(read),
            Self::Streaming(upload) => upload.put_ahead(read),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<NextFrame<UploadError>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(whole) => Poll::Ready(whole.next()),
            Self::Streaming(upload) => upload.poll_frame(context),
            Self::Kept(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Streaming(upload) => upload.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(whole) => whole.size_hint(),
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
    /// The app, with some of it perhaps read ahead.
    Ahead(Arc<Ahead>),
    /// Nothing; what follows is no HTTP any more.
    Tunnel(Box<Tunnel>),
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>, exchange: &mut Exchange) -> Poll<NextFrame> {
        let frame = match self {
            Self::Page(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Page(bytes) => {
                exchange.bytes_out = bytes.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
            }
            Self::Upstream(relay) => ready!(relay.poll_frame(context, exchange.request_tally.as_deref())),
            Self::Ahead(ahead) => ready!(ahead.poll_frame(context)),
            Self::Tunnel(_) => return Poll::Ready(None),
        };
        match &frame {
            // Nobody asks for a further frame after the trailers.
            Some(Ok(frame)) if frame.is_trailers() => exchange.finish(Instant::now()),
            Some(Ok(frame)) => exchange.bytes_out += data_length(frame),
            Some(Err(error)) => exchange.break_off(error),
            None => exchange.finish(Instant::now()),
        }
        Poll::Ready(frame)
    }

    /// Whether the app has said all, and all of it was handed over.
    fn is_at_end(&self) -> bool {
        match self {
            Self::Upstream(relay) => relay.is_end_stream(),
            Self::Ahead(ahead) => ahead.is_end_stream(),
            Self::Page(_) | Self::Tunnel(_) => false,
        }
    }

    /// From now on the answer may be read ahead of its client, if it has become large enough to be worth it.
    fn go_ahead(&mut self, exchange: &Exchange) {
        if !matches!(self, Self::Upstream(relay) if relay.ahead_max > 0 && exchange.bytes_out >= AHEAD_AFTER) {
            return;
        }
        if let Self::Upstream(relay) = std::mem::replace(self, Self::Page(Bytes::new())) {
            let ahead = Ahead::new(relay, exchange.request_tally.clone(), exchange.buffers());
            exchange.pulse().answer().offer(&ahead);
            *self = Self::Ahead(ahead);
        }
    }
}

/// An answer of the app while its body runs.
pub(super) struct Relay {
    /// Brings the body, and is kept for the next exchange after a clean end.
    pub(super) connection: Option<Connection<RequestBody>>,
    /// Counts the exchange at its endpoint.
    pub(super) in_flight: Option<InFlight>,
    /// What is counted there.
    pub(super) counts: Arc<EndpointMetrics>,
    /// `None` where the app may be silent for as long as it likes.
    pub(super) patience: Option<Patience>,
    /// Whether it has no end of its own.
    pub(super) is_stream: bool,
    /// Whether the client knows the end by the length alone, where there is one, and hyper asks for nothing behind the last byte: so it
    /// is with HTTP/1.1. On HTTP/2 trailers may follow.
    pub(super) ends_by_length: bool,
    /// Bytes that may be read ahead of the client.
    pub(super) ahead_max: usize,
}

impl Relay {
    /// The next piece; with the last one the app server is let go. `upload` is the body of the request.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>, upload: Option<&Tally>) -> Poll<NextFrame> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let mut frame = match Pin::new(connection).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => Some(Err(ready!(self.poll_silence(context, upload)))),
        };
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            remove_hop_by_hop(trailers);
        }
        if let Some(patience) = &mut self.patience {
            patience.renew();
        }
        match &frame {
            Some(Ok(frame)) if !frame.is_trailers() && !self.is_end_stream() => {}
            Some(Err(error)) => self.blame(error, upload),
            _ => self.let_go(upload),
        }
        Poll::Ready(frame)
    }

    /// Ready once the app has said nothing for too long. It may wait for a client that is to go on with its request, or read on.
    fn poll_silence(&mut self, context: &mut Context<'_>, upload: Option<&Tally>) -> Poll<AnswerError> {
        let Some(patience) = &mut self.patience else { return Poll::Pending };
        loop {
            ready!(patience.poll_wait(upload.map_or(0, Tally::bytes), context));
            if !upload.is_some_and(Tally::is_awaited) {
                break;
            }
            patience.renew();
        }
        if let Some(connection) = &self.connection {
            connection.leave();
        }
        Poll::Ready(AnswerError::Silent)
    }

    /// The answer breaks off: the app server has failed, unless the client did before.
    fn blame(&mut self, error: &AnswerError, upload: Option<&Tally>) {
        if matches!(error, AnswerError::Upload(_)) || upload.is_some_and(|upload| upload.fault().is_some()) {
            return;
        }
        self.counts.attempt(AttemptOutcome::BodyBroken);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.broke(Instant::now());
        }
    }

    /// Where hyper needs no further frame it asks for none: the end has to be noticed with the last one.
    pub(super) fn is_end_stream(&self) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|body| body.is_end_stream() || self.ends_by_length && body.size_hint().exact() == Some(0))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.connection.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }

    fn let_go(&mut self, upload: Option<&Tally>) {
        let now = Instant::now();
        if let Some(mut in_flight) = self.in_flight.take() {
            in_flight.delivered(now);
        }
        let Some(connection) = self.connection.take() else { return };
        match upload {
            Some(upload) if upload.expectation.is_refused() => drop(connection),
            Some(upload) if !upload.ended() => connection.retire(),
            _ => connection.release(now),
        }
    }
}

/// The last bytes of a piece on HTTP/2, handed over by themselves. hyper takes a piece whole as soon as there is room for one byte,
/// and with the last one the exchange would be over while all of it waits for the client. For the tail there is room only when
/// the client's window covers what is ahead of it: until then the exchange is counted, and has a limit.
const TAIL: usize = 4096;

/// What the client receives; carries the record of the exchange to its end.
pub(super) struct ResponseBody {
    source: Source,
    /// Of the piece that was handed over last.
    tail: Bytes,
    /// `None` where the record goes on elsewhere.
    exchange: Option<Box<Exchange>>,
}

impl ResponseBody {
    pub(super) fn new(mut source: Source, mut exchange: Box<Exchange>) -> Self {
        if matches!(&source, Source::Upstream(relay) if relay.is_stream) {
            exchange.begin_stream();
        }
        if source.is_at_end() {
            if let Source::Upstream(relay) = &mut source {
                relay.let_go(exchange.request_tally.as_deref());
            }
            exchange.finish(Instant::now());
        }
        Self { source, tail: Bytes::new(), exchange: Some(exchange) }
    }

    /// The body of an answer that is only a head.
    pub(super) fn none() -> Self {
        Self { source: Source::Page(Bytes::new()), tail: Bytes::new(), exchange: None }
    }

    /// The next piece of the answer, on HTTP/2 without its tail.
    fn next_piece(&mut self, context: &mut Context<'_>) -> Poll<NextFrame> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        if !self.tail.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.tail)))));
        }
        match ready!(self.source.poll(context, exchange)) {
            Some(Ok(frame)) if exchange.is_http2() => Poll::Ready(Some(Ok(self.hold_tail(frame)))),
            next => Poll::Ready(next),
        }
    }

    fn hold_tail(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut piece) if piece.len() > TAIL => {
                self.tail = piece.split_off(piece.len() - TAIL);
                Frame::data(piece)
            }
            Ok(piece) => Frame::data(piece),
            Err(trailers) => trailers,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<NextFrame> {
        let body = self.get_mut();
        let next = body.next_piece(context);
        let Some(exchange) = &mut body.exchange else { return next };
        // Who listens to a stream may leave it unread for as long as it likes.
        exchange.pulse().answer().say(if exchange.is_stream() { &Poll::Pending } else { &next });
        if matches!(next, Poll::Ready(Some(Ok(_)))) && body.tail.is_empty() {
            match body.source.is_at_end() {
                true => exchange.finish(Instant::now()),
                false => body.source.go_ahead(exchange),
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.source {
            Source::Page(bytes) => bytes.is_empty(),
            Source::Upstream(_) | Source::Ahead(_) => self.source.is_at_end(),
            Source::Tunnel(_) => true,
        };
        is_over && self.tail.is_empty()
    }

    /// Asked before the first piece, when there is no tail.
    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Page(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(relay) => relay.size_hint(),
            Source::Ahead(ahead) => ahead.size_hint(),
        }
    }
}

/// Bytes of content in `frame`.
pub(super) fn data_length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
