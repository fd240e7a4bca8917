//! Signals.

/// Ends at the first SIGTERM or SIGINT.
pub async fn terminated() -> std::io::Result<()> {
    todo!()
}
