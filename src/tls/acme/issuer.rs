//! What handshakes, requests and metrics see of the services.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;

use super::{
    challenges::Challenges,
    counts::Counts,
    demand::Demand,
    shared::Shared,
    standing::{Counted, StandingCounts},
};
use crate::{
    routing::Hostname,
    tls::{Certificate, NotLoaded, Vault},
};

/// After so long a name whose work has failed, or is not due, is asked for again by a handshake. Each asks the database once.
const REST: Duration = Duration::from_secs(5);

/// Names that rest. One that is forgotten too early costs a query.
const RESTING_MAX: u64 = 4096;

/// Handshakes that wait for a certificate at once, and those of them that wait for the same name: browsers open six connections.
const WAITING_MAX: usize = 256;
const WAITING_EACH: usize = 8;

/// What others see of the services; a cheap clone.
#[derive(Clone)]
pub struct Issuer {
    counts: Arc<Counts>,
    standing: Arc<Counted>,
    demand: mpsc::Sender<Demand>,
    waiting: Arc<Waiting>,
    /// Names that were asked for a moment ago, and nothing came of it.
    resting: Cache<Box<str>, ()>,
    challenges: Arc<Challenges>,
}

impl Issuer {
    pub(super) fn new(shared: &Shared, demand: mpsc::Sender<Demand>, standing: Arc<Counted>) -> Self {
        Self {
            counts: Arc::clone(&shared.counts),
            standing,
            demand,
            waiting: Arc::default(),
            resting: Cache::builder().max_capacity(RESTING_MAX).time_to_live(REST).build(),
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

    /// How often since the start a handshake asked for a name while as many as may be were worked for: four in each instance.
    pub fn full(&self) -> u64 {
        self.counts.full()
    }

    /// How it stands with all names, as last counted in the database.
    pub fn standing(&self) -> StandingCounts {
        self.standing.get()
    }

    /// The answer to a CA's question over HTTP, which was put to `name`. Waits a moment where somebody works for the name.
    pub async fn answer(&self, token: &str, name: &str) -> Option<String> {
        self.challenges.answer(token, name).await
    }

    /// An instance has told that a CA may have a new question: it is looked for at once.
    pub fn look_for_challenges(&self) {
        self.challenges.be_told();
    }

    /// The certificate that answers a CA's question for `name` by `acme-tls/1`.
    pub(in crate::tls) async fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let proof = self.challenges.proof(name).await?;
        self.counts.count_answer();
        Some(proof)
    }

    /// Asks for a certificate for `name` and does not wait: for those who have something else to show.
    pub fn ask(&self, name: &Hostname<'_>) {
        if !self.resting.contains_key(name.as_str()) {
            self.resting.insert(name.as_str().into(), ());
            let _many_ask = self.demand.try_send(Demand::of(name));
        }
    }

    /// Visitors of `name` arrive here since a moment ago: an order that waited for that is due.
    pub fn leads_here(&self, name: &str) {
        // It is tried again in any case, if later.
        let _many_ask = self.demand.try_send(Demand::LeadsHere(name.to_owned()));
    }

    /// Asks for a certificate for `name`, and waits for it while somebody works for the name.
    pub async fn obtain(&self, name: &Hostname<'_>, vault: &Vault) -> Result<Option<Arc<Certificate>>, NotLoaded> {
        if self.resting.contains_key(name.as_str()) {
            return Ok(None);
        }
        let Some(_place) = self.waiting.enter(name.as_str()) else { return Ok(None) };
        let (demand, mut wait) = Demand::waited_for(name);
        if self.demand.try_send(demand).is_err() {
            return Ok(None);
        }
        while wait.goes_on().await {
            if let Some(certificate) = vault.find_anew(name).await? {
                return Ok(Some(certificate));
            }
        }
        if wait.is_told() {
            self.resting.insert(name.as_str().into(), ());
        }
        Ok(None)
    }
}

/// How many handshakes wait for each name.
#[derive(Default)]
struct Waiting {
    names: Mutex<HashMap<Box<str>, usize>>,
}

impl Waiting {
    /// A place for one more, until it is dropped; none where too many wait.
    fn enter(&self, name: &str) -> Option<Place<'_>> {
        let mut names = self.names();
        let (all, own) = (names.values().sum::<usize>(), names.get(name).copied().unwrap_or_default());
        if all >= WAITING_MAX || own >= WAITING_EACH {
            return None;
        }
        names.insert(name.into(), own + 1);
        Some(Place { waiting: self, name: name.into() })
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handshake that waits.
struct Place<'a> {
    waiting: &'a Waiting,
    name: Box<str>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut names = self.waiting.names();
        match names.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(names.remove(&self.name)),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("challenges", &self.challenges).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_many_ask_for_leaves_room_for_others() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..WAITING_MAX).filter_map(|_| waiting.enter("failing.example")).collect();
        assert_eq!(places.len(), WAITING_EACH);
        let others: Vec<_> =
            (0..WAITING_MAX).filter_map(|number| waiting.enter(&format!("{number}.example"))).collect();
        assert_eq!(others.len(), WAITING_MAX - WAITING_EACH);
        drop(places);
        assert!(waiting.enter("failing.example").is_some());
        drop(others);
        assert!(waiting.names().is_empty());
    }
}
