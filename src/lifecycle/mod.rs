//! Readiness, drain, supervised tasks, signals, and what a run leaves for the next one.

mod drain;
mod readiness;
mod signals;
mod snapshot;
mod tasks;

pub use drain::{Drain, DrainWatch, Drained};
pub use readiness::{Readiness, ReadinessGuard};
pub use signals::Termination;
pub use snapshot::{Content, Keeper, Lines, Opened, SnapshotError, SnapshotFile};
pub use tasks::Tasks;
