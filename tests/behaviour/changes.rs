//! A committed edit shows at once: nothing here is ever too old to be believed, so that only the news can explain what is seen.

use crate::support::{App, Backend, Binary, Cluster, EXAMPLE_ROWS, Fixture, Tables, Usher, eventually};

const BOTH: [Backend; 2] = [Backend::Postgres, Backend::Sqlite];

const BELIEVED: &str = "[directory]\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'";

/// The example rows, and a router that follows their edits.
fn stage(backend: Backend) -> Fixture {
    over(Tables::example(backend))
}

fn over(tables: Tables) -> Fixture {
    let stage = Fixture::over(tables, App::echo(), BELIEVED);
    wait_until_following(&stage.usher);
    stage
}

fn wait_until_following(usher: &Usher) {
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
}

/// Which store a host belongs to, as the app is told.
fn store_of(usher: &Usher, host: &str) -> Option<String> {
    let response = usher.get(host, "/");
    match response.status {
        404 => None,
        200 => {
            let account = response.json();
            let is_id = |field: &&serde_json::Value| field[0].as_str().unwrap().eq_ignore_ascii_case("x-store-id");
            let id = account["headers"].as_array().unwrap().iter().find(is_id).expect("X-Store-Id");
            Some(id[1].as_str().unwrap().to_owned())
        }
        status => panic!("{host}: {status} {}", response.text()),
    }
}

/// Checks who is behind each host now, which also makes usher remember it.
fn check(usher: &Usher, hosts: &[(&str, Option<&str>)]) {
    for (host, store) in hosts {
        assert_eq!(store_of(usher, host).as_deref(), *store, "{host}");
    }
}

/// Waits until each host belongs to its store.
fn wait_for(usher: &Usher, hosts: &[(&str, Option<&str>)]) {
    for (host, store) in hosts {
        eventually(&format!("{host} belongs to {store:?}"), || {
            (store_of(usher, host).as_deref() == *store).then_some(())
        });
    }
}

fn changes(usher: &Usher, kind: &str) -> f64 {
    usher.metric("usher_directory_changes_total", &[&format!("kind=\"{kind}\"")])
}

/// Makes an edit that is told as one domain, and waits until it has been applied: what was told before has been as well.
fn pass_a_mark(stage: &Fixture) {
    let before = changes(&stage.usher, "domain");
    stage.tables.execute("INSERT INTO store_domains (store_id, domain) VALUES (2, 'mark.example')");
    eventually("the mark has passed", || (changes(&stage.usher, "domain") > before).then_some(()));
}

#[test]
fn a_domain_that_is_added_removed_and_added_again_shows_each_time() {
    for backend in BOTH {
        let stage = stage(backend);
        check(&stage.usher, &[("new.example", None)]);
        for _ in 0..3 {
            stage.tables.execute(
                "INSERT INTO store_domains (store_id, domain, is_active, is_verified)
                 VALUES (2, 'New.Example.', true, true)",
            );
            wait_for(&stage.usher, &[("new.example", Some("2"))]);
            stage.tables.execute("DELETE FROM store_domains WHERE domain = 'New.Example.'");
            wait_for(&stage.usher, &[("new.example", None)]);
        }
    }
}

#[test]
fn both_names_of_a_rename_show() {
    for backend in BOTH {
        let stage = stage(backend);
        check(
            &stage.usher,
            &[
                ("shop.alpha.com", Some("1")),
                ("shop.omega.com", None),
                ("store1.platform.com", Some("1")),
                ("first.platform.com", None),
            ],
        );
        stage.tables.execute("UPDATE store_domains SET domain = 'shop.omega.com' WHERE domain = 'shop.alpha.com'");
        wait_for(&stage.usher, &[("shop.alpha.com", None), ("shop.omega.com", Some("1"))]);
        stage.tables.execute("UPDATE stores SET subdomain = 'First' WHERE id = 1");
        wait_for(&stage.usher, &[("store1.platform.com", None), ("first.platform.com", Some("1"))]);
    }
}

#[test]
fn a_domain_that_moves_to_another_store_shows() {
    for backend in BOTH {
        let stage = stage(backend);
        check(&stage.usher, &[("shop.alpha.com", Some("1")), ("customdomain1.com", Some("1"))]);
        stage.tables.execute("UPDATE store_domains SET store_id = 2 WHERE domain = 'shop.alpha.com'");
        wait_for(&stage.usher, &[("shop.alpha.com", Some("2")), ("customdomain1.com", Some("1"))]);
    }
}

#[test]
fn a_store_that_is_switched_off_takes_all_its_names_along() {
    for backend in BOTH {
        let stage = stage(backend);
        let names = ["store1.platform.com", "customdomain1.com", "shop.alpha.com"];
        let (on, off) = (names.map(|name| (name, Some("1"))), names.map(|name| (name, None)));
        check(&stage.usher, &on);
        check(&stage.usher, &[("customdomain2.com", Some("2"))]);
        for _ in 0..3 {
            stage.tables.execute("UPDATE stores SET is_active = false WHERE id = 1");
            wait_for(&stage.usher, &off);
            stage.tables.execute("UPDATE stores SET is_active = true WHERE id = 1");
            wait_for(&stage.usher, &on);
        }
        check(&stage.usher, &[("customdomain2.com", Some("2"))]);
    }
}

#[test]
fn a_domain_that_loses_its_proof_or_is_switched_off_shows() {
    for backend in BOTH {
        let stage = stage(backend);
        for column in ["is_verified", "is_active"] {
            check(&stage.usher, &[("shop.alpha.com", Some("1"))]);
            stage.tables.execute(&format!("UPDATE store_domains SET {column} = false WHERE domain = 'shop.alpha.com'"));
            wait_for(&stage.usher, &[("shop.alpha.com", None)]);
            stage.tables.execute(&format!("UPDATE store_domains SET {column} = true WHERE domain = 'shop.alpha.com'"));
            wait_for(&stage.usher, &[("shop.alpha.com", Some("1"))]);
        }
    }
}

#[test]
fn a_table_that_is_emptied_shows() {
    for (backend, empty) in
        [(Backend::Postgres, "TRUNCATE store_domains"), (Backend::Sqlite, "DELETE FROM store_domains")]
    {
        let stage = stage(backend);
        check(&stage.usher, &[("customdomain1.com", Some("1")), ("customdomain2.com", Some("2"))]);
        stage.tables.execute(empty);
        wait_for(&stage.usher, &[("customdomain1.com", None), ("customdomain2.com", None)]);
        check(&stage.usher, &[("store1.platform.com", Some("1"))]);
    }
}

#[test]
fn a_bulk_edit_is_told_once() {
    let stage = stage(Backend::Postgres);
    stage.tables.execute(
        "INSERT INTO store_domains (store_id, domain, is_active, is_verified)
         SELECT 2, 'd' || i || '.example', true, true FROM generate_series(1, 10000) i",
    );
    wait_for(&stage.usher, &[("d7.example", Some("2")), ("d9999.example", Some("2"))]);
    assert_eq!(changes(&stage.usher, "everything"), 1.0);
    stage.tables.execute("UPDATE store_domains SET is_verified = false WHERE domain LIKE 'd%.example'");
    wait_for(&stage.usher, &[("d7.example", None), ("d9999.example", None)]);
    assert_eq!((changes(&stage.usher, "everything"), changes(&stage.usher, "domain")), (2.0, 0.0));
}

#[test]
fn many_edits_in_one_transaction_are_told_as_one() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("s99.platform.com", None)]);
    stage.tables.execute(
        "DO $$ BEGIN FOR i IN 1..1000 LOOP INSERT INTO stores (subdomain, name) VALUES ('s' || i, 'Shop'); END LOOP; END $$",
    );
    wait_for(&stage.usher, &[("s99.platform.com", Some("101"))]);
    assert_eq!(changes(&stage.usher, "everything"), 1.0);
    assert!(changes(&stage.usher, "label") <= 50.0);
}

#[test]
fn what_is_rolled_back_and_what_routing_does_not_read_is_not_told() {
    let stage = stage(Backend::Postgres);
    for edit in [
        "BEGIN; DELETE FROM store_domains; UPDATE stores SET is_active = false; TRUNCATE stores CASCADE; ROLLBACK",
        "BEGIN; SAVEPOINT a; DELETE FROM store_domains; ROLLBACK TO a; COMMIT",
        "UPDATE stores SET name = 'Another'; UPDATE store_domains SET verification_token = 'abc', domain = domain",
        "DELETE FROM store_domains WHERE domain = 'nosuch.example'",
    ] {
        stage.tables.execute(edit);
    }
    pass_a_mark(&stage);
    let told = ["domain", "label", "tenant", "everything"].map(|kind| changes(&stage.usher, kind));
    assert_eq!(told, [1.0, 0.0, 1.0, 0.0], "only the mark");
    check(&stage.usher, &[("customdomain1.com", Some("1"))]);
}

#[test]
fn a_role_that_knows_nothing_of_usher_can_edit_and_is_heard() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("shop.alpha.com", Some("1"))]);
    let schema =
        "(SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = 'stores'::regclass)";
    stage.tables.execute(&format!(
        "DROP ROLE IF EXISTS shopkeeper; CREATE ROLE shopkeeper;
         DO $$ DECLARE home text := {schema}; BEGIN
             EXECUTE format('CREATE SCHEMA shop; ALTER TABLE %I.store_domains SET SCHEMA shop; ALTER TABLE %1$I.stores SET SCHEMA shop', home);
             EXECUTE format('ALTER DATABASE %I SET search_path = shop', current_database());
         END $$;
         GRANT USAGE ON SCHEMA shop TO shopkeeper;
         GRANT SELECT, INSERT, UPDATE, DELETE ON shop.stores, shop.store_domains TO shopkeeper;"
    ));
    let stage = over(stage.tables);
    check(&stage.usher, &[("shop.alpha.com", Some("1"))]);
    stage.tables.execute(
        "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO shopkeeper; SET ROLE shopkeeper; SET search_path = evil, pg_temp;
         CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT 1/0';
         CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''wrong''';
         SET search_path = evil, pg_catalog;
         UPDATE shop.store_domains SET is_verified = false WHERE domain = 'shop.alpha.com';
         RESET ROLE; DROP SCHEMA evil CASCADE;",
    );
    wait_for(&stage.usher, &[("shop.alpha.com", None)]);
    assert_eq!(changes(&stage.usher, "domain"), 1.0);
    stage.tables.execute("DROP OWNED BY shopkeeper; DROP ROLE shopkeeper");
}

#[test]
fn triggers_that_cannot_do_their_work_let_the_edit_pass_and_tell_everything() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("shop.alpha.com", Some("1"))]);
    stage.tables.execute(
        "CREATE OR REPLACE FUNCTION usher.tell(lines text[]) RETURNS void LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$;
         DELETE FROM store_domains WHERE domain = 'shop.alpha.com'",
    );
    wait_for(&stage.usher, &[("shop.alpha.com", None)]);
    assert_eq!(changes(&stage.usher, "everything"), 1.0);
}

#[test]
fn a_name_of_any_length_and_script_is_told() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("shop.alpha.com", Some("1"))]);
    stage.tables.execute(
        "INSERT INTO store_domains (store_id, domain) VALUES (1, repeat('x', 10000)), (1, E'two\\nlines'), (1, 'bücher.example'), (1, '')",
    );
    stage.tables.execute("DELETE FROM store_domains WHERE domain = 'shop.alpha.com'");
    wait_for(&stage.usher, &[("shop.alpha.com", None)]);
    wait_until_following(&stage.usher);
}

#[test]
fn tables_of_the_apps_own_are_told_of_by_the_columns_they_have() {
    let tables = Tables::none(Backend::Postgres)
        .with(
            "CREATE TABLE stores (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), subdomain varchar(63), is_active bool, settings json);
             CREATE TABLE store_domains (id serial PRIMARY KEY, store_id uuid REFERENCES stores ON DELETE CASCADE, domain varchar(255),
                is_active bool, is_verified bool, notes json);
             INSERT INTO stores VALUES ('6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f', 'store1', true, '{}');
             INSERT INTO store_domains (store_id, domain, is_active, is_verified)
             VALUES ('6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f', 'customdomain1.com', true, true);",
        )
        .migrated();
    let stage = over(tables);
    let id = Some("6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f");
    check(&stage.usher, &[("customdomain1.com", id), ("store1.platform.com", id)]);
    stage.tables.execute("UPDATE stores SET settings = '{\"a\": 1}'; UPDATE stores SET is_active = NULL");
    wait_for(&stage.usher, &[("customdomain1.com", None), ("store1.platform.com", None)]);
    assert_eq!(changes(&stage.usher, "tenant"), 1.0);
    stage.tables.execute("UPDATE stores SET is_active = true");
    wait_for(&stage.usher, &[("customdomain1.com", id)]);
    stage.tables.execute("DELETE FROM stores");
    wait_for(&stage.usher, &[("customdomain1.com", None), ("store1.platform.com", None)]);
}

#[test]
fn an_edit_shows_on_every_instance() {
    for backend in BOTH {
        let stage = stage(backend);
        let second = Binary::over(&stage.tables).apps(&[&stage.app]).config(BELIEVED).start();
        wait_until_following(&second);
        for usher in [&stage.usher, &second] {
            check(usher, &[("shop.alpha.com", Some("1")), ("new.example", None)]);
        }
        stage.tables.execute(
            "INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, 'new.example', true, true);
             DELETE FROM store_domains WHERE domain = 'shop.alpha.com'",
        );
        for usher in [&stage.usher, &second] {
            wait_for(usher, &[("shop.alpha.com", None), ("new.example", Some("2"))]);
        }
    }
}

#[test]
fn what_usher_itself_writes_shows_too() {
    for backend in BOTH {
        let stage = stage(backend);
        check(&stage.usher, &[("new.example", None)]);
        let output =
            Binary::over(&stage.tables).run(&["domain", "add", "new.example", "--store", "store2", "--verified"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        wait_for(&stage.usher, &[("new.example", Some("2"))]);
    }
}

#[test]
fn without_triggers_usher_serves_and_says_that_it_is_degraded_until_they_are_there() {
    let stage = stage(Backend::Postgres);
    stage.tables.execute("DROP TRIGGER usher_update ON stores");
    let ready = eventually("usher is degraded", || {
        let ready = stage.usher.admin_get("/ready");
        ready.text().contains("degraded").then_some(ready)
    });
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["reasons"], serde_json::json!(["feed: triggers are missing"]));
    check(&stage.usher, &[("store1.platform.com", Some("1"))]);
    let output = Binary::over(&stage.tables).apps(&[&stage.app]).run(&["check"]);
    assert_eq!(output.code, 0);
    assert!(output.stderr.contains("trigger") && output.stderr.contains("usher migrate"), "{}", output.stderr);

    stage.tables.execute("UPDATE stores SET is_active = false WHERE id = 1");
    let tables = stage.tables.migrated();
    wait_until_following(&stage.usher);
    wait_for(&stage.usher, &[("store1.platform.com", None)]);
    assert_eq!(stage.usher.admin_get("/ready").json()["status"], "ready");
    tables.execute("UPDATE stores SET is_active = true WHERE id = 1");
    wait_for(&stage.usher, &[("store1.platform.com", Some("1"))]);
}

#[test]
fn triggers_that_are_older_than_a_column_are_as_good_as_none() {
    let stage = stage(Backend::Postgres);
    stage.tables.execute("ALTER TABLE stores ADD COLUMN upstream text");
    eventually("usher is degraded", || {
        let reasons = stage.usher.admin_get("/ready").json()["reasons"].clone();
        (reasons == serde_json::json!(["feed: triggers are missing"])).then_some(())
    });
    let _tables = stage.tables.migrated();
    wait_until_following(&stage.usher);
}

#[test]
fn triggers_that_were_made_anew_have_everything_read_again() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("store1.platform.com", Some("1"))]);
    stage.tables.execute("DROP TRIGGER usher_update ON stores; UPDATE stores SET is_active = false");
    let tables = stage.tables.migrated();
    wait_for(&stage.usher, &[("store1.platform.com", None)]);
    drop(tables);
}

/// As a restored dump does, in one transaction: nobody sees them switched off.
#[test]
fn triggers_that_were_switched_off_for_a_moment_have_everything_read_again() {
    let stage = stage(Backend::Postgres);
    check(&stage.usher, &[("store1.platform.com", Some("1")), ("late.example", None)]);
    stage.tables.execute(
        "ALTER TABLE stores DISABLE TRIGGER ALL; ALTER TABLE store_domains DISABLE TRIGGER ALL; UPDATE stores SET is_active = false WHERE id = 1;
         INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (2, 'late.example', true, true);
         ALTER TABLE stores ENABLE TRIGGER ALL; ALTER TABLE store_domains ENABLE TRIGGER ALL",
    );
    wait_for(&stage.usher, &[("store1.platform.com", None), ("late.example", Some("2"))]);
}

#[test]
fn tables_that_are_replaced_are_told_of_after_another_migration() {
    let stage = over(Tables::empty(Backend::Postgres).with(EXAMPLE_ROWS));
    let cluster = Cluster::shared();
    check(&stage.usher, &[("store1.platform.com", Some("1"))]);
    assert_eq!(cluster.queries_with(stage.tables.url(), "store1"), 1);
    stage.tables.execute(
        "CREATE TABLE copy (LIKE stores INCLUDING ALL); INSERT INTO copy SELECT * FROM stores;
         UPDATE copy SET is_active = false; ALTER TABLE stores RENAME TO old; ALTER TABLE copy RENAME TO stores",
    );
    let tables = stage.tables.migrated();
    wait_until_following(&stage.usher);
    wait_for(&stage.usher, &[("store1.platform.com", None)]);
    tables.execute("UPDATE stores SET is_active = true");
    wait_for(&stage.usher, &[("store1.platform.com", Some("1"))]);
}
