//! Memory for bodies that are held while one side is slower than the other.
//!
//! What always holds: all workers together hold no more than `max`. A body that finds no room is passed on as it comes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;

/// What a piece counts for at least: it may be one byte, but keeping it takes more.
const PIECE_MIN: usize = 256;

/// The memory of the whole process.
#[derive(Debug)]
pub struct Buffers {
    max: usize,
    held: AtomicUsize,
    refusals: AtomicU64,
}

impl Buffers {
    /// For `max` bytes at once.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: AtomicUsize::new(0), refusals: AtomicU64::new(0) })
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Bodies that found no room so far.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// Room for `bytes`, if there is some.
    pub(super) fn room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let mut room = Room::none(self);
        if room.grow(bytes) {
            return Some(room);
        }
        self.refuse();
        None
    }

    /// A body found no room.
    pub(super) fn refuse(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }
}

/// Part of the memory, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    buffers: Arc<Buffers>,
    bytes: usize,
}

impl Room {
    /// None yet, to begin with.
    pub(super) fn none(buffers: &Arc<Buffers>) -> Self {
        Self { buffers: Arc::clone(buffers), bytes: 0 }
    }

    /// Takes further `bytes`; false if there are not so many, and then none are taken.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.buffers.held.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.buffers.max {
            self.buffers.held.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Gives back some of it.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.buffers.held.fetch_sub(bytes, Relaxed);
        self.bytes -= bytes;
    }

    /// Gives back all of it.
    pub(super) fn clear(&mut self) {
        self.shrink(self.bytes);
    }

    /// A body found no room beyond this one.
    pub(super) fn refuse(&self) {
        self.buffers.refuse();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Pieces below this are copied, since each holds the whole buffer that it was read into: of a body that comes a byte at a time that
/// would be thousands of times what it counts for.
const SHARED_MIN: usize = 16 * 1024;

/// `piece`, with no more memory than it counts for, or twice as much.
pub(super) fn alone(piece: Bytes) -> Bytes {
    if piece.len() < SHARED_MIN { Bytes::copy_from_slice(&piece) } else { piece }
}

/// What a piece of `length` bytes counts for.
pub(super) fn weight(length: usize) -> usize {
    length.max(PIECE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_exceeds_the_limit_and_is_given_back() {
        let buffers = Buffers::new(100);
        let mut one = buffers.room(60).unwrap();
        assert!(buffers.room(41).is_none());
        assert_eq!((buffers.held(), buffers.refusals()), (60, 1));
        assert!(one.grow(40) && !one.grow(1));
        one.shrink(70);
        let two = buffers.room(70).unwrap();
        drop(one);
        assert_eq!(buffers.held(), 70);
        drop(two);
        assert_eq!(buffers.held(), 0);
    }

    #[test]
    fn a_small_piece_does_not_hold_what_it_was_cut_from() {
        let whole = Bytes::from(vec![7; SHARED_MIN * 2]);
        let places = whole.as_ptr_range();
        let [small, large] = [1, SHARED_MIN].map(|length| alone(whole.slice(..length)));
        assert!(!places.contains(&small.as_ptr()) && places.contains(&large.as_ptr()));
        assert_eq!((small.as_ref(), large.len()), (&[7][..], SHARED_MIN));
    }

    #[test]
    fn nobody_gives_back_more_than_was_taken() {
        let buffers = Buffers::new(100);
        let (mut one, _two) = (buffers.room(10).unwrap(), buffers.room(20).unwrap());
        one.shrink(15);
        assert_eq!(buffers.held(), 20);
    }
}
