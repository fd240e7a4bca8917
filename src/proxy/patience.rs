//! How long an app may be silent in the middle of its answer. Only time in which the app is waited for counts: a client that takes
//! its time makes no app slow, and an app that still reads is not silent.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::clock::{Clock, Deadline};

/// The patience with one answer.
pub(super) struct Patience {
    clock: Arc<Clock>,
    limit: Duration,
    /// While the app is waited for, and how many bytes of the request it had when that began.
    deadline: Option<(Deadline, u64)>,
}

impl Patience {
    /// For silence of `limit` at most.
    pub(super) fn new(clock: &Arc<Clock>, limit: Duration) -> Self {
        Self { clock: Arc::clone(clock), limit, deadline: None }
    }

    /// The app has nothing to say yet; ready once that is so for too long. It may be reading still: it was sent `taken` bytes of the
    /// body of the request so far, and as long as they become more the time begins anew whenever it is over.
    pub(super) fn poll_wait(&mut self, taken: u64, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let (clock, limit) = (&self.clock, self.limit);
            let (deadline, before) = self.deadline.get_or_insert_with(|| (clock.after(limit), taken));
            ready!(Pin::new(deadline).poll(context));
            if taken == *before {
                return Poll::Ready(());
            }
            self.renew();
        }
    }

    /// It has said something, or cannot be expected to: the time begins anew.
    pub(super) fn renew(&mut self) {
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Whether a pause of so many seconds is too long.
    async fn is_too_long(patience: &mut Patience, seconds: u64) -> bool {
        is_too_long_after(0, patience, seconds).await
    }

    async fn is_too_long_after(taken: u64, patience: &mut Patience, seconds: u64) -> bool {
        let too_long = poll_fn(|context| patience.poll_wait(taken, context));
        tokio::time::timeout(Duration::from_secs(seconds), too_long).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_may_pause_as_often_as_it_likes_and_no_longer_than_the_limit() {
        let clock = Clock::new();
        tokio::spawn(Arc::clone(&clock).run());
        let mut patience = Patience::new(&clock, LIMIT);
        for _ in 0..5 {
            assert!(!is_too_long(&mut patience, 59).await);
            patience.renew();
            // The client takes its time.
            tokio::time::sleep(3 * LIMIT).await;
        }
        assert!(!is_too_long(&mut patience, 30).await && is_too_long(&mut patience, 31).await);
    }
    #[tokio::test(start_paused = true)]
    async fn an_app_that_has_read_on_meanwhile_gets_as_much_time_again() {
        let clock = Clock::new();
        tokio::spawn(Arc::clone(&clock).run());
        let mut patience = Patience::new(&clock, LIMIT);
        assert!(!is_too_long_after(1, &mut patience, 50).await);
        assert!(!is_too_long_after(2, &mut patience, 50).await, "it has read a byte more");
        assert!(is_too_long_after(2, &mut patience, 50).await, "and now it reads nothing");
    }
}
