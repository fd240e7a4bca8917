//! Every name in the tables, ten bytes each: what is not among them is absent, and nobody has to be asked.
//!
//! A flood of invented hosts then costs no query, and takes no place from tenants that are known but not held. The set is read
//! once changes are told, and kept by them. Names are only ever added: one that left the tables costs a query when it is asked
//! for, until the set is read anew. Whenever it is not certain to be whole it answers nothing.

mod read;
mod set;

use std::{
    hash::BuildHasher,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use foldhash::quality::RandomState;

pub(super) use self::read::REST;
use self::set::HashSet;
use super::Change;
use crate::routing::KeyRef;

/// The names, as far as they are known.
pub(super) struct Names {
    state: RwLock<State>,
    /// Seeded at random: nobody can choose names that are taken for others.
    hasher: RandomState,
    max: usize,
}

enum State {
    /// Nothing is certain.
    Unknown,
    /// Being read in this round; told changes are among them already.
    Reading(u64, HashSet),
    Whole(HashSet),
}

impl Names {
    /// For `max` names at most; with more the set is given up.
    pub(super) fn new(max: usize) -> Self {
        Self { state: RwLock::new(State::Unknown), hasher: RandomState::default(), max }
    }

    /// Whether none are to be known.
    fn are_off(&self) -> bool {
        self.max == 0
    }

    /// Whether `key` is in the tables; `None` where that is not certain. A yes can be wrong, a no cannot.
    pub(super) fn has(&self, key: KeyRef<'_>) -> Option<bool> {
        match &*self.read() {
            State::Whole(set) => Some(set.contains(self.hash(key))),
            State::Unknown | State::Reading(..) => None,
        }
    }

    /// How many names there are and what they take; `None` while that is not certain.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        match &*self.read() {
            State::Whole(set) => Some((set.len(), set.bytes())),
            State::Unknown | State::Reading(..) => None,
        }
    }

    /// Names that a change tells of may be new. Whether all have to be read again: names may have come that nobody told of, or they are
    /// too many with those that have gone.
    pub(super) fn apply(&self, change: &Change) -> bool {
        match change {
            Change::Domain(name) => self.add(KeyRef::CustomDomain(name)),
            Change::Label(label) => self.add(KeyRef::Label { platform: None, label }),
            Change::Tenant(_) => false,
            Change::Everything => {
                self.doubt();
                true
            }
        }
    }

    /// Forgets all: names may have come that nobody told of.
    pub(super) fn doubt(&self) {
        *self.write() = State::Unknown;
    }

    /// Begins to read; what another round has read is forgotten.
    fn begin(&self, round: u64) {
        *self.write() = State::Reading(round, HashSet::with_room_for(0));
    }

    /// Nothing is read for this round any more.
    fn end(&self, round: u64) {
        let mut state = self.write();
        if matches!(&*state, State::Reading(current, _) if *current == round) {
            *state = State::Unknown;
        }
    }

    /// Adds what `round` has read. False where it need not go on: another has begun, all is in doubt, or they are too many.
    fn add_read(&self, round: u64, key: KeyRef<'_>) -> bool {
        match &mut *self.write() {
            State::Reading(current, set) if *current == round && set.len() < self.max => {
                set.insert(self.hash(key));
                true
            }
            _ => false,
        }
    }

    /// The round has read all; from now on the set answers.
    fn finish(&self, round: u64) {
        let mut state = self.write();
        match std::mem::replace(&mut *state, State::Unknown) {
            State::Reading(current, set) if current == round => *state = State::Whole(set),
            other => *state = other,
        }
    }

    fn add(&self, key: KeyRef<'_>) -> bool {
        let mut state = self.write();
        match &mut *state {
            State::Reading(_, set) | State::Whole(set) if set.len() < self.max || set.contains(self.hash(key)) => {
                set.insert(self.hash(key));
            }
            State::Reading(..) | State::Whole(_) => {
                *state = State::Unknown;
                return true;
            }
            State::Unknown => {}
        }
        false
    }

    /// A label is the same name under every platform domain.
    fn hash(&self, key: KeyRef<'_>) -> u64 {
        match key {
            KeyRef::CustomDomain(name) => self.hasher.hash_one((0_u8, name)),
            KeyRef::Label { label, .. } => self.hasher.hash_one((1_u8, label)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::PlatformId;

    const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");

    fn whole() -> Names {
        let names = Names::new(10);
        names.begin(1);
        assert!(names.add_read(1, HOST));
        names.finish(1);
        names
    }

    #[test]
    fn nothing_is_answered_before_all_is_read() {
        let names = Names::new(10);
        assert_eq!(names.has(HOST), None);
        names.begin(1);
        names.add_read(1, HOST);
        assert_eq!(names.has(HOST), None);
        names.finish(1);
        assert_eq!(names.has(HOST), Some(true));
        assert_eq!(names.has(KeyRef::CustomDomain("other.example")), Some(false));
        assert_eq!(names.size().map(|(names, _)| names), Some(1));
    }

    #[test]
    fn a_name_that_is_told_of_is_there_whether_all_is_read_or_not() {
        let names = Names::new(10);
        names.begin(1);
        names.apply(&Change::Domain("new.example".into()));
        names.finish(1);
        names.apply(&Change::Label("store9".into()));
        assert_eq!(names.has(KeyRef::CustomDomain("new.example")), Some(true));
        for platform in [None, Some(PlatformId(0)), Some(PlatformId(7))] {
            assert_eq!(names.has(KeyRef::Label { platform, label: "store9" }), Some(true));
        }
        assert_eq!(names.has(KeyRef::CustomDomain("store9")), Some(false));
    }

    #[test]
    fn in_doubt_nothing_is_answered_and_an_older_round_changes_nothing() {
        let names = whole();
        names.apply(&Change::Everything);
        assert_eq!(names.has(HOST), None);
        names.begin(2);
        names.begin(3);
        assert!(!names.add_read(2, HOST));
        names.finish(2);
        assert_eq!(names.has(HOST), None);
    }

    #[test]
    fn too_many_names_are_given_up() {
        let names = Names::new(1);
        names.begin(1);
        assert!(names.add_read(1, HOST));
        assert!(!names.add_read(1, KeyRef::CustomDomain("other.example")));
    }

    #[test]
    fn names_that_come_and_go_until_there_are_too_many_are_read_again() {
        let names = Names::new(2);
        names.begin(1);
        names.finish(1);
        let came = ["a", "b", "a", "c"].map(|label| names.apply(&Change::Label(label.into())));
        assert_eq!((came, names.has(HOST)), ([false, false, false, true], None));
    }

    #[test]
    fn a_round_that_is_ended_before_it_begins_answers_nothing() {
        let names = Names::new(10);
        names.begin(1);
        names.end(1);
        assert!(!names.add_read(1, HOST));
        names.finish(1);
        assert_eq!(names.has(HOST), None);
        names.begin(2);
        names.end(1);
        assert!(names.add_read(2, HOST), "another round goes on");
    }
}
