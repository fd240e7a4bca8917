//! Connections on which nothing happens, though they are not parked: those of HTTP/2, and those whose client has asked for nothing yet.
//! They stand back for others as parked ones do.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use super::connection::Client;
use crate::telemetry::outcome::Limit;

/// How long a connection may be silent at its beginning before it stands back for a new one: longer than a client is on its way to
/// its first bytes, so that newcomers do not push out each other.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// What `client` says, unless its connection has to end for another one before.
pub(super) async fn unless_displaced<T>(client: &Client, said: impl Future<Output = T>) -> Option<T> {
    let worker = &client.worker;
    // In a box, which takes less of the task than it would take here.
    let mut turn = Box::pin(async {
        worker.clock.after(SILENT_FOR).await;
        worker.parked.turn().await;
    });
    let mut said = pin!(said);
    poll_fn(|context| {
        if let Poll::Ready(said) = said.as_mut().poll(context) {
            return Poll::Ready(Some(said));
        }
        turn.as_mut().poll(context).map(|()| {
            worker.metrics.limit(Limit::Displaced);
            None
        })
    })
    .await
}

/// A connection that may be in the queue of those that have to end for others.
pub(super) struct Idle<'a> {
    client: &'a Client,
    queued: Option<Queued<'a>>,
}

struct Queued<'a> {
    /// How many requests the client had made then.
    begun: u64,
    turn: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<'a> Idle<'a> {
    /// One that is not in it yet.
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, queued: None }
    }

    /// Goes there if nothing happens; to be called from time to time.
    pub(super) fn look(&mut self) {
        let (worker, pulse) = (&self.client.worker, &self.client.pulse);
        let begun = pulse.begun();
        if pulse.running() == 0 && (begun > 0 || worker.clock.since(pulse.quiet_since()) >= SILENT_FOR) {
            self.queued.get_or_insert_with(|| Queued { begun, turn: Box::pin(worker.parked.turn()) });
        }
    }

    /// Whether the connection has to end, which is counted. Whose client has asked for something meanwhile leaves the queue.
    pub(super) fn has_to_end(&mut self, context: &mut Context<'_>) -> bool {
        let pulse = &self.client.pulse;
        let still = |queued: &Queued<'_>| pulse.running() == 0 && pulse.begun() == queued.begun;
        let Some(mut queued) = self.queued.take().filter(still) else { return false };
        if queued.turn.as_mut().poll(context).is_pending() {
            self.queued = Some(queued);
            return false;
        }
        self.client.worker.metrics.limit(Limit::Displaced);
        true
    }
}
