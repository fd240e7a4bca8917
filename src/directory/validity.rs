//! Whether what was read may still be used.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag shared by a load, the entry that comes of it and every worker's copy of that entry; once revoked, all of them are
/// worth nothing, wherever they are held.
///
/// It is made *before* the query begins. A change that comes while the query runs revokes it, and so a load that read the old
/// row cannot overwrite the news.
#[derive(Clone, Debug)]
pub(super) struct Validity(Arc<AtomicBool>);

impl Validity {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn is_valid(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn revoke(&self) {
        self.0.store(false, Ordering::Release);
    }
}
