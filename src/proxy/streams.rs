//! The tasks of an HTTP/2 connection, one per stream. A client that opens no window for an answer is not noticed at the socket:
//! its stream is ended here, and the others go on.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::{
    ahead::Ahead,
    body::{NextFrame, data_length},
    clock::Deadline,
    connection::Client,
};
use crate::telemetry::outcome::Limit;

/// Bytes of one answer that wait for the client; times the streams, what a client that reads nothing can make usher hold.
pub(super) const SEND_BUFFER: usize = 32 * 1024;

/// Runs the streams of a client's connection.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Arc<Client>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, exchange: F) {
        let client = Arc::clone(&self.0);
        tokio::spawn(Stream {
            exchange: Some(exchange),
            client,
            offered: Offered::default(),
            patience: None,
            ahead: None,
        });
    }
}

pin_project! {
    /// One stream, until its exchange ends or its client has taken nothing for too long.
    struct Stream<F> {
        #[pin]
        exchange: Option<F>,
        client: Arc<Client>,
        offered: Offered,
        // While the client is waited for.
        patience: Option<Deadline>,
        // Its answer, if it can be read ahead.
        ahead: Option<Weak<Ahead>>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut stream = self.project();
        let Client { worker, pulse, .. } = &**stream.client;
        let Some(exchange) = stream.exchange.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        pulse.answer().forget();
        let is_over = exchange.poll(context).is_ready();
        // What was offered in this very poll is this stream's; left there it would be the next one's.
        if let Some(answer) = pulse.answer().take() {
            *stream.ahead = Some(answer);
        }
        if is_over {
            return Poll::Ready(());
        }
        match pulse.answer().turn() {
            Turn::Unchanged => {}
            Turn::App => {
                stream.offered.add(pulse.answer().offered());
                *stream.patience = None;
            }
            Turn::Client => {
                stream.offered.add(pulse.answer().offered());
                let limit = stream.offered.time_to_take(worker.settings.write_timeout, worker.settings.rate_min);
                *stream.patience = Some(worker.clock.after(limit));
            }
        }
        let Some(patience) = stream.patience else { return Poll::Pending };
        read_ahead(stream.ahead, context);
        ready!(Pin::new(patience).poll(context));
        worker.metrics.limit(Limit::WriteTimeout);
        pulse.cut_off(|| stream.exchange.set(None));
        Poll::Ready(())
    }
}

/// Takes what the app has for a client that has no room.
fn read_ahead(answer: &Option<Weak<Ahead>>, context: &mut Context<'_>) {
    if let Some(answer) = answer.as_ref().and_then(Weak::upgrade) {
        answer.read(context);
    }
}

/// What the body of an answer says while hyper polls it, for the task that polls hyper. Said and heard within one poll, so that
/// one of it does for all streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Answer {
    turn: AtomicU8,
    bytes: AtomicU64,
    last: AtomicU64,
    /// The answer, if it can be read ahead.
    ahead: Mutex<Option<Weak<Ahead>>>,
}

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The same as before: the body was not asked.
    Unchanged,
    /// The app has nothing to offer, or there is no answer yet.
    App,
    /// hyper has a piece in hand, and there is no room for it.
    Client,
}

impl Answer {
    /// The body was asked for its next frame.
    pub(super) fn say(&self, next: &Poll<NextFrame>) {
        let Poll::Ready(Some(Ok(frame))) = next else { return self.turn.store(Turn::App as u8, Relaxed) };
        let bytes = data_length(frame);
        self.turn.store(Turn::Client as u8, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
        self.last.store(bytes, Relaxed);
    }

    /// It can be read ahead.
    pub(super) fn offer(&self, answer: &Arc<Ahead>) {
        *self.ahead() = Some(Arc::downgrade(answer));
    }

    /// Takes what the app has for a client that has no room.
    pub(super) fn read_ahead(&self, context: &mut Context<'_>) {
        read_ahead(&self.ahead(), context);
    }

    /// What could be read ahead is over.
    pub(super) fn let_go(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Weak<Ahead>> {
        self.ahead().take()
    }

    /// Locked by the connection's worker only.
    fn ahead(&self) -> MutexGuard<'_, Option<Weak<Ahead>>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        self.turn.store(Turn::Unchanged as u8, Relaxed);
        self.bytes.store(0, Relaxed);
        self.last.store(0, Relaxed);
    }

    fn turn(&self) -> Turn {
        match self.turn.load(Relaxed) {
            turn if turn == Turn::App as u8 => Turn::App,
            turn if turn == Turn::Client as u8 => Turn::Client,
            _ => Turn::Unchanged,
        }
    }

    fn offered(&self) -> Offered {
        let bytes = self.bytes.load(Relaxed);
        Offered { bytes, last: self.last.load(Relaxed), most: bytes }
    }
}

/// What of an answer was offered to the client.
#[derive(Clone, Copy, Debug, Default)]
struct Offered {
    bytes: u64,
    /// The last piece.
    last: u64,
    /// At once, at most.
    most: u64,
}

impl Offered {
    fn add(&mut self, further: Self) {
        self.bytes += further.bytes;
        self.last = further.last;
        self.most = self.most.max(further.most);
    }

    /// How long the client may leave the last piece where it is.
    ///
    /// There is room for it only when nearly all has gone that is ahead of it, [`SEND_BUFFER`] and what came on top, and nobody
    /// sees how far the client has come with that. One that takes it at `rate_min` is in time.
    fn time_to_take(self, write_timeout: Duration, rate_min: u64) -> Duration {
        let ahead = (self.bytes - self.last).min(SEND_BUFFER as u64 + self.most);
        write_timeout.max(Duration::from_millis(ahead.saturating_mul(1000) / rate_min.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::body::Frame;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn piece(length: usize) -> Poll<NextFrame> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; length])))))
    }

    #[test]
    fn it_is_the_clients_turn_while_a_piece_is_in_hand() {
        let answer = Answer::default();
        assert_eq!(answer.turn(), Turn::Unchanged);
        answer.say(&piece(10));
        answer.say(&piece(5));
        assert_eq!((answer.turn(), answer.offered().bytes, answer.offered().last), (Turn::Client, 15, 5));
        answer.say(&Poll::Pending);
        assert_eq!((answer.turn(), answer.offered().bytes), (Turn::App, 15));
        answer.forget();
        assert_eq!((answer.turn(), answer.offered().bytes), (Turn::Unchanged, 0));
    }

    #[test]
    fn a_client_has_time_for_what_is_ahead_of_a_piece() {
        let mut offered = Offered::default();
        let mut offer = |bytes| {
            offered.add(Offered { bytes, last: bytes, most: bytes });
            offered.time_to_take(TIMEOUT, 240).as_secs()
        };
        assert_eq!(offer(24_000), 30, "nothing is ahead of the first");
        assert_eq!(offer(24_000), 100);
        assert_eq!(offer(24_000), 200);
        assert_eq!(offer(24_000), (32 * 1024 + 24_000) / 240, "no more than can be under way");
    }
}
