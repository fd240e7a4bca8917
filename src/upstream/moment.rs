//! Time as the shared state of an upstream keeps it: a number, so that an atomic can hold it and a test can invent it.

use std::time::{Duration, Instant};

/// Milliseconds since the upstream was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// When it is `now` for an upstream that was made at `start`.
    pub(super) fn of(start: Instant, now: Instant) -> Self {
        Self(millis(now.saturating_duration_since(start)))
    }
}

/// `duration` in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
