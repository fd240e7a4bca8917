//! How a client keeps pace with its own upload. Only time in which the client is waited for counts: an app that takes its time
//! makes no client slow.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    clock::{Clock, Deadline},
    upload::BodyLimit,
};

/// Time for which a client may be waited for before its rate counts: a slow start is no attack.
const GRACE_MS: u64 = 10_000;

/// The pace of one upload.
pub(super) struct Pace {
    clock: Arc<Clock>,
    timeout: Duration,
    rate_min: u64,
    /// Of the waits that are over.
    waited_ms: u64,
    wait: Option<Wait>,
}

struct Wait {
    since: u64,
    deadline: Deadline,
}

impl Pace {
    /// Of a client that may pause for `timeout`, and has to send `rate_min` bytes a second while it is waited for.
    pub(super) fn new(clock: &Arc<Clock>, timeout: Duration, rate_min: u64) -> Self {
        Self { clock: Arc::clone(clock), timeout, rate_min, waited_ms: 0, wait: None }
    }

    /// The client is waited for, after `bytes` of its body; ready once that was too long.
    ///
    /// A pause is judged by its length alone. The rate is judged when a new one begins: by then all has been taken that came
    /// with the end of the last one.
    pub(super) fn poll_wait(&mut self, bytes: u64, context: &mut Context<'_>) -> Poll<BodyLimit> {
        if self.wait.is_none() && self.is_too_slow(bytes) {
            return Poll::Ready(BodyLimit::Rate);
        }
        let (clock, timeout) = (&self.clock, self.timeout);
        let wait = self.wait.get_or_insert_with(|| Wait { since: clock.now_ms(), deadline: clock.after(timeout) });
        Pin::new(&mut wait.deadline).poll(context).map(|()| BodyLimit::Timeout)
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.waited_ms += self.clock.now_ms().saturating_sub(wait.since);
        }
    }

    fn is_too_slow(&self, bytes: u64) -> bool {
        self.waited_ms >= GRACE_MS && bytes.saturating_mul(1000) / self.waited_ms < self.rate_min
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn pace() -> Pace {
        let clock = Clock::new();
        tokio::spawn(Arc::clone(&clock).run());
        Pace::new(&clock, TIMEOUT, 240)
    }

    /// Whether a pause of so many milliseconds after `bytes` is over before the client has waited too long.
    async fn pause(pace: &mut Pace, bytes: u64, millis: u64) -> Result<(), BodyLimit> {
        let too_long = poll_fn(|context| pace.poll_wait(bytes, context));
        let outcome = tokio::time::timeout(Duration::from_millis(millis), too_long).await;
        pace.heard();
        outcome.map_or(Ok(()), Err)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_may_be_as_long_as_the_limit_and_no_longer() {
        let mut pace = pace();
        assert_eq!(pause(&mut pace, 0, 29_000).await, Ok(()));
        assert_eq!(pause(&mut pace, 100_000, 31_000).await, Err(BodyLimit::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_in_drops_is_too_slow_after_ten_seconds() {
        let mut pace = pace();
        let mut drops = 0;
        while pause(&mut pace, drops, 1_000).await.is_ok() {
            drops += 1;
        }
        assert!((9..=11).contains(&drops), "{drops}");
        assert_eq!(pause(&mut pace, drops, 1_000).await, Err(BodyLimit::Rate));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut pace = pace();
        for piece in 0..100 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(pause(&mut pace, piece * 300, 1_000).await, Ok(()), "at {piece}");
        }
    }
}
