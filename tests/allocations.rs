//! A look-up that hits allocates nothing, whichever level answers it; nor does the choice of an app server.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure};
use tokio::runtime::{Builder, Runtime};
use usher::{
    directory::{Answer, BoxFuture, Directory, Event, Reader, Settings, TenantSource},
    routing::{KeyRef, Status, Tenant, TenantId, TenantKey},
    upstream::{Asking, Balance, Server, ServerAddress, Settings as UpstreamSettings, Tried, Upstream},
};

/// Knows every name under `example`, and nobody else.
struct Examples;

impl TenantSource for Examples {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let (KeyRef::CustomDomain(name) | KeyRef::Label { label: name, .. }) = key.as_ref();
            let id = TenantId::parse(name).expect("a name is a good id");
            let tenant = Tenant { id, status: Status::Active, upstream: None, primary: None };
            Ok(name.ends_with(".example").then(|| Arc::new(tenant)))
        })
    }
}

struct Fixture {
    runtime: Runtime,
    directory: Directory,
    reader: Reader,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = Directory::new(Settings::default(), Arc::new(Examples), runtime.handle().clone());
        Self { runtime, reader: directory.reader(), directory, now: Instant::now() }
    }

    fn lookup(&self, host: &str) -> Option<Arc<Tenant>> {
        self.runtime.block_on(self.reader.lookup(KeyRef::CustomDomain(host), self.now)).expect("an answer")
    }

    /// What `lookups` of `hosts` in turn allocate.
    fn measure(&self, hosts: &[String], lookups: usize) -> AllocationInfo {
        measure(|| {
            for host in hosts.iter().cycle().take(lookups) {
                self.lookup(host);
            }
        })
    }

    /// What moka writes down of what was inserted, it does later, on the thread of some reader: these are the readers.
    fn let_moka_write_down(&self) {
        self.measure(&["nobody.invalid".to_owned()], 1000);
    }

    fn count(&self, event: Event) -> u64 {
        self.directory.stats().snapshot().count(event)
    }
}

#[test]
fn the_counter_counts() {
    let fixture = Fixture::new();
    assert!(fixture.measure(&["cold.example".to_owned()], 1).count_total > 0);
}

#[test]
fn a_hit_of_the_first_level_allocates_nothing() {
    let fixture = Fixture::new();
    let hosts = ["hot.example".to_owned()];
    fixture.measure(&hosts, 10);
    assert_eq!(fixture.measure(&hosts, 50).count_total, 0);
    assert!(fixture.count(Event::RecentHit) >= 50);
}

/// How often, after so many hits or so much time, moka brings its order of use up to date on the thread of some reader: one
/// allocation each time, for what other threads may still be looking at.
fn bookkeepings(hits: u64, took: Duration) -> u64 {
    const HITS: u64 = 64;
    const INTERVAL_SECONDS: f64 = 0.3;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let intervals = (took.as_secs_f64() / INTERVAL_SECONDS) as u64;
    hits / HITS + intervals + 1
}

#[test]
fn a_hit_of_the_shared_cache_allocates_nothing_of_its_own() {
    let fixture = Fixture::new();
    let hosts: Vec<String> = (0..50).map(|number| format!("{number}.example")).collect();
    fixture.measure(&hosts, 50);
    fixture.let_moka_write_down();
    let began = Instant::now();
    let allocated = fixture.measure(&hosts, 50).count_total;
    assert!(allocated <= bookkeepings(50, began.elapsed()), "{allocated} times");
    assert_eq!(fixture.count(Event::FoundHit), 50);
}

#[test]
fn a_remembered_absence_allocates_nothing() {
    let fixture = Fixture::new();
    let hosts = ["nobody.invalid".to_owned()];
    fixture.measure(&hosts, 1);
    assert_eq!(fixture.measure(&hosts, 50).count_total, 0);
    assert_eq!(fixture.count(Event::AbsentHit), 50);
}

#[test]
fn a_choice_among_app_servers_allocates_nothing() {
    let server = |port| Server { address: ServerAddress::Tcp { host: "10.0.0.1".into(), port }, weight: 1 };
    let tenant = TenantId::parse("1").expect("an id");
    let asking = Asking { tenant: Some(&tenant), is_repeatable: false };
    for balance in [Balance::LeastLoaded, Balance::RoundRobin, Balance::StoreAffinity] {
        let servers = (1..=5).map(server).collect();
        let settings = UpstreamSettings { servers, balance, ..UpstreamSettings::default() };
        let upstream = Upstream::new(settings).expect("an upstream without TLS").members();
        let (mut rng, now) = (fastrand::Rng::with_seed(1), Instant::now());
        let allocated = measure(|| {
            (0..50).for_each(|_| assert!(upstream.choose(&asking, &Tried::default(), now, &mut rng).is_some()));
        });
        assert_eq!(allocated.count_total, 0, "{balance:?}");
    }
}
