//! One worker's own first level: what it served last, found without touching memory that another core writes.
//!
//! Tenants only. Absences would let strangers' names push out the hosts that earn the money.

use std::{sync::Arc, time::Instant};

use super::{
    entry::{Entry, Lifetimes},
    marks::{self, KeyHash, Marks, Stamp},
};
use crate::routing::{KeyRef, Tenant, TenantKey};

/// Answers nine of ten look-ups of a thousand hot hosts, in 576 KB per worker at most. A power of two.
const SLOTS: usize = 4096;

/// So many hits are answered here before the shared cache hears of one, lest it takes the busiest tenants for idle.
/// Each costs as much as five hits.
const HITS_PER_TOUCH: u32 = 256;

/// A direct-mapped table. The hash is seeded at random: nobody can choose names that fall on somebody else's slot.
pub(super) struct Recent {
    /// Apart from the copies, so that they stay close to the processor: most keys that are not here end at their tag.
    tags: Box<[Tag]>,
    /// Side by side as they came, wherever their slots are: those of a few busy hosts share a few pages of memory, and the processor
    /// remembers where few pages are.
    copies: Vec<Copy>,
}

#[expect(clippy::cast_possible_truncation, reason = "some bits are all that is wanted")]
impl KeyHash {
    fn slot(self) -> usize {
        self.0 as usize % SLOTS
    }

    /// The part of it that does not choose the slot.
    fn half(self) -> u32 {
        (self.0 >> u32::BITS) as u32
    }
}

/// A hit.
pub(super) struct Hit {
    pub(super) tenant: Arc<Tenant>,
    /// The shared cache should be told that the key is in use.
    pub(super) touch: bool,
}

#[derive(Clone, Copy)]
struct Tag {
    /// The hash of the key whose copy is here.
    held: KeyHash,
    /// Half of the hash of the last key that fell on this slot without being in it.
    contender: u32,
    /// Which copy is of this slot; [`NO_COPY`] before the first one.
    copy: u32,
}

const NO_COPY: u32 = u32::MAX;

impl Tag {
    const EMPTY: Self = Self { held: KeyHash(0), contender: 0, copy: NO_COPY };
}

/// What a hit looks at comes first, and lies in one line of the processor's cache.
#[repr(C, align(64))]
struct Copy {
    key: TenantKey,
    tenant: Arc<Tenant>,
    recheck_at: Instant,
    /// What [`Marks::all`] was before the stamp was last found to be worth something.
    compared: u64,
    hits: u32,
    stamp: Stamp,
    /// What [`Marks::copies`] was when the entry was looked at.
    copies: u64,
}

/// Where a copy is taken from.
pub(super) struct Original<'a> {
    pub(super) entry: &'a Entry,
    pub(super) lifetimes: &'a Lifetimes,
    /// What [`Marks::copies`] was before the entry was looked at.
    pub(super) copies: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { tags: vec![Tag::EMPTY; SLOTS].into(), copies: Vec::with_capacity(SLOTS) }
    }

    /// The copy of what is behind `key`, whose hash is `hash`, if it is still worth something.
    pub(super) fn get(&mut self, key: KeyRef<'_>, hash: KeyHash, now: Instant, marks: &Marks) -> Option<Hit> {
        let tag = self.tags.get_mut(hash.slot()).filter(|tag| tag.held == hash)?;
        let copy = self.copies.get_mut(tag.copy as usize)?;
        if !copy.answers(key, now, marks) {
            return None;
        }
        copy.hits = copy.hits.wrapping_add(1);
        tag.contender = 0;
        Some(Hit { tenant: Arc::clone(&copy.tenant), touch: copy.hits.is_multiple_of(HITS_PER_TOUCH) })
    }

    /// Takes a copy of `original` where the same key came twice in a row: of those that come once, most never come again, and
    /// copying them would cost an allocation each and the slots of the busy ones.
    pub(super) fn keep(&mut self, key: KeyRef<'_>, hash: KeyHash, original: &Original<'_>) {
        let Some(tenant) = &original.entry.tenant else { return };
        let tag = &mut self.tags[hash.slot()];
        if tag.held != hash && tag.contender != hash.half() {
            tag.contender = hash.half();
            return;
        }
        tag.held = hash;
        match self.copies.get_mut(tag.copy as usize) {
            Some(copy) if copy.key.as_ref() == key => copy.renew(tenant, original),
            Some(copy) => *copy = Copy::of(key, tenant, original),
            None => {
                tag.copy = u32::try_from(self.copies.len()).unwrap_or(NO_COPY);
                self.copies.push(Copy::of(key, tenant, original));
            }
        }
    }
}

impl Copy {
    fn of(key: KeyRef<'_>, tenant: &Tenant, original: &Original<'_>) -> Self {
        Self {
            key: key.into(),
            tenant: detached(tenant),
            recheck_at: original.entry.recheck_at(original.lifetimes),
            compared: marks::NONE,
            hits: 0,
            stamp: original.entry.stamp,
            copies: original.copies,
        }
    }

    /// Follows the entry; the tenant's copy stays where nothing has changed.
    fn renew(&mut self, tenant: &Tenant, original: &Original<'_>) {
        if *self.tenant != *tenant {
            self.tenant = detached(tenant);
        }
        self.recheck_at = original.entry.recheck_at(original.lifetimes);
        self.compared = marks::NONE;
        self.stamp = original.entry.stamp;
        self.copies = original.copies;
    }

    fn answers(&mut self, key: KeyRef<'_>, now: Instant, marks: &Marks) -> bool {
        self.key.as_ref() == key && now < self.recheck_at && self.is_current(marks)
    }

    /// Whether nothing has changed that concerns it; where nothing has changed at all since the last look, that is one comparison.
    fn is_current(&mut self, marks: &Marks) -> bool {
        let all = marks.all();
        let is_current = self.compared == all || self.copies == marks.copies() && marks.holds_copy(&self.stamp);
        if is_current {
            self.compared = all;
        }
        is_current
    }
}

/// The same in memory of its own, so that a worker's copy shares no counter with another core.
fn detached(tenant: &Tenant) -> Arc<Tenant> {
    Arc::new(Tenant { id: tenant.id.detached(), ..tenant.clone() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{Settings, tests::tenant},
        *,
    };

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    struct Fixture {
        marks: Marks,
        lifetimes: Lifetimes,
        recent: Recent,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let lifetimes = Lifetimes::new(&Settings::default());
            Self { marks: Marks::new(), lifetimes, recent: Recent::new(), now: Instant::now() }
        }

        fn holding(key: KeyRef<'_>, id: &str) -> Self {
            let mut fixture = Self::new();
            fixture.keep(key, id);
            fixture.keep(key, id);
            fixture
        }

        fn keep(&mut self, key: KeyRef<'_>, id: &str) {
            let (hash, tenant) = (self.marks.hash(key), tenant(id));
            let stamp = self.marks.stamp(&self.marks.depart(hash), Some(&tenant.id)).unwrap();
            let entry = Entry::new(Some(tenant), stamp, self.now);
            let original = Original { entry: &entry, lifetimes: &self.lifetimes, copies: self.marks.copies() };
            self.recent.keep(key, hash, &original);
        }

        fn hit(&mut self, key: KeyRef<'_>) -> Option<Hit> {
            self.recent.get(key, self.marks.hash(key), self.now, &self.marks)
        }

        fn id(&mut self, key: KeyRef<'_>) -> Option<String> {
            self.hit(key).map(|hit| hit.tenant.id.to_string())
        }
    }

    #[test]
    fn a_key_is_kept_when_it_comes_again() {
        let mut fixture = Fixture::new();
        fixture.keep(HOST, "1");
        assert!(fixture.hit(HOST).is_none());
        fixture.keep(HOST, "1");
        assert_eq!(fixture.id(HOST).unwrap(), "1");
    }

    #[test]
    fn a_copy_ends_with_its_time() {
        let mut fixture = Fixture::holding(HOST, "1");
        fixture.now += Settings::default().fresh_for - Duration::from_nanos(1);
        assert!(fixture.hit(HOST).is_some());
        fixture.now += Duration::from_nanos(1);
        assert!(fixture.hit(HOST).is_none());
    }

    #[test]
    fn a_copy_ends_with_a_change_and_when_changes_may_have_been_missed() {
        let endings: [fn(&Marks); 4] = [
            |marks| marks.change_key(marks.hash(HOST)),
            |marks| marks.change_tenant(&tenant("1").id),
            Marks::change_everything,
            Marks::doubt,
        ];
        for end in endings {
            let mut fixture = Fixture::holding(HOST, "1");
            end(&fixture.marks);
            assert!(fixture.hit(HOST).is_none());
        }
    }

    #[test]
    fn a_copy_outlives_changes_that_do_not_concern_it() {
        let mut fixture = Fixture::holding(HOST, "1");
        let host = fixture.marks.hash(HOST);
        let others = (0..100).map(|number| fixture.marks.hash(KeyRef::CustomDomain(&format!("{number}.example"))));
        for other in others.filter(|other| !other.shares_place_with(host)).collect::<Vec<_>>() {
            fixture.marks.change_key(other);
            assert!(fixture.hit(HOST).is_some() && fixture.hit(HOST).is_some());
        }
        fixture.marks.change_key(host);
        assert!(fixture.hit(HOST).is_none());
    }

    #[test]
    fn a_hit_looks_at_one_line_of_a_copy() {
        assert!(std::mem::offset_of!(Copy, hits) + size_of::<u32>() <= align_of::<Copy>());
        assert_eq!((size_of::<Copy>(), size_of::<Tag>()), (2 * align_of::<Copy>(), 16));
    }

    #[test]
    fn a_renewed_copy_follows_the_entry() {
        let mut fixture = Fixture::holding(HOST, "1");
        fixture.now += Duration::from_secs(90);
        fixture.keep(HOST, "2");
        assert_eq!(fixture.id(HOST).unwrap(), "2");
    }

    #[test]
    fn keys_that_differ_in_kind_alone_are_different() {
        let mut fixture = Fixture::holding(KeyRef::CustomDomain("shop"), "1");
        assert!(fixture.hit(KeyRef::Label { platform: None, label: "shop" }).is_none());
    }

    #[test]
    fn no_key_is_answered_by_another_of_the_same_slot() {
        let mut fixture = Fixture::holding(HOST, "1");
        let mut strangers = (0..20_000).map(|number| format!("{number}.example"));
        assert!(strangers.all(|name| fixture.hit(KeyRef::CustomDomain(&name)).is_none()));
        assert!(fixture.hit(HOST).is_some());
    }

    #[test]
    fn no_key_is_answered_by_another_of_the_same_hash() {
        let Fixture { marks, mut recent, now, .. } = Fixture::holding(HOST, "1");
        let hash = marks.hash(HOST);
        assert!(recent.get(HOST, hash, now, &marks).is_some());
        assert!(recent.get(KeyRef::CustomDomain("other.example"), hash, now, &marks).is_none());
    }

    #[test]
    fn there_is_a_copy_for_each_slot_at_most() {
        let mut fixture = Fixture::new();
        let names: Vec<_> = (0..3 * SLOTS).map(|number| format!("{number}.example")).collect();
        for name in names.iter().flat_map(|name| [name, name]) {
            fixture.keep(KeyRef::CustomDomain(name), name);
        }
        assert!((SLOTS / 2..=SLOTS).contains(&fixture.recent.copies.len()));
        let answered = |name: &&String| fixture.id(KeyRef::CustomDomain(name)).is_some_and(|id| id == **name);
        assert_eq!(names.iter().filter(answered).count(), fixture.recent.copies.len());
    }

    #[test]
    fn the_shared_cache_hears_of_every_so_many_hits() {
        let mut fixture = Fixture::holding(HOST, "1");
        let touches = (0..HITS_PER_TOUCH * 10).filter(|_| fixture.hit(HOST).unwrap().touch).count();
        assert_eq!(touches, 10);
    }
}
