//! One coarse clock per worker instead of a timer per wait.
//!
//! Nearly every deadline of a request is met, so what counts is the price of setting one: here it is an entry in a list
//! that is looked through once per tick. A deadline never ends early and at most two ticks late.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper::rt::{Sleep, Timer};
use slab::Slab;
use tokio::time::{MissedTickBehavior, interval};

/// Small beside the shortest deadline of a second, and rare enough that looking through 50,000 waits is 0.1 % of a core.
const TICK: Duration = Duration::from_millis(100);

/// A worker's time, moved on by [`Clock::run`]. Its lock is the worker's own and never contended.
pub(super) struct Clock {
    started: Instant,
    /// Milliseconds since `started`, as of the last tick.
    now_ms: AtomicU64,
    /// The Unix time of `started` in milliseconds, as of the last tick: the system's clock may be set.
    unix_start_ms: AtomicU64,
    waits: Mutex<Slab<Wait>>,
}

struct Wait {
    due_ms: u64,
    waker: Waker,
}

impl Clock {
    pub(super) fn new() -> Arc<Self> {
        let clock = Self {
            started: tokio::time::Instant::now().into_std(),
            now_ms: AtomicU64::new(0),
            unix_start_ms: AtomicU64::new(0),
            waits: Mutex::default(),
        };
        clock.set(0);
        Arc::new(clock)
    }

    /// Moves the time on, for as long as the worker runs.
    pub(super) async fn run(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let tick = ticks.tick().await;
            self.set(millis(tick.into_std().saturating_duration_since(self.started)));
            self.wake_due();
        }
    }

    fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Relaxed);
        let unix_ms = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        self.unix_start_ms.store(unix_ms.saturating_sub(millis(self.started.elapsed())), Relaxed);
    }

    fn wake_due(&self) {
        let now_ms = self.now_ms.load(Relaxed);
        self.waits().iter().filter(|(_, wait)| wait.due_ms <= now_ms).for_each(|(_, wait)| wait.waker.wake_by_ref());
    }

    /// Milliseconds since the clock was made, as of the last tick.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    /// The time since `then_ms`.
    pub(super) fn since(&self, then_ms: u64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(then_ms))
    }

    /// The Unix time of `instant` in milliseconds.
    pub(super) fn unix_ms(&self, instant: Instant) -> u64 {
        self.unix_start_ms.load(Relaxed) + millis(instant.saturating_duration_since(self.started))
    }

    /// Runs `future` for `limit` at most.
    pub(super) async fn within<F: Future>(self: &Arc<Self>, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut deadline = self.after(limit);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(&mut deadline).poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }

    /// Ends `limit` from now.
    pub(super) fn after(self: &Arc<Self>, limit: Duration) -> Deadline {
        // The time may lag by a tick.
        let due_ms = self.now_ms.load(Relaxed).saturating_add(millis(limit + TICK));
        Deadline { clock: Arc::clone(self), due_ms, place: None }
    }

    fn waits(&self) -> MutexGuard<'_, Slab<Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

/// Ends once its time has come.
pub(super) struct Deadline {
    clock: Arc<Clock>,
    due_ms: u64,
    place: Option<usize>,
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.clock.now_ms.load(Relaxed) >= self.due_ms {
            return Poll::Ready(());
        }
        let (place, due_ms) = (self.place, self.due_ms);
        let mut waits = self.clock.waits();
        match place.and_then(|place| waits.get_mut(place)) {
            Some(wait) => wait.waker.clone_from(context.waker()),
            None => {
                let place = waits.insert(Wait { due_ms, waker: context.waker().clone() });
                drop(waits);
                self.place = Some(place);
            }
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.clock.waits().try_remove(place);
        }
    }
}

impl Sleep for Deadline {}

/// The same for hyper, which asks for the time in instants.
#[derive(Clone)]
pub(super) struct CoarseTimer(pub(super) Arc<Clock>);

impl Timer for CoarseTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.0.after(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.0.started + Duration::from_millis(self.0.now_ms.load(Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    fn running() -> Arc<Clock> {
        let clock = Clock::new();
        tokio::spawn(Arc::clone(&clock).run());
        clock
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_never_ends_early_and_at_most_two_ticks_late() {
        let clock = running();
        for delay_ms in [0, 1, 50, 99, 100, 101, 1234] {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            let begun = tokio::time::Instant::now();
            assert_eq!(clock.within(LIMIT, pending::<()>()).await, Err(Elapsed));
            let waited = begun.elapsed();
            assert!((LIMIT..=LIMIT + 2 * TICK).contains(&waited), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_leaves_nothing_behind() {
        let clock = running();
        let work = tokio::time::sleep(LIMIT / 2);
        assert_eq!(clock.within(LIMIT, work).await, Ok(()));
        assert!(clock.waits().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn hyper_sees_the_same_time() {
        let timer = CoarseTimer(running());
        let begun = tokio::time::Instant::now();
        timer.sleep_until(timer.now() + LIMIT).await;
        assert!((LIMIT..=LIMIT + 2 * TICK).contains(&begun.elapsed()));
    }

    #[test]
    fn the_unix_time_is_the_systems() {
        let clock = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { Clock::new() });
        let shown = clock.unix_ms(Instant::now());
        let system = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        assert!(shown.abs_diff(system) <= 5, "{shown} {system}");
    }
}
