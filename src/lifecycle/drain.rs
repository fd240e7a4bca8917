//! Drain: announce, finish, deadline, abort.
//!
//! A drain only tells and counts. Whoever holds a watch ends by itself; whatever is left at the deadline is aborted by
//! its owner, who drops the runtime or the tasks.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The side that starts the drain and waits for its end.
pub struct Drain {
    announcement: CancellationToken,
    is_announced: Arc<AtomicBool>,
    watches: TaskTracker,
}

/// What finished before the deadline of a drain, and what did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Watches still held when the deadline came; 0 where everything ended by itself.
    pub left: usize,
}

impl Drain {
    /// A drain that has not begun.
    #[allow(clippy::new_without_default, reason = "a drain is a deliberate act, not a value to default")]
    pub fn new() -> Self {
        Self { announcement: CancellationToken::new(), is_announced: Arc::default(), watches: TaskTracker::new() }
    }

    /// A watch; the drain waits for its drop.
    ///
    /// Waiting for the announcement takes a lock that a watch shares with its clones. A worker therefore takes one watch
    /// here and gives clones of it to its connections: no worker waits for another.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            announcement: self.announcement.child_token(),
            is_announced: Arc::clone(&self.is_announced),
            _held: self.watches.token(),
        }
    }

    /// Announces the drain, then waits for all watches to be dropped, at most for `deadline`.
    pub async fn run(self, deadline: Duration) -> Drained {
        self.is_announced.store(true, Ordering::Release);
        self.announcement.cancel();
        self.watches.close();
        match tokio::time::timeout(deadline, self.watches.wait()).await {
            Ok(()) => Drained { left: 0 },
            Err(_elapsed) => Drained { left: self.watches.len() },
        }
    }
}

/// Held by whatever must be allowed to finish; a clone is one more to wait for.
#[derive(Clone)]
pub struct DrainWatch {
    announcement: CancellationToken,
    is_announced: Arc<AtomicBool>,
    _held: TaskTrackerToken,
}

impl DrainWatch {
    /// Whether the drain was announced. Takes no lock, as asking the announcement itself would.
    pub fn is_draining(&self) -> bool {
        self.is_announced.load(Ordering::Acquire)
    }

    /// Ends when the drain is announced; never, if the drain is dropped without having run.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + '_ {
        self.announcement.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_drain_without_watches_ends_at_once() {
        let begun = tokio::time::Instant::now();
        assert_eq!(Drain::new().run(DEADLINE).await, Drained { left: 0 });
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_hears_the_announcement_and_the_drain_waits_for_its_drop() {
        let drain = Drain::new();
        let watch = drain.watch();
        assert!(!watch.is_draining());
        let work = tokio::spawn(async move {
            watch.draining().await;
            assert!(watch.is_draining());
            tokio::time::sleep(Duration::from_secs(7)).await;
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(drain.run(DEADLINE).await, Drained { left: 0 });
        assert_eq!(begun.elapsed(), Duration::from_secs(7));
        work.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_at_the_deadline_is_counted_with_its_clones() {
        let drain = Drain::new();
        let watch = drain.watch();
        let clone = watch.clone();
        let begun = tokio::time::Instant::now();
        assert_eq!(drain.run(DEADLINE).await, Drained { left: 2 });
        assert_eq!(begun.elapsed(), DEADLINE);
        assert!(watch.is_draining() && clone.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clone_made_during_the_drain_is_waited_for_too() {
        let drain = Drain::new();
        let watch = drain.watch();
        tokio::spawn(async move {
            watch.draining().await;
            let late = watch.clone();
            drop(watch);
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(late);
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(drain.run(DEADLINE).await, Drained { left: 0 });
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
