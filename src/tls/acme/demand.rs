//! What handshakes and those who look at domains ask of the service, and how a handshake waits for it.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use crate::routing::Hostname;

/// How long a handshake waits for a certificate that is being asked for, and how often it looks.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
const HANDSHAKE_LOOK: Duration = Duration::from_millis(500);

/// Who waits for the work on a name, and is told when it has ended, whatever came of it. Dropped without a word: somebody else may be
/// working for it.
pub(super) type Waiter = oneshot::Sender<()>;

/// What is asked of the service.
pub(super) enum Demand {
    /// A certificate for a name, now.
    Certificate { name: String, waiter: Option<Waiter> },
    /// To try a name again that did not lead here.
    LeadsHere(String),
}

impl Demand {
    /// Nobody waits for it.
    pub(super) fn of(name: &Hostname<'_>) -> Self {
        Self::Certificate { name: name.to_string(), waiter: None }
    }

    /// With how somebody waits for it.
    pub(super) fn waited_for(name: &Hostname<'_>) -> (Self, Wait) {
        let (waiter, ended) = oneshot::channel();
        let wait = Wait { ended: Some(ended), deadline: Instant::now() + HANDSHAKE_WAIT, is_told: false };
        (Self::Certificate { name: name.to_string(), waiter: Some(waiter) }, wait)
    }
}

/// How a handshake waits.
pub(super) struct Wait {
    ended: Option<oneshot::Receiver<()>>,
    deadline: Instant,
    is_told: bool,
}

impl Wait {
    /// Until it is time to look again; says whether it is of any use.
    pub(super) async fn goes_on(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        match self.ended.take() {
            None => sleep(HANDSHAKE_LOOK).await,
            Some(mut ended) => match timeout(HANDSHAKE_LOOK, &mut ended).await {
                Err(_elapsed) => self.ended = Some(ended),
                // A load that began before may be under way: now, and once more.
                Ok(Ok(())) => (self.deadline, self.is_told) = (Instant::now() + HANDSHAKE_LOOK, true),
                Ok(Err(_dropped)) => {}
            },
        }
        true
    }

    /// Whether the work has ended.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }
}
