//! Readiness, drain, supervised tasks and signals.

mod drain;
mod readiness;
mod signals;
mod tasks;

pub use drain::{Drain, DrainWatch, Drained};
pub use readiness::{Readiness, ReadinessGuard};
pub use signals::Termination;
pub use tasks::Tasks;
