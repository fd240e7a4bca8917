//! One answer of the database, and how long it lasts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Settings, marks::Stamp};
use crate::routing::Tenant;

/// After a refresh has been tried, the next waits this long: a database in trouble gets one query per key and second, not one
/// per request.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Whoever asks for longer means "for ever"; clocks and caches cannot count that far.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// So much of the time that entries are fresh for is taken off by lot.
const JITTER: u32 = 8;

/// Nobody tells of changes.
const NOT_FOLLOWED: u64 = u64::MAX;

/// One answer of the database.
pub(super) struct Entry {
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) stamp: Stamp,
    /// Before the query began.
    pub(super) read_at: Instant,
    /// Nanoseconds after `read_at` before which no refresh is tried.
    next_refresh: AtomicU64,
    /// Of 256 parts of the jitter, how many this entry takes.
    lot: u8,
}

impl Entry {
    pub(super) fn new(tenant: Option<Arc<Tenant>>, stamp: Stamp, read_at: Instant) -> Self {
        Self { tenant, stamp, read_at, next_refresh: AtomicU64::new(0), lot: fastrand::u8(..) }
    }

    /// Whether the caller is the one to refresh this entry: true once, and again after a pause.
    pub(super) fn claim_refresh(&self, now: Instant, fresh_until: Instant) -> bool {
        if now < fresh_until {
            return false;
        }
        let age = now.saturating_duration_since(self.read_at);
        let due = self.next_refresh.load(Relaxed);
        let next = nanoseconds(age + REFRESH_PAUSE);
        nanoseconds(age) >= due && self.next_refresh.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }

    /// Until when a copy may be served without looking at the entry.
    pub(super) fn recheck_at(&self, lifetimes: &Lifetimes) -> Instant {
        let next_refresh = self.read_at + Duration::from_nanos(self.next_refresh.load(Relaxed));
        lifetimes.fresh_until(self).max(next_refresh).min(lifetimes.usable_until(self))
    }
}

/// How long entries last. Those read since changes are told are fresh for longer: when one of them is worth nothing any more,
/// somebody says so.
pub(super) struct Lifetimes {
    fresh_for: Duration,
    fresh_for_followed: Duration,
    pub(super) usable_for: Duration,
    pub(super) absent_for: Duration,
    epoch: Instant,
    /// Nanoseconds after `epoch` since when changes are told, or [`NOT_FOLLOWED`].
    followed_since: AtomicU64,
}

impl Lifetimes {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            fresh_for: settings.fresh_for.min(LONGEST),
            fresh_for_followed: settings.fresh_for_followed.min(LONGEST),
            usable_for: settings.usable_for.min(LONGEST),
            absent_for: settings.absent_for.min(LONGEST),
            epoch: super::now(),
            followed_since: AtomicU64::new(NOT_FOLLOWED),
        }
    }

    /// Changes are told from now on.
    pub(super) fn follow(&self, now: Instant) {
        self.followed_since.store(nanoseconds(now.saturating_duration_since(self.epoch)), Relaxed);
    }

    /// Changes are not told any more.
    pub(super) fn lose(&self) {
        self.followed_since.store(NOT_FOLLOWED, Relaxed);
    }

    /// Whether changes are told.
    pub(super) fn are_followed(&self) -> bool {
        self.followed_since.load(Relaxed) != NOT_FOLLOWED
    }

    pub(super) fn fresh_until(&self, entry: &Entry) -> Instant {
        entry.read_at
            + match entry.tenant {
                None => self.absent_for,
                Some(_) if self.is_followed(entry) => {
                    self.fresh_for_followed - self.fresh_for_followed / JITTER * entry.lot.into() / 256
                }
                Some(_) => self.fresh_for,
            }
    }

    pub(super) fn usable_until(&self, entry: &Entry) -> Instant {
        entry.read_at + if entry.tenant.is_some() { self.usable_for } else { self.absent_for }
    }

    /// Whether every change of the entry is told.
    fn is_followed(&self, entry: &Entry) -> bool {
        let since = self.followed_since.load(Relaxed);
        since != NOT_FOLLOWED && nanoseconds(entry.read_at.saturating_duration_since(self.epoch)) > since
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{marks::Marks, tests::tenant},
        *,
    };
    use crate::routing::KeyRef;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn entry(tenant: Option<Arc<Tenant>>, read_at: Instant) -> Entry {
        let marks = Marks::new();
        let departed = marks.depart(marks.hash(KeyRef::CustomDomain("shop.example")));
        Entry::new(tenant, marks.stamp(&departed, None).unwrap(), read_at)
    }

    #[test]
    fn one_caller_refreshes_and_the_next_after_a_pause() {
        let now = Instant::now();
        let lifetimes = Lifetimes::new(&Settings::default());
        let entry = entry(Some(tenant("1")), now);
        let until = lifetimes.fresh_until(&entry);
        assert_eq!(until, now + MINUTE);
        assert!(!entry.claim_refresh(until - Duration::from_millis(1), until));
        assert!(entry.claim_refresh(until, until));
        assert!(!entry.claim_refresh(until + REFRESH_PAUSE / 2, until));
        assert_eq!(entry.recheck_at(&lifetimes), until + REFRESH_PAUSE);
        assert!(entry.claim_refresh(until + REFRESH_PAUSE, until));
    }

    #[test]
    fn what_was_read_since_changes_are_told_is_fresh_for_longer_until_they_are_not() {
        let lifetimes = Lifetimes::new(&Settings::default());
        let now = Instant::now() + MINUTE;
        let [before, after] = [entry(Some(tenant("1")), now - MINUTE / 2), entry(Some(tenant("1")), now)];
        lifetimes.follow(now - SECOND);
        let hour = Settings::default().fresh_for_followed;
        assert_eq!(lifetimes.fresh_until(&before), before.read_at + MINUTE);
        let until = lifetimes.fresh_until(&after);
        assert!(until <= now + hour && until > now + hour - hour / JITTER);
        lifetimes.lose();
        assert_eq!(lifetimes.fresh_until(&after), now + MINUTE);
    }

    #[test]
    fn an_absence_is_short_lived_whether_changes_are_told_or_not() {
        let lifetimes = Lifetimes::new(&Settings::default());
        let now = Instant::now();
        lifetimes.follow(now);
        let absence = entry(None, now);
        assert_eq!(lifetimes.fresh_until(&absence), now + lifetimes.absent_for);
        assert_eq!(lifetimes.usable_until(&absence), now + lifetimes.absent_for);
    }
}
