//! What the directory was asked and how it answered.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// What is counted: first the ways in which a look-up can end, each look-up once unless its request goes away; then what
/// happens to loads, whoever they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// Answered by the worker's own first level.
    RecentHit,
    /// Answered by a fresh entry of the shared cache.
    FoundHit,
    /// Answered by an entry that is past its freshness.
    StaleServed,
    /// Answered by a remembered absence.
    AbsentHit,
    /// Answered by the list of all names: there is none of it.
    Unlisted,
    /// Waited for a load, which found the tenant.
    WaitedFound,
    /// Waited for a load, which found that there is none.
    WaitedAbsent,
    /// Waited for a load, which could not ask the database.
    WaitedFailed,
    /// Waited for a load until the deadline.
    TimedOut,
    /// Refused, since too many loads were in the air.
    Shed,
    /// Refused, since the database has not answered lately.
    TurnedAway,
    /// A load began, for a waiting request, as a refresh, or to compare what is held.
    LoadStarted,
    /// A load found the tenant.
    LoadFound,
    /// A load found that there is none.
    LoadAbsent,
    /// A load could not ask the database.
    LoadFailed,
    /// A query was sent, for one load or for many.
    Queried,
}

impl Event {
    /// Every event, in order of declaration.
    pub const ALL: [Self; 16] = [
        Self::RecentHit,
        Self::FoundHit,
        Self::StaleServed,
        Self::AbsentHit,
        Self::Unlisted,
        Self::WaitedFound,
        Self::WaitedAbsent,
        Self::WaitedFailed,
        Self::TimedOut,
        Self::Shed,
        Self::TurnedAway,
        Self::LoadStarted,
        Self::LoadFound,
        Self::LoadAbsent,
        Self::LoadFailed,
        Self::Queried,
    ];

    /// The ways in which a look-up can end, by their names in metrics and in the API.
    const LOOKUPS: [(&str, Self); 11] = [
        ("recent_hit", Self::RecentHit),
        ("found_hit", Self::FoundHit),
        ("absent_hit", Self::AbsentHit),
        ("stale", Self::StaleServed),
        ("unlisted", Self::Unlisted),
        ("loaded", Self::WaitedFound),
        ("absent", Self::WaitedAbsent),
        ("timeout", Self::TimedOut),
        ("overloaded", Self::Shed),
        ("away", Self::TurnedAway),
        ("failed", Self::WaitedFailed),
    ];
}

/// Counters of the directory; read by the metrics, decided on by nobody.
#[derive(Debug, Default)]
pub struct Stats {
    /// Of the loads, which run on the control runtime.
    loads: Counters,
    /// Of every reader there ever was, so that no sum goes down.
    readers: Mutex<Vec<Arc<Counters>>>,
}

impl Stats {
    /// The sums at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let mut sums = Snapshot([0; Event::ALL.len()]);
        sums.add(&self.loads);
        for reader in self.readers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sums.add(reader);
        }
        sums
    }

    pub(super) fn reader(&self) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    pub(super) fn count(&self, event: Event) {
        self.loads.count(event);
    }
}

/// How often each event has happened since the directory was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot([u64; Event::ALL.len()]);

impl Snapshot {
    /// How often `event` has happened.
    pub fn count(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// How often look-ups have ended in each way, by its name.
    pub fn lookups(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Event::LOOKUPS.into_iter().map(|(name, event)| (name, self.count(event)))
    }

    fn add(&mut self, counters: &Counters) {
        for (sum, counter) in self.0.iter_mut().zip(&counters.0) {
            *sum += counter.load(Ordering::Relaxed);
        }
    }
}

/// One writer's counters, in cache lines of their own (two: processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters([AtomicU64; Event::ALL.len()]);

impl Counters {
    pub(super) fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// For an event that is counted by whoever has borrowed the reader's first level and nowhere else, which saves the bus lock of an
    /// atomic addition.
    pub(super) fn count_alone(&self, event: Event) {
        let counter = &self.0[event as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_events_follows_their_declaration() {
        for (position, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, position);
        }
    }

    #[test]
    fn every_way_in_which_a_look_up_can_end_has_a_name_of_its_own() {
        let begins = Event::ALL.iter().position(|event| *event == Event::LoadStarted).unwrap();
        let mut named = Event::LOOKUPS.map(|(_, event)| event as usize);
        named.sort_unstable();
        assert!(named.into_iter().eq(0..begins));
        let names: std::collections::BTreeSet<_> = Event::LOOKUPS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Event::LOOKUPS.len());
    }

    #[test]
    fn the_counts_of_a_reader_outlive_it() {
        let stats = Stats::default();
        let reader = stats.reader();
        reader.count(Event::RecentHit);
        drop(reader);
        stats.reader().count(Event::RecentHit);
        stats.count(Event::LoadFound);
        assert_eq!(stats.snapshot().count(Event::RecentHit), 2);
        assert_eq!(stats.snapshot().count(Event::LoadFound), 1);
    }
}
