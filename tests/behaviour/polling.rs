//! Where no notice comes through, edits are asked for; nothing here is ever too old to be believed.

use std::{thread, time::Duration};

use crate::support::{App, Backend, Binary, Pooler, Tables, Usher, eventually};

const POLLED: &str =
    "[directory]\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'\nfollow = 'poll'\npoll_every = '100ms'";

/// The example rows, an app, and a router that asks for edits through a pooler.
struct Stage {
    tables: Tables,
    usher: Usher,
    app: App,
    pooler: Pooler,
}

impl Stage {
    fn new() -> Self {
        let tables = Tables::example(Backend::Postgres);
        assert_eq!(Binary::over(&tables).config(POLLED).run(&["migrate"]).code, 0);
        let (app, pooler) = (App::echo(), Pooler::before(tables.url()));
        let usher = Binary::new().apps(&[&app]).config(&format!("{POLLED}\nurl = '{}'", pooler.url())).start();
        let stage = Self { tables, usher, app, pooler };
        stage.wait_until_following();
        stage
    }

    fn wait_until_following(&self) {
        eventually("edits are followed", || (self.usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    }

    fn check(&self, host: &str, status: u16) {
        assert_eq!(self.usher.get(host, "/").status, status, "{host}");
    }

    fn wait_for(&self, host: &str, status: u16) {
        eventually(&format!("{host} is {status}"), || (self.usher.get(host, "/").status == status).then_some(()));
    }

    fn changes(&self, kind: &str) -> f64 {
        self.usher.metric("usher_directory_changes_total", &[&format!("kind=\"{kind}\"")])
    }
}

/// A statement that adds a domain.
fn adding(domain: &str) -> String {
    format!("INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, '{domain}', true, true)")
}

#[test]
fn an_edit_shows_behind_a_pooler_once() {
    let stage = Stage::new();
    stage.check("new.example", 404);
    stage.tables.execute(&adding("new.example"));
    stage.wait_for("new.example", 200);
    stage.tables.execute("DELETE FROM store_domains WHERE domain = 'new.example'");
    stage.wait_for("new.example", 404);
    stage.tables.execute("UPDATE stores SET is_active = false WHERE id = 1; UPDATE stores SET name = 'Another'");
    stage.wait_for("customdomain1.com", 404);
    eventually("the last one was counted", || (stage.changes("tenant") == 3.0).then_some(()));
    thread::sleep(Duration::from_millis(300));
    assert_eq!((stage.changes("domain"), stage.changes("label"), stage.changes("tenant")), (2.0, 1.0, 3.0));
}

#[test]
fn a_transaction_that_commits_behind_later_ones_is_not_missed() {
    let stage = Stage::new();
    for host in ["late.example", "early.example", "earlier.example"] {
        stage.check(host, 404);
    }
    let late = stage.tables.begin(&adding("late.example"));
    for host in ["early.example", "earlier.example"] {
        stage.tables.execute(&adding(host));
        stage.wait_for(host, 200);
    }
    eventually("both were counted", || (stage.changes("domain") == 2.0).then_some(()));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(stage.changes("domain"), 2.0, "rows that are read again are told once");
    stage.check("late.example", 404);
    late.commit();
    stage.wait_for("late.example", 200);
    eventually("it was counted", || (stage.changes("domain") == 3.0).then_some(()));
}

#[test]
fn a_bulk_edit_is_one_row() {
    let stage = Stage::new();
    stage.check("d7.example", 404);
    stage.tables.execute(
        "INSERT INTO store_domains (store_id, domain, is_active, is_verified)
         SELECT 2, 'd' || i || '.example', true, true FROM generate_series(1, 10000) i",
    );
    stage.wait_for("d7.example", 200);
    assert_eq!(stage.changes("everything"), 1.0);
    assert_eq!(stage.tables.query_with_value("SELECT FROM usher.changes WHERE notice = $1", "everything"), 1);
}

/// PostgreSQL prepares no transaction that has notified.
#[test]
fn a_transaction_can_be_prepared_where_nobody_is_notified() {
    let stage = Stage::new();
    stage.check("new.example", 404);
    // Its own session began before notices were switched off.
    let listening = Binary::over(&stage.tables).start();
    eventually("edits are followed", || (listening.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    let database = stage.tables.url().rsplit_once('/').unwrap().1;
    stage.tables.execute(&format!("ALTER DATABASE {database} SET usher.notify = 'off'"));
    stage.tables.execute(&format!("BEGIN; {}; PREPARE TRANSACTION '{database}'", adding("new.example")));
    stage.check("new.example", 404);
    stage.tables.execute(&format!("COMMIT PREPARED '{database}'"));
    stage.wait_for("new.example", 200);
    let told = || listening.admin_get("/ready").text().contains("feed: notices are not sent");
    eventually("whoever listens says that nothing is sent", || told().then_some(()));
}

#[test]
fn without_the_table_usher_says_that_it_is_degraded() {
    let tables = Tables::example(Backend::Postgres);
    let usher = Binary::over(&tables).config(POLLED).start();
    eventually("the log names it", || usher.log().contains("usher.changes").then_some(()));
    assert!(usher.admin_get("/ready").text().contains("degraded"));
    assert_eq!(usher.metric("usher_directory_following", &[]), 0.0);
}

#[test]
fn a_pooled_url_that_is_listened_to_is_noticed_and_the_server_itself_can_be_named() {
    let stage = Stage::new();
    let listening = format!("[directory]\nurl = '{}'", stage.pooler.url());
    let deaf = Binary::new().config(&listening).start();
    eventually("the log says what to do", || deaf.log().contains("directory.listen_url").then_some(()));
    assert_eq!(deaf.admin_get("/ready").json()["reasons"], serde_json::json!(["feed: notices do not come through"]));

    let listening = format!("{listening}\nlisten_url = '{}'\nabsent_for = '1h'", stage.tables.url());
    let usher = Binary::new().apps(&[&stage.app]).config(&listening).start();
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    assert_eq!(usher.get("new.example", "/").status, 404);
    stage.tables.execute(&adding("new.example"));
    eventually("the domain is found", || (usher.get("new.example", "/").status == 200).then_some(()));
}

#[test]
fn edits_need_not_be_followed() {
    let tables = Tables::example(Backend::Postgres);
    let app = App::echo();
    let config = "[directory]\nfollow = 'off'\nabsent_for = '100ms'";
    let usher = Binary::over(&tables).apps(&[&app]).config(config).start();
    assert_eq!(usher.get("new.example", "/").status, 404);
    assert_eq!(usher.admin_get("/ready").json()["status"], "ready");
    tables.execute(&adding("new.example"));
    eventually("the domain is found", || (usher.get("new.example", "/").status == 200).then_some(()));
    assert_eq!(usher.metric("usher_directory_following", &[]), 0.0);
}
