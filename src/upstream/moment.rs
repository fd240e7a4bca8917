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

/// A number and the moment that it is of in one word, so that an atomic can hold both and they belong together.
pub(super) fn pack(value: f32, at: Moment) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(low(at.0))
}

/// The number, and for how many milliseconds it has been true at `now`.
pub(super) fn unpack(packed: u64, now: Moment) -> (f32, u32) {
    // Another worker's last moment may be a little later than ours.
    let elapsed = low(now.0).wrapping_sub(low(packed));
    (f32::from_bits((packed >> 32) as u32), if elapsed > u32::MAX / 2 { 0 } else { elapsed })
}

#[expect(clippy::cast_possible_truncation, reason = "differences of up to 24 days come out right")]
fn low(word: u64) -> u32 {
    word as u32
}

/// `duration` in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
