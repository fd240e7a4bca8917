//! The promises of the directory, over a scripted source. No test waits for the clock: time is an argument, and tokio's own is
//! paused.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, ScopedJoinHandle},
};

use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use super::*;
use crate::routing::{Status, Tenant, TenantId, TenantKey};

pub(super) const HOST: KeyRef<'static> = KeyRef::CustomDomain("shop.example");
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn tenant(id: &str) -> Arc<Tenant> {
    Arc::new(Tenant { id: TenantId::parse(id).unwrap(), status: Status::Active, upstream: None, primary: None })
}

/// Answers by name from what it was told; can be held back, can fail, can panic, and counts what it was asked.
pub(super) struct Script {
    rows: Mutex<HashMap<String, &'static str>>,
    asked: AtomicUsize,
    behaviour: Mutex<Behaviour>,
    gate: Semaphore,
}

#[derive(Clone, Copy)]
pub(super) enum Behaviour {
    Answer,
    Fail,
    LagBehind,
    Panic,
}

impl Script {
    pub(super) fn new(rows: &[(&str, &'static str)]) -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::new(rows.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()),
            asked: AtomicUsize::new(0),
            behaviour: Mutex::new(Behaviour::Answer),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub(super) fn set(&self, name: &str, id: Option<&'static str>) {
        let mut rows = self.rows.lock().unwrap();
        match id {
            Some(id) => rows.insert(name.to_owned(), id),
            None => rows.remove(name),
        };
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Rows are still read at once; the answers wait.
    pub(super) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn answer(&self, key: &TenantKey) -> Result<Option<Arc<Tenant>>, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (KeyRef::CustomDomain(name) | KeyRef::Label { label: name, .. }) = key.as_ref();
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Answer => Ok(self.rows.lock().unwrap().get(name).map(|id| tenant(id))),
            Behaviour::Fail => {
                Err(SourceError { context: "scripted", blame: Blame::Database, cause: "on purpose".into() })
            }
            Behaviour::LagBehind => {
                Err(SourceError { context: "scripted", blame: Blame::Replica, cause: "on purpose".into() })
            }
            Behaviour::Panic => panic!("on purpose"),
        }
    }
}

impl TenantSource for Script {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = self.answer(key);
            drop(self.gate.acquire().await);
            answer
        })
    }
}

pub(super) fn directory(script: &Arc<Script>, settings: Settings) -> Directory {
    let source: Arc<dyn TenantSource> = script.clone();
    Directory::new(settings, source, Handle::current())
}

pub(super) fn shop() -> (Arc<Script>, Directory, Reader) {
    let script = Script::new(&[("shop.example", "1")]);
    let directory = directory(&script, Settings::default());
    let reader = directory.reader();
    (script, directory, reader)
}

/// Lets every task run that can.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn found_absent_and_could_not_ask_are_three_outcomes() {
    let (script, _directory, reader) = shop();
    let now = Instant::now();
    assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("1")));
    assert_eq!(reader.lookup(KeyRef::CustomDomain("other.example"), now).await.unwrap(), None);
    script.behave(Behaviour::Fail);
    let failed = reader.lookup(KeyRef::CustomDomain("third.example"), now).await;
    assert!(matches!(failed, Err(CouldNotAsk::Source(_))));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_for_one_cold_key_are_one_query() {
    let (script, directory, _) = shop();
    let reader = Arc::new(directory.reader());
    let now = Instant::now();
    script.hold();
    let mut requests = JoinSet::new();
    for _ in 0..10_000 {
        let reader = Arc::clone(&reader);
        requests.spawn(async move { reader.lookup(HOST, now).await.unwrap() });
    }
    settle().await;
    script.release();
    assert!(requests.join_all().await.into_iter().all(|answer| answer == Some(tenant("1"))));
    assert_eq!(script.asked(), 1);
    assert_eq!(directory.stats().snapshot().count(Event::WaitedFound), 10_000);
}

#[test]
fn requests_on_several_threads_ask_once_as_well() {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _guard = control.enter();
    for _ in 0..100 {
        let (script, directory, _) = shop();
        let now = Instant::now();
        let lookups = (0..8).map(|_| {
            let reader = directory.reader();
            control.spawn(async move { reader.lookup(HOST, now).await.unwrap() })
        });
        for lookup in lookups.collect::<Vec<_>>() {
            assert_eq!(control.block_on(lookup).unwrap(), Some(tenant("1")));
        }
        assert_eq!(script.asked(), 1);
    }
}

/// A look-up misses the cache, and before it boards, the load it would have joined lands.
#[tokio::test(start_paused = true)]
async fn a_load_that_has_landed_meanwhile_is_not_repeated() {
    let (script, _directory, reader) = shop();
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    assert_eq!(reader.wait_for_load(HOST, flights::Budget::Stranger, now).await.unwrap(), Some(tenant("1")));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_asked_again_while_fresh() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    for step in 0..10 {
        assert_eq!(reader.lookup(HOST, now + SECOND * step).await.unwrap(), Some(tenant("1")));
    }
    assert_eq!(script.asked(), 1);
    let counts = directory.stats().snapshot();
    assert_eq!((counts.count(Event::LoadFound), counts.count(Event::FoundHit)), (1, 2));
    assert_eq!(counts.count(Event::RecentHit), 7);
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_believed_for_its_time() {
    let (script, directory, reader) = shop();
    let new = KeyRef::CustomDomain("new.example");
    let now = Instant::now();
    assert_eq!(reader.lookup(new, now).await.unwrap(), None);
    script.set("new.example", Some("2"));
    let absent_for = Settings::default().absent_for;
    assert_eq!(reader.lookup(new, now + absent_for - SECOND).await.unwrap(), None);
    assert_eq!(reader.lookup(new, now + absent_for).await.unwrap(), Some(tenant("2")));
    assert_eq!(directory.stats().snapshot().count(Event::AbsentHit), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_tenant_is_served_while_one_refresh_runs() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    script.set("shop.example", Some("2"));
    script.hold();
    let later = now + Settings::default().fresh_for;
    for _ in 0..100 {
        assert_eq!(reader.lookup(HOST, later).await.unwrap(), Some(tenant("1")));
        settle().await;
    }
    assert_eq!(script.asked(), 2);
    script.release();
    settle().await;
    assert_eq!(reader.lookup(HOST, later).await.unwrap(), Some(tenant("2")));
    assert_eq!(directory.held().loads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_finds_the_row_gone_removes_the_tenant() {
    let (script, _directory, reader) = shop();
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    script.set("shop.example", None);
    let later = now + Settings::default().fresh_for;
    assert_eq!(reader.lookup(HOST, later).await.unwrap(), Some(tenant("1")));
    settle().await;
    assert_eq!(reader.lookup(HOST, later).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gets_the_answer_though_the_first_has_gone_away() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    script.hold();
    let first = {
        let reader = directory.reader();
        tokio::spawn(async move { reader.lookup(HOST, now).await })
    };
    settle().await;
    let second = tokio::spawn(async move { reader.lookup(HOST, now).await.unwrap() });
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    script.release();
    assert_eq!(second.await.unwrap(), Some(tenant("1")));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_deadline_and_the_load_goes_on() {
    let (script, directory, reader) = shop();
    let before = tokio::time::Instant::now();
    let now = before.into_std();
    script.hold();
    assert!(matches!(reader.lookup(HOST, now).await, Err(CouldNotAsk::Timeout)));
    assert_eq!(before.elapsed().as_millis(), Settings::default().lookup_timeout.as_millis());
    script.release();
    settle().await;
    assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("1")));
    assert_eq!((script.asked(), directory.stats().snapshot().count(Event::TimedOut)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_unknown_keys_are_shed_and_known_ones_are_served() {
    let script = Script::new(&[("shop.example", "1")]);
    let directory = directory(&script, Settings { loads_max: 1, ..Settings::default() });
    let reader = Arc::new(directory.reader());
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    script.hold();
    let waiting = Arc::clone(&reader);
    let waiting = tokio::spawn(async move { waiting.lookup(KeyRef::CustomDomain("a.example"), now).await.unwrap() });
    settle().await;
    let shed = reader.lookup(KeyRef::CustomDomain("b.example"), now).await;
    assert!(matches!(shed, Err(CouldNotAsk::Overloaded)));
    assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("1")));
    script.release();
    assert_eq!(waiting.await.unwrap(), None);
    assert_eq!(reader.lookup(KeyRef::CustomDomain("b.example"), now).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_leaves_nothing_behind() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    script.behave(Behaviour::Panic);
    assert!(matches!(reader.lookup(HOST, now).await, Err(CouldNotAsk::Source(_))));
    assert_eq!(directory.held().loads, 0);
    script.behave(Behaviour::Answer);
    assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("1")));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_asked_anew_by_every_worker() {
    let (script, directory, _) = shop();
    let readers = [directory.reader(), directory.reader()];
    let now = Instant::now();
    for _ in 0..5 {
        for reader in &readers {
            reader.lookup(HOST, now).await.unwrap();
        }
    }
    assert!(directory.stats().snapshot().count(Event::RecentHit) > 0);
    script.set("shop.example", Some("2"));
    directory.apply(&[Change::Domain("shop.example".into())]);
    for reader in &readers {
        assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("2")));
    }
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_absence_is_asked_anew() {
    let (script, directory, reader) = shop();
    let new = KeyRef::CustomDomain("new.example");
    let now = Instant::now();
    assert_eq!(reader.lookup(new, now).await.unwrap(), None);
    script.set("new.example", Some("2"));
    directory.apply(&[Change::Domain("new.example".into())]);
    assert_eq!(reader.lookup(new, now).await.unwrap(), Some(tenant("2")));
}

/// The load reads the old row, the row changes, the change is applied, and only then does the old answer arrive.
#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_change_does_not_outlive_it() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    script.hold();
    let early = {
        let reader = directory.reader();
        tokio::spawn(async move { reader.lookup(HOST, now).await.unwrap() })
    };
    settle().await;
    script.set("shop.example", Some("2"));
    directory.apply(&[Change::Domain("shop.example".into())]);
    script.release();
    assert_eq!(early.await.unwrap(), Some(tenant("1")));
    assert_eq!(reader.lookup(HOST, now).await.unwrap(), Some(tenant("2")));
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_began_before_a_change_does_not_outlive_it() {
    let (script, directory, reader) = shop();
    let now = Instant::now();
    reader.lookup(HOST, now).await.unwrap();
    let later = now + Settings::default().fresh_for;
    script.hold();
    reader.lookup(HOST, later).await.unwrap();
    settle().await;
    script.set("shop.example", None);
    directory.apply(&[Change::Domain("shop.example".into())]);
    script.release();
    settle().await;
    assert_eq!(reader.lookup(HOST, later).await.unwrap(), None);
}

/// Knows one tenant, whose id is the number of changes so far. An answer takes a moment, so that changes overtake it.
#[derive(Default)]
struct Version(AtomicU64);

impl TenantSource for Version {
    fn load<'a>(&'a self, _: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let version = self.0.load(Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(Some(tenant(&version.to_string())))
        })
    }
}

/// Every entry is stale at once, so that loads, refreshes, copies and changes all meet: between two changes some look-ups are
/// answered, for which the second level, the first one and a refresh have time.
#[test]
fn no_lookup_is_answered_from_before_a_change_that_was_applied_before_it() {
    const CHANGES: u64 = 3_000;
    const ANSWERS_PER_CHANGE: u64 = 8;
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let source = Arc::new(Version::default());
    let settings =
        Settings { fresh_for: Duration::ZERO, lookup_timeout: Duration::from_hours(1), ..Settings::default() };
    let directory = Directory::new(settings, Arc::<Version>::clone(&source), control.handle().clone());
    let (applied, answered, now) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let read = || {
        let reader = directory.reader();
        while applied.load(Ordering::SeqCst) < CHANGES {
            let at_least = applied.load(Ordering::SeqCst);
            let answer = control.block_on(reader.lookup(HOST, now)).unwrap().unwrap();
            let version: u64 = answer.id.as_str().parse().unwrap();
            assert!(version >= at_least, "{version} was served after {at_least} had been applied");
            answered.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for change in 1..=CHANGES {
            source.0.store(change, Ordering::SeqCst);
            directory.apply(&[Change::Domain("shop.example".into())]);
            applied.store(change, Ordering::SeqCst);
            let enough = answered.load(Ordering::SeqCst) + ANSWERS_PER_CHANGE;
            while answered.load(Ordering::SeqCst) < enough && !readers.iter().any(ScopedJoinHandle::is_finished) {
                thread::yield_now();
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
    let counts = directory.stats().snapshot();
    assert!([Event::RecentHit, Event::StaleServed, Event::LoadStarted].iter().all(|event| counts.count(*event) > 0));
}
