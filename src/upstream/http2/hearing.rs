//! When the app server was last heard. h2 does not tell: neither that a server has begun with its SETTINGS (RFC 9113 §3.4), nor for
//! how long it has said nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::oneshot,
    time::{Duration, Instant},
};

use crate::upstream::{
    overlay::{Overlay, Reading},
    stream::Stream,
};

/// The connection.
pub(super) type Heard = Overlay<Hearing>;

/// Notes when something comes.
pub(super) struct Hearing {
    greeting: Option<oneshot::Sender<()>>,
    last: Arc<LastHeard>,
}

/// When something came last.
pub(super) struct LastHeard {
    opened: Instant,
    millis: AtomicU64,
}

impl LastHeard {
    fn note(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Relaxed);
    }

    /// The moment.
    pub(super) fn at(&self) -> Instant {
        self.opened + Duration::from_millis(self.millis.load(Relaxed))
    }
}

impl Heard {
    /// The connection, what ends with its first byte, or with an error where it is dropped before, and when something came last.
    pub(super) fn of(stream: Stream) -> (Self, oneshot::Receiver<()>, Arc<LastHeard>) {
        let (sender, greeting) = oneshot::channel();
        let last = Arc::new(LastHeard { opened: Instant::now(), millis: AtomicU64::new(0) });
        (Self::new(stream, Hearing { greeting: Some(sender), last: Arc::clone(&last) }), greeting, last)
    }
}

impl Reading for Hearing {
    fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.last.note();
            if let Some(greeting) = self.greeting.take() {
                // Whoever waited may have given up.
                let _told = greeting.send(());
            }
        }
        Poll::Ready(Ok(()))
    }
}
