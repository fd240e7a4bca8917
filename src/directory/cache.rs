//! What the database has said, kept for all workers: tenants and absences apart.

use std::{sync::Arc, time::Instant};

use foldhash::fast::RandomState;

use super::{
    Settings,
    entry::{Entry, Lifetimes},
    marks::{Marks, Stamp},
};
use crate::routing::{KeyRef, Tenant, TenantKey};

type Entries = moka::sync::Cache<TenantKey, Arc<Entry>, RandomState>;

/// Two bounded caches; strangers' names fill the one of absences and never push out a tenant.
pub(super) struct Cache {
    found: Entries,
    absent: Entries,
    marks: Arc<Marks>,
    pub(super) lifetimes: Lifetimes,
}

impl Cache {
    pub(super) fn new(settings: &Settings, marks: Arc<Marks>) -> Self {
        let lifetimes = Lifetimes::new(settings);
        Self {
            found: entries(settings.found_max, lifetimes.usable_for),
            absent: entries(settings.absent_max, lifetimes.absent_for),
            marks,
            lifetimes,
        }
    }

    /// The entry that answers `key`, fresh or stale: a tenant, or its absence.
    pub(super) fn get(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Entry>> {
        let usable = |entry: &Arc<Entry>| now < self.lifetimes.usable_until(entry) && self.marks.holds(&entry.stamp);
        self.found.get(&key).filter(usable).or_else(|| self.absent.get(&key).filter(usable))
    }

    /// Whether a tenant was found behind `key` once, whatever has become of it.
    pub(super) fn has_known(&self, key: KeyRef<'_>) -> bool {
        self.found.contains_key(&key)
    }

    /// Whether the last that was found for `key` was read no later than `since`, whether it is still worth something or not.
    pub(super) fn holds_from(&self, since: Instant, key: &TenantKey) -> bool {
        self.found.get(key).is_some_and(|entry| entry.read_at <= since)
    }

    /// Forgets `key`: it has a row, which cannot be used.
    pub(super) fn forget(&self, key: &TenantKey) {
        self.marks.change_key(self.marks.hash(key.as_ref()));
        self.found.invalidate(key);
        self.absent.invalidate(key);
    }

    /// Says that `key` is in use, for the choice of what to evict.
    pub(super) fn touch(&self, key: KeyRef<'_>) {
        self.found.get(&key);
    }

    /// Keeps what a load has read since `read_at`, in place of what is held.
    pub(super) fn store(&self, key: TenantKey, answer: Option<Arc<Tenant>>, read_at: Instant, stamp: Stamp) {
        let differs = self.found.get(&key.as_ref()).is_some_and(|held| held.tenant != answer);
        // The workers' copies of another answer must not outlive it, though nobody told of a change.
        let Some(stamp) = (if differs { self.marks.supersede(stamp) } else { Some(stamp) }) else { return };
        let (into, out_of) = if answer.is_some() { (&self.found, &self.absent) } else { (&self.absent, &self.found) };
        into.insert(key.clone(), Arc::new(Entry::new(answer, stamp, read_at)));
        out_of.invalidate(&key);
    }

    /// Every tenant held that may be served at `now`, in no order.
    pub(super) fn each_found(&self, now: Instant, mut each: impl FnMut(&TenantKey, &Entry)) {
        for (key, entry) in &self.found {
            if now < self.lifetimes.usable_until(&entry) && self.marks.holds(&entry.stamp) {
                each(&key, &entry);
            }
        }
    }

    /// The keys of all tenants held, in no order.
    pub(super) fn found_keys(&self) -> Vec<Arc<TenantKey>> {
        self.found.iter().map(|(key, _)| key).collect()
    }

    /// How many tenants and absences are held, roughly: moka counts after the fact.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.found.entry_count(), self.absent.entry_count())
    }
}

/// moka's own clock only frees memory: whether an entry is usable is decided by the time of the look-up.
fn entries(max: u64, kept_for: std::time::Duration) -> Entries {
    moka::sync::Cache::builder().max_capacity(max).time_to_live(kept_for).build_with_hasher(RandomState::default())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tenant, *};

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    fn cache(settings: &Settings) -> Cache {
        Cache::new(settings, Arc::new(Marks::new()))
    }

    fn store(cache: &Cache, name: &str, id: Option<&str>, now: Instant) {
        let (key, answer) = (KeyRef::CustomDomain(name), id.map(tenant));
        let departed = cache.marks.depart(cache.marks.hash(key));
        let stamp = cache.marks.stamp(&departed, answer.as_ref().map(|tenant| &tenant.id)).unwrap();
        cache.store(key.into(), answer, now, stamp);
    }

    #[test]
    fn a_tenant_replaces_its_absence_and_the_other_way_round() {
        let (cache, now) = (cache(&Settings::default()), Instant::now());
        for id in [None, Some("1"), None] {
            store(&cache, "shop.example", id, now);
            assert_eq!(cache.get(HOST, now).unwrap().tenant, id.map(tenant));
        }
    }

    #[test]
    fn another_answer_takes_the_copies_of_the_old_one_along_and_the_same_leaves_them() {
        let (cache, now) = (cache(&Settings::default()), Instant::now());
        store(&cache, "shop.example", Some("1"), now);
        let first = cache.get(HOST, now).unwrap();
        store(&cache, "shop.example", Some("1"), now);
        assert!(cache.marks.holds_copy(&first.stamp));
        store(&cache, "shop.example", None, now);
        assert!(!cache.marks.holds_copy(&first.stamp));
    }

    #[test]
    fn an_answer_that_a_change_overtook_is_nobodys() {
        let (cache, now) = (cache(&Settings::default()), Instant::now());
        let hash = cache.marks.hash(HOST);
        let stamp = cache.marks.stamp(&cache.marks.depart(hash), None).unwrap();
        cache.marks.change_key(hash);
        cache.store(HOST.into(), None, now, stamp);
        assert!(cache.get(HOST, now).is_none());
    }

    #[test]
    fn a_key_stays_known_when_its_answer_is_worth_nothing_any_more() {
        let (cache, now) = (cache(&Settings::default()), Instant::now());
        store(&cache, "shop.example", Some("1"), now);
        cache.marks.change_everything();
        assert!(cache.get(HOST, now).is_none());
        assert!(cache.has_known(HOST));
        assert!(!cache.has_known(KeyRef::CustomDomain("other.example")));
    }

    #[test]
    fn a_flood_of_absences_pushes_out_no_tenant() {
        let cache = cache(&Settings { absent_max: 100, ..Settings::default() });
        let now = Instant::now();
        store(&cache, "shop.example", Some("1"), now);
        for stranger in 0..10_000 {
            store(&cache, &format!("{stranger}.example"), None, now);
        }
        cache.absent.run_pending_tasks();
        cache.found.run_pending_tasks();
        assert_eq!(cache.sizes(), (1, 100));
        assert_eq!(cache.get(HOST, now).unwrap().tenant, Some(tenant("1")));
        assert_eq!(*cache.found_keys()[0], HOST.into());
    }
}
