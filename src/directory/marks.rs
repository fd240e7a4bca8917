//! Which of what was read is still worth something.
//!
//! Nothing that holds an answer is searched when a change comes. Every answer carries a [`Stamp`], and a change makes the
//! stamps it concerns worthless by counting: one counter for everything, and two tables of counters, one for keys and one for
//! tenants, in which each has its place by its hash. Applying a change costs the same however much is held, and the workers'
//! copies, the shared cache and the loads in the air learn of it by the same look. Two keys can share a place; then one is
//! read anew for nothing, and no other harm is done.
//!
//! The order of the counters is what keeps a load in the air from bringing old rows back: a change that does not name its
//! keys (a tenant, everything) counts in `loads` *first*. A load notes `loads` before it queries, takes the rest of its stamp
//! after it, and only then looks at `loads` again: where that has not moved, whatever the change counts next is still to come,
//! and makes the stamp worthless.

use std::{
    hash::BuildHasher,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
};

use foldhash::fast::RandomState;

use crate::routing::{KeyRef, TenantId};

/// Places of a table, a power of two. With a million keys held a change takes sixteen along; the tables are 256 KB each.
const PLACES: usize = 1 << 16;

/// [`Marks::all`] is never this.
pub(super) const NONE: u64 = 0;

/// The counters of changes.
pub(super) struct Marks {
    /// Changes that concern every tenant held.
    found: AtomicU64,
    /// Changes that concern every absence held.
    absences: AtomicU64,
    /// Changes that concern loads in the air, whatever their key.
    loads: AtomicU64,
    /// Changes after which a worker's copies are to be compared with the shared cache.
    copies: AtomicU64,
    keys: Table,
    tenants: Table,
    /// Changes of any kind, each after all else that it counts. As long as this stands still, no stamp has lost its worth: who
    /// has compared one lately looks here instead of at the tables, which would take two lines of its core's cache.
    all: AtomicU64,
    hasher: RandomState,
}

/// The hash of a key, the same for all that the directory asks about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyHash(pub(super) u64);

/// What a load notes before it queries.
#[derive(Clone, Copy)]
pub(super) struct Departed {
    loads: u64,
    key: Mark,
}

/// What an answer carries as long as it is held anywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    era: u64,
    key: Mark,
    /// `None` for an absence.
    tenant: Option<Mark>,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            found: AtomicU64::new(0),
            absences: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            keys: Table::new(),
            tenants: Table::new(),
            all: AtomicU64::new(NONE + 1),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn hash(&self, key: KeyRef<'_>) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    /// To be noted before the query begins.
    pub(super) fn depart(&self, key: KeyHash) -> Departed {
        Departed { loads: self.loads.load(SeqCst), key: self.keys.mark(key.0) }
    }

    /// Whether nothing has changed since that concerns this load: else whoever comes now needs another one.
    pub(super) fn is_current(&self, departed: &Departed) -> bool {
        self.loads.load(SeqCst) == departed.loads && self.keys.holds(departed.key)
    }

    /// The stamp of what a load has read; `None` where it is worth nothing already.
    pub(super) fn stamp(&self, departed: &Departed, tenant: Option<&TenantId>) -> Option<Stamp> {
        let era = self.era(tenant.is_some()).load(SeqCst);
        let tenant = tenant.map(|id| self.tenants.mark(self.hash_of_tenant(id)));
        self.is_current(departed).then_some(Stamp { era, key: departed.key, tenant })
    }

    /// Whether what carries `stamp` may still be used.
    pub(super) fn holds(&self, stamp: &Stamp) -> bool {
        self.era(stamp.tenant.is_some()).load(SeqCst) == stamp.era && self.holds_copy(stamp)
    }

    /// The same for a copy that was made when [`copies`](Self::copies) was what it is now.
    pub(super) fn holds_copy(&self, stamp: &Stamp) -> bool {
        self.keys.holds(stamp.key) && stamp.tenant.is_none_or(|tenant| self.tenants.holds(tenant))
    }

    /// Counts what every copy has to be compared with the shared cache for.
    pub(super) fn copies(&self) -> u64 {
        self.copies.load(SeqCst)
    }

    /// Counts every change: a stamp that was worth something after this was read is so until it moves.
    pub(super) fn all(&self) -> u64 {
        self.all.load(SeqCst)
    }

    /// Takes the stamps of `stamp`'s key away and gives the next one to this answer, which differs from the one held. `None`
    /// where a change came first.
    pub(super) fn supersede(&self, stamp: Stamp) -> Option<Stamp> {
        let key = self.keys.supersede(stamp.key)?;
        self.all.fetch_add(1, SeqCst);
        Some(Stamp { key, ..stamp })
    }

    /// What was read about `key` is worth nothing.
    pub(super) fn change_key(&self, key: KeyHash) {
        self.keys.count(key.0);
        self.all.fetch_add(1, SeqCst);
    }

    /// Whatever led to this tenant, or now leads to it, is worth nothing.
    pub(super) fn change_tenant(&self, id: &TenantId) {
        self.loads.fetch_add(1, SeqCst);
        self.absences.fetch_add(1, SeqCst);
        self.tenants.count(self.hash_of_tenant(id));
        self.all.fetch_add(1, SeqCst);
    }

    /// Nothing that was read is worth anything.
    pub(super) fn change_everything(&self) {
        self.loads.fetch_add(1, SeqCst);
        self.absences.fetch_add(1, SeqCst);
        self.found.fetch_add(1, SeqCst);
        self.copies.fetch_add(1, SeqCst);
        self.all.fetch_add(1, SeqCst);
    }

    /// Changes may have been missed: absences and loads in the air are worth nothing. Tenants held are worth asking about.
    pub(super) fn doubt(&self) {
        self.loads.fetch_add(1, SeqCst);
        self.absences.fetch_add(1, SeqCst);
        self.copies.fetch_add(1, SeqCst);
        self.all.fetch_add(1, SeqCst);
    }

    fn era(&self, is_found: bool) -> &AtomicU64 {
        if is_found { &self.found } else { &self.absences }
    }

    fn hash_of_tenant(&self, id: &TenantId) -> u64 {
        self.hasher.hash_one(id.as_str())
    }
}

/// A place in a table and what was counted there.
#[derive(Clone, Copy, Debug)]
struct Mark {
    place: u16,
    count: u32,
}

/// Counters by hash.
struct Table(Box<[AtomicU32]>);

impl Table {
    fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU32::new(0)).collect())
    }

    fn mark(&self, hash: u64) -> Mark {
        let place = place(hash);
        Mark { place, count: self.0[usize::from(place)].load(SeqCst) }
    }

    fn holds(&self, mark: Mark) -> bool {
        self.0[usize::from(mark.place)].load(SeqCst) == mark.count
    }

    fn count(&self, hash: u64) {
        self.0[usize::from(place(hash))].fetch_add(1, SeqCst);
    }

    fn supersede(&self, mark: Mark) -> Option<Mark> {
        let next = Mark { count: mark.count.wrapping_add(1), ..mark };
        let counter = &self.0[usize::from(mark.place)];
        counter.compare_exchange(mark.count, next.count, SeqCst, SeqCst).is_ok().then_some(next)
    }
}

/// The high bits: the low ones choose a copy's place in a worker's first level.
fn place(hash: u64) -> u16 {
    const { assert!(PLACES == 1 << u16::BITS) };
    (hash >> (u64::BITS - u16::BITS)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    impl KeyHash {
        pub(in super::super) fn shares_place_with(self, other: Self) -> bool {
            place(self.0) == place(other.0)
        }
    }

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    struct Fixture {
        marks: Marks,
        host: KeyHash,
        departed: Departed,
        found: Stamp,
        absent: Stamp,
    }

    fn id(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    fn fixture() -> Fixture {
        let marks = Marks::new();
        let host = marks.hash(HOST);
        let departed = marks.depart(host);
        let found = marks.stamp(&departed, Some(&id("1"))).unwrap();
        let absent = marks.stamp(&departed, None).unwrap();
        Fixture { marks, host, departed, found, absent }
    }

    /// Whether the load, the tenant and the absence are still worth something.
    fn worth(fixture: &Fixture) -> [bool; 3] {
        let Fixture { marks, departed, found, absent, .. } = fixture;
        [marks.is_current(departed), marks.holds(found), marks.holds(absent)]
    }

    #[test]
    fn a_change_of_a_key_concerns_all_that_was_read_about_it() {
        let fixture = fixture();
        assert_eq!(worth(&fixture), [true; 3]);
        fixture.marks.change_key(fixture.host);
        assert_eq!(worth(&fixture), [false; 3]);
        assert!(!fixture.marks.holds_copy(&fixture.found));
    }

    #[test]
    fn a_change_of_a_tenant_concerns_what_leads_to_it_and_what_may_lead_to_it() {
        let fixture = fixture();
        fixture.marks.change_tenant(&id("1"));
        assert_eq!(worth(&fixture), [false; 3]);
        assert!(!fixture.marks.holds_copy(&fixture.found));
    }

    #[test]
    fn a_change_of_another_tenant_leaves_the_tenant() {
        let fixture = fixture();
        let other = (2..).map(|number| id(&number.to_string()));
        let place_of = |id: &TenantId| place(fixture.marks.hash_of_tenant(id));
        let mut elsewhere = other.filter(|other| place_of(other) != place_of(&id("1")));
        fixture.marks.change_tenant(&elsewhere.next().unwrap());
        assert_eq!(worth(&fixture), [false, true, false]);
    }

    #[test]
    fn everything_is_everything_and_copies_are_compared() {
        let fixture = fixture();
        let copies = fixture.marks.copies();
        fixture.marks.change_everything();
        assert_eq!(worth(&fixture), [false; 3]);
        assert_ne!(fixture.marks.copies(), copies);
    }

    #[test]
    fn in_doubt_the_tenants_held_stay() {
        let fixture = fixture();
        fixture.marks.doubt();
        assert_eq!(worth(&fixture), [false, true, false]);
    }

    #[test]
    fn a_load_that_a_change_overtook_gets_no_stamp() {
        for change in [Marks::change_everything, Marks::doubt] {
            let fixture = fixture();
            change(&fixture.marks);
            assert!(fixture.marks.stamp(&fixture.departed, Some(&id("1"))).is_none());
            assert!(fixture.marks.stamp(&fixture.departed, None).is_none());
        }
    }

    #[test]
    fn another_answer_supersedes_the_one_held_once() {
        let fixture = fixture();
        let next = fixture.marks.supersede(fixture.found).unwrap();
        assert!(fixture.marks.holds(&next) && !fixture.marks.holds(&fixture.found));
        assert!(fixture.marks.supersede(fixture.found).is_none());
    }
}
