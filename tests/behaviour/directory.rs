//! Who is behind a host: found under any spelling and any key type, asked for once, and never guessed.

use std::{collections::BTreeMap, thread};

use crate::support::{App, Backend, Binary, Client, Cluster, Fixture, Tables, Usher, connections_possible, eventually};

const BOTH: [Backend; 2] = [Backend::Postgres, Backend::Sqlite];

/// Starts the router over `tables` and checks that each host reaches its store.
fn check_ids(tables: &Tables, expected: &[(&str, &str)]) {
    let app = App::echo();
    let usher = Binary::over(tables).apps(&[&app]).start();
    for (host, id) in expected {
        let response = usher.get(host, "/");
        assert_eq!(response.status, 200, "{host}: {}", response.text());
        assert_eq!(app.last().folded("x-store-id"), [*id], "{host}");
    }
}

#[test]
fn rows_are_found_however_they_are_spelled() {
    for backend in BOTH {
        let tables = Tables::empty(backend).with(
            "INSERT INTO stores (id, subdomain, name, is_active) VALUES (1, 'Store1', 'Shop Alpha', true);
             INSERT INTO store_domains (id, store_id, domain, is_primary, is_active, is_verified) VALUES
                (1, 1, 'Shop.Alpha.com.', true, true, true), (2, 1, 'UPPER.COM', false, true, true);",
        );
        let found = ["shop.alpha.com", "SHOP.alpha.com", "shop.alpha.com.", "upper.com", "store1.platform.com"];
        check_ids(&tables, &found.map(|host| (host, "1")));
    }
}

fn tables_with_key(backend: Backend, key: &str, first: &str, second: &str) -> Tables {
    Tables::none(backend)
        .with(&format!(
            "CREATE TABLE stores (id {key} PRIMARY KEY, subdomain text UNIQUE, name text, is_active boolean);
             CREATE TABLE store_domains (id {key} PRIMARY KEY, store_id {key} REFERENCES stores (id), domain text UNIQUE,
                is_primary boolean, is_active boolean, is_verified boolean, verification_token text);
             INSERT INTO stores VALUES ('{first}', 'store1', 'Shop Alpha', true), ('{second}', 'store2', 'Shop Beta', true);
             INSERT INTO store_domains VALUES ('{first}', '{first}', 'customdomain1.com', true, true, true, NULL),
                ('{second}', '{second}', 'customdomain2.com', true, true, true, NULL);"
        ))
        .migrated()
}

#[test]
fn stores_may_have_text_keys() {
    for backend in BOTH {
        let tables = tables_with_key(backend, "text", "alpha-7", "shop:beta");
        check_ids(&tables, &[("customdomain1.com", "alpha-7"), ("store2.platform.com", "shop:beta")]);
    }
}

#[test]
fn stores_may_have_uuid_keys() {
    let (first, second) = ("6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f", "a5b1e9f0-7c3d-4e2f-8a6b-1c2d3e4f5a6b");
    for (backend, key) in [(Backend::Postgres, "uuid"), (Backend::Sqlite, "text")] {
        let tables = tables_with_key(backend, key, first, second);
        check_ids(&tables, &[("customdomain1.com", first), ("store2.platform.com", second)]);
    }
}

#[test]
fn a_flag_that_is_null_is_not_set() {
    for backend in BOTH {
        let tables = tables_with_key(backend, "text", "1", "2").with(
            "INSERT INTO stores VALUES ('3', 'store3', 'Shop Gamma', NULL);
             INSERT INTO store_domains VALUES ('3', '1', 'null-active.com', true, NULL, true, NULL),
                ('4', '1', 'null-verified.com', true, true, NULL, NULL), ('5', '3', 'null-store.com', true, true, true, NULL),
                ('6', '1', 'null-primary.com', NULL, true, true, NULL);",
        );
        let app = App::echo();
        let usher = Binary::over(&tables).apps(&[&app]).start();
        for host in ["null-active.com", "null-verified.com", "null-store.com", "store3.platform.com"] {
            assert_eq!(usher.get(host, "/").status, 404, "{host} on {backend:?}");
        }
        assert_eq!(usher.get("null-primary.com", "/").status, 200);
    }
}

#[test]
fn ten_thousand_hosts_each_reach_their_own_store() {
    for backend in BOTH {
        let app = App::echo();
        let tables = Tables::empty(backend);
        tables.execute(&format!("BEGIN; {}; {}; COMMIT", many("stores"), many("store_domains")));
        let usher = Binary::over(&tables).apps(&[&app]).start();
        thread::scope(|scope| {
            for quarter in 0..4 {
                let usher = &usher;
                scope.spawn(move || ask_for_many(usher, quarter));
            }
        });
        assert_eq!(app.requests().len(), 10_000);
    }
}

/// Rows 0 to 9,999, on either database.
fn many(table: &str) -> String {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)";
    match table {
        "stores" => format!(
            "INSERT INTO stores (id, subdomain, name, is_active) {rows} SELECT i, 's' || i, 'Shop ' || i, true FROM n"
        ),
        _ => format!(
            "INSERT INTO store_domains (id, store_id, domain, is_primary, is_active, is_verified)
             {rows} SELECT i, i, 'd' || i || '.example.com', true, true, true FROM n"
        ),
    }
}

fn ask_for_many(usher: &Usher, quarter: usize) {
    let mut client = usher.connect();
    for number in (quarter..10_000).step_by(4) {
        let host = if number % 3 == 0 { format!("s{number}.platform.com") } else { format!("d{number}.example.com") };
        let response = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
        let account = response.json();
        let headers = account["headers"].as_array().unwrap();
        let id = headers.iter().find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("x-store-id"));
        assert_eq!(id.unwrap()[1], number.to_string(), "{host}");
    }
}

/// Opens `count` connections, then asks for one host on all of them at once; how often each status came.
fn ask_at_once(usher: &Usher, count: usize, host: &str) -> BTreeMap<u16, usize> {
    let mut clients: Vec<Client> = (0..count).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    }
    let mut statuses = BTreeMap::new();
    for client in &mut clients {
        *statuses.entry(client.response().status).or_default() += 1;
    }
    statuses
}

/// From then on nothing is asked for but what requests need.
fn wait_until_following(usher: &Usher) {
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    eventually("all is compared", || (usher.metric("usher_directory_entries_unchecked", &[]) == 0.0).then_some(()));
}

#[test]
fn however_many_ask_for_a_cold_host_the_database_is_asked_once() {
    let count = connections_possible(10_000);
    assert!(count >= 500, "raise the limit of open files (ulimit -Hn): {count} connections are too few");
    let cluster = Cluster::shared();
    let tables = Tables::example(Backend::Postgres);
    let app = App::echo();
    // A busy machine takes longer for all of them than an absence is remembered for by default.
    let crowd = "[listen]\nconnections_per_client_max = 10000\nrequests_per_client_max = 10000\n\
                 [directory]\nnames_max = 0\nabsent_for = '5m'";
    let usher = Binary::over(&tables).apps(&[&app]).config(crowd).start();
    wait_until_following(&usher);

    assert_eq!(ask_at_once(&usher, count, "nobody.example"), BTreeMap::from([(404, count)]));
    assert_eq!(cluster.queries_with(tables.url(), "nobody.example"), 1, "for an absent host");

    let count = count.min(1_000);
    assert_eq!(ask_at_once(&usher, count, "customdomain1.com"), BTreeMap::from([(200, count)]));
    assert_eq!(cluster.queries_with(tables.url(), "customdomain1.com"), 1, "for a known host");
    assert_eq!(app.requests().len(), count);
}

#[test]
fn a_host_that_is_in_no_table_costs_no_query_and_a_new_one_is_found() {
    for backend in BOTH {
        let tables = Tables::example(backend);
        let app = App::echo();
        let usher = Binary::over(&tables).apps(&[&app]).start();
        // Three domains, and the labels of two stores.
        eventually("all names are read", || (usher.metric("usher_directory_names", &[]) == 5.0).then_some(()));
        let queries = usher.metric("usher_directory_queries_total", &[]);
        for number in 0..100 {
            assert_eq!(usher.get(&format!("stranger{number}.example"), "/").status, 404);
            assert_eq!(usher.get(&format!("stranger{number}.platform.com"), "/").status, 404);
        }
        assert_eq!(usher.metric("usher_directory_queries_total", &[]), queries);
        if backend == Backend::Postgres {
            assert_eq!(Cluster::shared().queries_with(tables.url(), "stranger0.example"), 0);
        }
        assert_eq!(usher.metric("usher_directory_lookups_total", &["unlisted"]), 200.0);
        assert_eq!(usher.get("store2.platform.com", "/").status, 200);
        tables.execute(
            "INSERT INTO store_domains (store_id, domain, is_active, is_verified) VALUES (1, 'Stranger7.example', true, true)",
        );
        eventually("the new domain is found", || (usher.get("stranger7.example", "/").status == 200).then_some(()));
    }
}

#[test]
fn a_known_and_an_absent_host_are_remembered() {
    let cluster = Cluster::shared();
    let tables = Tables::example(Backend::Postgres);
    let long = "[directory]\nnames_max = 0\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'";
    let stage = Fixture::over(tables, App::echo(), long);
    wait_until_following(&stage.usher);
    for _ in 0..20 {
        assert_eq!(stage.get("customdomain2.com", "/").status, 200);
        assert_eq!(stage.get("stranger.example", "/").status, 404);
    }
    assert_eq!(cluster.queries_with(stage.tables.url(), "customdomain2.com"), 1);
    assert_eq!(cluster.queries_with(stage.tables.url(), "stranger.example"), 1);
}

#[test]
fn an_absence_is_believed_only_for_its_time() {
    for backend in BOTH {
        let stage = Fixture::over(Tables::example(backend), App::echo(), "[directory]\nabsent_for = '100ms'");
        assert_eq!(stage.get("late.example", "/").status, 404);
        stage.tables.execute(
            "INSERT INTO store_domains (id, store_id, domain, is_primary, is_active, is_verified)
             VALUES (99, 2, 'late.example', false, true, true)",
        );
        eventually("the new domain is found", || (stage.get("late.example", "/").status == 200).then_some(()));
        assert_eq!(stage.app.last().folded("x-store-id"), ["2"]);
    }
}

#[test]
fn a_change_shows_once_what_is_held_is_no_longer_fresh() {
    for backend in BOTH {
        let stage = Fixture::over(Tables::example(backend), App::echo(), "[directory]\nfresh_for = '100ms'");
        assert_eq!(stage.get("customdomain1.com", "/").status, 200);
        stage.tables.execute("UPDATE stores SET is_active = false WHERE id = 1");
        eventually("the store is switched off", || (stage.get("customdomain1.com", "/").status == 404).then_some(()));
        stage.tables.execute("UPDATE stores SET is_active = true WHERE id = 1");
        eventually("the store is switched on", || (stage.get("customdomain1.com", "/").status == 200).then_some(()));
    }
}
