//! Signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, heard from [`Termination::listen`] on.
///
/// From then on neither ends the process by itself any more, even after this has gone: whoever listens has taken over the duty to
/// stop. Listening begins before anybody is told that usher runs; a signal that came in between would be lost.
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Begins to listen. Fails where the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ends at the first of the signals.
    pub async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    /// One test for both signals: they reach the whole test process, so two tests would hear each other's.
    #[tokio::test]
    async fn either_signal_is_heard_though_nobody_waits_yet() {
        for name in ["TERM", "INT"] {
            let termination = Termination::listen().unwrap();
            let kill = format!("kill -{name} {}", std::process::id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            let stop = tokio::time::timeout(Duration::from_secs(10), termination.wait());
            stop.await.expect("the signal was not heard");
        }
    }
}
