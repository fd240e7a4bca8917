//! Connections on which nothing happens stand back for new clients: where one finds no permit, the one that has been parked, idle or
//! silent for longest is closed for it. A client has to expect that of an idle connection at any time (RFC 9112 §9.5).

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a new client waits for the permit of a connection that was to end before the next one has to: its permit may have gone
/// to a client of another worker. Long beside the end of a connection, short beside a client's patience.
const NEXT_AFTER: Duration = Duration::from_millis(100);

/// The queue of those of one worker, in the order in which they came into it.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// Clients that wait for a permit.
    waiting: AtomicUsize,
    turns: Notify,
}

impl Parked {
    /// Waits until the connection that calls this has to end.
    pub(super) async fn turn(&self) {
        loop {
            self.turns.notified().await;
            // A turn that nobody has taken is kept, perhaps for longer than it is wanted.
            if self.waiting.load(Relaxed) > 0 {
                return;
            }
        }
    }

    /// One of `permits`, all of which are taken, as soon as a connection ends; those in the queue have to, one after the other.
    pub(super) async fn displace(&self, permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting::begin(&self.waiting);
        let mut permit = pin!(Arc::clone(permits).acquire_owned());
        loop {
            self.turns.notify_one();
            if let Ok(permit) = timeout(NEXT_AFTER, &mut permit).await {
                return permit.ok();
            }
        }
    }
}

/// One client that waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::yield_now, time::sleep};

    use super::*;

    /// A parked connection that gives its permit back when its turn has come.
    async fn park(parked: Arc<Parked>, permits: &Arc<Semaphore>) -> tokio::task::JoinHandle<()> {
        let permit = Arc::clone(permits).acquire_owned().await.unwrap();
        let connection = tokio::spawn(async move {
            parked.turn().await;
            drop(permit);
        });
        yield_now().await;
        connection
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_parked_first_stands_back_and_no_other() {
        let (parked, permits) = (Arc::new(Parked::default()), Arc::new(Semaphore::new(2)));
        let first = park(Arc::clone(&parked), &permits).await;
        let second = park(Arc::clone(&parked), &permits).await;
        let permit = parked.displace(&permits).await.unwrap();
        sleep(NEXT_AFTER * 10).await;
        assert!(first.is_finished() && !second.is_finished());
        drop(permit);
        let _free = permits.acquire().await.unwrap();
        sleep(NEXT_AFTER * 10).await;
        assert!(!second.is_finished(), "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_took_ends_no_connection_later() {
        let (parked, permits) = (Arc::new(Parked::default()), Arc::new(Semaphore::new(1)));
        let busy = Arc::clone(&permits).acquire_owned().await.unwrap();
        let ends = async {
            sleep(NEXT_AFTER * 3).await;
            drop(busy);
        };
        let (permit, ()) = tokio::join!(parked.displace(&permits), ends);
        drop(permit.unwrap());
        let connection = park(Arc::clone(&parked), &permits).await;
        sleep(NEXT_AFTER * 10).await;
        assert!(!connection.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_went_elsewhere_is_made_up_for_by_the_next_connection() {
        let (parked, permits) = (Arc::new(Parked::default()), Arc::new(Semaphore::new(2)));
        let first = park(Arc::clone(&parked), &permits).await;
        let second = park(Arc::clone(&parked), &permits).await;
        // A client of another worker waits already, and closes nobody.
        let other = tokio::spawn(Arc::clone(&permits).acquire_owned());
        yield_now().await;
        let _permit = parked.displace(&permits).await.unwrap();
        assert!(first.is_finished() && second.is_finished());
        let _permit = other.await.unwrap().unwrap();
    }
}
