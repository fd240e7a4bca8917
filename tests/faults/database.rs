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

/// One that is asked whether the database is back waits for it, and no more than one in half a second.
#[test]
fn once_a_database_that_hangs_counts_as_away_hosts_that_need_it_are_refused_at_once() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let config = format!("{SHORT_LIVED}\nconnect_timeout = '1s'");
    let usher = Binary::over(&tables).apps(&[&app]).config(&config).start();
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);
    cluster.freeze();
    let mut waiting: Vec<_> = (0..10).map(|_| usher.connect()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(format!("GET / HTTP/1.1\r\nHost: cold{number}.example\r\n\r\n"));
    }
    for client in &mut waiting {
        assert_eq!(client.response().status, 503);
    }
    eventually("the database counts as away", || {
        // What is in the line is asked for again by whoever comes next.
        assert_eq!(usher.get("another.example", "/").status, 503);
        (usher.metric("usher_directory_database_away", &[]) == 1.0).then_some(())
    });
    // At once: one after the other each could be the one that is asked for, since that takes longer than the pause between two.
    let asked = |number: usize| {
        let start = Instant::now();
        check_unavailable(&usher, &format!("stranger{number}.example"));
        start.elapsed()
    };
    let times: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|number| scope.spawn(move || asked(number))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let quick = times.iter().filter(|took| **took < Duration::from_millis(400)).count();
    assert!(quick >= 18, "{times:?}");
    assert!(usher.metric("usher_directory_lookups_total", &["away"]) >= 18.0);
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);
    cluster.wake();
}

/// Sends a request for each host at once; the answers' statuses in this order.
fn ask_at_once(usher: &Usher, hosts: &[String]) -> Vec<u16> {
    let mut clients: Vec<_> = hosts.iter().map(|_| usher.connect()).collect();
    for (client, host) in clients.iter_mut().zip(hosts) {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    clients.iter_mut().map(|client| client.response().status).collect()
}

fn wait_until_following(usher: &Usher) {
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
}

fn overloaded(usher: &Usher) -> f64 {
    usher.metric("usher_directory_lookups_total", &["overloaded"])
}

#[test]
fn beyond_loads_max_strangers_are_shed_and_known_tenants_do_not_notice() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let limits = "[directory]\nnames_max = 0\nloads_max = 2\nloads_per_second = 1000";
    let usher = Binary::over(&tables).apps(&[&app]).config(limits).start();
    wait_until_following(&usher);
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);
    cluster.freeze();
    let strangers: Vec<_> = (0..10).map(|number| format!("cold{number}.example")).collect();
    thread::scope(|scope| {
        let flood = scope.spawn(|| ask_at_once(&usher, &strangers));
        eventually("eight are shed", || (overloaded(&usher) == 8.0).then_some(()));
        assert_eq!(usher.get("store1.platform.com", "/").status, 200);
        assert_eq!(flood.join().unwrap(), [503; 10]);
    });
    cluster.wake();
}

#[test]
fn strangers_are_asked_for_at_their_pace_and_what_was_found_before_at_once() {
    let tables = Tables::example(Backend::Postgres);
    let app = App::echo();
    let limits = "[directory]\nnames_max = 0\nloads_max = 5\nloads_per_second = 1";
    let usher = Binary::over(&tables).apps(&[&app]).config(limits).start();
    wait_until_following(&usher);
    assert_eq!(usher.get("customdomain2.com", "/").status, 200);
    let (start, queries) = (Instant::now(), usher.metric("usher_directory_queries_total", &[]));
    let statuses: Vec<_> = (0..40).map(|number| usher.get(&format!("cold{number}.example"), "/").status).collect();
    let (answered, shed): (Vec<u16>, Vec<u16>) = statuses.into_iter().partition(|status| *status == 404);
    let most = 5 + usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((1..=most).contains(&answered.len()), "{} in {:?}", answered.len(), start.elapsed());
    assert!(shed.iter().all(|status| *status == 503) && !shed.is_empty());
    assert_eq!(usher.metric("usher_directory_queries_total", &[]) - queries, answered.len() as f64);
    // No longer held, and known to exist.
    let changes = || usher.metric("usher_directory_changes_total", &["tenant"]);
    let before = changes();
    tables.execute("UPDATE store_domains SET is_primary = NOT is_primary WHERE domain = 'customdomain2.com'");
    eventually("the edit is applied", || (changes() > before).then_some(()));
    assert_eq!(usher.get("customdomain2.com", "/").status, 200);
}

#[test]
fn beyond_known_loads_max_even_hosts_that_are_in_the_tables_are_shed() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).config("[directory]\nknown_loads_max = 1").start();
    eventually("all names are read", || (usher.metric("usher_directory_names", &[]) == 5.0).then_some(()));
    cluster.freeze();
    let cold = ["customdomain1.com", "customdomain2.com", "shop.alpha.com"].map(str::to_owned);
    assert_eq!(ask_at_once(&usher, &cold), [503; 3]);
    assert_eq!(overloaded(&usher), 2.0);
    cluster.wake();
    for host in &cold {
        eventually("the host is served", || (usher.get(host, "/").status == 200).then_some(()));
    }
}

/// Nobody has asked for them in between.
#[test]
fn tenants_that_were_held_before_a_bulk_edit_are_there_in_the_outage_behind_it() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).start();
    wait_until_following(&usher);
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    let queries = || usher.metric("usher_directory_queries_total", &[]);
    let before = queries();
    tables.execute("INSERT INTO stores (subdomain, name) SELECT 'bulk' || i, 'Bulk' FROM generate_series(1, 100) i");
    eventually("what was held is asked for", || (queries() > before).then_some(()));
    eventually("all is read again", || (usher.metric("usher_directory_entries_unchecked", &[]) == 0.0).then_some(()));
    assert_eq!(usher.metric("usher_directory_changes_total", &["everything"]), 1.0);
    cluster.stop();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
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

/// usher gives files that it makes a write-ahead log, with which readers wait for nobody. A file of the app's may have none.
#[test]
fn a_file_that_another_process_has_locked_is_not_noticed_by_known_tenants() {
    let tables = Tables::example(Backend::Sqlite).with("PRAGMA journal_mode = DELETE");
    let app = App::echo();
    let usher = Binary::over(&tables).apps(&[&app]).config(SHORT_LIVED).start();
    wait_until_following(&usher);
    assert_eq!(usher.get("store1.platform.com", "/").status, 200);

    let done = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        let traffic = scope.spawn(|| known_traffic(&usher, &done));
        let end_of_traffic = SetOnDrop(&done);
        let locked = tables.begin_exclusive(
            "INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, 'new.example', true, true)",
        );
        check_unavailable(&usher, "customdomain2.com");
        // Until that is noticed all names are known, and who has none of them is unknown.
        eventually("edits are not followed", || (usher.metric("usher_directory_following", &[]) == 0.0).then_some(()));
        for number in 0..5 {
            check_unavailable(&usher, &format!("unknown{number}.example"));
        }
        check_unavailable(&usher, "new.example");
        assert_eq!(usher.admin_get("/ready").status, 200);
        locked.commit();
        eventually("what was written is served", || (usher.get("new.example", "/").status == 200).then_some(()));
        assert_eq!(usher.get("customdomain2.com", "/").status, 200);
        assert_eq!(usher.get("unknown0.example", "/").status, 404);
        wait_until_following(&usher);
        drop(end_of_traffic);
        traffic.join().unwrap()
    });
    assert!(served > 50, "only {served} requests");
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
