//! What the feed heard.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::Change;

/// Counters of the feed; read by the metrics, decided on by nobody.
#[derive(Debug, Default)]
pub struct FeedStats {
    following: AtomicBool,
    follows: AtomicU64,
    changes: [AtomicU64; 4],
    heard_at: Mutex<Option<Instant>>,
}

impl FeedStats {
    /// Whether every edit is heard of at present.
    pub fn is_following(&self) -> bool {
        self.following.load(Relaxed)
    }

    /// How often following began.
    pub fn follows(&self) -> u64 {
        self.follows.load(Relaxed)
    }

    /// Changes applied, by kind: domain, label, tenant, everything.
    pub fn changes(&self) -> [u64; 4] {
        self.changes.each_ref().map(|count| count.load(Relaxed))
    }

    /// Since when there was no sign of life of the database; none, where there never was one.
    pub fn silence(&self) -> Option<Duration> {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).map(|heard| heard.elapsed())
    }

    pub(super) fn follow(&self) {
        self.following.store(true, Relaxed);
        self.follows.fetch_add(1, Relaxed);
    }

    pub(super) fn lose(&self) {
        self.following.store(false, Relaxed);
    }

    pub(super) fn hear(&self) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn count(&self, change: &Change) {
        let kind = match change {
            Change::Domain(_) => 0,
            Change::Label(_) => 1,
            Change::Tenant(_) => 2,
            Change::Everything => 3,
        };
        self.changes[kind].fetch_add(1, Relaxed);
    }
}
