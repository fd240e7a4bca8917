//! Writes the snapshot while usher runs, and gives it back when it starts.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Directory, Snapshot, SnapshotError,
    file::{read, write},
};
use crate::directory::Event;

/// Between two snapshots. What was learnt since is asked for again after a crash; every write costs the disk all of it.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// Keeps one file; a cheap clone.
#[derive(Clone)]
pub struct Keeper {
    directory: Directory,
    path: Arc<PathBuf>,
    origin: Arc<str>,
}

/// What a start found on disk.
#[derive(Debug)]
pub enum Restored {
    /// So many tenants.
    Tenants(usize),
    /// No file: the first start.
    Nothing,
    /// A file that is not used.
    Refused(SnapshotError),
}

impl Keeper {
    /// Keeps what `directory` holds at `path`. `origin` says whose tenants these are; a file of another origin is not used.
    pub fn new(directory: Directory, path: PathBuf, origin: &str) -> Self {
        Self { directory, path: Arc::new(path), origin: origin.into() }
    }

    /// Gives the directory what the last run held. Blocks; once, before anybody asks.
    pub fn restore(&self) -> Restored {
        let usable_for = self.directory.shared.loader.cache.lifetimes.usable_for;
        match read(&self.path, &self.origin, usable_for) {
            Ok(Some(snapshot)) => Restored::Tenants(snapshot.restore(&self.directory)),
            Ok(None) => Restored::Nothing,
            Err(error) => Restored::Refused(error),
        }
    }

    /// Writes for as long as it is polled, whenever something new was read.
    pub async fn run(self) {
        let mut written = self.loads();
        loop {
            sleep(EVERY).await;
            let loads = self.loads();
            if loads != written {
                written = loads;
                self.write().await;
            }
        }
    }

    /// Writes now. A failure is logged and nothing else: the file is for bad days, and this may be one.
    pub async fn write(&self) {
        let keeper = self.clone();
        let began = Instant::now();
        let outcome = spawn_blocking(move || {
            let snapshot = Snapshot::of(&keeper.directory);
            write(&keeper.path, &keeper.origin, &snapshot).map(|()| snapshot.records.len())
        });
        let path = self.path.display();
        match outcome.await {
            Ok(Ok(tenants)) => tracing::debug!(%path, tenants, took = ?began.elapsed(), "snapshot written"),
            Ok(Err(error)) => tracing::warn!(%path, %error, "the snapshot cannot be written"),
            Err(error) => tracing::error!(%path, %error, "the snapshot was not written to its end"),
        }
    }

    /// What moves with whatever is held: what was found, and what is no longer.
    fn loads(&self) -> u64 {
        let counts = self.directory.stats().snapshot();
        counts.count(Event::LoadFound) + counts.count(Event::LoadAbsent)
    }
}
