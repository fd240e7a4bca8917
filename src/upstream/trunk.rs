//! The shared HTTP/2 connections to one endpoint: a second one is opened only when the first has no room.
//!
//! Each worker has its own, so that workers never meet. Where there may be only so many they have them in common: a connection runs on
//! the worker that has opened it, and takes the requests of all.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    ConnectError,
    http2::{Lease, Room, STREAMS_MAX, Shared},
};

/// The connections to one endpoint, oldest first. The inner lock is held for a look and a change.
pub(super) struct Trunk {
    connections: Mutex<Vec<Arc<Shared>>>,
    /// Held while one is opened: those who come meanwhile share it instead of opening one each.
    opening: tokio::sync::Mutex<()>,
    idle_timeout: Duration,
    limit: Option<Limit>,
}

struct Limit {
    /// How many connections there may be.
    max: usize,
    /// Streams that the app server allows on each, as last known.
    allowed: AtomicUsize,
    room: Arc<Room>,
}

impl Trunk {
    /// For any number of connections, which are closed when they are unused for `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self { connections: Mutex::default(), opening: tokio::sync::Mutex::default(), idle_timeout, limit: None }
    }

    /// For so many connections at most.
    pub(super) fn limited(idle_timeout: Duration, max: usize) -> Self {
        let limit = Limit { max, allowed: AtomicUsize::new(STREAMS_MAX), room: Arc::default() };
        Self { limit: Some(limit), ..Self::new(idle_timeout) }
    }

    /// Requests that have a place at once, as far as is known what the app server allows on each connection; `None`: any number.
    pub(super) fn requests_max(&self) -> Option<usize> {
        let limit = self.limit.as_ref()?;
        if let Some(newest) = self.connections().last() {
            limit.allowed.store(newest.streams_max().max(1), Relaxed);
        }
        Some(limit.max.saturating_mul(limit.allowed.load(Relaxed)).saturating_add(limit.room.left()))
    }

    /// What connections have to tell.
    pub(super) fn shared_room(&self) -> Option<Arc<Room>> {
        self.limit.as_ref().map(|limit| Arc::clone(&limit.room))
    }

    /// A share of the oldest connection with room, so that those opened in a rush become idle again.
    pub(super) fn take(&self, now: Instant) -> Option<Lease> {
        let connections = self.connections();
        // What is too old may wait to be swept.
        let mut kept = connections.iter().filter(|shared| shared.is_kept(self.idle_timeout, now));
        kept.find_map(|shared| shared.lease(now))
    }

    /// A share of a connection that is opened from now on, by `open` if nobody else opens one meanwhile; and whether others use it
    /// already. Where there may be no more it waits for room on one of those that there are.
    pub(super) async fn open(
        &self,
        open: impl Future<Output = Result<Shared, ConnectError>>,
    ) -> Result<(Lease, bool), ConnectError> {
        let asked = Instant::now();
        let _opening = self.opening.lock().await;
        let newer = |shared: &&Arc<Shared>| shared.opened() >= asked;
        let found = self.connections().iter().filter(newer).find_map(|shared| shared.lease(asked));
        if let Some(lease) = found {
            return Ok((lease, true));
        }
        if let Some(lease) = self.room().await {
            return Ok((lease, true));
        }
        let shared = Arc::new(open.await?);
        let lease = shared.lease(Instant::now()).ok_or(ConnectError::Closed)?;
        self.connections().push(shared);
        Ok((lease, false))
    }

    /// Waits until there may be another connection, or there is room on one.
    async fn room(&self) -> Option<Lease> {
        let limit = self.limit.as_ref()?;
        loop {
            if let Some(lease) = self.take(Instant::now()) {
                return Some(lease);
            }
            // Who has looked for room may have found that one serves nobody any more.
            if !self.is_full(limit.max) {
                return None;
            }
            limit.room.freed.notified().await;
        }
    }

    fn is_full(&self, max: usize) -> bool {
        self.sweep(Instant::now());
        self.connections().len() >= max
    }

    /// Lets go of what has been unused for too long, was closed, or is left; whether there was any.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut connections = self.connections();
        let before = connections.len();
        connections.retain(|shared| {
            shared.look(now);
            let is_kept = shared.is_kept(self.idle_timeout, now);
            if !is_kept {
                shared.leave();
            }
            is_kept
        });
        connections.len() < before
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunk").field("connections", &self.connections().len()).finish_non_exhaustive()
    }
}
