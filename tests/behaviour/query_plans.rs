//! A cold key costs PostgreSQL a look into indexes, whatever type ids have, and many cold keys at once no more than that each.

use std::thread;

use crate::support::{App, Binary, Cluster, Tables, Usher, eventually};

/// Enough for the planner to prefer an index to reading everything.
const ROWS: usize = 10_000;

/// Tables with ids of this type, which `id` makes out of the number `i`.
fn tables(cluster: &Cluster, kind: &str, id: &str) -> Tables {
    Tables::none_on(cluster)
        .with(&format!(
            "CREATE TABLE stores (id {kind} PRIMARY KEY, subdomain text UNIQUE, name text, is_active boolean, upstream text);
             CREATE TABLE store_domains (id {kind} PRIMARY KEY, store_id {kind} REFERENCES stores (id), domain text UNIQUE,
                is_primary boolean, is_active boolean, is_verified boolean, verification_token text);
             INSERT INTO stores SELECT {id}, 's' || i, 'Shop', true, NULL FROM generate_series(1, {ROWS}) AS i;
             INSERT INTO store_domains SELECT {id}, {id}, 'd' || i || '.example.com', true, true, true, NULL
                FROM generate_series(1, {ROWS}) AS i"
        ))
        .migrated()
}

/// Asks for cold hosts of both kinds, one at a time and then many at once, which are asked for together.
fn ask(usher: &Usher) {
    assert_eq!(usher.get("nobody.example", "/").status, 404);
    for host in ["d1.example.com", "s1.platform.com"] {
        check(usher, host);
    }
    thread::scope(|scope| {
        for number in 2..102 {
            let host = match number % 2 {
                0 => format!("d{number}.example.com"),
                _ => format!("s{number}.platform.com"),
            };
            scope.spawn(move || check(usher, &host));
        }
    });
}

/// A store has it, which may be sent on to its primary domain.
fn check(usher: &Usher, host: &str) {
    let status = usher.get(host, "/").status;
    assert!(matches!(status, 200 | 308), "{host}: {status}");
}

/// The plans of all statements that contain `text`; at least one.
fn plans(cluster: &Cluster, tables: &Tables, text: &str) -> Vec<String> {
    eventually(&format!("a plan with {text}"), || {
        Some(cluster.plans(tables.url(), text)).filter(|plans| !plans.is_empty())
    })
}

/// One connection, so that those who come meanwhile wait for it together.
const COLD: &str = "[directory]\nnames_max = 0\nconnections_max = 1\nlookup_timeout = '10s'\nwait_timeout = '10s'";

/// The same, where primary domains are looked for as well.
const REDIRECTING: &str = "[routing]\nsecondary_domains = 'redirect'\nsubdomains = 'redirect'";

#[test]
fn cold_keys_are_found_by_indexes() {
    let cluster = Cluster::start();
    for (kind, id, more) in [
        ("uuid", "md5(i::text)::uuid", ""),
        ("text", "'store-' || i", ""),
        ("uuid", "md5(i::text)::uuid", REDIRECTING),
        ("text", "'store-' || i", REDIRECTING),
    ] {
        let tables = tables(&cluster, kind, id);
        assert_eq!(Binary::over(&tables).config(more).run(&["migrate"]).code, 0);
        tables.execute("ANALYZE stores; ANALYZE store_domains");
        cluster.note_plans(tables.url());
        let app = App::echo();
        let usher = Binary::over(&tables).apps(&[&app]).config(COLD).config(more).start();
        ask(&usher);
        for text in ["lower(rtrim(d.domain, '.'))", "lower(s.subdomain)", "unnest($1)"] {
            for plan in plans(&cluster, &tables, text) {
                assert!(plan.contains("Index Scan") && !plan.contains("Seq Scan"), "{kind}, {more}: {plan}");
            }
        }
    }
}

#[test]
fn a_table_that_is_read_whole_would_be_seen() {
    let cluster = Cluster::start();
    let tables = tables(&cluster, "text", "'store-' || i");
    cluster.note_plans(tables.url());
    tables.execute("DROP INDEX usher_store_domains_canonical; ANALYZE store_domains");
    let usher = Binary::over(&tables).apps(&[&App::echo()]).config(COLD).start();
    usher.get("nobody.example", "/");
    let plans = plans(&cluster, &tables, "lower(rtrim(d.domain, '.'))");
    assert!(plans.iter().any(|plan| plan.contains("Seq Scan")), "{plans:?}");
}
