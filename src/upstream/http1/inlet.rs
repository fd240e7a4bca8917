//! Bytes from an app server, read into memory that all connections of a worker use in turn: one that waits for an answer holds
//! none, and what is read next is warm.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::upstream::stream::ReadHalf;

/// Bytes that are read at once, and the largest head of an answer. A body of 64 KiB still fits into one read with its head:
/// with 64 KiB it takes two, and a sixth more time.
pub(super) const READ_MAX: usize = 72 * 1024;

/// From here on a piece is handed on where it was read. Smaller ones are copied: one that waits for its client would keep all
/// of the memory from being used again.
const SHARED_MIN: usize = READ_MAX / 2;

thread_local! {
    /// What nobody reads into at the moment. A worker is one thread.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// What was read and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inlet(pub(super) BytesMut);

impl Inlet {
    /// Reads what has come; 0 where nothing more will.
    pub(super) fn poll_read(&mut self, from: &mut ReadHalf, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.0.capacity() == 0 {
            self.0 = SPARE.take();
        }
        self.0.reserve(READ_MAX.saturating_sub(self.0.len()));
        let read = poll_read_buf(Pin::new(from), context, &mut self.0);
        if read.is_pending() {
            self.rest();
        }
        read
    }

    /// Leaves the memory to others if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.0.is_empty() {
            SPARE.set(std::mem::take(&mut self.0));
        }
    }
}

/// Takes the first `length` bytes.
pub(super) fn take(bytes: &mut BytesMut, length: usize) -> Bytes {
    if length >= SHARED_MIN {
        return bytes.split_to(length).freeze();
    }
    let piece = Bytes::copy_from_slice(&bytes[..length]);
    bytes.advance(length);
    piece
}
