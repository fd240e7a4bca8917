//! `Expect: 100-continue` (RFC 9110 §10.1.1): a client waits with its body until somebody says that it is wanted, and that
//! is for the app to say. As long as nobody reads the body, hyper tells the client nothing.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{HeaderMap, StatusCode, Version, header};

use super::clock::{Clock, Deadline};

/// How long a body is held back for an app that says nothing. Many know no expectations, and clients lose patience
/// after about this time too.
const PATIENCE: Duration = Duration::from_secs(1);

/// The body may be read: nothing was expected, the app has asked for it, or it has had its time.
const OPEN: u8 = 0;
/// The app has said nothing yet.
const WAITING: u8 = 1;
/// The app has answered without the body.
const REFUSED: u8 = 2;

/// Whether the app wants the body of a request; known to the exchange, the body and whoever hears the app.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Expectation {
    /// From now on the body is held back.
    pub(super) fn wait(&self) {
        self.state.store(WAITING, Relaxed);
    }

    /// The app sent an interim answer.
    pub(super) fn hear(&self, status: StatusCode) {
        if status == StatusCode::CONTINUE {
            self.open();
        }
    }

    /// The app has answered for good; a body that is held back now is never read.
    pub(super) fn answer(&self) {
        let _was_open = self.state.compare_exchange(WAITING, REFUSED, Relaxed, Relaxed);
    }

    /// Whether the app has answered without the body.
    pub(super) fn is_refused(&self) -> bool {
        self.state.load(Relaxed) == REFUSED
    }

    fn open(&self) {
        let _was_answered = self.state.compare_exchange(WAITING, OPEN, Relaxed, Relaxed);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// What holds a body back.
pub(super) struct Hold {
    clock: Arc<Clock>,
    deadline: Option<Deadline>,
}

impl Hold {
    pub(super) fn new(clock: &Arc<Clock>) -> Self {
        Self { clock: Arc::clone(clock), deadline: None }
    }

    /// Ready once the body may be read. The time runs from the first call: by then the head is written.
    pub(super) fn poll(&mut self, expectation: &Expectation, context: &mut Context<'_>) -> Poll<()> {
        match expectation.state.load(Relaxed) {
            OPEN => return Poll::Ready(()),
            REFUSED => return Poll::Pending,
            _ => {}
        }
        *expectation.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        let deadline = self.deadline.get_or_insert_with(|| self.clock.after(PATIENCE));
        ready!(Pin::new(deadline).poll(context));
        expectation.open();
        Poll::Ready(())
    }
}

/// Whether a client waits with its body; any other expectation is the app's to judge. One of HTTP/1.0 is not to be
/// followed, and taken away.
pub(super) fn is_expected(headers: &mut HeaderMap, version: Version) -> bool {
    if version < Version::HTTP_11 {
        headers.remove(header::EXPECT);
        return false;
    }
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(hold: &mut Hold, expectation: &Expectation) -> Poll<()> {
        hold.poll(expectation, &mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_held_back_until_the_app_asks_for_it() {
        let (expectation, mut hold) = (Expectation::default(), Hold::new(&Clock::new()));
        assert!(poll(&mut hold, &expectation).is_ready());
        expectation.wait();
        assert!(poll(&mut hold, &expectation).is_pending());
        expectation.hear(StatusCode::EARLY_HINTS);
        assert!(poll(&mut hold, &expectation).is_pending());
        expectation.hear(StatusCode::CONTINUE);
        assert!(poll(&mut hold, &expectation).is_ready() && !expectation.is_refused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_app_gets_the_body_after_a_second_and_one_that_has_answered_never() {
        let clock = Clock::new();
        tokio::spawn(Arc::clone(&clock).run());
        let (silent, answered) = (Expectation::default(), Expectation::default());
        let (mut hold, mut held) = (Hold::new(&clock), Hold::new(&clock));
        silent.wait();
        answered.wait();
        assert!(poll(&mut hold, &silent).is_pending() && poll(&mut held, &answered).is_pending());
        answered.answer();
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(poll(&mut hold, &silent).is_ready() && poll(&mut held, &answered).is_pending());
        silent.answer();
        assert!(answered.is_refused() && !silent.is_refused());
    }

    #[test]
    fn only_a_client_of_http_1_1_or_later_can_expect() {
        let expecting = |value: &'static str| HeaderMap::from_iter([(header::EXPECT, value.parse().unwrap())]);
        assert!(is_expected(&mut expecting("100-Continue"), Version::HTTP_11));
        assert!(!is_expected(&mut expecting("tea"), Version::HTTP_11));
        let mut old = expecting("100-continue");
        assert!(!is_expected(&mut old, Version::HTTP_10) && old.is_empty());
    }
}
