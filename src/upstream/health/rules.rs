//! When an endpoint is taken out of use, and how it comes back.

use std::time::Duration;

/// When an endpoint is taken out of use, for how long, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// Ejected after so many failures in a row; 0: never.
    pub eject_after: usize,
    /// Ejected when so many of a hundred requests have failed lately; 0: never.
    pub eject_percent: usize,
    /// For how long the first time. It is twice as long each further time.
    pub eject_time: Duration,
    /// The longest of these times; one that was well for so long is ejected for the first time again.
    pub eject_time_max: Duration,
    /// How many of a hundred endpoints may be out at once.
    pub ejected_max_percent: usize,
    /// In which time an endpoint that is back gets its full share.
    pub slow_start: Duration,
    /// Whether probes say when it is back.
    pub is_probed: bool,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            eject_after: 5,
            eject_percent: 50,
            eject_time: Duration::from_secs(2),
            eject_time_max: Duration::from_secs(60),
            ejected_max_percent: 50,
            slow_start: Duration::from_secs(10),
            is_probed: false,
        }
    }
}
