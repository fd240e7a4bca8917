//! What became of the work, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::failure::Reason;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    issued: AtomicU64,
    failed: [AtomicU64; Reason::ALL.len()],
    answered: AtomicU64,
    full: AtomicU64,
}

impl Counts {
    pub(super) fn count_issued(&self) {
        self.issued.fetch_add(1, Relaxed);
    }

    pub(super) fn count_failure(&self, reason: Reason) {
        if let Some(count) = self.failed.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A CA's question was answered by `acme-tls/1`.
    pub(super) fn count_answer(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// A handshake asked for a name while as many as may be were worked for.
    pub(super) fn count_full(&self) {
        self.full.fetch_add(1, Relaxed);
    }

    pub(super) fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }

    /// How often it ended in which way.
    pub(super) fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let failed = Reason::ALL.iter().zip(&self.failed).map(|(reason, count)| (reason.as_str(), count.load(Relaxed)));
        std::iter::once(("issued", self.issued.load(Relaxed))).chain(failed).collect()
    }
}
