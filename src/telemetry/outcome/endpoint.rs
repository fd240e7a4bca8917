//! What app servers are in, and why.

/// In which state an app server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointState {
    /// It gets its share of the requests.
    Healthy,
    /// It has failed too often and gets none.
    Ejected,
    /// It was ejected for long enough and gets one now and then.
    Probing,
    /// It is to finish what it has, and gets nothing new.
    Draining,
}

impl EndpointState {
    /// Every state, in order of declaration.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Ejected, Self::Probing, Self::Draining];

    /// Why an app server can be in this state; none where it needs no reason.
    pub fn reasons(self) -> &'static [EndpointReason] {
        use EndpointReason::{FailedProbes, FailedTrial, FailuresInARow, Order, ShareOfFailures, Trial, Unlisted};
        match self {
            Self::Healthy => &[],
            Self::Ejected => &[FailuresInARow, ShareOfFailures, FailedTrial, FailedProbes],
            Self::Probing => &[Trial],
            Self::Draining => &[Order, Unlisted],
        }
    }

    /// The name in logs, metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Draining => "draining",
        }
    }
}

/// Why an app server is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointReason {
    /// `eject_after` requests have failed in a row.
    FailuresInARow,
    /// `eject_percent` of the requests have failed.
    ShareOfFailures,
    /// It has failed again when it was tried.
    FailedTrial,
    /// `probe_fall` probes have failed.
    FailedProbes,
    /// It is being tried.
    Trial,
    /// An operator has said so.
    Order,
    /// Its name does not lead to it any more.
    Unlisted,
}

impl EndpointReason {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailuresInARow => "failures_in_a_row",
            Self::ShareOfFailures => "share_of_failures",
            Self::FailedTrial => "failed_trial",
            Self::FailedProbes => "failed_probes",
            Self::Trial => "trial",
            Self::Order => "order",
            Self::Unlisted => "unlisted",
        }
    }

    /// The same in words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::FailuresInARow => "failures in a row",
            Self::ShareOfFailures => "share of failures",
            Self::FailedTrial => "failed again when it was tried",
            Self::FailedProbes => "failed probes",
            Self::Trial => "is being tried",
            Self::Order => "by order",
            Self::Unlisted => "gone from DNS",
        }
    }
}
