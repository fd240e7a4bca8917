//! One worker's own first level: what it served last, found without touching memory that another core writes.
//!
//! Tenants only. Absences would let strangers' names push out the hosts that earn the money.

use std::{hash::BuildHasher, time::Instant};

use foldhash::fast::RandomState;

use super::{cache::Entry, validity::Validity};
use crate::routing::{KeyRef, Tenant, TenantKey};

/// Answers nine of ten look-ups of a thousand hot hosts, in about half a megabyte per worker. A power of two.
const SLOTS: usize = 4096;

/// So many hits are answered here before the shared cache hears of one, lest it takes the busiest tenants for idle.
/// Each costs as much as five hits.
const HITS_PER_TOUCH: u32 = 256;

/// A direct-mapped table. The hash is seeded at random: nobody can choose names that fall on somebody else's slot.
pub(super) struct Recent {
    slots: Box<[Slot]>,
    hasher: RandomState,
}

/// A hit.
pub(super) struct Hit {
    pub(super) tenant: Tenant,
    /// The shared cache should be told that the key is in use.
    pub(super) touch: bool,
}

#[derive(Default)]
struct Slot {
    copy: Option<Copy>,
    /// The hash of the last key that fell on this slot without being in it.
    contender: u64,
}

struct Copy {
    key: TenantKey,
    tenant: Tenant,
    validity: Validity,
    recheck_at: Instant,
    hits: u32,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect(), hasher: RandomState::default() }
    }

    pub(super) fn get(&mut self, key: KeyRef<'_>, now: Instant) -> Option<Hit> {
        let slot = self.slot(self.hasher.hash_one(key));
        let copy = slot.copy.as_mut().filter(|copy| copy.answers(key, now))?;
        copy.hits = copy.hits.wrapping_add(1);
        slot.contender = 0;
        Some(Hit { tenant: copy.tenant.clone(), touch: copy.hits.is_multiple_of(HITS_PER_TOUCH) })
    }

    /// Takes a copy of `entry` where the same key came twice in a row: of those that come once, most never come again, and
    /// copying them would cost an allocation each and the slots of the busy ones.
    pub(super) fn keep(&mut self, key: KeyRef<'_>, entry: &Entry) {
        let Some(tenant) = &entry.tenant else { return };
        let hash = self.hasher.hash_one(key);
        let slot = self.slot(hash);
        match &mut slot.copy {
            Some(copy) if copy.key.as_ref() == key => copy.renew(tenant, entry),
            copy if slot.contender == hash => *copy = Some(Copy::of(key, tenant, entry)),
            _ => slot.contender = hash,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are all that is wanted")]
    fn slot(&mut self, hash: u64) -> &mut Slot {
        &mut self.slots[hash as usize % SLOTS]
    }
}

impl Copy {
    fn of(key: KeyRef<'_>, tenant: &Tenant, entry: &Entry) -> Self {
        Self {
            key: key.into(),
            tenant: detached(tenant),
            validity: entry.validity.clone(),
            recheck_at: entry.recheck_at(),
            hits: 0,
        }
    }

    /// Follows the entry; the tenant's copy stays where nothing has changed.
    fn renew(&mut self, tenant: &Tenant, entry: &Entry) {
        if self.tenant != *tenant {
            self.tenant = detached(tenant);
        }
        self.validity = entry.validity.clone();
        self.recheck_at = entry.recheck_at();
    }

    fn answers(&self, key: KeyRef<'_>, now: Instant) -> bool {
        self.key.as_ref() == key && now < self.recheck_at && self.validity.is_valid()
    }
}

fn detached(tenant: &Tenant) -> Tenant {
    Tenant { id: tenant.id.detached(), status: tenant.status }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{
        super::{Settings, cache::Cache, tests::tenant},
        *,
    };

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    fn entry(key: KeyRef<'_>, id: &str, now: Instant) -> Arc<Entry> {
        let cache = Cache::new(&Settings::default());
        cache.store(key.into(), Some(tenant(id)), now, Validity::new());
        cache.get(key, now).unwrap()
    }

    fn holding(key: KeyRef<'_>, entry: &Entry) -> Recent {
        let mut recent = Recent::new();
        recent.keep(key, entry);
        recent.keep(key, entry);
        recent
    }

    #[test]
    fn a_key_is_kept_when_it_comes_again() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = Recent::new();
        recent.keep(HOST, &entry);
        assert!(recent.get(HOST, now).is_none());
        recent.keep(HOST, &entry);
        assert_eq!(recent.get(HOST, now).unwrap().tenant, tenant("1"));
    }

    #[test]
    fn a_copy_ends_with_its_entry_or_with_its_time() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = holding(HOST, &entry);
        assert!(recent.get(HOST, now + Settings::default().fresh_for).is_none());
        assert!(recent.get(HOST, now).is_some());
        entry.validity.revoke();
        assert!(recent.get(HOST, now).is_none());
    }

    #[test]
    fn a_renewed_copy_follows_the_entry() {
        let now = Instant::now();
        let mut recent = holding(HOST, &entry(HOST, "1", now));
        let later = now + Duration::from_secs(90);
        recent.keep(HOST, &entry(HOST, "2", later));
        assert_eq!(recent.get(HOST, later).unwrap().tenant, tenant("2"));
    }

    #[test]
    fn keys_that_differ_in_kind_alone_are_different() {
        let now = Instant::now();
        let mut recent = holding(KeyRef::CustomDomain("shop"), &entry(HOST, "1", now));
        assert!(recent.get(KeyRef::Label { platform: None, label: "shop" }, now).is_none());
    }

    #[test]
    fn no_key_is_answered_by_another_of_the_same_slot() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = holding(HOST, &entry);
        let strangers: Vec<String> = (0..20_000).map(|number| format!("{number}.example")).collect();
        assert!(strangers.iter().all(|name| recent.get(KeyRef::CustomDomain(name), now).is_none()));
        assert!(recent.get(HOST, now).is_some());
    }

    #[test]
    fn the_shared_cache_hears_of_every_so_many_hits() {
        let now = Instant::now();
        let mut recent = holding(HOST, &entry(HOST, "1", now));
        let touches = (0..HITS_PER_TOUCH * 10).filter(|_| recent.get(HOST, now).unwrap().touch).count();
        assert_eq!(touches, 10);
    }
}
