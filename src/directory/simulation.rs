//! The promise of the directory under random interleavings: look-ups, loads that read early and answer late, edits, notices that
//! are late, doubled or lost, a database that fails, a feed that breaks and comes back, time that passes.
//!
//! After each step every look-up that has ended is held against the history of the rows: its answer must have been true at some
//! moment not older than the last change about it that was applied before it began. A run prints its seed when it fails;
//! `USHER_SIMULATION_SEEDS` asks for more of them, `USHER_SIMULATION_SEED` for a single one, which tells what happens.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::routing::{Status, Tenant, TenantId, TenantKey};

const SEEDS: u64 = 10_000;
const STEPS: usize = 60;
const NAMES: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];
const STATUSES: [Status; 4] = [Status::Active, Status::StoreInactive, Status::DomainInactive, Status::DomainUnverified];

#[test]
fn no_lookup_is_answered_from_rows_read_before_a_change_that_was_applied() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("USHER_SIMULATION_SEED") {
        eprintln!("{:?}", run(seed, true));
        return;
    }
    let answers = run_all(number("USHER_SIMULATION_SEEDS").unwrap_or(SEEDS));
    eprintln!("{answers:?}");
    assert!(answers.found > 0 && answers.absent > 0 && answers.failed > 0 && answers.overtaken > 0, "{answers:?}");
}

/// Each core takes its share of the seeds; each of them is a world of its own.
fn run_all(seeds: u64) -> Answers {
    let cores = thread::available_parallelism().unwrap().get();
    let share = |first: usize| {
        let mut answers = Answers::default();
        (first as u64..seeds).step_by(cores).for_each(|seed| answers += run_or_say(seed));
        answers
    };
    let mut answers = Answers::default();
    thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|first| scope.spawn(move || share(first))).collect();
        shares.into_iter().for_each(|share| answers += share.join().unwrap());
    });
    answers
}

fn run_or_say(seed: u64) -> Answers {
    let outcome = std::panic::catch_unwind(|| run(seed, false));
    outcome.unwrap_or_else(|_| panic!("seed {seed} breaks the promise: USHER_SIMULATION_SEED={seed}"))
}

/// What the look-ups of a run got, lest a run that asks nothing passes.
#[derive(Debug, Default)]
struct Answers {
    found: u64,
    absent: u64,
    failed: u64,
    /// Answered with what was not true any more, as it is allowed before the change is applied.
    overtaken: u64,
}

impl std::ops::AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.absent += other.absent;
        self.failed += other.failed;
        self.overtaken += other.overtaken;
    }
}

fn run(seed: u64, is_told: bool) -> Answers {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed, is_told);
        for _ in 0..STEPS {
            simulation.step().await;
        }
        simulation.come_to_rest().await;
        simulation.answers
    })
}

/// The rows, and all that they ever were: an edit is a version.
#[derive(Default)]
struct World {
    version: usize,
    /// The answer about each name, by the version since which it holds.
    history: BTreeMap<&'static str, BTreeMap<usize, Option<Arc<Tenant>>>>,
    stores: u64,
    /// Questions that wait for their answer.
    waiting: Vec<oneshot::Sender<()>>,
    away: bool,
    is_told: bool,
}

impl World {
    fn tell(&self, what: &dyn Debug) {
        if self.is_told {
            eprintln!("{what:?}");
        }
    }

    fn answer(&self, name: &str, version: usize) -> Option<Arc<Tenant>> {
        self.history.get(name)?.range(..=version).next_back()?.1.clone()
    }

    fn now(&self, name: &str) -> Option<Arc<Tenant>> {
        self.answer(name, self.version)
    }

    fn write(&mut self, name: &'static str, answer: Option<Arc<Tenant>>) {
        self.tell(&("row", self.version, name, &answer));
        self.history.entry(name).or_default().insert(self.version, answer);
    }
}

/// Reads early or late, fails or not, and answers when it is let.
struct Source {
    world: Arc<Mutex<World>>,
    rng: Mutex<Rng>,
}

impl Source {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn read(&self, key: &TenantKey) -> Option<Arc<Tenant>> {
        let (KeyRef::CustomDomain(name) | KeyRef::Label { label: name, .. }) = key.as_ref();
        self.world().now(name)
    }
}

impl TenantSource for Source {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let early = self.rng.lock().unwrap().bool().then(|| self.read(key));
            self.world().tell(&("query", key.as_ref(), &early));
            let (gate, answered) = oneshot::channel();
            self.world().waiting.push(gate);
            let _ = answered.await;
            if self.world().away {
                let cause = "scripted".into();
                return Err(SourceError { context: "away", blame: Blame::Database, cause });
            }
            let answer = early.unwrap_or_else(|| self.read(key));
            self.world().tell(&("answer", key.as_ref(), &answer));
            Ok(answer)
        })
    }

    /// As of one moment, which is over when they arrive.
    fn names<'a>(&'a self, each: &'a EachName<'a>) -> BoxFuture<'a, Result<bool, SourceError>> {
        Box::pin(async move {
            let names: Vec<_> = {
                let world = self.world();
                NAMES.into_iter().filter(|name| world.now(name).is_some()).collect()
            };
            self.world().tell(&("names", &names));
            let (gate, answered) = oneshot::channel();
            self.world().waiting.push(gate);
            let _ = answered.await;
            Ok(names.into_iter().all(|name| each(KeyRef::CustomDomain(name))))
        })
    }
}

/// A look-up under way, and the oldest truth that may answer it.
struct Asked {
    name: &'static str,
    floor: usize,
    absent_floor: usize,
    answer: JoinHandle<Result<Option<Arc<Tenant>>, CouldNotAsk>>,
}

/// One notice, with the version it tells of and the names that it concerns.
#[derive(Clone)]
struct Notice {
    change: Change,
    version: usize,
    names: Vec<&'static str>,
}

struct Simulation {
    rng: Rng,
    world: Arc<Mutex<World>>,
    directory: Directory,
    readers: Vec<Arc<Reader>>,
    asked: Vec<Asked>,
    /// In the order of the commits, as PostgreSQL delivers them.
    notices: VecDeque<Notice>,
    listening: bool,
    floors: BTreeMap<&'static str, usize>,
    /// The version when changes were listened to last: older absences are forgotten.
    followed_at: usize,
    answers: Answers,
}

impl Simulation {
    fn new(seed: u64, is_told: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let world = Arc::new(Mutex::new(World { is_told, ..World::default() }));
        let source = Arc::new(Source { world: world.clone(), rng: Mutex::new(rng.fork()) });
        let settings = Settings { queries_max: rng.usize(1..3), ..Settings::default() };
        let directory = Directory::new(settings, source, Handle::current());
        let readers = (0..2).map(|_| Arc::new(directory.reader())).collect();
        Self {
            rng,
            world,
            directory,
            readers,
            asked: Vec::new(),
            notices: VecDeque::new(),
            listening: false,
            floors: BTreeMap::new(),
            followed_at: 0,
            answers: Answers::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    async fn step(&mut self) {
        match self.rng.u8(..100) {
            0..40 => self.ask(),
            40..60 => self.answer_one(),
            60..75 => self.edit(),
            75..88 => self.deliver(),
            88..91 => self.listen(),
            91..93 => self.break_feed(),
            93..95 => self.switch_database(),
            _ => self.let_time_pass().await,
        }
        settle().await;
        self.check().await;
    }

    fn ask(&mut self) {
        let name = *self.rng.choice(&NAMES).unwrap();
        self.ask_about(name);
    }

    fn ask_about(&mut self, name: &'static str) {
        let reader = Arc::clone(self.rng.choice(&self.readers).unwrap());
        let now = now();
        self.world().tell(&("ask", name, self.floors.get(name)));
        self.asked.push(Asked {
            name,
            floor: self.floors.get(name).copied().unwrap_or_default(),
            absent_floor: self.followed_at,
            answer: tokio::spawn(async move { reader.lookup(KeyRef::CustomDomain(name), now).await }),
        });
    }

    fn answer_one(&mut self) {
        let mut world = self.world.lock().unwrap();
        if !world.waiting.is_empty() {
            let chosen = self.rng.usize(..world.waiting.len());
            let _ = world.waiting.swap_remove(chosen).send(());
        }
    }

    /// One committed edit; its notice is under way where somebody listens.
    fn edit(&mut self) {
        let kind = self.rng.u8(..10);
        let name = *self.rng.choice(&NAMES).unwrap();
        let notice = {
            let mut world = self.world.lock().unwrap();
            world.version += 1;
            let (change, names) = match (kind, world.now(name)) {
                (0..2, _) => (Change::Domain(name.into()), remove(&mut world, name)),
                (2..6, None) | (2..4, _) => (Change::Domain(name.into()), assign(&mut world, name)),
                (4..9, Some(tenant)) => (Change::Tenant(tenant.id.clone()), switch(&mut world, &tenant.id)),
                _ => (Change::Everything, NAMES.into_iter().flat_map(|name| assign(&mut world, name)).collect()),
            };
            Notice { change, version: world.version, names }
        };
        if self.listening {
            if self.rng.u8(..10) == 0 {
                self.notices.push_back(notice.clone());
            }
            self.notices.push_back(notice);
        }
    }

    fn deliver(&mut self) {
        let count = self.rng.usize(..4).min(self.notices.len());
        let notices: Vec<_> = self.notices.drain(..count).collect();
        let changes: Vec<_> = notices.iter().map(|notice| notice.change.clone()).collect();
        self.world().tell(&("apply", &changes));
        self.directory.apply(&changes);
        // Until what is held has been compared, a store's changes reach the names that are known to lead to it.
        let is_compared = self.directory.shared.unchecked.load(SeqCst) == 0;
        for notice in notices {
            if !is_compared && matches!(notice.change, Change::Tenant(_)) {
                continue;
            }
            for name in notice.names {
                let floor = self.floors.entry(name).or_default();
                *floor = (*floor).max(notice.version);
            }
        }
    }

    fn listen(&mut self) {
        if !self.listening {
            self.listening = true;
            self.world().tell(&"follow");
            // Edits between LISTEN and this call are told as well.
            self.directory.follow();
            let version = self.world().version;
            self.followed_at = version;
        }
    }

    /// What was under way is lost with the connection.
    fn break_feed(&mut self) {
        if self.listening {
            self.listening = false;
            self.world().tell(&"lose");
            self.notices.clear();
            self.directory.lose();
        }
    }

    fn switch_database(&mut self) {
        let mut world = self.world();
        world.away = !world.away;
        world.tell(&("away", world.away));
    }

    async fn let_time_pass(&mut self) {
        let most = *self.rng.choice(&[1, 100, 2_000, 90_000, 4_000_000]).unwrap();
        tokio::time::advance(Duration::from_millis(self.rng.u64(..=most))).await;
    }

    async fn check(&mut self) {
        let (done, under_way) =
            std::mem::take(&mut self.asked).into_iter().partition(|asked| asked.answer.is_finished());
        self.asked = under_way;
        for asked in done {
            self.check_one(asked).await;
        }
    }

    async fn check_one(&mut self, asked: Asked) {
        let Ok(answer) = asked.answer.await.unwrap() else {
            self.answers.failed += 1;
            return;
        };
        let floor = if answer.is_none() { asked.floor.max(asked.absent_floor) } else { asked.floor };
        let world = self.world.lock().unwrap();
        let mut truths = (floor..=world.version).map(|version| world.answer(asked.name, version));
        assert!(truths.any(|truth| truth == answer), "{}: {answer:?} was not true since {floor}", asked.name);
        match &answer {
            Some(_) => self.answers.found += 1,
            None => self.answers.absent += 1,
        }
        self.answers.overtaken += u64::from(answer != world.now(asked.name));
    }

    /// With the database and the feed back, and nothing under way, every answer is the truth.
    async fn come_to_rest(&mut self) {
        self.world().away = false;
        self.break_feed();
        self.listen();
        self.answer_all().await;
        NAMES.into_iter().for_each(|name| {
            self.floors.insert(name, self.followed_at);
            self.ask_about(name);
        });
        self.answer_all().await;
        self.check().await;
        assert!(self.asked.is_empty(), "a look-up has not ended");
        assert_eq!(self.directory.held().unchecked, 0);
        assert_eq!(self.directory.held().loads, 0);
    }

    async fn answer_all(&mut self) {
        for _ in 0..20 {
            let waiting = std::mem::take(&mut self.world().waiting);
            for gate in waiting {
                let _ = gate.send(());
            }
            settle().await;
            tokio::time::advance(Duration::from_millis(600)).await;
        }
    }
}

fn remove(world: &mut World, name: &'static str) -> Vec<&'static str> {
    world.write(name, None);
    vec![name]
}

/// To a store of its own, or to one that has names already.
fn assign(world: &mut World, name: &'static str) -> Vec<&'static str> {
    world.stores += 1;
    let shared = NAMES.into_iter().filter(|other| *other != name).find_map(|other| world.now(other));
    let tenant = match shared {
        Some(tenant) if world.stores.is_multiple_of(2) => tenant,
        _ => super::tests::tenant(&world.stores.to_string()),
    };
    world.write(name, Some(tenant));
    vec![name]
}

/// Another status for all names of a store.
fn switch(world: &mut World, id: &TenantId) -> Vec<&'static str> {
    let next = |status| STATUSES[(STATUSES.iter().position(|one| *one == status).unwrap() + 1) % STATUSES.len()];
    let of_the_store = |name: &&'static str| world.now(name).is_some_and(|tenant| tenant.id == *id);
    let names: Vec<_> = NAMES.into_iter().filter(of_the_store).collect();
    for name in &names {
        let Some(tenant) = world.now(name) else { continue };
        world.write(name, Some(Arc::new(Tenant { status: next(tenant.status), ..(*tenant).clone() })));
    }
    names
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
