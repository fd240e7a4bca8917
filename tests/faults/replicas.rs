//! Rows come from several servers, and one takes over from another: what was told stays told, whoever answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{App, Binary, Cluster, Forwarder, Tables, Usher, eventually};

/// Nothing here becomes too old to be believed: only the news can explain what is seen.
const BELIEVED: &str = "[directory]\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'";

/// So late that a test would end before.
const FOR_EVER: u32 = 600_000;

fn wait_until_following(usher: &Usher, count: f64) {
    eventually("edits are followed", || {
        let following = usher.metric("usher_directory_following", &[]) == 1.0;
        (following && usher.metric("usher_directory_follows_total", &[]) >= count).then_some(())
    });
}

/// Switches customdomain1.com off and on again, and wants each to show and to stay.
fn check_edits_show(usher: &Usher, primary: &Tables) {
    for round in 0..4 {
        let (before, after) = [(200, 404), (404, 200)][round % 2];
        assert_eq!(usher.get("customdomain1.com", "/").status, before);
        primary.execute("UPDATE store_domains SET is_active = NOT is_active WHERE domain = 'customdomain1.com'");
        eventually("the edit shows", || (usher.get("customdomain1.com", "/").status == after).then_some(()));
    }
    let name = "usher_directory_names";
    eventually("all names are known", || (usher.metric(name, &[]) >= 5.0).then_some(()));
}

#[test]
fn a_replica_that_lags_behind_the_news_brings_no_old_rows_back() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let replica = cluster.lagging_replica(500);
    let app = App::echo();
    let urls = format!("url = '{}'\nlisten_url = '{}'", replica.url_of(tables.url()), tables.url());
    let usher = Binary::new().apps(&[&app]).config(&format!("{BELIEVED}\n{urls}")).start();
    wait_until_following(&usher, 1.0);
    check_edits_show(&usher, &tables);
}

/// The primary answers for it, and its lag is not taken for an outage.
#[test]
fn a_replica_that_lags_for_longer_than_a_query_may_take_keeps_nobody_waiting() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let replica = cluster.lagging_replica(FOR_EVER);
    let app = App::echo();
    let urls = format!("url = '{}'\nlisten_url = '{}'", replica.url_of(tables.url()), tables.url());
    let usher = Binary::new().apps(&[&app]).config(&format!("{BELIEVED}\nnames_max = 0\n{urls}")).start();
    wait_until_following(&usher, 1.0);
    tables.execute("UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com'");
    eventually("the edit shows", || (usher.get("customdomain1.com", "/").status == 404).then_some(()));
    for number in 0..10 {
        let start = Instant::now();
        assert_eq!(usher.get(&format!("nobody{number}.example"), "/").status, 404);
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    }
    assert_eq!(usher.get("customdomain2.com", "/").status, 200);
    assert_eq!(usher.metric("usher_directory_database_away", &[]), 0.0);
}

#[test]
fn edits_that_are_asked_for_at_any_of_several_servers_are_not_missed() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let polled = format!("{BELIEVED}\nfollow = 'poll'\npoll_every = '100ms'");
    assert_eq!(Binary::over(&tables).config(&polled).run(&["migrate"]).code, 0);
    let replica = cluster.lagging_replica(300);
    let (first, second) = (cluster.address(), replica.address());
    let database = tables.url().rsplit_once('/').unwrap().1;
    let url = format!("postgres://usher@{first},{second}/{database}?load_balance_hosts=random");
    let app = App::echo();
    let usher = Binary::new().apps(&[&app]).config(&format!("{polled}\nnames_max = 0\nurl = '{url}'")).start();
    wait_until_following(&usher, 1.0);
    // Connections to both.
    thread::scope(|scope| {
        for number in 0..30 {
            let usher = &usher;
            scope.spawn(move || usher.get(&format!("nobody{number}.example"), "/"));
        }
    });
    for round in 0..12 {
        let (before, after) = [(200, 404), (404, 200)][round % 2];
        assert_eq!(usher.get("customdomain1.com", "/").status, before);
        tables.execute("UPDATE store_domains SET is_active = NOT is_active WHERE domain = 'customdomain1.com'");
        eventually("the edit shows", || (usher.get("customdomain1.com", "/").status == after).then_some(()));
    }
}

/// Edits are asked for at the primary, which is behind nobody.
#[test]
fn edits_that_are_asked_for_are_followed_however_late_a_replica_is() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let polled = format!("{BELIEVED}\nfollow = 'poll'\npoll_every = '100ms'\nnames_max = 0");
    assert_eq!(Binary::over(&tables).config(&polled).run(&["migrate"]).code, 0);
    let replica = cluster.lagging_replica(3000);
    let app = App::echo();
    let urls = format!("url = '{}'\nlisten_url = '{}'", replica.url_of(tables.url()), tables.url());
    let usher = Binary::new().apps(&[&app]).config(&format!("{polled}\n{urls}")).start();
    wait_until_following(&usher, 1.0);
    for round in 0..4 {
        let (before, after) = [(200, 404), (404, 200)][round % 2];
        assert_eq!(usher.get("customdomain1.com", "/").status, before);
        tables.execute("UPDATE store_domains SET is_active = NOT is_active WHERE domain = 'customdomain1.com'");
        eventually("the edit shows", || (usher.get("customdomain1.com", "/").status == after).then_some(()));
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(usher.get("customdomain1.com", "/").status, after, "an old row came back");
    }
    assert_eq!(usher.metric("usher_directory_follows_total", &[]), 1.0);
}

/// A primary, and a replica that takes over from it.
struct Failover {
    old: Cluster,
    new: Cluster,
    tables: Tables,
    app: App,
}

impl Failover {
    fn new() -> Self {
        let old = Cluster::start();
        let tables = Tables::example_on(&old);
        let new = old.lagging_replica(0);
        Self { old, new, tables, app: App::echo() }
    }

    fn usher(&self, url: &str) -> Usher {
        let config = format!("{BELIEVED}\nurl = '{url}'\nconnect_timeout = '2s'");
        let usher = Binary::new().apps(&[&self.app]).config(&config).start();
        wait_until_following(&usher, 1.0);
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
        usher
    }

    /// The tables at the new primary.
    fn tables_there(&self) -> Tables {
        self.tables.at(&self.new)
    }
}

#[test]
fn a_replica_that_is_promoted_is_followed_where_the_url_names_both() {
    let stage = Failover::new();
    let database = stage.tables.url().rsplit_once('/').unwrap().1;
    let url = format!("postgres://usher@{},{}/{database}", stage.old.address(), stage.new.address());
    let usher = stage.usher(&url);
    stage.old.shut_down();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    stage.new.promote();
    wait_until_following(&usher, 2.0);
    check_edits_show(&usher, &stage.tables_there());
    // The first of the URL again, and behind for ever.
    stage.old.return_as_replica_of(&stage.new, FOR_EVER);
    stage.tables_there().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'usher' AND pid <> pg_backend_pid()",
    );
    wait_until_following(&usher, 3.0);
    check_edits_show(&usher, &stage.tables_there());
}

#[test]
fn a_replica_that_is_promoted_is_followed_once_the_name_leads_to_it() {
    let stage = Failover::new();
    let name = Forwarder::to(stage.old.address());
    let usher = stage.usher(&name.url_of(stage.tables.url()));
    stage.old.shut_down();
    stage.new.promote();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    name.lead_to(stage.new.address());
    wait_until_following(&usher, 2.0);
    check_edits_show(&usher, &stage.tables_there());
}

/// It comes back as a replica before the name leads elsewhere: connections to it are made, and live on.
#[test]
fn a_primary_that_returns_as_a_replica_brings_no_old_rows_back() {
    let stage = Failover::new();
    let name = Forwarder::to(stage.old.address());
    let usher = stage.usher(&name.url_of(stage.tables.url()));
    stage.old.shut_down();
    stage.new.promote();
    stage.old.return_as_replica_of(&stage.new, FOR_EVER);
    eventually("the old server answers", || (usher.get("shop.alpha.com", "/").status == 200).then_some(()));
    name.lead_to(stage.new.address());
    wait_until_following(&usher, 2.0);
    check_edits_show(&usher, &stage.tables_there());
}

/// Commands edit where the services do, though look-ups read from a replica.
#[test]
fn commands_write_to_the_primary_whichever_server_is_named_first() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let replica = cluster.lagging_replica(0);
    let database = tables.url().rsplit_once('/').unwrap().1;
    let several = format!("url = 'postgres://usher@{},{}/{database}'", replica.address(), cluster.address());
    let apart = format!("url = '{}'\nlisten_url = '{}'", replica.url_of(tables.url()), tables.url());
    for (urls, domain) in [(several, "first.example"), (apart, "second.example")] {
        let binary = Binary::new().config(&format!("[directory]\n{urls}"));
        for arguments in [&["migrate"][..], &["domain", "add", domain, "--store", "store1"]] {
            let output = binary.run(arguments);
            assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
        }
        assert_eq!(tables.count(&format!("SELECT 1 FROM store_domains WHERE domain = '{domain}'")), 1);
    }
}
