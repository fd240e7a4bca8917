//! Ready means that no named reason is left.

/// The reasons for which the process is not ready; a cheap clone.
#[derive(Clone, Default)]
pub struct Readiness {}

impl Readiness {
    /// Not ready until the guard is dropped, for this reason.
    pub fn hold(&self, reason: &'static str) -> ReadinessGuard {
        let _ = reason;
        todo!()
    }

    /// The reasons left, in alphabetical order; none: ready.
    pub fn reasons(&self) -> Vec<&'static str> {
        todo!()
    }
}

/// Keeps the process from being ready until dropped.
pub struct ReadinessGuard {}
