//! How a shared connection is used, and for how long still.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::upstream::life::Life;

/// What runs on one connection. Its lock is held for a look and a change, and never across a wait.
pub(super) struct Usage {
    counts: Mutex<Counts>,
    /// Where connections are few.
    room: Option<Arc<Room>>,
}

/// What those have to know who share few connections.
#[derive(Default)]
pub(in crate::upstream) struct Room {
    /// Told when there may be some.
    pub(in crate::upstream) freed: Notify,
    /// Streams on connections that are left: they take nobody's place.
    left: AtomicUsize,
}

impl Room {
    /// Streams that go on beside those that there may be.
    pub(in crate::upstream) fn left(&self) -> usize {
        self.left.load(Relaxed)
    }
}

struct Counts {
    streams: usize,
    /// When the last stream ended.
    unused_since: Instant,
    /// No further stream is wanted on it.
    left: bool,
    life: Life,
}

impl Counts {
    fn leave(&mut self, room: Option<&Arc<Room>>) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        if let Some(room) = room {
            room.left.fetch_add(self.streams, Relaxed);
        }
        self.life.leave();
    }
}

impl Usage {
    /// Of a connection that is opened at `now`.
    pub(super) fn new(life: Life, room: Option<Arc<Room>>, now: Instant) -> Self {
        Self { counts: Mutex::new(Counts { streams: 0, unused_since: now, left: false, life }), room }
    }

    /// One more stream, where there may be so many.
    pub(super) fn begin(self: &Arc<Self>, streams_max: usize, now: Instant) -> Option<Arc<StreamPermit>> {
        self.look(now);
        let mut counts = self.counts();
        if counts.left || counts.streams >= streams_max {
            return None;
        }
        counts.streams += 1;
        counts.life.spend();
        Some(Arc::new(StreamPermit(Arc::clone(self))))
    }

    /// Leaves it where its time is over.
    pub(super) fn look(&self, now: Instant) {
        let mut counts = self.counts();
        if !counts.left && counts.life.is_over(now) {
            counts.leave(self.room.as_ref());
            drop(counts);
            self.tell();
        }
    }

    /// No further stream begins.
    pub(super) fn leave(&self) {
        self.counts().leave(self.room.as_ref());
        self.tell();
    }

    /// There may be room, on this connection or for another one.
    pub(super) fn tell(&self) {
        if let Some(room) = &self.room {
            room.freed.notify_one();
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.counts().streams == 0
    }

    /// Whether it is wanted, and in use or not unused for `idle_timeout` yet.
    pub(super) fn is_kept(&self, idle_timeout: Duration, now: Instant) -> bool {
        let counts = self.counts();
        let in_time = counts.streams > 0 || now.saturating_duration_since(counts.unused_since) < idle_timeout;
        in_time && !counts.left
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as one stream of a connection until the last copy is dropped. An upload holds one too: as long as it goes on,
/// the app server counts its stream, whether it has answered or not.
pub(super) struct StreamPermit(Arc<Usage>);

impl StreamPermit {
    /// Opens no further stream on this connection; those that run go on.
    pub(super) fn leave(&self) {
        self.0.leave();
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.streams -= 1;
        if let Some(room) = self.0.room.as_ref().filter(|_room| counts.left) {
            room.left.fetch_sub(1, Relaxed);
        }
        if counts.streams == 0 {
            counts.unused_since = Instant::now();
        }
        drop(counts);
        self.0.tell();
    }
}
