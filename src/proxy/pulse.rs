//! What a client connection is doing: what its limits, its parking and its end are decided by.
//!
//! Written by one thread, the connection's worker. Times are milliseconds of the worker's [`Clock`](super::clock::Clock).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::streams::Answer;

const NEVER: u64 = u64::MAX;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: AtomicU64,
    running: AtomicU32,
    streams: AtomicU32,
    quiet_since: AtomicU64,
    heard_at: AtomicU64,
    unfinished_since: AtomicU64,
    flushed: AtomicBool,
    unread: AtomicBool,
    resets: AtomicU64,
    writes: Writes,
    answer: Answer,
    cutting_off: AtomicBool,
    looked_for: AtomicBool,
    hung_up: AtomicBool,
}

impl Pulse {
    /// Of a connection that was accepted at `now`. Its first head is awaited from then on.
    pub(super) fn new(now: u64) -> Self {
        Self {
            begun: AtomicU64::new(0),
            running: AtomicU32::new(0),
            streams: AtomicU32::new(0),
            quiet_since: AtomicU64::new(now),
            heard_at: AtomicU64::new(now),
            unfinished_since: AtomicU64::new(NEVER),
            flushed: AtomicBool::new(true),
            unread: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            writes: Writes::default(),
            answer: Answer::default(),
            cutting_off: AtomicBool::new(false),
            looked_for: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
        }
    }

    /// An exchange begins: the head of a request is complete.
    pub(super) fn begin(&self) {
        if self.running() == 0 {
            self.writes.forget();
        }
        self.begun.store(self.begun.load(Relaxed) + 1, Relaxed);
        self.running.store(self.running.load(Relaxed) + 1, Relaxed);
        self.heard_at.store(NEVER, Relaxed);
        self.flushed.store(false, Relaxed);
        self.unread.store(false, Relaxed);
    }

    /// An exchange ends, at `now`: nothing is left to be said in it. `unread`: of the body of its request something is.
    pub(super) fn end(&self, now: u64, unread: bool) {
        self.running.store(self.running.load(Relaxed).saturating_sub(1), Relaxed);
        self.heard_at.store(NEVER, Relaxed);
        self.quiet_since.store(now, Relaxed);
        // Its last bytes may still be with hyper.
        self.flushed.store(false, Relaxed);
        self.unread.store(unread, Relaxed);
    }

    /// The answer of an exchange that runs is a stream without an end.
    pub(super) fn begin_stream(&self) {
        self.streams.store(self.streams.load(Relaxed) + 1, Relaxed);
    }

    /// That exchange ends, at `now`: only from now on the client may be too slow.
    pub(super) fn end_stream(&self, now: u64) {
        self.streams.store(self.streams.load(Relaxed).saturating_sub(1), Relaxed);
        self.writes.pardon(now);
    }

    /// Whether some answer is a stream without an end.
    pub(super) fn has_streams(&self) -> bool {
        self.streams.load(Relaxed) > 0
    }

    /// The client took back a request.
    pub(super) fn reset(&self) {
        self.resets.store(self.resets.load(Relaxed) + 1, Relaxed);
    }

    /// Bytes came from the client at `now`.
    pub(super) fn heard(&self, now: u64) {
        if self.heard_at.load(Relaxed) == NEVER {
            self.heard_at.store(now, Relaxed);
        }
    }

    /// All that was written has been handed to the system.
    pub(super) fn flushed(&self) {
        self.flushed.store(true, Relaxed);
    }

    /// Whether no exchange has anything left to say.
    pub(super) fn is_silent(&self) -> bool {
        self.running.load(Relaxed) == 0 && self.flushed.load(Relaxed)
    }

    /// Whether more exchanges have begun than `begun`, all of them are over, and nothing of a further one has come.
    pub(super) fn has_answered(&self, begun: u64) -> bool {
        self.begun() > begun && self.is_silent() && self.head_since().is_none() && !self.has_unread()
    }

    /// Whether the last exchange was over before the body of its request. Only hyper knows then where the next one begins.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Exchanges that have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Requests that the client took back so far.
    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Relaxed)
    }

    /// Exchanges that run.
    pub(super) fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// When the last exchange ended or, before the first, when the connection was accepted.
    pub(super) fn quiet_since(&self) -> u64 {
        self.quiet_since.load(Relaxed)
    }

    /// Since when a head has been arriving that is not complete.
    pub(super) fn head_since(&self) -> Option<u64> {
        let heard_at = self.heard_at.load(Relaxed);
        (heard_at != NEVER && self.running() == 0).then_some(heard_at)
    }

    /// On HTTP/2, where exchanges may run meanwhile: a head has been coming since then, and is not complete; `None`: there is none.
    pub(super) fn note_unfinished(&self, since: Option<u64>) {
        self.unfinished_since.store(since.unwrap_or(NEVER), Relaxed);
    }

    /// Since when one has.
    pub(super) fn unfinished_since(&self) -> Option<u64> {
        Some(self.unfinished_since.load(Relaxed)).filter(|since| *since != NEVER)
    }

    /// Ends exchanges whose client has reached a limit; their records tell by [`Pulse::cut_off_reason`].
    pub(super) fn cut_off(&self, end: impl FnOnce()) {
        let outer = self.cutting_off.swap(true, Relaxed);
        end();
        self.cutting_off.store(outer, Relaxed);
    }

    /// From now on what ends does so because the client has reached a limit.
    pub(super) fn cut_off_all(&self) {
        self.cutting_off.store(true, Relaxed);
    }

    /// Why what ends now does so, where that is because the client has reached a limit.
    pub(super) fn cut_off_reason(&self) -> Option<&'static str> {
        self.cutting_off.load(Relaxed).then(|| match self.unfinished_since() {
            Some(_) => "client does not finish the head of another request",
            None => "client takes too little of the answer",
        })
    }

    /// Asks whoever has the socket to see whether the client is still there.
    pub(super) fn look_for_client(&self) {
        self.looked_for.store(true, Relaxed);
    }

    /// Answers by `hung_up`, if it was asked.
    pub(super) fn look(&self, hung_up: impl FnOnce() -> bool) {
        if self.looked_for.load(Relaxed) {
            self.looked_for.store(false, Relaxed);
            self.hung_up.store(hung_up(), Relaxed);
        }
    }

    /// Whether the client was gone when it was last looked for.
    pub(super) fn has_hung_up(&self) -> bool {
        self.hung_up.load(Relaxed)
    }

    /// What the body of an answer says.
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// How the client takes what is written to it.
    pub(super) fn writes(&self) -> &Writes {
        &self.writes
    }
}

/// How a client takes what is written to it. Only time spent waiting for the client counts: a stream of events that has
/// nothing to say is not slow.
#[derive(Debug)]
pub(super) struct Writes {
    blocked_since: AtomicU64,
    /// Time spent waiting and bytes written thereafter, since the client last took everything at once.
    waited_ms: AtomicU64,
    drained: AtomicU64,
}

impl Default for Writes {
    fn default() -> Self {
        Self { blocked_since: AtomicU64::new(NEVER), waited_ms: AtomicU64::new(0), drained: AtomicU64::new(0) }
    }
}

impl Writes {
    /// The client takes no more, at `now`.
    pub(super) fn block(&self, now: u64) {
        if self.blocked_since.load(Relaxed) == NEVER {
            self.blocked_since.store(now, Relaxed);
        }
    }

    /// It took `bytes`, at `now()`.
    pub(super) fn took(&self, bytes: usize, now: impl FnOnce() -> u64) {
        let since = self.blocked_since.load(Relaxed);
        if since != NEVER {
            self.blocked_since.store(NEVER, Relaxed);
            self.waited_ms.store(self.waited_ms.load(Relaxed) + now().saturating_sub(since), Relaxed);
        }
        if self.waited_ms.load(Relaxed) > 0 {
            self.drained.store(self.drained.load(Relaxed) + bytes as u64, Relaxed);
        }
    }

    /// A new answer begins: what earlier ones met with does not count any more.
    fn forget(&self) {
        if self.waited_ms.load(Relaxed) > 0 {
            self.waited_ms.store(0, Relaxed);
            self.drained.store(0, Relaxed);
        }
    }

    /// What was waited for until `now` does not count.
    fn pardon(&self, now: u64) {
        self.forget();
        if self.is_blocked() {
            self.blocked_since.store(now, Relaxed);
        }
    }

    /// Milliseconds for which the client has taken nothing although there was something to take.
    pub(super) fn blocked_ms(&self, now: u64) -> u64 {
        let since = self.blocked_since.load(Relaxed);
        if since == NEVER { 0 } else { now.saturating_sub(since) }
    }

    /// Whether it takes no more at the moment.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Relaxed) != NEVER
    }

    /// Bytes a second while it had to be waited for, once that was `grace_ms` in all.
    pub(super) fn rate(&self, now: u64, grace_ms: u64) -> Option<u64> {
        let waited_ms = self.waited_ms.load(Relaxed) + self.blocked_ms(now);
        (waited_ms >= grace_ms.max(1)).then(|| self.drained.load(Relaxed).saturating_mul(1000) / waited_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_head_is_awaited_at_once_and_later_ones_from_their_first_byte() {
        let pulse = Pulse::new(5);
        pulse.heard(10);
        assert_eq!((pulse.head_since(), pulse.quiet_since()), (Some(5), 5));
        pulse.begin();
        pulse.heard(20);
        assert_eq!(pulse.head_since(), None);
        pulse.end(30, false);
        assert_eq!((pulse.head_since(), pulse.quiet_since(), pulse.begun()), (None, 30, 1));
        pulse.heard(40);
        pulse.heard(50);
        assert_eq!(pulse.head_since(), Some(40));
    }

    #[test]
    fn a_connection_is_silent_once_the_last_answer_has_left() {
        let pulse = Pulse::new(0);
        assert!(pulse.is_silent());
        pulse.begin();
        pulse.flushed();
        assert!(!pulse.is_silent());
        pulse.end(1, false);
        assert!(!pulse.is_silent());
        pulse.flushed();
        assert!(pulse.is_silent());
    }

    #[test]
    fn who_left_a_stream_unread_has_time_for_the_rest_once_it_is_over() {
        let pulse = Pulse::new(0);
        pulse.begin_stream();
        assert!(pulse.has_streams());
        pulse.writes().block(1_000);
        pulse.end_stream(90_000);
        assert!(!pulse.has_streams());
        assert_eq!((pulse.writes().blocked_ms(91_000), pulse.writes().rate(91_000, 1_001)), (1_000, None));
    }

    #[test]
    fn only_time_spent_waiting_for_the_client_makes_it_slow() {
        let writes = Writes::default();
        writes.took(1_000_000, || 0);
        assert_eq!((writes.blocked_ms(60_000), writes.rate(60_000, 1)), (0, None));
        writes.block(1_000);
        writes.block(2_000);
        assert_eq!(writes.blocked_ms(3_000), 2_000);
        writes.took(500, || 6_000);
        assert_eq!((writes.blocked_ms(9_000), writes.rate(9_000, 5_000)), (0, Some(100)));
        assert_eq!(writes.rate(9_000, 5_001), None);
        writes.forget();
        assert_eq!(writes.rate(9_000, 1), None);
    }
}
