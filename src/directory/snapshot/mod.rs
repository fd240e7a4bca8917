//! What is held, on disk: a start without the database serves what the last run knew.
//!
//! Written whole, rarely, and in place of the old file at once; read once, at start. A file that is damaged, too old, of another
//! version or of another configuration is reported and not used. What comes out of it counts as read when it was, so it is
//! asked for again as soon as the database is there.

mod file;
mod keeper;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use self::{
    file::SnapshotError,
    keeper::{Keeper, Restored},
};
use super::Directory;
use crate::routing::{Tenant, TenantKey};

/// One tenant held, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    key: TenantKey,
    tenant: Arc<Tenant>,
    /// How long ago it was read when the snapshot was written.
    age: Duration,
}

/// All tenants held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    written_at: SystemTime,
    records: Vec<Record>,
}

impl Snapshot {
    /// What `directory` holds and would serve.
    fn of(directory: &Directory) -> Self {
        let now = super::now();
        let mut records = Vec::new();
        directory.shared.loader.cache.each_found(now, |key, entry| {
            let Some(tenant) = entry.tenant.clone() else { return };
            records.push(Record { key: key.clone(), tenant, age: now.saturating_duration_since(entry.read_at) });
        });
        Self { written_at: SystemTime::now(), records }
    }

    /// Gives back to `directory` what it may still serve; how many that were.
    fn restore(self, directory: &Directory) -> usize {
        // A clock that was set back makes nothing younger than it was.
        let since = self.written_at.elapsed().unwrap_or_default();
        let now = super::now();
        let restore = |record: Record| {
            let Some(read_at) = now.checked_sub(record.age + since) else { return false };
            directory.shared.loader.keep(record.key, record.tenant, read_at)
        };
        self.records.into_iter().map(restore).filter(|kept| *kept).count()
    }
}
