//! A worker's shared HTTP/2 connections to one endpoint: a second one is opened only when the first has no room.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

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
}

impl<B> Trunk<B> {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self { connections: Mutex::default(), opening: tokio::sync::Mutex::default(), idle_timeout }
    }

    /// A stream on the oldest connection with room, so that those opened in a rush become idle again.
    pub(super) fn take(&self) -> Option<Stream<B>> {
        self.connections().iter().find_map(Shared::stream)
    }

    /// A stream on a connection that is opened from now on, by `open` if nobody else opens one meanwhile.
    pub(super) async fn open(
        &self,
        open: impl Future<Output = Result<Shared<B>, ConnectError>>,
    ) -> Result<Stream<B>, ConnectError> {
        let asked = Instant::now();
        let _opening = self.opening.lock().await;
        let newer = self.connections().iter().filter(|shared| shared.opened() >= asked).find_map(Shared::stream);
        if let Some(stream) = newer {
            return Ok(stream);
        }
        let shared = Arc::new(open.await?);
        let stream = shared.stream().ok_or(ConnectError::Closed)?;
        self.connections().push(shared);
        Ok(stream)
    }

    /// Lets go of what has been unused for too long, was closed, or is left.
    pub(super) fn sweep(&self, now: Instant) {
        self.connections().retain(|shared| shared.is_kept(self.idle_timeout, now));
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Shared<B>>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
