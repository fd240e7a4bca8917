//! How many requests of one store run at an upstream at once: the rush of one must not take all places of an app from the
//! others. Kept only where there is a limit, and only for stores of which something runs.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::routing::TenantId;

/// Parts that are locked on their own, so that workers rarely meet.
const SHARDS: usize = 16;

/// The requests that run, by store.
#[derive(Debug)]
pub(super) struct Shares {
    shards: [Mutex<HashMap<TenantId, usize>>; SHARDS],
    hasher: RandomState,
    max: usize,
}

impl Shares {
    /// For so many requests of each store.
    pub(super) fn new(max: usize) -> Self {
        Self { shards: Default::default(), hasher: RandomState::new(), max }
    }

    /// A place for one more request of `tenant`, if it may have one.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Share> {
        let mut running = self.shard(tenant);
        let count = running.entry(tenant.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), tenant: tenant.clone() })
    }

    fn give_back(&self, tenant: &TenantId) {
        let mut running = self.shard(tenant);
        match running.get_mut(tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(running.remove(tenant)),
        }
    }

    /// Held for a look and a change, and never across a wait.
    fn shard(&self, tenant: &TenantId) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        let place = usize::try_from(self.hasher.hash_one(tenant) % SHARDS as u64).unwrap_or(0);
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request of a store, counted until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.give_back(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_has_its_own_places_and_leaves_nothing_behind() {
        let shares = Arc::new(Shares::new(2));
        let [one, other] = ["1", "2"].map(|id| TenantId::parse(id).unwrap());
        let taken = [shares.take(&one).unwrap(), shares.take(&one).unwrap()];
        assert!(shares.take(&one).is_none() && shares.take(&other).is_some());
        drop(taken);
        assert!(shares.take(&one).is_some());
        assert!(shares.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
