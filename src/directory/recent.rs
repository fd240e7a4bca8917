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
    /// Apart from the copies, so that they stay close to the processor: most keys that are not here end at their tag.
    tags: Box<[Tag]>,
    copies: Box<[Option<Copy>]>,
}

/// How a [`Recent`] hashes. Its users hash a key once for all that they ask about it.
#[derive(Default)]
pub(super) struct KeyHasher(RandomState);

impl KeyHasher {
    pub(super) fn hash(&self, key: KeyRef<'_>) -> KeyHash {
        KeyHash(self.0.hash_one(key))
    }
}

/// The hash of a key.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are all that is wanted")]
    fn slot(self) -> usize {
        self.0 as usize % SLOTS
    }
}

/// A hit.
pub(super) struct Hit {
    pub(super) tenant: Tenant,
    /// The shared cache should be told that the key is in use.
    pub(super) touch: bool,
}

#[derive(Clone, Copy, Default)]
struct Tag {
    /// The hash of the key whose copy is here.
    held: KeyHash,
    /// The hash of the last key that fell on this slot without being in it.
    contender: KeyHash,
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
        Self { tags: vec![Tag::default(); SLOTS].into(), copies: (0..SLOTS).map(|_| None).collect() }
    }

    /// The copy of what is behind `key`, whose hash is `hash`.
    pub(super) fn get(&mut self, key: KeyRef<'_>, hash: KeyHash, now: Instant) -> Option<Hit> {
        let slot = hash.slot();
        let tag = self.tags.get_mut(slot).filter(|tag| tag.held == hash)?;
        let copy = self.copies[slot].as_mut().filter(|copy| copy.answers(key, now))?;
        copy.hits = copy.hits.wrapping_add(1);
        tag.contender = KeyHash::default();
        Some(Hit { tenant: copy.tenant.clone(), touch: copy.hits.is_multiple_of(HITS_PER_TOUCH) })
    }

    /// Takes a copy of `entry` where the same key came twice in a row: of those that come once, most never come again, and
    /// copying them would cost an allocation each and the slots of the busy ones.
    pub(super) fn keep(&mut self, key: KeyRef<'_>, hash: KeyHash, entry: &Entry) {
        let Some(tenant) = &entry.tenant else { return };
        let slot = hash.slot();
        let tag = &mut self.tags[slot];
        if tag.held != hash && tag.contender != hash {
            tag.contender = hash;
            return;
        }
        tag.held = hash;
        match &mut self.copies[slot] {
            Some(copy) if copy.key.as_ref() == key => copy.renew(tenant, entry),
            copy => *copy = Some(Copy::of(key, tenant, entry)),
        }
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
    use std::{
        sync::{Arc, LazyLock},
        time::Duration,
    };

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

    fn hash(key: KeyRef<'_>) -> KeyHash {
        static HASHER: LazyLock<KeyHasher> = LazyLock::new(KeyHasher::default);
        HASHER.hash(key)
    }

    fn holding(key: KeyRef<'_>, entry: &Entry) -> Recent {
        let mut recent = Recent::new();
        recent.keep(key, hash(key), entry);
        recent.keep(key, hash(key), entry);
        recent
    }

    #[test]
    fn a_key_is_kept_when_it_comes_again() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = Recent::new();
        recent.keep(HOST, hash(HOST), &entry);
        assert!(recent.get(HOST, hash(HOST), now).is_none());
        recent.keep(HOST, hash(HOST), &entry);
        assert_eq!(recent.get(HOST, hash(HOST), now).unwrap().tenant, tenant("1"));
    }

    #[test]
    fn a_copy_ends_with_its_entry_or_with_its_time() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = holding(HOST, &entry);
        assert!(recent.get(HOST, hash(HOST), now + Settings::default().fresh_for).is_none());
        assert!(recent.get(HOST, hash(HOST), now).is_some());
        entry.validity.revoke();
        assert!(recent.get(HOST, hash(HOST), now).is_none());
    }

    #[test]
    fn a_renewed_copy_follows_the_entry() {
        let now = Instant::now();
        let mut recent = holding(HOST, &entry(HOST, "1", now));
        let later = now + Duration::from_secs(90);
        recent.keep(HOST, hash(HOST), &entry(HOST, "2", later));
        assert_eq!(recent.get(HOST, hash(HOST), later).unwrap().tenant, tenant("2"));
    }

    #[test]
    fn keys_that_differ_in_kind_alone_are_different() {
        let now = Instant::now();
        let mut recent = holding(KeyRef::CustomDomain("shop"), &entry(HOST, "1", now));
        let label = KeyRef::Label { platform: None, label: "shop" };
        assert!(recent.get(label, hash(label), now).is_none());
    }

    #[test]
    fn no_key_is_answered_by_another_of_the_same_slot() {
        let now = Instant::now();
        let entry = entry(HOST, "1", now);
        let mut recent = holding(HOST, &entry);
        let strangers: Vec<String> = (0..20_000).map(|number| format!("{number}.example")).collect();
        assert!(
            strangers
                .iter()
                .all(|name| recent.get(KeyRef::CustomDomain(name), hash(KeyRef::CustomDomain(name)), now).is_none())
        );
        assert!(recent.get(HOST, hash(HOST), now).is_some());
    }

    #[test]
    fn no_key_is_answered_by_another_of_the_same_hash() {
        let now = Instant::now();
        let mut recent = holding(HOST, &entry(HOST, "1", now));
        assert!(recent.get(KeyRef::CustomDomain("other.example"), hash(HOST), now).is_none());
    }

    #[test]
    fn the_shared_cache_hears_of_every_so_many_hits() {
        let now = Instant::now();
        let mut recent = holding(HOST, &entry(HOST, "1", now));
        let touches = (0..HITS_PER_TOUCH * 10).filter(|_| recent.get(HOST, hash(HOST), now).unwrap().touch).count();
        assert_eq!(touches, 10);
    }
}
