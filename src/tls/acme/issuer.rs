//! What handshakes, requests and metrics see of the services.

use std::{fmt, sync::Arc, time::Duration};

use rustls::sign::CertifiedKey;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep},
};

use super::{
    challenges::Challenges,
    counts::Counts,
    shared::Shared,
    standing::{Counted, StandingCounts},
};
use crate::{
    routing::Hostname,
    tls::{Certificate, NotLoaded, Vault},
};

/// How long a handshake waits for a certificate that is being asked for, and how often it looks.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
const HANDSHAKE_LOOK: Duration = Duration::from_millis(500);

/// Handshakes that wait for a certificate at once.
const WAITING_MAX: usize = 256;

/// What others see of the services; a cheap clone.
#[derive(Clone)]
pub struct Issuer {
    counts: Arc<Counts>,
    standing: Arc<Counted>,
    demand: mpsc::Sender<String>,
    waiting: Arc<Semaphore>,
    challenges: Arc<Challenges>,
}

impl Issuer {
    pub(super) fn new(shared: &Shared, demand: mpsc::Sender<String>, standing: Arc<Counted>) -> Self {
        Self {
            counts: Arc::clone(&shared.counts),
            standing,
            demand,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            challenges: Arc::clone(&shared.challenges),
        }
    }

    /// How often work for a name ended in which way since the start: `issued`, or the reason why not.
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        self.counts.outcomes()
    }

    /// Questions of CAs that were answered in a handshake since the start.
    pub fn answered(&self) -> u64 {
        self.counts.answered()
    }

    /// How it stands with all names, as last counted in the database.
    pub fn standing(&self) -> StandingCounts {
        self.standing.get()
    }

    /// The answer to a CA's question over HTTP.
    pub fn answer(&self, token: &str) -> Option<String> {
        self.challenges.answer(token)
    }

    /// The certificate that answers a CA's question for `name` by `acme-tls/1`.
    pub(in crate::tls) fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let proof = self.challenges.proof(name)?;
        self.counts.count_answer();
        Some(proof)
    }

    /// Asks for a certificate for `name`, and waits a while for it.
    pub async fn obtain(&self, name: &Hostname<'_>, vault: &Vault) -> Result<Option<Arc<Certificate>>, NotLoaded> {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Ok(None) };
        let _many_ask = self.demand.try_send(name.to_string());
        let deadline = Instant::now() + HANDSHAKE_WAIT;
        while Instant::now() < deadline {
            sleep(HANDSHAKE_LOOK).await;
            if let Some(certificate) = vault.find_anew(name).await? {
                return Ok(Some(certificate));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("challenges", &self.challenges).finish_non_exhaustive()
    }
}
