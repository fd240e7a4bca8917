//! Signals.

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first SIGTERM or SIGINT.
///
/// From its first poll on, neither signal ends the process by itself any more, even after this future has gone: whoever
/// awaits it has taken over the duty to stop. Fails where the handlers cannot be installed.
pub async fn terminated() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        process::Command,
        task::{Context, Waker},
        time::Duration,
    };

    use super::*;

    /// One test for both signals: they reach the whole test process, so two tests would hear each other's.
    #[tokio::test]
    async fn either_signal_ends_the_wait() {
        for name in ["TERM", "INT"] {
            let mut stop = pin!(terminated());
            // The first poll installs the handlers; without it the signal would end the test process.
            assert!(stop.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let kill = format!("kill -{name} {}", std::process::id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            tokio::time::timeout(Duration::from_secs(10), stop).await.expect("the signal was not heard").unwrap();
        }
    }
}
