//! Months of certificates in a few seconds: the real planner over a real database, with a clock that is set and CAs that are played.

mod demand;
mod fence;
mod limits;
mod www;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::sync::mpsc;

use super::{
    arrival::{Arrivals, Astray},
    authority::Authority,
    budget::Budgets,
    clock::Clock,
    demand::Demand,
    failure::OrderError,
    lease::{Lease, Leases},
    names::{Names, NamesError, Page},
    order::{Issue, Issued, Wanted},
    queue::Queue,
    service::Acme,
    settings::{AuthoritySettings, Challenge, Limits, Quota, Settings},
    shared::Shared,
};
use crate::{
    database::{
        migrations,
        session::{Session, Value},
        sqlite::Database,
    },
    tls::{BoxFuture, Keyring},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const BEGIN: i64 = 1_800_000_000;
const LIFETIME: i64 = 90 * DAY;

/// An order as a CA saw it.
#[derive(Clone, Debug)]
struct Seen {
    at: i64,
    directory: String,
    name: String,
    names: Vec<String>,
    is_accepted: bool,
}

/// What a CA does with an order at a moment.
type Rule = dyn Fn(&Seen, &[Seen]) -> Result<(), OrderError> + Send + Sync;

/// Plays all CAs.
struct Played {
    now: Arc<AtomicI64>,
    rule: Box<Rule>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Issue for Played {
    fn issue<'a>(
        &'a self,
        _shared: &'a Shared,
        lease: &'a Lease,
        authority: &'a Authority,
        wanted: Wanted<'a>,
    ) -> BoxFuture<'a, Result<Issued, OrderError>> {
        let (at, directory) = (self.now.load(Relaxed), authority.directory().to_owned());
        let names = wanted.names.to_vec();
        let mut order = Seen { at, directory, name: lease.name.clone(), names, is_accepted: false };
        let mut seen = self.seen.lock().unwrap();
        let outcome = (self.rule)(&order, &seen);
        order.is_accepted = outcome.is_ok();
        seen.push(order);
        Box::pin(async move { outcome.map(|()| issued(wanted.names, at)) })
    }
}

fn issued(names: &[String], at: i64) -> Issued {
    let time = |at: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(at.unsigned_abs());
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (time(at), time(at + LIFETIME));
    let key = KeyPair::generate().unwrap();
    Issued { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

struct Everybody {
    names: Vec<String>,
    now: Arc<AtomicI64>,
    /// While nobody is served.
    closed: Range<i64>,
}

impl Everybody {
    fn is_open(&self) -> bool {
        !self.closed.contains(&self.now.load(Relaxed))
    }
}

impl Names for Everybody {
    fn lacking<'a>(&'a self, _after: &'a str) -> BoxFuture<'a, Result<Page, NamesError>> {
        let names = if self.is_open() { self.names.clone() } else { Vec::new() };
        Box::pin(async { Ok(Page { names, next: None }) })
    }

    fn is_served<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<bool, NamesError>> {
        Box::pin(async { Ok(self.is_open()) })
    }

    fn beside<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NamesError>> {
        Box::pin(async move { Ok(Some(format!("www.{name}"))) })
    }
}

/// Where names lead, by what `www` is met with at a moment; all others lead here.
struct Led<F> {
    now: Arc<AtomicI64>,
    www: F,
}

impl<F: Fn(i64) -> Result<(), Astray> + Send + Sync> Arrivals for Led<F> {
    fn lead_here<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Astray>> {
        Box::pin(async { if name.starts_with("www.") { (self.www)(self.now.load(Relaxed)) } else { Ok(()) } })
    }
}

struct Simulation {
    acme: Acme,
    shared: Arc<Shared>,
    session: Session,
    now: Arc<AtomicI64>,
    seen: Arc<Mutex<Vec<Seen>>>,
    _demand: mpsc::Sender<Demand>,
    _folder: tempfile::TempDir,
}

const GENEROUS: Quota = Quota { max: 100_000, window: Duration::from_hours(1) };

impl Simulation {
    async fn new(
        names: usize,
        directories: &[&str],
        orders: Quota,
        rule: impl Fn(&Seen, &[Seen]) -> Result<(), OrderError> + Send + Sync + 'static,
    ) -> Self {
        Self::with(names, settings(directories, orders), rule, |_names, _arrivals| {}).await
    }

    /// With one name, whose `www` is visited before it is ordered for.
    async fn visiting(www: impl Fn(i64) -> Result<(), Astray> + Send + Sync + 'static) -> Self {
        Self::with(
            1,
            settings(&["ca"], GENEROUS),
            |_, _| Ok(()),
            |names, arrivals| {
                *arrivals = Some(Arc::new(Led { now: Arc::clone(&names.now), www }));
            },
        )
        .await
    }

    /// With one name that is nobody's for a while.
    async fn closed_during(closed: Range<i64>) -> Self {
        Self::with(1, settings(&["ca"], GENEROUS), |_, _| Ok(()), |names, _arrivals| names.closed = closed).await
    }

    async fn with(
        names: usize,
        settings: Settings,
        rule: impl Fn(&Seen, &[Seen]) -> Result<(), OrderError> + Send + Sync + 'static,
        change: impl FnOnce(&mut Everybody, &mut Option<Arc<dyn Arrivals>>),
    ) -> Self {
        let folder = folder();
        let database = Database::create(&folder.path().join("usher.db")).unwrap();
        migrations::run(&Session::sqlite(&database), &migrations::Plan::default()).await.unwrap();
        let (now, seen) = (Arc::new(AtomicI64::new(BEGIN)), Arc::<Mutex<Vec<Seen>>>::default());
        let names = (0..names).map(|number| format!("shop{number:03}.example")).collect();
        let (mut names, mut arrivals) = (Everybody { names, now: Arc::clone(&now), closed: 0..0 }, None);
        change(&mut names, &mut arrivals);
        let keys = Arc::new(Keyring::parse(&format!("k:{}", STANDARD.encode([1; 32]))).unwrap());
        let mut shared = Shared::new(settings, Session::sqlite(&database), keys, Arc::new(names), arrivals);
        let clock = Clock { set: Some(Arc::clone(&now)) };
        shared.leases = Leases::new(clock.clone());
        shared.queue = Queue::new(clock.clone());
        shared.budgets = Budgets::new(clock.clone());
        shared.clock = clock;
        shared.issue = Box::new(Played { now: Arc::clone(&now), rule: Box::new(rule), seen: Arc::clone(&seen) });
        let (sender, demand) = mpsc::channel(1);
        let shared = Arc::new(shared);
        let acme = Acme::over(Arc::clone(&shared), demand, Arc::default());
        Self { acme, shared, session: Session::sqlite(&database), now, seen, _demand: sender, _folder: folder }
    }

    /// Lets time pass until `end`, and looks whenever something is due; `check` sees every moment.
    async fn run_until(&mut self, end: i64, mut check: impl FnMut(i64, &HashMap<String, i64>)) {
        while self.now.load(Relaxed) < end {
            self.work().await;
            let now = self.now.load(Relaxed);
            check(now, &self.expiries().await);
            self.now.store(self.next(now).await.min(end), Relaxed);
        }
    }

    /// Looks until nothing is done any more.
    async fn work(&mut self) {
        let mut before = usize::MAX;
        while before != self.seen.lock().unwrap().len() {
            before = self.seen.lock().unwrap().len();
            self.acme.visit().await;
            self.acme.look().await;
            while !self.acme.is_idle() {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn expiries(&self) -> HashMap<String, i64> {
        let rows = self.session.query("SELECT name, expires_at FROM usher_certificates", &[]).await.unwrap();
        rows.iter().map(|row| (row[0].as_text().unwrap().to_owned(), int(&row[1]))).collect()
    }

    /// The next moment at which anything is due; a minute later at least, as if nobody looked more often.
    async fn next(&self, now: i64) -> i64 {
        // What is to be renewed by now is wanted, and due when it is tried again.
        let sql = format!(
            "SELECT min(due) FROM (SELECT due_at AS due FROM usher_acme_orders WHERE wanted_since IS NOT NULL \
             UNION ALL SELECT renew_at FROM usher_certificates WHERE renew_at > {now} \
             UNION ALL SELECT visit_at FROM usher_acme_besides)"
        );
        let rows = self.session.query(&sql, &[]).await.unwrap();
        int(&rows[0][0]).max(now + 60)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// In memory, where that is possible: thousands of small writes.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        _ => 0,
    }
}

fn settings(directories: &[&str], orders: Quota) -> Settings {
    let authority = |directory: &&str| AuthoritySettings {
        directory: (*directory).to_owned(),
        contacts: Vec::new(),
        root: None,
        profile: None,
        binding: None,
    };
    Settings {
        authorities: directories.iter().map(authority).collect(),
        challenges: vec![Challenge::Http01],
        limits: Limits { orders, domain_orders: GENEROUS, failures: Quota { max: 4, window: Duration::from_hours(1) } },
        hook: None,
    }
}

#[tokio::test]
async fn certificates_are_renewed_again_and_again_long_before_they_end() {
    let mut all = Simulation::new(10, &["ca"], GENEROUS, |_, _| Ok(())).await;
    all.run_until(BEGIN + 400 * DAY, |now, expiries| {
        assert_eq!(expiries.len(), 10);
        assert!(expiries.values().all(|expiry| expiry - now > LIFETIME / 4), "{expiries:?} at {now}");
    })
    .await;
    let seen = all.seen();
    // Six or seven renewals of each in 400 days, not all at the same moment.
    assert!((70..=90).contains(&seen.len()), "{}", seen.len());
    let moments: std::collections::HashSet<_> = seen.iter().skip(10).map(|order| order.at).collect();
    assert!(moments.len() > 40, "{moments:?}");
}

#[tokio::test]
async fn a_ca_that_is_down_for_days_is_asked_rarely_and_nobodys_certificate_ends() {
    let outage = BEGIN + 50 * DAY..BEGIN + 70 * DAY;
    let mut all = Simulation::new(3, &["ca"], GENEROUS, down_during(outage.clone())).await;
    all.run_until(outage.end + 3 * HOUR, |now, expiries| assert!(expiries.values().all(|expiry| *expiry > now))).await;
    let expiries = all.expiries().await;
    assert!(expiries.values().all(|expiry| *expiry > outage.end + 80 * DAY), "not renewed after it: {expiries:?}");
    let asked = all.seen().iter().filter(|order| outage.contains(&order.at)).count();
    // Each of three names once an hour at most, for the part of the outage in which it is due.
    assert!((100..3 * 15 * 24 + 50).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_ca_that_is_down_for_longer_than_certificates_last_brings_them_when_it_is_back() {
    let outage = BEGIN + 10 * DAY..BEGIN + 100 * DAY;
    let mut all = Simulation::new(1, &["ca"], GENEROUS, down_during(outage.clone())).await;
    all.run_until(outage.end + 3 * HOUR, |_, _| {}).await;
    let now = all.now.load(Relaxed);
    assert!(all.expiries().await.values().all(|expiry| expiry - now > 80 * DAY));
}

fn down_during(outage: Range<i64>) -> impl Fn(&Seen, &[Seen]) -> Result<(), OrderError> {
    move |order, _| if outage.contains(&order.at) { Err(OrderError::Late) } else { Ok(()) }
}

#[tokio::test]
async fn the_next_ca_stands_in_for_one_that_fails_and_the_preferred_one_is_asked_again() {
    let outage = (BEGIN + 40 * DAY)..(BEGIN + 75 * DAY);
    let mut all = Simulation::new(5, &["first", "second"], GENEROUS, move |order, _| {
        if order.directory == "first" && outage.contains(&order.at) { Err(OrderError::Late) } else { Ok(()) }
    })
    .await;
    all.run_until(BEGIN + 200 * DAY, |now, expiries| assert!(expiries.values().all(|expiry| expiry - now > 25 * DAY)))
        .await;
    let seen = all.seen();
    let at = |directory: &str, from: i64, to: i64| {
        seen.iter().filter(|order| order.directory == directory && (from..to).contains(&order.at)).count()
    };
    assert_eq!((at("first", BEGIN, BEGIN + DAY), at("second", BEGIN, BEGIN + 40 * DAY)), (5, 0));
    assert_eq!(at("second", BEGIN + 40 * DAY, BEGIN + 75 * DAY), 5);
    assert!(at("first", BEGIN + 100 * DAY, BEGIN + 200 * DAY) >= 5);
}

#[tokio::test]
async fn a_name_that_is_refused_is_tried_ever_more_rarely_and_costs_the_others_nothing() {
    let mut all = Simulation::new(5, &["ca"], GENEROUS, |order, _| {
        if order.name == "shop003.example" { Err(OrderError::Invalid) } else { Ok(()) }
    })
    .await;
    all.run_until(BEGIN + 30 * DAY, |_, _| {}).await;
    let seen = all.seen();
    let tried: Vec<_> = seen.iter().filter(|order| order.name == "shop003.example").map(|order| order.at).collect();
    assert!((25..=40).contains(&tried.len()), "{tried:?}");
    assert!(tried.windows(2).all(|pair| pair[1] - pair[0] >= 290));
    let in_an_hour = |from: i64| tried.iter().filter(|at| (from..from + HOUR).contains(*at)).count();
    assert!(tried.iter().all(|at| in_an_hour(*at) <= 4));
    assert_eq!((seen.len() - tried.len(), all.expiries().await.len()), (4, 4));
}

#[tokio::test]
async fn who_comes_back_is_worked_for_soon_and_who_stays_away_is_looked_at_rarely() {
    // Away when the certificate is to be renewed, and back after it has ended.
    let away = BEGIN + 50 * DAY..BEGIN + 95 * DAY;
    let mut all = Simulation::closed_during(away.clone()).await;
    all.run_until(BEGIN + HOUR, |_, _| {}).await;
    for hour in away.clone().step_by(3600) {
        all.now.store(hour, Relaxed);
        all.work().await;
    }
    let rows = all.session.query("SELECT fence FROM usher_acme_orders", &[]).await.unwrap();
    assert!((30..=45).contains(&int(&rows[0][0])), "once a day: {rows:?}");
    all.run_until(away.end + HOUR / 2, |_, _| {}).await;
    assert!(all.expiries().await.values().all(|expiry| *expiry > away.end + 80 * DAY));
}

#[tokio::test]
async fn a_certificate_that_nobody_needs_any_more_alarms_nobody() {
    let mut all = Simulation::closed_during(BEGIN + 50 * DAY..BEGIN + 400 * DAY).await;
    all.run_until(BEGIN + DAY, |_, _| {}).await;
    assert_eq!(all.acme.earliest_expiry().await, Some(BEGIN + LIFETIME));
    all.now.store(BEGIN + 80 * DAY, Relaxed);
    all.work().await;
    assert_eq!((all.acme.earliest_expiry().await, all.expiries().await.len()), (None, 1));
}

#[tokio::test]
async fn a_certificate_that_nobody_comes_back_to_is_removed() {
    for (left, kept) in [(BEGIN + 50 * DAY..BEGIN + 400 * DAY, 0), (0..0, 1)] {
        let mut all = Simulation::closed_during(left).await;
        all.run_until(BEGIN + DAY, |_, _| {}).await;
        for (day, kept) in [(179, 1), (181, kept)] {
            all.now.store(BEGIN + day * DAY, Relaxed);
            all.acme.sweep().await;
            assert_eq!(all.expiries().await.len(), kept, "after {day} days");
        }
    }
}
