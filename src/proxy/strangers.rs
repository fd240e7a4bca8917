//! Answers for hosts that nobody has, one at a time, each behind all that has arrived meanwhile: a flood of invented hosts must not
//! stand between a store and its visitors.
//!
//! Requests come in batches, and a worker serves them in the order in which they came. Without turns whoever asks for a store waits until
//! all strangers have their answers that came a moment before.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
    time::timeout,
};

/// How long a stranger waits for its turn at most; a turn takes some tens of microseconds. Nobody has to wait for an error.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whose turn it is among a worker's strangers.
pub(super) struct Strangers(Semaphore);

impl Strangers {
    /// Nobody's yet.
    pub(super) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Waits for its turn, and until the runtime has looked at all sockets once more. The turn ends when it is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = match self.0.try_acquire() {
            Ok(turn) => Some(turn),
            Err(_taken) => timeout(PATIENCE, self.0.acquire()).await.ok()?.ok(),
        };
        yield_now().await;
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_longer_than_a_moment() {
        let strangers = Strangers::new();
        let taken = strangers.turn().await;
        let begun = std::time::Instant::now();
        assert!(taken.is_some() && strangers.turn().await.is_none());
        assert!(begun.elapsed() < PATIENCE * 3);
    }

    /// Of what is ready when a hundred strangers come, a store's visitor goes behind the one whose turn it is.
    #[tokio::test]
    async fn whoever_arrives_meanwhile_goes_before_the_strangers_that_wait() {
        let (strangers, answered) = (Arc::new(Strangers::new()), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let visitor = tokio::spawn({
            let answered = Arc::clone(&answered);
            async move {
                server.read_exact(&mut [0]).await.unwrap();
                answered.load(SeqCst)
            }
        });
        yield_now().await;
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let (strangers, answered) = (Arc::clone(&strangers), Arc::clone(&answered));
                tokio::spawn(async move {
                    let _turn = strangers.turn().await;
                    answered.fetch_add(1, SeqCst);
                })
            })
            .collect();
        client.write_all(b"x").await.unwrap();
        assert!(visitor.await.unwrap() <= 2, "the visitor had to wait");
        for stranger in waiting {
            stranger.await.unwrap();
        }
        assert_eq!(answered.load(SeqCst), 100);
    }
}
