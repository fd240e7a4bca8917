//! Writes a snapshot while usher runs, and when it ends.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::spawn_blocking, time::sleep};

use super::{Lines, SnapshotError, SnapshotFile};

/// What is kept; a cheap clone.
pub trait Content: Clone + Send + 'static {
    /// Between two snapshots. What was learnt since is asked for again after a crash; every write costs the disk all of it.
    const EVERY: Duration;

    /// Takes back from `file` what may still be used; how much that was, `None` where there is no file: the first start. Blocks.
    fn restore(&self, file: &SnapshotFile) -> Result<Option<usize>, SnapshotError>;

    /// Moves with whatever has become another line.
    fn changes(&self) -> u64;

    /// Writes all of it. Blocks.
    fn fill(&self, lines: &mut Lines<'_>) -> io::Result<()>;
}

/// Keeps one file.
#[derive(Clone)]
pub struct Keeper<C> {
    content: C,
    file: Arc<SnapshotFile>,
}

impl<C: Content> Keeper<C> {
    /// Keeps `content` in `file`.
    pub fn new(content: C, file: SnapshotFile) -> Self {
        Self { content, file: Arc::new(file) }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Gives back what the last run has left; once, before anybody asks.
    pub async fn restore(&self) -> Result<Option<usize>, SnapshotError> {
        let (content, file) = (self.content.clone(), Arc::clone(&self.file));
        let restored = spawn_blocking(move || content.restore(&file)).await;
        restored.unwrap_or_else(|panic| Err(SnapshotError::Unreadable(panic.into())))
    }

    /// Writes for as long as it is polled, whenever something has changed.
    pub async fn run(self) {
        let mut written = self.content.changes();
        loop {
            sleep(C::EVERY).await;
            let changes = self.content.changes();
            if changes != written && self.write().await {
                written = changes;
            }
        }
    }

    /// Writes now; whether that was possible. A failure is logged and nothing else: the file is for bad days, and this may be one.
    pub async fn write(&self) -> bool {
        let (content, file) = (self.content.clone(), Arc::clone(&self.file));
        let began = Instant::now();
        let outcome = spawn_blocking(move || {
            let mut count = 0;
            file.write(|lines| {
                content.fill(lines)?;
                count = lines.count();
                Ok(())
            })
            .map(|()| count)
        });
        let path = self.file.path().display();
        match outcome.await {
            Ok(Ok(lines)) => {
                tracing::debug!(%path, lines, took = ?began.elapsed(), "snapshot written");
                return true;
            }
            Ok(Err(error)) => tracing::warn!(%path, %error, "the snapshot cannot be written"),
            Err(error) => tracing::error!(%path, %error, "the snapshot was not written to its end"),
        }
        false
    }
}
