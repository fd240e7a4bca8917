//! The database slows down, falls silent, goes away and comes back: known tenants do not notice, and nobody is "unknown".

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{App, Backend, Binary, Cluster, Response, Tables, Usher, eventually};

/// How long an unknown key may take with a database that does not answer: the second that is promised, and some room for a busy machine.
const PROMISED: Duration = Duration::from_millis(1500);

const SHORT_LIVED: &str = "[directory]\nfresh_for = '50ms'\nabsent_for = '50ms'\nusable_for = '1h'";

/// Asks for a host that usher does not hold, and checks that it is told honestly and in time.
fn check_unavailable(usher: &Usher, host: &str) {
    let start = Instant::now();
    let response: Response = usher.get(host, "/");
    let took = start.elapsed();
    assert_eq!(response.status, 503, "{host}: {}", response.text());
    let retry_after = response.header("retry-after").expect("Retry-After");
    assert!(retry_after.parse::<u32>().is_ok(), "{retry_after}");
    assert!(took < PROMISED, "{host} waited for {took:?}");
}

#[test]
fn a_database_that_stops_and_starts_in_mid_traffic_is_not_noticed_by_known_tenants() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).config(SHORT_LIVED).start();
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);

    let done = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        let traffic = scope.spawn(|| known_traffic(&usher, &done));
        let end_of_traffic = SetOnDrop(&done);
        cluster.stop();
        for number in 0..5 {
            check_unavailable(&usher, &format!("unknown{number}.example"));
        }
        check_unavailable(&usher, "customdomain2.com");
        assert_eq!(usher.admin_get("/ready").status, 200, "an outage of the database takes no instance out of service");
        cluster.start_again();
        eventually("unknown hosts are unknown again", || {
            (usher.get("unknown0.example", "/").status == 404).then_some(())
        });
        assert_eq!(usher.get("customdomain2.com", "/").status, 200);
        drop(end_of_traffic);
        traffic.join().unwrap()
    });
    assert!(served > 50, "only {served} requests");
}

/// Ends the traffic even where the test fails before its end, since the scope waits for it.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One request after another for a tenant that is held; each must be served, and at once.
fn known_traffic(usher: &Usher, done: &AtomicBool) -> usize {
    let mut served = 0;
    while !done.load(Ordering::SeqCst) {
        let start = Instant::now();
        let response = usher.get("store1.platform.com", "/");
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(start.elapsed() < PROMISED, "a known tenant waited for {:?}", start.elapsed());
        served += 1;
    }
    served
}

#[test]
fn a_database_that_hangs_keeps_nobody_waiting() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).config(SHORT_LIVED).start();
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);

    cluster.freeze();
    let mut waiting: Vec<_> = (0..50).map(|_| usher.connect()).collect();
    let start = Instant::now();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(format!("GET / HTTP/1.1\r\nHost: cold{number}.example\r\n\r\n"));
    }
    for _ in 0..20 {
        assert_eq!(usher.get("store1.platform.com", "/").status, 200);
    }
    for client in &mut waiting {
        assert_eq!(client.response().status, 503);
    }
    assert!(start.elapsed() < PROMISED, "{:?}", start.elapsed());

    cluster.wake();
    eventually("the database is asked again", || (usher.get("customdomain2.com", "/").status == 200).then_some(()));
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_no_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://usher@{}/shop", silent.local_addr().unwrap());
    let usher = Binary::new().config(&format!("[directory]\nurl = '{url}'")).start_unready();
    for number in 0..3 {
        check_unavailable(&usher, &format!("host{number}.example"));
    }
    assert_eq!(usher.admin_get("/ready").status, 503);
    assert_eq!(usher.get("platform.com", "/").status, 502, "the homepage needs no database");
}

#[test]
fn how_long_a_request_waits_for_the_database_can_be_set() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://usher@{}/shop", silent.local_addr().unwrap());
    let usher = Binary::new()
        .config(&format!("[directory]\nurl = '{url}'\nlookup_timeout = '100ms'\nquery_timeout = '90ms'"))
        .start_unready();
    let start = Instant::now();
    assert_eq!(usher.get("host.example", "/").status, 503);
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
}

#[test]
fn a_table_that_vanishes_makes_nobody_unknown() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let tables = Tables::example(backend);
        let app = App::echo();
        let usher = Binary::over(&tables).apps(&[&app]).config(SHORT_LIVED).start();
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        tables.execute("ALTER TABLE store_domains RENAME TO hidden");
        for _ in 0..5 {
            check_unavailable(&usher, "customdomain2.com");
            assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        }
        tables.execute("ALTER TABLE hidden RENAME TO store_domains");
        eventually("the table is read again", || (usher.get("customdomain2.com", "/").status == 200).then_some(()));
    }
}

#[test]
fn connections_that_the_server_ends_are_replaced() {
    let tables = Tables::example_on(Cluster::shared());
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    for host in ["customdomain2.com", "shop.alpha.com"] {
        tables.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        eventually("the host is found", || (usher.get(host, "/").status == 200).then_some(()));
    }
}
