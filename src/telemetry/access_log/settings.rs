//! What the access log is asked for.

use std::{fmt, path::PathBuf, time::Duration};

/// What `[log]` means for the access log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the lines go.
    pub target: Target,
    /// Bytes that wait for the writer at most; beyond it lines are dropped and counted.
    pub buffer_max_bytes: usize,
    /// How long a line waits at most before it is handed to the writer; between a millisecond and an hour.
    pub flush_interval: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("nowhere"),
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
