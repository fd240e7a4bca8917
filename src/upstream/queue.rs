//! Requests that wait for a place at an app server, while each of them has as many as it may. The queue is short and for the
//! whole process: who would wait for long is better told so at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Those who wait, served in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    max: usize,
    freed: Notify,
}

impl Queue {
    /// For so many requests at most.
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), max, freed: Notify::new() }
    }

    /// A place in the queue, if there is one left.
    pub(super) fn enter(&self) -> Option<Waiting<'_>> {
        let entered =
            self.waiting.fetch_update(Relaxed, Relaxed, |waiting| (waiting < self.max).then_some(waiting + 1));
        entered.is_ok().then(|| Waiting(self))
    }

    /// A place at an app server has become free: the first one who waits is told, or else the next one who would.
    pub(super) fn free_one(&self) {
        self.freed.notify_one();
    }
}

/// One who waits, until it is dropped.
pub struct Waiting<'a>(&'a Queue);

impl Waiting<'_> {
    /// Waits until a place has become free somewhere. Somebody else may have taken it by then.
    pub async fn next(&self) {
        self.0.freed.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Waker},
    };

    use super::*;

    fn is_told(waits: Pin<&mut impl Future<Output = ()>>) -> bool {
        waits.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_queue_takes_so_many_and_no_more() {
        let queue = Queue::new(2);
        let waiting = [queue.enter().unwrap(), queue.enter().unwrap()];
        assert!(queue.enter().is_none());
        drop(waiting);
        assert!(queue.enter().is_some() && Queue::new(0).enter().is_none());
    }

    #[test]
    fn who_came_first_is_told_first() {
        let queue = Queue::new(2);
        let (one, other) = (queue.enter().unwrap(), queue.enter().unwrap());
        let (mut first, mut second) = (pin!(one.next()), pin!(other.next()));
        assert!(!is_told(first.as_mut()) && !is_told(second.as_mut()));
        queue.free_one();
        assert!(!is_told(second.as_mut()) && is_told(first));
        queue.free_one();
        assert!(is_told(second));
    }

    #[test]
    fn a_place_that_became_free_a_moment_ago_is_not_missed() {
        let queue = Queue::new(1);
        queue.free_one();
        assert!(is_told(pin!(queue.enter().unwrap().next())));
    }
}
