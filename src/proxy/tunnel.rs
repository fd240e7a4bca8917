//! A WebSocket between a client and an app server: bytes go through both ways as they come, and each side is told when the other
//! has said its last.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    clock::Deadline,
    connection::Client,
    exchange::Exchange,
    frames::{FAREWELL, FAREWELL_MASKED, Frames},
};
use crate::{
    telemetry::outcome::{Limit, Outcome},
    upstream::{InFlight, http1::Switched},
};

/// Bytes under way in one direction. Most messages are smaller, and tunnels live long.
const BUFFER: usize = 8 * 1024;

/// How long a message that is under way may take when a tunnel is to end.
const FAREWELL_WITHIN: Duration = Duration::from_secs(5);

/// A tunnel whose client is not there yet.
pub(super) struct Tunnel {
    app: Switched,
    in_flight: InFlight,
    /// Where the client is to be found, if it is not at the end of the connection.
    stream: Option<OnUpgrade>,
}

impl Tunnel {
    pub(super) fn new(app: Switched, in_flight: InFlight, stream: Option<OnUpgrade>) -> Self {
        Self { app, in_flight, stream }
    }

    /// Opens it once the client has been answered: at the end of this connection of HTTP/1.1, or on its stream of HTTP/2.
    pub(super) fn open(mut self: Box<Self>, client: &Arc<Client>, exchange: Box<Exchange>) {
        match self.stream.take() {
            None => client.hand_over(self, exchange),
            Some(stream) => {
                let client = Arc::clone(client);
                client.worker.open.clone().spawn(async move {
                    if let Ok(stream) = stream.await {
                        self.run(&client, TokioIo::new(stream), exchange).await;
                    }
                });
            }
        }
    }

    /// Carries bytes until both sides have said their last, one breaks off, the tunnel is silent for too long, or the drain comes.
    pub(super) async fn run<C>(self: Box<Self>, client: &Client, stream: C, mut exchange: Box<Exchange>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { app, in_flight: _in_flight, .. } = *self;
        let _open = Open::count(client);
        let mut ends = Ends { client: stream, app, up: Pump::new(FAREWELL_MASKED), down: Pump::new(FAREWELL) };
        let ended = ends.carry(client).await;
        exchange.bytes_out = ends.down.bytes;
        exchange.tunnelled_in = ends.up.bytes;
        match ended {
            Ok(()) => exchange.finish(Instant::now()),
            Err(Broken::App(error)) => exchange.fail(Outcome::BodyBroken, &error),
            Err(Broken::Client(error)) => exchange.fail(Outcome::ClientGone, &error),
        }
    }
}

/// Which side broke off.
enum Broken {
    Client(io::Error),
    App(io::Error),
}

/// Both ends of an open tunnel.
struct Ends<C> {
    client: C,
    app: Switched,
    up: Pump,
    down: Pump,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Ends<C> {
    async fn carry(&mut self, client: &Client) -> Result<(), Broken> {
        let mut announced = pin!(client.drain.draining());
        let mut watch = Watch::new(client);
        poll_fn(|context| {
            if announced.as_mut().poll(context).is_ready() || client.drain.is_draining() {
                watch.begin_farewell();
            }
            let before = self.bytes();
            let carried = self.poll(context, watch.is_farewell());
            if carried.is_ready() {
                return carried;
            }
            if self.bytes() > before {
                watch.moved();
            }
            watch.poll(context).map(Ok)
        })
        .await
    }

    fn bytes(&self) -> u64 {
        self.up.bytes + self.down.bytes
    }

    fn poll(&mut self, context: &mut Context<'_>, farewell: bool) -> Poll<Result<(), Broken>> {
        let up = self.up.poll(context, &mut self.client, &mut self.app, farewell);
        let down = self.down.poll(context, &mut self.app, &mut self.client, farewell);
        match (up, down) {
            (Poll::Ready(Err(Side::From(error))), _) | (_, Poll::Ready(Err(Side::To(error)))) => {
                Poll::Ready(Err(Broken::Client(error)))
            }
            (Poll::Ready(Err(Side::To(error))), _) | (_, Poll::Ready(Err(Side::From(error)))) => {
                Poll::Ready(Err(Broken::App(error)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// When a tunnel has to end.
struct Watch<'a> {
    client: &'a Client,
    moved_at: u64,
    next: Deadline,
    farewell: bool,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client) -> Self {
        let clock = &client.worker.clock;
        let next = clock.after(client.worker.settings.tunnel_idle_timeout);
        Self { client, moved_at: clock.now_ms(), next, farewell: false }
    }

    fn moved(&mut self) {
        self.moved_at = self.client.worker.clock.now_ms();
    }

    fn is_farewell(&self) -> bool {
        self.farewell
    }

    fn begin_farewell(&mut self) {
        if !self.farewell {
            self.farewell = true;
            self.next = self.client.worker.clock.after(FAREWELL_WITHIN);
        }
    }

    /// Ready when a farewell has taken too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (clock, limit) = (&self.client.worker.clock, self.client.worker.settings.tunnel_idle_timeout);
        while Pin::new(&mut self.next).poll(context).is_ready() {
            if self.farewell {
                return Poll::Ready(());
            }
            let silent_for = clock.since(self.moved_at);
            if silent_for >= limit {
                self.client.worker.metrics.limit(Limit::TunnelIdle);
                self.begin_farewell();
                context.waker().wake_by_ref();
            } else {
                self.next = clock.after(limit - silent_for);
            }
        }
        Poll::Pending
    }
}

/// One direction.
struct Pump {
    buffer: Box<[u8]>,
    waiting: std::ops::Range<usize>,
    frames: Frames,
    farewell: &'static [u8],
    state: State,
    /// Bytes delivered.
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What waits is the last.
    Ending,
    Ended,
}

/// Where a direction broke.
enum Side {
    From(io::Error),
    To(io::Error),
}

impl Pump {
    fn new(farewell: &'static [u8]) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { buffer, waiting: 0..0, frames: Frames::default(), farewell, state: State::Open, bytes: 0 }
    }

    /// Moves what can be moved; ready once `to` was told that no more will come.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        farewell: bool,
    ) -> Poll<Result<(), Side>> {
        loop {
            ready!(self.deliver(context, to)).map_err(Side::To)?;
            match self.state {
                State::Open if farewell && self.frames.has_room() => self.say_farewell(),
                State::Open => ready!(self.fetch(context, from)).map_err(Side::From)?,
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(Side::To)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn deliver(&mut self, context: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(context, &self.buffer[self.waiting.clone()]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.start += written;
            self.bytes += written as u64;
        }
        Pin::new(to).poll_flush(context)
    }

    fn fetch(&mut self, context: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(context, &mut buffer))?;
        self.frames.follow(buffer.filled());
        self.waiting = 0..buffer.filled().len();
        if self.waiting.is_empty() {
            self.state = State::Ending;
        }
        Poll::Ready(Ok(()))
    }

    fn say_farewell(&mut self) {
        self.buffer[..self.farewell.len()].copy_from_slice(self.farewell);
        self.waiting = 0..self.farewell.len();
        self.state = State::Ending;
    }
}

/// Counts a tunnel as open until dropped.
struct Open<'a>(&'a Client);

impl<'a> Open<'a> {
    fn count(client: &'a Client) -> Self {
        client.worker.metrics.tunnel_opened();
        Self(client)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.worker.metrics.tunnel_closed();
    }
}
