//! What the database has said, kept for all workers: tenants and absences apart.
//!
//! A copy of an entry elsewhere is worth something exactly as long as the entry stands here: replacing, removing and evicting
//! one revokes its [`Validity`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

use super::{Settings, validity::Validity};
use crate::routing::{KeyRef, Tenant, TenantKey};

/// After a refresh has been tried, the next waits this long: a database in trouble gets one query per key and second, not one
/// per request.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Whoever asks for longer means "for ever"; clocks and caches cannot count that far.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

type Entries = moka::sync::Cache<TenantKey, Arc<Entry>, RandomState>;

/// Two bounded caches; strangers' names fill the one of absences and never push out a tenant.
pub(super) struct Cache {
    found: Entries,
    absent: Entries,
    fresh_for: Duration,
    usable_for: Duration,
    absent_for: Duration,
}

impl Cache {
    pub(super) fn new(settings: &Settings) -> Self {
        let [fresh_for, usable_for, absent_for] =
            [settings.fresh_for, settings.usable_for, settings.absent_for].map(|duration| duration.min(LONGEST));
        Self {
            found: entries(settings.found_max, usable_for),
            absent: entries(settings.absent_max, absent_for),
            fresh_for,
            usable_for,
            absent_for,
        }
    }

    /// The entry that answers `key`, fresh or stale: a tenant, or its absence.
    pub(super) fn get(&self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Entry>> {
        let usable = |entry: &Arc<Entry>| entry.is_usable(now);
        self.found.get(&key).filter(usable).or_else(|| self.absent.get(&key).filter(usable))
    }

    /// Says that `key` is in use, for the choice of what to evict.
    pub(super) fn touch(&self, key: KeyRef<'_>) {
        self.found.get(&key);
    }

    /// Keeps what a load has read since `read_at`. Where `validity` has been revoked meanwhile, nobody will take the entry.
    pub(super) fn store(&self, key: TenantKey, answer: Option<Tenant>, read_at: Instant, validity: Validity) {
        let is_found = answer.is_some();
        let (fresh_for, usable_for) =
            if is_found { (self.fresh_for, self.usable_for) } else { (self.absent_for, self.absent_for) };
        let entry = Arc::new(Entry::new(answer, validity, read_at + fresh_for, read_at + usable_for));
        let (into, out_of) = if is_found { (&self.found, &self.absent) } else { (&self.absent, &self.found) };
        into.insert(key.clone(), entry);
        out_of.invalidate(&key);
    }

    /// Forgets what is held about `key`, and all copies of it.
    ///
    /// An eviction that is under way has taken its entry out of the map before it revokes it. Inserting waits for it: moka
    /// holds a lock on the key for both.
    pub(super) fn forget(&self, key: &TenantKey) {
        for entries in [&self.found, &self.absent] {
            entries.insert(key.clone(), Arc::new(Entry::revoked()));
            entries.invalidate(key);
        }
    }

    /// How many tenants and absences are held, roughly: moka counts after the fact.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.found.entry_count(), self.absent.entry_count())
    }
}

/// moka's own clock only frees memory: whether an entry is usable is decided by the time of the look-up.
fn entries(max: u64, kept_for: Duration) -> Entries {
    moka::sync::Cache::builder()
        .max_capacity(max)
        .time_to_live(kept_for)
        .eviction_listener(|_, entry: Arc<Entry>, _| entry.validity.revoke())
        .build_with_hasher(RandomState::default())
}

/// One answer of the database.
pub(super) struct Entry {
    pub(super) tenant: Option<Tenant>,
    pub(super) validity: Validity,
    fresh_until: Instant,
    usable_until: Instant,
    /// The next refresh may be tried so many nanoseconds after `fresh_until`.
    refresh_after: AtomicU64,
}

impl Entry {
    fn new(tenant: Option<Tenant>, validity: Validity, fresh_until: Instant, usable_until: Instant) -> Self {
        Self { tenant, validity, fresh_until, usable_until, refresh_after: AtomicU64::new(0) }
    }

    fn revoked() -> Self {
        let validity = Validity::new();
        validity.revoke();
        let now = Instant::now();
        Self::new(None, validity, now, now)
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    fn is_usable(&self, now: Instant) -> bool {
        now < self.usable_until && self.validity.is_valid()
    }

    /// Whether the caller is the one to refresh this entry: true once, and again after a pause.
    pub(super) fn claim_refresh(&self, now: Instant) -> bool {
        let Some(stale_for) = now.checked_duration_since(self.fresh_until) else { return false };
        let due = self.refresh_after.load(Ordering::Relaxed);
        let next = nanoseconds(stale_for + REFRESH_PAUSE);
        nanoseconds(stale_for) >= due
            && self.refresh_after.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Until when a copy may be served without looking here.
    pub(super) fn recheck_at(&self) -> Instant {
        let pause = Duration::from_nanos(self.refresh_after.load(Ordering::Relaxed));
        self.usable_until.min(self.fresh_until + pause)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tenant, *};

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    fn cache() -> Cache {
        Cache::new(&Settings::default())
    }

    #[test]
    fn a_tenant_replaces_its_absence_and_the_other_way_round() {
        let (cache, now) = (cache(), Instant::now());
        cache.store(HOST.into(), None, now, Validity::new());
        cache.store(HOST.into(), Some(tenant("1")), now, Validity::new());
        assert_eq!(cache.get(HOST, now).unwrap().tenant, Some(tenant("1")));
        cache.store(HOST.into(), None, now, Validity::new());
        assert_eq!(cache.get(HOST, now).unwrap().tenant, None);
    }

    #[test]
    fn an_entry_that_leaves_the_cache_takes_its_copies_along() {
        let (cache, now) = (cache(), Instant::now());
        let [replaced, removed] = [Validity::new(), Validity::new()];
        cache.store(HOST.into(), Some(tenant("1")), now, replaced.clone());
        cache.store(HOST.into(), Some(tenant("2")), now, removed.clone());
        assert!(!replaced.is_valid() && removed.is_valid());
        cache.forget(&HOST.into());
        assert!(!removed.is_valid());
        assert!(cache.get(HOST, now).is_none());
    }

    #[test]
    fn an_evicted_entry_takes_its_copies_along() {
        let cache = Cache::new(&Settings { found_max: 1, ..Settings::default() });
        let flags = [Validity::new(), Validity::new()];
        for (validity, name) in flags.iter().zip(["a.example", "b.example"]) {
            let key = KeyRef::CustomDomain(name).into();
            cache.store(key, Some(tenant("1")), Instant::now(), validity.clone());
            cache.found.run_pending_tasks();
        }
        assert_eq!(flags.iter().filter(|flag| flag.is_valid()).count(), 1);
    }

    #[test]
    fn a_revoked_answer_is_nobodys() {
        let (cache, now, validity) = (cache(), Instant::now(), Validity::new());
        validity.revoke();
        cache.store(HOST.into(), None, now, validity);
        assert!(cache.get(HOST, now).is_none());
    }

    #[test]
    fn one_caller_refreshes_and_the_next_after_a_pause() {
        let now = Instant::now();
        let entry = Entry::new(None, Validity::new(), now, now + Duration::from_hours(1));
        assert!(!entry.claim_refresh(now - Duration::from_millis(1)));
        assert!(entry.claim_refresh(now));
        assert!(!entry.claim_refresh(now + REFRESH_PAUSE / 2));
        assert_eq!(entry.recheck_at(), now + REFRESH_PAUSE);
        assert!(entry.claim_refresh(now + REFRESH_PAUSE));
    }

    #[test]
    fn a_flood_of_absences_pushes_out_no_tenant() {
        let cache = Cache::new(&Settings { absent_max: 100, ..Settings::default() });
        let now = Instant::now();
        cache.store(HOST.into(), Some(tenant("1")), now, Validity::new());
        for stranger in 0..10_000 {
            cache.store(KeyRef::CustomDomain(&format!("{stranger}.example")).into(), None, now, Validity::new());
        }
        cache.absent.run_pending_tasks();
        cache.found.run_pending_tasks();
        assert_eq!(cache.sizes(), (1, 100));
        assert_eq!(cache.get(HOST, now).unwrap().tenant, Some(tenant("1")));
    }
}
