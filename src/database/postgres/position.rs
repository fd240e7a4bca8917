//! How new rows have to be, where they may come from a replica.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A place in the primary's write-ahead log: rows are read from servers that have replayed it. A cheap clone, and the same place.
///
/// By default connections that were made to a primary are not asked: it stays one for as long as they live.
#[derive(Clone, Debug, Default)]
pub struct Position {
    place: Arc<AtomicI64>,
    has_to_be_asked: bool,
}

impl Position {
    /// Where a server is, as an expression of SQL: whatever it has told or shown is before that.
    ///
    /// A primary says where its next record will begin. At the start of a page that is behind the page's header, and a replica
    /// that has replayed all is in front of it: 40 bytes at the start of a segment, 24 elsewhere.
    pub const PLACE: &str = "\
        (SELECT place - CASE WHEN place % segment = 40 THEN 40 WHEN place % page = 24 THEN 24 ELSE 0 END FROM (SELECT \
        (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0')::bigint \
        AS place, pg_size_bytes(current_setting('wal_segment_size')) AS segment, \
        current_setting('wal_block_size')::bigint AS page) AS log)";

    /// Asks any server whether it has got there.
    pub(super) const IS_REPLAYED: &str =
        "SELECT NOT pg_is_in_recovery() OR (pg_last_wal_replay_lsn() - '0/0')::bigint >= $1";

    /// Where a connection may lead to another server than a moment ago, as behind a pooler: each query asks first.
    pub fn behind_poolers() -> Self {
        Self { has_to_be_asked: true, ..Self::default() }
    }

    /// Nothing older than `place` from now on.
    pub fn raise(&self, place: i64) {
        self.place.fetch_max(place, Ordering::SeqCst);
    }

    /// Begins anew with another primary, whose log may have ended earlier.
    pub fn restart(&self, place: i64) {
        self.place.store(place, Ordering::SeqCst);
    }

    pub(super) fn has_to_be_asked(&self) -> bool {
        self.has_to_be_asked
    }

    /// Where rows have to be at least.
    pub(super) fn place(&self) -> i64 {
        self.place.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_never_lowered_but_by_another_primary() {
        let position = Position::default();
        let clone = position.clone();
        clone.raise(7);
        clone.raise(5);
        assert_eq!(position.place(), 7);
        clone.restart(6);
        assert_eq!(position.place(), 6);
    }
}
