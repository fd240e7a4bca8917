//! A worker's shared HTTP/2 connections to one endpoint: a second one is opened only when the first has no room.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    ConnectError,
    http2::{Shared, Stream},
};

/// The connections to one endpoint, oldest first. The inner lock is the worker's own and never contended.
pub(super) struct Trunk<B> {
    connections: Mutex<Vec<Arc<Shared<B>>>>,
    /// Held while one is opened: those who come meanwhile share it instead of opening one each.
    opening: tokio::sync::Mutex<()>,
    idle_timeout: Duration,
    /// How many there may be, and what is told when a stream has ended.
    limit: Option<(usize, Arc<Notify>)>,
}

impl<B> Trunk<B> {
    /// For so many connections at most.
    pub(super) fn new(idle_timeout: Duration, max: Option<usize>) -> Self {
        let limit = max.map(|max| (max, Arc::default()));
        Self { connections: Mutex::default(), opening: tokio::sync::Mutex::default(), idle_timeout, limit }
    }

    /// What connections have to tell when a stream has ended.
    pub(super) fn freed(&self) -> Option<Arc<Notify>> {
        self.limit.as_ref().map(|(_, freed)| Arc::clone(freed))
    }

    /// A stream on the oldest connection with room, so that those opened in a rush become idle again.
    pub(super) fn take(&self, now: Instant) -> Option<Stream<B>> {
        let connections = self.connections();
        // What is too old may wait to be swept.
        let mut kept = connections.iter().filter(|shared| shared.is_kept(self.idle_timeout, now));
        kept.find_map(|shared| shared.stream(now))
    }

    /// A stream on a connection that is opened from now on, by `open` if nobody else opens one meanwhile. Where there may be no more
    /// it waits for room on one of those that there are.
    pub(super) async fn open(
        &self,
        open: impl Future<Output = Result<Shared<B>, ConnectError>>,
    ) -> Result<Stream<B>, ConnectError> {
        let asked = Instant::now();
        let _opening = self.opening.lock().await;
        let newer = |shared: &&Arc<Shared<B>>| shared.opened() >= asked;
        let found = self.connections().iter().filter(newer).find_map(|shared| shared.stream(asked));
        if let Some(stream) = found {
            return Ok(stream);
        }
        if let Some(stream) = self.room().await {
            return Ok(stream);
        }
        let shared = Arc::new(open.await?);
        let stream = shared.stream(Instant::now()).ok_or(ConnectError::Closed)?;
        self.connections().push(shared);
        Ok(stream)
    }

    /// Waits until there may be another connection, or there is room on one.
    async fn room(&self) -> Option<Stream<B>> {
        let (max, freed) = self.limit.as_ref()?;
        while self.is_full(*max) {
            if let Some(stream) = self.take(Instant::now()) {
                return Some(stream);
            }
            freed.notified().await;
        }
        None
    }

    /// Whether there may be no further connection, and it is for lack of one that somebody waits.
    pub(super) fn lacks_room(&self) -> bool {
        self.limit.as_ref().is_some_and(|(max, _)| self.is_full(*max))
    }

    fn is_full(&self, max: usize) -> bool {
        self.sweep(Instant::now());
        self.connections().len() >= max
    }

    /// Lets go of what has been unused for too long, was closed, or is left.
    pub(super) fn sweep(&self, now: Instant) {
        self.connections().retain(|shared| shared.is_kept(self.idle_timeout, now));
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Shared<B>>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
