//! Asks again about every tenant held, in the background, after changes may have been missed, and after everything may have changed:
//! what was held is then worth nothing, and must not wait for its next visitor, who may come when the database is away.
//!
//! What is held in doubt is served meanwhile, as if it were fresh for no longer than without news. Nothing hurries: the database may
//! have just come back, and every instance does the same. A name that was moved to a store unnoticed learns of that store's
//! changes when it has been compared.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    Event, Shared,
    flights::{Boarding, Budget},
    loads::BATCH_MAX,
};
use crate::routing::TenantKey;

/// Between two queries: 200,000 tenants take 15 seconds, and a fifth of one connection's time.
const PACE: Duration = Duration::from_millis(10);

/// An app that edits everything again and again has its tenants read for half of the time at most, at that pace.
pub(super) const REST: u32 = 1;

/// The longest of these rests: a reading that takes longer has waited for the database, and 200,000 tenants take a quarter of it.
const REST_MAX: Duration = Duration::from_secs(60);

/// Before what could not be read is tried again.
const WAIT: Duration = Duration::from_millis(500);

impl Shared {
    /// Compares what was read before `since`. A recheck that is under way ends.
    pub(super) fn start_recheck(shared: &Arc<Self>, since: Instant) {
        let (round, shared) = (shared.begin_round(), Arc::clone(shared));
        shared.control.clone().spawn(async move {
            if let Some(tenants) = shared.recheck(round, since).await {
                tracing::info!(tenants, "what is held was compared with the database");
            }
        });
    }

    /// The same a while after everything has changed, and not again and again.
    pub(super) fn start_reading_again(shared: &Arc<Self>, since: Instant) {
        let (round, shared) = (shared.begin_round(), Arc::clone(shared));
        shared.control.clone().spawn(async move {
            shared.turns.wait().await;
            if let Some(tenants) = shared.recheck(round, since).await {
                tracing::debug!(tenants, "what was held was read again");
            }
        });
    }

    fn begin_round(&self) -> u64 {
        self.unchecked.store(usize::MAX, SeqCst);
        self.rounds.fetch_add(1, SeqCst) + 1
    }

    /// Ends what is under way.
    pub(super) fn end_recheck(&self) {
        self.rounds.fetch_add(1, SeqCst);
        self.unchecked.store(0, SeqCst);
    }

    /// How many were compared, unless a newer round has begun.
    async fn recheck(self: &Arc<Self>, round: u64, since: Instant) -> Option<usize> {
        if self.rounds.load(SeqCst) != round {
            return None;
        }
        let (began, mut left) = (super::now(), self.loader.cache.found_keys());
        left.retain(|key| self.loader.cache.holds_from(since, key));
        let tenants = left.len();
        while self.goes_on(round, left.len()) {
            let batch = left.split_off(left.len().saturating_sub(BATCH_MAX));
            self.compare(&batch).await;
            let unread = batch.into_iter().filter(|key| self.loader.cache.holds_from(since, key));
            let read_all = left.len();
            left.extend(unread);
            sleep(if left.len() == read_all { PACE } else { WAIT }).await;
        }
        let ended = super::now();
        self.turns.end(worked_since(began, ended), ended);
        (self.rounds.load(SeqCst) == round).then_some(tenants)
    }

    /// Tells how many are left, unless a newer round has begun.
    fn goes_on(&self, round: u64, left: usize) -> bool {
        let is_newest = self.rounds.load(SeqCst) == round;
        if is_newest {
            self.unchecked.store(left, SeqCst);
        }
        is_newest && left > 0
    }

    /// Those in the air already began after the doubt did.
    async fn compare(&self, keys: &[Arc<TenantKey>]) {
        let now = super::now();
        let (mut departures, mut under_way) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.flights.board((**key).as_ref(), Budget::Own, now) {
                Boarding::Leading(departure) => departures.push(departure),
                Boarding::Joined(flight) => under_way.push(flight),
                Boarding::Full => {}
            }
        }
        departures.iter().for_each(|_| self.loader.stats.count(Event::LoadStarted));
        self.loader.load(departures).await;
        for flight in under_way {
            // An error leaves the old entry, which is seen by the caller.
            let _ = flight.outcome.wait().await;
        }
    }
}

/// When what began then would have begun without the wait for a database that was away.
fn worked_since(began: Instant, ended: Instant) -> Instant {
    ended.checked_sub(REST_MAX).map_or(began, |earliest| began.max(earliest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_in_the_midst_of_a_reading_is_no_work_to_rest_from() {
        let began = Instant::now();
        for (took, rest) in [(15, 15), (60, 60), (3600, 60)] {
            let ended = began + Duration::from_secs(took);
            assert_eq!(ended - worked_since(began, ended), Duration::from_secs(rest));
        }
    }
}
