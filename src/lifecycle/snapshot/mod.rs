//! What a run leaves on disk for the next one, for a day on which nobody else can be asked.
//!
//! Written whole, rarely, and in place of the old file at once; read once, at start. A file that is damaged, too old, of another
//! version or of another configuration is reported and not used.

mod file;
mod keeper;

pub use file::{Lines, Opened, SnapshotError, SnapshotFile};
pub use keeper::{Content, Keeper};
