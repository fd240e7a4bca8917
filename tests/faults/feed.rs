//! The way on which edits are heard breaks: until it is repaired nobody is told anything wrong, and then nothing was missed.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{App, Binary, Cluster, Tables, Usher, eventually};

/// Nothing here becomes too old to be believed: only the news can explain what is seen.
const BELIEVED: &str = "[directory]\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'";

/// A server of its own, and a router over it that follows edits with a role that has no more rights than it needs.
struct Stage {
    cluster: Cluster,
    tables: Tables,
    _app: App,
    usher: Usher,
}

const ROLE: &str = "
    CREATE ROLE edge LOGIN PASSWORD 'secret';
    DO $$ BEGIN
        EXECUTE (SELECT format('GRANT USAGE ON SCHEMA %s TO edge; ALTER ROLE edge SET search_path = %1$s', relnamespace::regnamespace)
                 FROM pg_class WHERE oid = 'stores'::regclass);
    END $$;
    GRANT SELECT ON stores, store_domains TO edge;";

impl Stage {
    fn new() -> Self {
        let cluster = Cluster::start();
        let tables = Tables::example_on(&cluster).with(ROLE);
        let app = App::echo();
        let url = tables.url().replace("//usher@", "//edge:secret@");
        let config = format!("{BELIEVED}\nurl = '{url}'\nconnect_timeout = '2s'");
        let usher = Binary::new().apps(&[&app]).config(&config).start();
        let stage = Self { cluster, tables, _app: app, usher };
        stage.wait_until_following(1.0);
        stage.check("customdomain1.com", 200);
        stage.check("new.example", 404);
        stage
    }

    /// Waits until edits are followed for the `count`th time.
    fn wait_until_following(&self, count: f64) {
        eventually("edits are followed", || {
            let following = self.usher.metric("usher_directory_following", &[]) == 1.0;
            (following && self.usher.metric("usher_directory_follows_total", &[]) >= count).then_some(())
        });
    }

    /// Waits until usher knows that it hears nothing, and says so without leaving service.
    fn wait_until_lost(&self) {
        eventually("usher is degraded", || {
            let ready = self.usher.admin_get("/ready");
            assert_eq!(ready.status, 200);
            ready.text().contains("feed: not connected").then_some(())
        });
        assert_eq!(self.usher.metric("usher_directory_following", &[]), 0.0);
    }

    fn check(&self, host: &str, status: u16) {
        assert_eq!(self.usher.get(host, "/").status, status, "{host}");
    }

    fn wait_for(&self, host: &str, status: u16) {
        eventually(&format!("{host} is {status}"), || (self.usher.get(host, "/").status == status).then_some(()));
    }

    /// Edits two rows that usher remembers.
    fn edit(&self) {
        self.tables.execute(
            "UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com';
             INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, 'new.example', true, true)",
        );
    }

    fn wait_for_edit(&self) {
        self.wait_for("customdomain1.com", 404);
        self.wait_for("new.example", 200);
    }

    fn end_connections(&self) {
        self.tables.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'edge'");
    }
}

#[test]
fn a_connection_that_is_ended_is_replaced_and_nothing_is_missed() {
    let stage = Stage::new();
    for round in 2..5 {
        let name = format!("new{round}.example");
        stage.check(&name, 404);
        // In one transaction: the edit is told while nobody listens.
        stage.tables.execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'edge';
             INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, '{name}', true, true)"
        ));
        stage.wait_for(&name, 200);
        stage.wait_until_following(f64::from(round));
    }
    stage.edit();
    stage.wait_for_edit();
}

#[test]
fn a_server_that_was_away_is_followed_again_and_the_first_edit_shows() {
    let stage = Stage::new();
    stage.cluster.stop();
    stage.wait_until_lost();
    stage.check("customdomain1.com", 200);
    stage.cluster.start_again();
    stage.edit();
    stage.wait_until_following(2.0);
    let reconnected = Instant::now();
    stage.wait_for_edit();
    assert!(reconnected.elapsed() < Duration::from_secs(1), "{:?}", reconnected.elapsed());
    assert_eq!(stage.usher.admin_get("/ready").json()["status"], "ready");
}

#[test]
fn a_server_that_falls_silent_is_noticed() {
    let stage = Stage::new();
    stage.cluster.freeze();
    let begun = Instant::now();
    stage.wait_until_lost();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    stage.check("customdomain1.com", 200);
    stage.cluster.wake();
    stage.wait_until_following(2.0);
    stage.edit();
    stage.wait_for_edit();
}

#[test]
fn a_server_without_room_for_another_connection_is_tried_until_there_is() {
    let stage = Stage::new();
    stage.tables.execute("ALTER ROLE edge CONNECTION LIMIT 0");
    stage.end_connections();
    stage.wait_until_lost();
    stage.check("customdomain1.com", 200);
    stage.check("customdomain2.com", 503);
    stage.edit();
    stage.tables.execute("ALTER ROLE edge CONNECTION LIMIT -1");
    stage.wait_for_edit();
    stage.wait_until_following(2.0);
}

#[test]
fn a_password_that_was_changed_is_told_and_takes_no_known_store_away() {
    let stage = Stage::new();
    stage.cluster.demand_passwords("edge");
    stage.tables.execute("ALTER ROLE edge PASSWORD 'another'");
    stage.end_connections();
    stage.wait_until_lost();
    eventually("the log says why", || stage.usher.log().contains("password authentication failed").then_some(()));
    stage.check("customdomain1.com", 200);
    stage.check("customdomain2.com", 503);
    assert!(!stage.usher.log().contains("secret"), "the password is in the log");
    stage.edit();
    stage.tables.execute("ALTER ROLE edge PASSWORD 'secret'");
    stage.wait_for_edit();
}

/// The server's own function cannot be had to say so within a test's time: eight gigabytes of notices would have to wait.
#[test]
fn a_queue_of_notices_that_fills_up_is_told_and_nothing_is_missed() {
    let stage = Stage::new();
    let usage = |how: &str| {
        stage.tables.execute(&format!(
            "CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS double precision {how}"
        ));
    };
    usage("LANGUAGE sql AS 'SELECT 0.6::double precision'");
    eventually("usher says why it is degraded", || {
        stage.usher.admin_get("/ready").text().contains("feed: notices are not sent").then_some(())
    });
    assert_eq!(stage.usher.metric("usher_degraded", &["notices are not sent"]), 1.0);
    stage.edit();
    stage.check("customdomain1.com", 200);
    usage("LANGUAGE internal AS 'pg_notification_queue_usage'");
    stage.wait_until_following(2.0);
    stage.wait_for_edit();
}

#[test]
fn a_statement_that_the_server_gives_up_is_no_absence() {
    let stage = Stage::new();
    stage.tables.execute("ALTER ROLE edge SET statement_timeout = '200ms'");
    stage.end_connections();
    stage.wait_until_following(2.0);
    let held = stage.tables.begin("LOCK TABLE store_domains IN ACCESS EXCLUSIVE MODE");
    stage.check("customdomain2.com", 503);
    stage.check("customdomain1.com", 200);
    drop(held);
    stage.wait_for("customdomain2.com", 200);
}

#[test]
fn a_database_other_than_that_of_the_rows_is_not_mistaken_for_it() {
    let stage = Stage::new();
    let elsewhere = Tables::example_on(&stage.cluster);
    let usher = Binary::over(&stage.tables).env("USHER_LISTEN_URL", elsewhere.url()).start();
    eventually("the log says so", || usher.log().contains("notices are not heard").then_some(()));
    assert_eq!(usher.metric("usher_directory_following", &[]), 0.0);
    assert_eq!(usher.admin_get("/ready").json()["reasons"], serde_json::json!(["feed: notices do not come through"]));
}

/// Look-ups may go to a replica; what usher writes for itself has to go to the primary.
#[test]
fn beside_a_replica_usher_keeps_its_own_tables_at_the_primary() {
    let cluster = Cluster::start();
    let tables = Tables::example_on(&cluster);
    let replica = cluster.lagging_replica(100);
    let (app, folder) = (App::echo(), tempfile::tempdir().unwrap());
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("k:{}", STANDARD.encode([1; 32]))).unwrap();
    let tls = format!("[listen]\nhttps = ['127.0.0.1:0']\n[tls]\nencryption_keys_file = {keys:?}");
    let (here, there) = (replica.url_of(tables.url()), tables.url().to_owned());
    let (_, database) = there.rsplit_once('/').unwrap();
    let host = |url: &str| url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    // The replica comes first, and would be taken.
    let several = format!("url = 'postgres://usher@{},{}/{database}'", host(&here), host(&there));
    for urls in [several, format!("url = '{here}'\nlisten_url = '{there}'")] {
        tables.execute("DELETE FROM usher.ticket_keys");
        let usher = Binary::new().apps(&[&app]).config(&format!("{tls}\n[directory]\n{urls}")).start();
        let written = || tables.count("SELECT 1 FROM usher.ticket_keys");
        eventually("keys of tickets are kept", || (written() >= 2).then_some(()));
        assert!(!usher.log().contains("read-only"), "{}", usher.log());
    }
}
