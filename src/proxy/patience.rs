//! How long an app may be silent in the middle of its answer. Only time in which the app is waited for counts: a client that takes
//! its time makes no app slow.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::clock::{Clock, Deadline};

/// The patience with one answer.
pub(super) struct Patience {
    clock: Arc<Clock>,
    limit: Duration,
    /// While the app is waited for.
    deadline: Option<Deadline>,
}

impl Patience {
    /// For silence of `limit` at most.
    pub(super) fn new(clock: &Arc<Clock>, limit: Duration) -> Self {
        Self { clock: Arc::clone(clock), limit, deadline: None }
    }

    /// The app has nothing to say yet; ready once that is so for too long.
    pub(super) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (clock, limit) = (&self.clock, self.limit);
        Pin::new(self.deadline.get_or_insert_with(|| clock.after(limit))).poll(context)
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
        let too_long = poll_fn(|context| patience.poll_wait(context));
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
}
