//! Who is behind a tenant key: caches in front of the SaaS's own tables.
//!
//! What always holds: "absent" is only ever what the database said, one load runs per key however many requests wait for
//! it, and no wait is without a deadline.

mod cache;
mod flights;
mod postgres;
mod recent;
mod source;
mod sqlite;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use postgres::PostgresSource;
pub use source::{BoxFuture, SourceError, TenantSource};
pub use sqlite::SqliteSource;

use crate::routing::{KeyRef, Tenant};

/// What `[directory]` means for look-ups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Found keys held at most; beyond it the least used go.
    pub found_max: u64,
    /// Absent keys held at most; their own cache, so that strangers' names never push out tenants.
    pub absent_max: u64,
    /// How long a found key is served without asking again.
    pub fresh_for: Duration,
    /// How long a found key is served at all while the database cannot be asked.
    pub usable_for: Duration,
    /// How long an absence is believed.
    pub absent_for: Duration,
    /// How long a request waits for a load.
    pub lookup_timeout: Duration,
    /// Loads in the air at once; beyond it unknown keys are shed.
    pub loads_max: usize,
}

/// The directory, shared by all workers.
#[derive(Clone)]
pub struct Directory {}

impl Directory {
    /// Builds the directory over `source`; loads run on `control`, never on a worker.
    pub fn new(settings: Settings, source: Arc<dyn TenantSource>, control: tokio::runtime::Handle) -> Self {
        let _ = (settings, source, control);
        todo!()
    }

    /// A worker's own door to the directory, with a small first level of its own.
    pub fn reader(&self) -> Reader {
        todo!()
    }

    /// What has been asked and answered so far; for the metrics.
    pub fn stats(&self) -> &Stats {
        todo!()
    }
}

/// One worker's door to the directory.
pub struct Reader {}

impl Reader {
    /// Who is behind `key`; `None` where the database said that nobody is. A hit neither allocates nor waits.
    pub async fn lookup(&self, key: KeyRef<'_>, now: Instant) -> Result<Option<Tenant>, CouldNotAsk> {
        let _ = (key, now);
        todo!()
    }
}

/// The database could not be asked: never to be mistaken for "absent".
#[derive(Clone, Debug, thiserror::Error)]
pub enum CouldNotAsk {
    /// The load did not end within [`Settings::lookup_timeout`].
    #[error("no answer from the database within the deadline")]
    Timeout,
    /// As many loads as [`Settings::loads_max`] were in the air already.
    #[error("too many look-ups in the air")]
    Overloaded,
    /// The source failed.
    #[error("the database could not be asked")]
    Source(#[source] Arc<SourceError>),
}

/// Counters of the directory; read by the metrics, decided on by nobody.
#[derive(Debug, Default)]
pub struct Stats {}
