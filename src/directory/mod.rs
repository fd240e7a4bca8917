//! Who is behind a tenant key: caches in front of the SaaS's own tables, right after every change that the database tells of.
//!
//! What always holds: "absent" is only ever what the database said, one load runs per key however many requests wait for it,
//! no wait is without a deadline, and once a change is applied, no look-up that begins later is answered from rows read before
//! it.

mod breaker;
mod cache;
mod change;
mod entry;
pub mod feed;
mod flights;
mod loads;
mod marks;
mod names;
mod own;
mod pace;
mod postgres;
mod queries;
mod reader;
mod recent;
mod recheck;
mod settings;
mod snapshot;
mod source;
mod sqlite;
mod stats;
mod turns;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

pub use change::Change;
pub use feed::{Feed, FeedStats};
pub use own::{OwnQueries, QueryFault};
pub use postgres::PostgresSource;
pub use queries::Queries;
pub use reader::Reader;
pub use settings::Settings;
pub use source::{Answer, Blame, BoxFuture, EachName, SourceError, TenantSource};
pub use sqlite::SqliteSource;
pub use stats::{Event, Snapshot, Stats};

use self::{
    breaker::Breaker,
    cache::Cache,
    flights::Flights,
    loads::{Line, Loader},
    marks::Marks,
    names::Names,
    turns::Turns,
};
use crate::routing::{KeyRef, PlatformId};

/// The directory, shared by all workers and by whoever follows the changes.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

impl Directory {
    /// Builds the directory over `source`; loads run on `control`, never on a worker.
    pub fn new(settings: Settings, source: Arc<dyn TenantSource>, control: tokio::runtime::Handle) -> Self {
        let marks = Arc::new(Marks::new());
        let loader = Arc::new(Loader {
            source,
            cache: Arc::new(Cache::new(&settings, Arc::clone(&marks))),
            marks: Arc::clone(&marks),
            breaker: Breaker::new(now()),
            stats: Arc::default(),
        });
        let shared = Shared {
            line: Line::start(Arc::clone(&loader), settings.queries_max, &control),
            loader,
            flights: Arc::new(Flights::new(&settings, marks)),
            control,
            lookup_timeout: settings.lookup_timeout,
            platforms: settings.platforms,
            names: Names::new(settings.names_max),
            name_rounds: AtomicU64::new(0),
            name_turns: Turns::new(names::REST),
            names_were_told: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            turns: Turns::new(recheck::REST),
            unchecked: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A worker's own door to the directory, with a small first level of its own.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Makes what was read before `changes` worth nothing: no look-up that begins after this call is answered from it. Costs
    /// the same however much is held, and never waits. After a change of everything what was held is read again in the
    /// background, so that an outage later finds it there; and the names, where changes are followed.
    pub fn apply(&self, changes: &[Change]) {
        let mut names_are_in_doubt = false;
        for change in changes {
            names_are_in_doubt |= self.shared.names.apply(change);
            self.shared.apply(change);
        }
        if changes.contains(&Change::Everything) {
            Shared::start_reading_again(&self.shared, now());
        }
        if names_are_in_doubt {
            Shared::start_reading_names(&self.shared);
        }
    }

    /// Every change from now on is told through [`apply`](Self::apply), and earlier ones may have been missed: absences and
    /// loads in the air are forgotten, and what is held is compared with the database in the background. What is read from
    /// now on is fresh for longer.
    pub fn follow(&self) {
        let since = now();
        self.shared.loader.cache.lifetimes.follow(since);
        self.shared.loader.marks.doubt();
        self.shared.loader.breaker.succeed();
        Shared::start_recheck(&self.shared, since);
        self.shared.forget_names();
        Shared::start_reading_names(&self.shared);
    }

    /// Changes are not told any more: nothing is fresh for longer than without news.
    pub fn lose(&self) {
        self.shared.end_recheck();
        // First: a reading that begins now sees that nobody follows, and one that has begun is ended.
        self.shared.loader.cache.lifetimes.lose();
        self.shared.forget_names();
        self.shared.loader.marks.doubt();
    }

    /// What has been asked and answered so far; for the metrics.
    pub fn stats(&self) -> &Stats {
        &self.shared.loader.stats
    }

    /// Whether nothing is held that has to be compared with the database.
    pub(in crate::directory) fn is_compared(&self) -> bool {
        self.shared.unchecked.load(SeqCst) == 0
    }

    /// How much is held at the moment; for the metrics.
    pub fn held(&self) -> Held {
        let (found, absent) = self.shared.loader.cache.sizes();
        Held {
            found,
            absent,
            loads: self.shared.flights.count(),
            unchecked: self.shared.unchecked.load(SeqCst).min(usize::try_from(found).unwrap_or(usize::MAX)),
            is_away: self.shared.loader.breaker.is_open(),
            names: self.shared.names.size(),
        }
    }
}

/// How much a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Found keys, at most [`Settings::found_max`] but for what is being evicted.
    pub found: u64,
    /// Absent keys, at most [`Settings::absent_max`] but for what is being evicted.
    pub absent: u64,
    /// Loads in the air, at most [`Settings::loads_max`] and [`Settings::known_loads_max`], and some of the directory's own.
    pub loads: usize,
    /// Found keys that are still to be compared with the database, after changes may have been missed or all of them may have changed.
    pub unchecked: usize,
    /// Whether the database counts as away: it is asked once in a while, and unknown keys are refused at once.
    pub is_away: bool,
    /// Names known to be all there are, and the bytes they take; `None` while that is not certain.
    pub names: Option<(usize, usize)>,
}

/// What all readers and all loads share.
struct Shared {
    loader: Arc<Loader>,
    flights: Arc<Flights>,
    line: Line,
    control: tokio::runtime::Handle,
    lookup_timeout: Duration,
    platforms: u16,
    names: Names,
    /// Readings of the names begun or ended; only the newest goes on.
    name_rounds: AtomicU64,
    name_turns: Turns,
    /// Whether the log says what came of the first reading: with SQLite each commit of an app is followed by another.
    names_were_told: AtomicBool,
    /// Rechecks begun or ended; only the newest goes on.
    rounds: AtomicU64,
    /// To read what is held again after everything may have changed.
    turns: Turns,
    unchecked: AtomicUsize,
}

impl Shared {
    fn apply(&self, change: &Change) {
        let marks = &self.loader.marks;
        match change {
            Change::Domain(name) => marks.change_key(marks.hash(KeyRef::CustomDomain(name))),
            Change::Label(label) => self.platforms().for_each(|platform| {
                marks.change_key(marks.hash(KeyRef::Label { platform, label }));
            }),
            Change::Tenant(id) => marks.change_tenant(id),
            Change::Everything => marks.change_everything(),
        }
    }

    /// Wherever a label can stand.
    fn platforms(&self) -> impl Iterator<Item = Option<PlatformId>> + use<> {
        std::iter::once(None).chain((0..self.platforms).map(|position| Some(PlatformId(position))))
    }
}

/// By the runtime's clock, which tests can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The database could not be asked: never to be mistaken for "absent".
#[derive(Clone, Debug, thiserror::Error)]
pub enum CouldNotAsk {
    /// The load did not end within [`Settings::lookup_timeout`].
    #[error("no answer from the database within the deadline")]
    Timeout,
    /// As many loads as [`Settings::loads_max`] were in the air already, or [`Settings::loads_per_second`] made lately.
    #[error("too many look-ups in the air")]
    Overloaded,
    /// The database has not answered lately, and is asked only once in a while.
    #[error("the database is away")]
    Away,
    /// The source failed.
    #[error("the database could not be asked")]
    Source(#[source] Arc<SourceError>),
}

#[cfg(test)]
mod outages;
#[cfg(test)]
mod redirects_end;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unfollowed;
