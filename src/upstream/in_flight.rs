//! One request at an app server, and what becomes of it there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Endpoint, Share};

/// Counts one request at its endpoint until dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    /// The place that its store has for it.
    share: Option<Share>,
    /// Whether an answer is owed.
    is_owed: bool,
    begun: Begun,
}

/// What the end of an answer still tells of the app server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// Nothing: it has not begun, or it is known already how the app server is.
    No,
    /// Whether it is well.
    Yes,
    /// Whether it has failed: that it is back was taken from the head.
    Trial,
}

impl InFlight {
    /// `None` where the endpoint has no room.
    pub(super) fn begin(endpoint: &Arc<Endpoint>) -> Option<Self> {
        endpoint.begin().then(|| Self::taken_over(endpoint))
    }

    /// In the place of another one at `endpoint`, which is counted already.
    pub(super) fn taken_over(endpoint: &Arc<Endpoint>) -> Self {
        Self { endpoint: Arc::clone(endpoint), share: None, is_owed: false, begun: Begun::No }
    }

    /// The endpoint that is counted at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Keeps the place of its store for as long as the request runs.
    pub fn keep(&mut self, share: Option<Share>) {
        self.share = share;
    }

    /// The request is sent, and its answer waited for.
    pub fn ask(&mut self, now: Instant) {
        self.endpoint.silence().ask(self.endpoint.moment(now));
        self.is_owed = true;
    }

    /// The place for another attempt there, where places are few and the endpoint is as fit for a request that is `repeatable` or not
    /// as it was. Nobody who came later gets in between.
    pub fn kept(mut self, repeatable: bool, now: Instant) -> Option<Self> {
        let endpoint = &self.endpoint;
        let is_fit = endpoint.health().is_healthy() && (repeatable || !endpoint.is_suspect(now));
        if !endpoint.is_limited() || !is_fit {
            return None;
        }
        self.forget();
        Some(self)
    }

    /// The head of an answer came after `took`. Whether the app server is well, the body shows. One that is out of use is back at once:
    /// its body may be long, and until it ends the server would have no other request.
    pub fn answered(&mut self, took: Duration, now: Instant) {
        let at = self.endpoint.moment(now);
        if std::mem::take(&mut self.is_owed) {
            self.endpoint.silence().hear(at);
        }
        self.endpoint.latency().observe(took, at);
        self.begun = Begun::Yes;
        if !self.endpoint.health().is_healthy() {
            self.delivered(now);
            self.begun = Begun::Trial;
        }
    }

    /// The answer that has begun came to its end, or has none that would tell anything: the app server is well.
    pub fn delivered(&mut self, now: Instant) {
        if std::mem::replace(&mut self.begun, Begun::No) == Begun::Yes {
            self.endpoint.announce(self.endpoint.health().answered(self.endpoint.moment(now)));
        }
    }

    /// The answer that has begun broke off: the app server failed, if that was to be told by the end, and has not failed before.
    pub fn broke(&mut self, now: Instant) {
        if std::mem::replace(&mut self.begun, Begun::No) != Begun::No {
            self.endpoint.announce(self.endpoint.health().failed(self.endpoint.moment(now)));
        }
    }

    /// The app server failed, after as long as `waited`.
    pub fn failed(&mut self, waited: Duration, now: Instant) {
        self.unanswered(waited, now);
        self.forget();
        self.endpoint.announce(self.endpoint.health().failed(self.endpoint.moment(now)));
    }

    /// Nobody waits any more, after as long as `waited`. It need not be the app server's fault.
    pub fn unanswered(&self, waited: Duration, now: Instant) {
        self.endpoint.latency().observe_unanswered(waited, self.endpoint.moment(now));
    }

    fn forget(&mut self) {
        if std::mem::take(&mut self.is_owed) {
            self.endpoint.silence().forget();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.forget();
        self.endpoint.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_until_its_guard_drops() {
        let endpoint = Endpoint::example(1, 1);
        let guard = InFlight::begin(&endpoint);
        assert_eq!(endpoint.in_flight(), 1);
        drop(guard);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn no_more_requests_run_than_may() {
        let endpoint = Endpoint::example_for(2);
        let running = [InFlight::begin(&endpoint).unwrap(), InFlight::begin(&endpoint).unwrap()];
        assert!(!endpoint.has_room() && InFlight::begin(&endpoint).is_none());
        drop(running);
        assert!(endpoint.has_room() && endpoint.in_flight() == 0);
    }

    const LONG: Duration = Duration::from_secs(3);

    fn running(endpoint: &Arc<Endpoint>, now: Instant) -> InFlight {
        let mut request = InFlight::begin(endpoint).unwrap();
        request.ask(now);
        request
    }

    /// An event stream, or a call of gRPC: clients and apps end them as they like.
    #[test]
    fn a_stream_that_breaks_off_takes_nobody_out_of_use() {
        let (endpoint, now) = (Endpoint::example(1, 1), Instant::now());
        for _ in 0..30 {
            let mut request = running(&endpoint, now);
            request.answered(Duration::ZERO, now);
            request.delivered(now);
            request.broke(now);
        }
        assert!(endpoint.health().is_healthy() && !endpoint.is_suspect(now));
    }

    #[test]
    fn a_request_fails_once() {
        let (endpoint, now) = (Endpoint::example(1, 1), Instant::now());
        for number in 1..=5 {
            assert!(endpoint.health().is_healthy(), "{number}");
            let mut request = running(&endpoint, now);
            request.failed(Duration::ZERO, now);
            request.broke(now);
        }
        assert!(!endpoint.health().is_healthy());
    }

    #[test]
    fn an_answer_that_breaks_off_is_a_failure_and_one_that_ends_is_none() {
        let (endpoint, now) = (Endpoint::example(1, 1), Instant::now());
        let answered = || {
            let mut request = running(&endpoint, now);
            request.answered(Duration::ZERO, now);
            request
        };
        answered().broke(now);
        assert!(endpoint.is_suspect(now));
        answered().delivered(now);
        assert!(!endpoint.is_suspect(now));
    }

    #[test]
    fn one_that_is_tried_is_back_with_the_head_of_its_answer_and_fails_with_its_body() {
        let (endpoint, now) = (Endpoint::example(1, 1), Instant::now());
        (0..5).for_each(|_| running(&endpoint, now).failed(Duration::ZERO, now));
        let later = now + LONG;
        assert!(endpoint.health().claim_trial(true, endpoint.moment(later)));
        let mut request = running(&endpoint, later);
        request.answered(Duration::ZERO, later);
        assert!(endpoint.health().is_healthy() && !endpoint.is_suspect(later));
        request.broke(later);
        assert!(endpoint.is_suspect(later));
    }
}
