//! Requests that wait for a place at an app server, while each of them has as many as it may. The queue is short and for the
//! whole process: who would wait for long is better told so at once.
//!
//! A place that becomes free is handed to the first one in the queue who can use it, and counts as taken all the while: nobody
//! who comes later finds it. Where nobody can use it, or it is at an app server that is out of use or stands by for others,
//! everybody looks for himself.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst, fence},
    },
    time::Instant,
};

use tokio::sync::Notify;

use super::{Endpoint, InFlight};

/// Those who wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many they are, to be seen without the lock.
    waiting: AtomicUsize,
    max: usize,
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

/// One of them.
#[derive(Debug)]
struct Waiter {
    wish: Wish,
    /// What was handed to it.
    place: Mutex<Option<InFlight>>,
    told: Notify,
}

/// Where a request that waits can go.
#[derive(Debug, Default)]
pub struct Wish {
    /// The endpoints that it was tried at.
    pub tried: Vec<Arc<Endpoint>>,
    /// Whether it may be sent to another endpoint too if it fails.
    pub is_repeatable: bool,
}

impl Queue {
    /// For so many requests at most.
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), max, waiters: Mutex::default() }
    }

    /// A place in the queue, if there is one left. Who has one looks for a place at an app server once more before it waits.
    pub(super) fn enter(&self, wish: Wish) -> Option<Waiting<'_>> {
        let mut waiters = self.waiters();
        if waiters.len() >= self.max {
            return None;
        }
        let waiter = Arc::new(Waiter { wish, place: Mutex::default(), told: Notify::new() });
        waiters.push_back(Arc::clone(&waiter));
        self.count(&waiters);
        Some(Waiting { queue: self, waiter })
    }

    /// Hands the place of a request that has ended at `endpoint` to who is to have it; whether there is somebody.
    pub(super) fn hand_over(&self, endpoint: &Arc<Endpoint>) -> bool {
        // Whether one that stands by is in use depends on all the others: that is the balancer's to know.
        if self.waiting.load(SeqCst) == 0 || !endpoint.health().is_healthy() || endpoint.is_spare() {
            return false;
        }
        let is_suspect = endpoint.is_suspect(Instant::now());
        let mut waiters = self.waiters();
        let first = waiters.iter().position(|waiter| waiter.can_use(endpoint, is_suspect));
        let Some(waiter) = first.and_then(|first| waiters.remove(first)) else { return false };
        self.count(&waiters);
        // Still under the lock: who leaves the queue finds it.
        *waiter.place() = Some(InFlight::taken_over(endpoint));
        waiter.told.notify_one();
        true
    }

    /// A place has become free that was handed to nobody: who has come meanwhile may want it.
    pub(super) fn free_one(&self) {
        // With the one of who enters: either sees what the other has done.
        fence(SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.look();
        }
    }

    /// There may be places that nobody has given back: an app server came, came back, or went. Everybody looks.
    pub(super) fn look(&self) {
        self.waiters().iter().for_each(|waiter| waiter.told.notify_one());
    }

    fn count(&self, waiters: &VecDeque<Arc<Waiter>>) {
        self.waiting.store(waiters.len(), SeqCst);
        fence(SeqCst);
    }

    fn waiters(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn can_use(&self, endpoint: &Arc<Endpoint>, is_suspect: bool) -> bool {
        let Wish { tried, is_repeatable } = &self.wish;
        (*is_repeatable || !is_suspect) && !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
    }

    fn place(&self) -> MutexGuard<'_, Option<InFlight>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, until it is dropped.
pub struct Waiting<'a> {
    queue: &'a Queue,
    waiter: Arc<Waiter>,
}

impl Waiting<'_> {
    /// Waits for a place; `None` where it is time to look for one.
    pub async fn next(&self) -> Option<InFlight> {
        self.stay();
        self.waiter.told.notified().await;
        self.waiter.place().take()
    }

    /// Who could not use what it was handed is the first one again.
    fn stay(&self) {
        let mut waiters = self.queue.waiters();
        if self.waiter.place().is_none() && !waiters.iter().any(|waiter| Arc::ptr_eq(waiter, &self.waiter)) {
            waiters.push_front(Arc::clone(&self.waiter));
            self.queue.count(&waiters);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        self.queue.count(&waiters);
        drop(waiters);
        // What came too late goes to the next one.
        let place = self.waiter.place().take();
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::AtomicBool,
        task::{Context, Poll, Waker},
        thread,
        time::Duration,
    };

    use super::*;

    fn wish() -> Wish {
        Wish { tried: Vec::new(), is_repeatable: true }
    }

    /// What a look at `waiting` brings.
    fn look(waiting: &Waiting<'_>) -> Poll<Option<InFlight>> {
        pin!(waiting.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn has_place(waiting: &Waiting<'_>) -> Option<InFlight> {
        match look(waiting) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_queue_takes_so_many_and_no_more() {
        let queue = Queue::new(2);
        let waiting = [queue.enter(wish()).unwrap(), queue.enter(wish()).unwrap()];
        assert!(queue.enter(wish()).is_none());
        drop(waiting);
        assert!(queue.enter(wish()).is_some() && Queue::new(0).enter(wish()).is_none());
    }

    /// Others ask all the while, on threads of their own, as new requests do.
    #[test]
    fn places_go_to_who_waits_in_order_whoever_comes_meanwhile() {
        let (endpoint, queue) = Endpoint::example_in_queue(1, 300);
        let (ends, overtakers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut running = InFlight::begin(&endpoint).unwrap();
        let last = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let begun = Instant::now();
                    while !ends.load(SeqCst) && begun.elapsed() < Duration::from_secs(20) {
                        overtakers.fetch_add(usize::from(InFlight::begin(&endpoint).is_some()), SeqCst);
                    }
                });
            }
            let waiting: Vec<_> = (0..300).map(|_| queue.enter(wish()).unwrap()).collect();
            for (number, waits) in waiting.iter().enumerate() {
                drop(running);
                assert!(waiting.get(number + 1).is_none_or(|next| look(next).is_pending()));
                running = has_place(waits).unwrap();
                assert_eq!((endpoint.in_flight(), overtakers.load(SeqCst)), (1, 0), "at {number}");
            }
            ends.store(true, SeqCst);
            running
        });
        drop(last);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn who_cannot_use_a_place_keeps_nobody_from_it() {
        let (endpoint, queue) = Endpoint::example_in_queue(1, 3);
        let running = InFlight::begin(&endpoint).unwrap();
        let has_tried = queue.enter(Wish { tried: vec![Arc::clone(&endpoint)], is_repeatable: true }).unwrap();
        let other = queue.enter(wish()).unwrap();
        assert!(look(&has_tried).is_pending() && look(&other).is_pending());
        drop(running);
        let place = has_place(&other).unwrap();
        assert!(look(&has_tried).is_pending());
        drop((other, place));
        assert_eq!(endpoint.in_flight(), 0, "nobody is left who could use it");
        assert!(matches!(look(&has_tried), Poll::Ready(None)), "it is told to look");
    }

    #[test]
    fn a_place_at_one_that_stands_by_is_handed_to_nobody() {
        let (endpoint, queue) = Endpoint::example_in_queue(1, 1);
        let running = InFlight::begin(&endpoint).unwrap();
        endpoint.stand_by(true);
        let waiting = queue.enter(wish()).unwrap();
        drop(running);
        assert!(matches!(look(&waiting), Poll::Ready(None)), "who waits looks whether it is in use");
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn what_comes_too_late_for_one_goes_to_the_next() {
        let (endpoint, queue) = Endpoint::example_in_queue(1, 3);
        let running = InFlight::begin(&endpoint).unwrap();
        let [late, next, last] = [(); 3].map(|()| queue.enter(wish()).unwrap());
        drop(running);
        drop(late);
        drop(has_place(&next).unwrap());
        assert!(InFlight::begin(&endpoint).is_none(), "it is the last one's");
        drop(last);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn orders_that_cannot_be_repeated_get_no_place_at_one_that_has_just_failed() {
        let (endpoint, queue) = Endpoint::example_in_queue(2, 2);
        let running = [InFlight::begin(&endpoint).unwrap(), InFlight::begin(&endpoint).unwrap()];
        let [order, page] = [false, true].map(|is_repeatable| queue.enter(Wish { tried: Vec::new(), is_repeatable }));
        let [failed, answered] = running;
        let (mut failed, order) = (failed, order.unwrap());
        failed.failed(Duration::ZERO, Instant::now());
        drop(failed);
        assert!(has_place(&page.unwrap()).is_some() && has_place(&order).is_none());
        drop(answered);
    }

    /// Many that come, wait, give up and are served at once, on several threads.
    #[test]
    fn nobody_is_forgotten() {
        const THREADS: usize = 4;
        const ROUNDS: usize = 2000;
        let (endpoint, queue) = Endpoint::example_in_queue(2, THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (endpoint, queue) = (&endpoint, &queue);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(async move {
                        for round in 0..ROUNDS {
                            let served = async {
                                let Some(waiting) = queue.enter(wish()) else { unreachable!("one each") };
                                loop {
                                    if let Some(place) = InFlight::begin(endpoint) {
                                        return place;
                                    }
                                    if let Some(place) = waiting.next().await {
                                        return place;
                                    }
                                }
                            };
                            // Some give up at once.
                            let limit = Duration::from_secs(if (round + number) % 7 == 0 { 0 } else { 20 });
                            let place = tokio::time::timeout(limit, served).await;
                            assert!(place.is_ok() || limit.is_zero(), "forgotten in round {round}");
                            tokio::task::yield_now().await;
                        }
                    });
                });
            }
        });
        assert_eq!((endpoint.in_flight(), queue.waiting.load(SeqCst)), (0, 0));
    }
}
