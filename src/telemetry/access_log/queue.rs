//! Full buffers on their way from the workers to the writing thread.
//!
//! The lock is held for a push or a pop, never during I/O: a worker does not wait for a slow disk.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Lines are handed over in batches of about this size: some hundred lines, one system call, and still in the cache.
const BATCH_BYTES: usize = 32 * 1024;

/// Room for the line that makes a batch full, so that a buffer rarely grows.
const LINE_BYTES: usize = 4 * 1024;

/// Empty buffers kept for later; after a stall the others go back to the allocator.
const SPARES_MAX: usize = 16;

/// The queue of one access log.
#[derive(Debug)]
pub(super) struct Queue {
    /// A worker's buffer of this size is handed over.
    pub(super) batch_bytes: usize,
    max_bytes: usize,
    dropped: AtomicU64,
    state: Mutex<State>,
    /// Something for the writing thread.
    work: Condvar,
    /// Something for whoever waits for the end.
    closed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    spares: Vec<Vec<u8>>,
    /// Bytes waiting or being written.
    bytes: usize,
    phase: Phase,
}

/// Only ever moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Asked to end; what is there is still written.
    Finishing,
    /// The writing thread is gone.
    Closed,
}

/// What the writing thread is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this.
    Batch(Vec<u8>),
    /// Collect what the workers hold.
    Flush,
    /// Collect what the workers hold, write it, and end.
    Finish,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            batch_bytes: BATCH_BYTES.min(max_bytes),
            max_bytes,
            dropped: AtomicU64::new(0),
            state: Mutex::default(),
            work: Condvar::new(),
            closed: Condvar::new(),
        }
    }

    /// Leaves `lines` empty: queued, or dropped where too much is waiting. One batch is taken at any size, else a line
    /// longer than the limit could never be written.
    pub(super) fn hand_over(&self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let mut state = self.lock();
        let full = state.bytes > 0 && state.bytes + lines.len() > self.max_bytes;
        if full || state.phase == Phase::Closed {
            drop(state);
            self.count_dropped(lines);
            lines.clear();
            return;
        }
        state.bytes += lines.len();
        let spare = state.spares.pop().unwrap_or_default();
        state.waiting.push_back(mem::replace(lines, spare));
        drop(state);
        self.work.notify_one();
        lines.reserve(self.batch_bytes + LINE_BYTES);
    }

    /// Waits for a batch, the end, or `flush_at`.
    pub(super) fn next(&self, flush_at: Instant) -> Next {
        let patience = flush_at.saturating_duration_since(Instant::now());
        let idle = |state: &mut State| state.waiting.is_empty() && state.phase == Phase::Open;
        let waited = self.work.wait_timeout_while(self.lock(), patience, idle);
        let (mut state, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.waiting.pop_front() {
            Some(batch) => Next::Batch(batch),
            None if state.phase == Phase::Open => Next::Flush,
            None => Next::Finish,
        }
    }

    /// The next batch, if one waits.
    pub(super) fn pop(&self) -> Option<Vec<u8>> {
        self.lock().waiting.pop_front()
    }

    /// Takes a batch back whose bytes wait no more, written or not.
    pub(super) fn recycle(&self, mut batch: Vec<u8>) {
        let mut state = self.lock();
        state.bytes -= batch.len();
        // A buffer that had to grow for one long line would hold its memory for ever.
        if state.spares.len() < SPARES_MAX && batch.capacity() <= 2 * BATCH_BYTES {
            batch.clear();
            state.spares.push(batch);
        }
    }

    /// Asks the writing thread to end.
    pub(super) fn finish(&self) {
        self.lock().phase = Phase::Finishing;
        self.work.notify_one();
    }

    /// The writing thread ends; what comes later is dropped. False, and still open, where a batch has come meanwhile.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            return false;
        }
        state.phase = Phase::Closed;
        self.closed.notify_all();
        true
    }

    /// Waits for the end of the writing thread, at most for `patience`; whether it came.
    pub(super) fn wait_closed(&self, patience: Duration) -> bool {
        let open = |state: &mut State| state.phase != Phase::Closed;
        let waited = self.closed.wait_timeout_while(self.lock(), patience, open);
        let (state, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.phase == Phase::Closed
    }

    /// Counts the lines of `lines` as dropped. Each ends with the only line feed in it.
    pub(super) fn count_dropped(&self, lines: &[u8]) {
        let count = lines.iter().map(|byte| u64::from(*byte == b'\n')).sum();
        self.dropped.fetch_add(count, Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// No step below the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand_over(queue: &Queue, lines: &str) {
        let mut lines = lines.as_bytes().to_vec();
        queue.hand_over(&mut lines);
        assert!(lines.is_empty());
    }

    #[test]
    fn batches_come_out_in_order_and_then_a_flush_is_due() {
        let queue = Queue::new(100);
        hand_over(&queue, "a\n");
        hand_over(&queue, "b\n");
        let now = Instant::now();
        assert_eq!(queue.next(now), Next::Batch(b"a\n".to_vec()));
        assert_eq!(queue.next(now), Next::Batch(b"b\n".to_vec()));
        assert_eq!(queue.next(now), Next::Flush);
    }

    #[test]
    fn what_is_too_much_is_dropped_until_a_batch_is_done_with() {
        let queue = Queue::new(4);
        hand_over(&queue, "a\n");
        hand_over(&queue, "b\nc\n");
        assert_eq!(queue.dropped(), 2);
        let Next::Batch(batch) = queue.next(Instant::now()) else { panic!("no batch") };
        hand_over(&queue, "d\ne\n");
        assert_eq!(queue.dropped(), 4, "a batch in the writer's hands still counts");
        queue.recycle(batch);
        hand_over(&queue, "f\ng\n");
        assert_eq!(queue.dropped(), 4);
    }

    #[test]
    fn a_line_beyond_the_limit_is_taken_when_nothing_else_waits() {
        let queue = Queue::new(4);
        hand_over(&queue, "long line\n");
        assert_eq!(queue.next(Instant::now()), Next::Batch(b"long line\n".to_vec()));
    }

    #[test]
    fn the_end_comes_after_the_last_batch_and_what_is_later_is_dropped() {
        let queue = Queue::new(100);
        hand_over(&queue, "a\n");
        queue.finish();
        assert!(!queue.close(), "a batch is left");
        let far = Instant::now() + Duration::from_secs(3600);
        assert_eq!(queue.next(far), Next::Batch(b"a\n".to_vec()));
        assert_eq!(queue.next(far), Next::Finish);
        assert!(!queue.wait_closed(Duration::ZERO));
        assert!(queue.close() && queue.wait_closed(Duration::ZERO));
        hand_over(&queue, "b\n");
        assert_eq!(queue.dropped(), 1);
    }
}
