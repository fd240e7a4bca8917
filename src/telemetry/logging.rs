//! The process's own log, on stderr.

/// What `[log]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A tracing filter: `info`, `usher=debug`, …
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}
