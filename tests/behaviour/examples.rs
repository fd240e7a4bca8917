//! The configurations in `config/examples`, each on the tables it was written for.

use std::fs;

use crate::support::{App, Backend, Binary, Tables, Usher, eventually};

/// A host, and its store.
type Found<'a> = (&'a str, Option<&'a str>);

fn file(name: &str) -> String {
    let path = format!("{}/config/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn binary(name: &str, tables: &Tables, app: &App) -> Binary {
    Binary::new()
        .config(&file(&format!("{name}.toml")))
        .config(&format!("[directory]\nurl = '{}'", tables.url()))
        .apps(&[app])
}

fn store_of(usher: &Usher, host: &str) -> Option<String> {
    let response = usher.get(host, "/");
    match response.status {
        404 => None,
        200 => Some(response.text()),
        status => panic!("{host}: {status} {}", response.text()),
    }
}

/// Runs the example, asks for `before`, edits a row and waits for `after`.
fn run(name: &str, before: &[Found<'_>], edit: &str, after: &[Found<'_>]) {
    let tables = Tables::none(Backend::Postgres).with(&file(&format!("{name}.sql")));
    let app = App::telling("x-store-id");
    for command in ["migrate", "migrate", "check"] {
        let output = binary(name, &tables, &app).run(&[command]);
        assert_eq!(output.code, 0, "{command}: {}{}", output.stdout, output.stderr);
        assert!(command == "migrate" || !output.stderr.contains("trigger"), "{}", output.stderr);
    }
    let (host, store) = before.iter().find_map(|(host, store)| Some((host, (*store)?))).expect("a host with a store");
    let told = binary(name, &tables, &app).run(&["resolve", host]).stdout;
    let has_own_queries = file(&format!("{name}.toml")).contains("\n[directory.queries]");
    assert_eq!(told.contains("directory.queries."), has_own_queries, "{told}");
    assert!(told.contains(&format!(": store {store}, active")), "{told}");
    let believed = "[directory]\nabsent_for = '1h'\nfresh_for = '1h'\nusable_for = '2h'";
    let usher = binary(name, &tables, &app).config(believed).start();
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    for (host, store) in before {
        assert_eq!(store_of(&usher, host).as_deref(), *store, "{host}");
    }
    if has_own_queries {
        eventually("the log says that names are not known", || {
            usher.log().contains("the names behind directory.queries cannot be listed").then_some(())
        });
    }
    tables.execute(edit);
    for (host, store) in after {
        eventually(&format!("{host} belongs to {store:?}"), || {
            (store_of(&usher, host).as_deref() == *store).then_some(())
        });
    }
}

#[test]
fn the_default_tables_by_their_own_sql() {
    run(
        "default",
        &[
            ("customdomain1.com", Some("1")),
            ("shop.alpha.com", Some("1")),
            ("customdomain2.com", None),
            ("store2.platform.com", Some("2")),
            ("nobody.example", None),
        ],
        "UPDATE store_domains SET is_verified = true WHERE id = 3; UPDATE stores SET is_active = false WHERE id = 1",
        &[("customdomain2.com", Some("2")), ("customdomain1.com", None), ("shop.alpha.com", None)],
    );
}

#[test]
fn the_default_tables_with_uuid_keys() {
    let id = Some("6f1c2a52-0d0c-4a57-9f0e-3a1d2b4c5e6f");
    run(
        "uuid",
        &[("customdomain1.com", id), ("store1.platform.com", id)],
        "UPDATE store_domains SET domain = 'another.example'",
        &[("customdomain1.com", None), ("another.example", id)],
    );
}

#[test]
fn a_label_for_each_store_and_platform() {
    run(
        "platforms",
        &[
            ("alpha.platform.com", Some("1")),
            ("alpha.market.example", Some("2")),
            ("shop-alpha.market.example", Some("1")),
            ("shop-alpha.platform.com", None),
            ("customdomain1.com", Some("1")),
        ],
        "INSERT INTO store_platforms VALUES (2, 1, 'shop-alpha'); DELETE FROM store_platforms WHERE store_id = 1",
        &[
            ("shop-alpha.platform.com", Some("2")),
            ("shop-alpha.market.example", None),
            ("alpha.platform.com", None),
            ("alpha.market.example", Some("2")),
        ],
    );
}

#[test]
fn a_domain_that_is_inherited_from_a_merchant() {
    run(
        "merchants",
        &[
            ("merchant.example", Some("1")),
            ("own.example", Some("2")),
            ("store3.platform.com", Some("3")),
            ("late.example", None),
        ],
        "UPDATE stores SET is_main = id = 2 WHERE merchant_id = 1; UPDATE merchants SET domain = 'late.example' WHERE id = 2",
        &[("merchant.example", Some("2")), ("late.example", Some("3"))],
    );
}

#[test]
fn one_table_with_a_domain_for_each_tenant() {
    run(
        "tenants",
        &[("customdomain1.com", Some("alpha")), ("alpha.platform.com", None)],
        "UPDATE tenants SET domain = 'new.example' WHERE slug = 'alpha'",
        &[("customdomain1.com", None), ("new.example", Some("alpha")), ("customdomain2.com", Some("beta"))],
    );
}

#[test]
fn columns_that_are_misspelled_or_newer_than_the_triggers_are_told() {
    let tables = Tables::none(Backend::Postgres).with(&file("tenants.sql"));
    let app = App::echo();
    assert_eq!(binary("tenants", &tables, &app).run(&["migrate"]).code, 0);
    tables.execute("ALTER TABLE tenants ADD COLUMN closed boolean");
    let watch = |columns: &str| {
        let watch = format!("table = 'tenants', columns = [{columns}], domain = 'domain', tenant = 'slug'");
        binary("tenants", &tables, &app).config(&format!("[directory]\nwatch = [{{ {watch} }}]"))
    };
    let output = watch("'slug', 'close'").run(&["check"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(
        output.stderr.contains("tenants.close: ") && output.stderr.contains("slug, domain, closed"),
        "{}",
        output.stderr
    );
    let output = watch("'slug', 'closed'").run(&["check"]);
    assert!(output.stderr.contains("tenants.closed: its edits are not told"), "{}", output.stderr);
    assert_eq!(watch("'slug', 'closed'").run(&["migrate"]).code, 0);
    let output = watch("'slug', 'closed'").run(&["check"]);
    assert!(output.code == 0 && !output.stderr.contains("not told"), "{}", output.stderr);
}

#[test]
fn a_file_of_sqlite_can_be_asked_in_other_words_too() {
    let tables = Tables::none(Backend::Sqlite).with(
        "CREATE TABLE tenants (number INTEGER PRIMARY KEY, domain TEXT, label TEXT, platform TEXT, closed INT);
         INSERT INTO tenants VALUES (7, 'customdomain1.com', 'shop', 'platform.com', 0), (8, NULL, 'shop', 'market.example', 0),
            (9, 'closed.example', NULL, NULL, 1);",
    );
    let config = "[routing]\nplatform_domains = ['platform.com', 'market.example']\n[directory]\nabsent_for = '1h'\n\
        [directory.queries]\ncustom_domain = 'SELECT number AS store_id, NOT closed AS is_active FROM tenants WHERE domain = $1'\n\
        label = 'SELECT number AS store_id FROM tenants WHERE label = $1 AND platform = $2'";
    let app = App::telling("x-store-id");
    let usher = Binary::over(&tables).apps(&[&app]).config(config).start();
    for (host, store) in [
        ("customdomain1.com", Some("7")),
        ("closed.example", None),
        ("shop.platform.com", Some("7")),
        ("shop.market.example", Some("8")),
        ("late.example", None),
    ] {
        assert_eq!(store_of(&usher, host).as_deref(), store, "{host}");
    }
    eventually("edits are followed", || (usher.metric("usher_directory_following", &[]) == 1.0).then_some(()));
    tables.execute("INSERT INTO tenants (number, domain, closed) VALUES (10, 'late.example', 0)");
    eventually("the new one is found", || (store_of(&usher, "late.example").as_deref() == Some("10")).then_some(()));
}

#[test]
fn check_and_serve_name_the_column_that_is_missing_or_of_another_type() {
    let tables =
        Tables::none(Backend::Postgres).with("CREATE TABLE tenants (id int, domain text, verified_at timestamptz)");
    let app = App::echo();
    let asking = |query: &str| {
        let config = format!("[directory]\nfollow = 'off'\n[directory.queries]\ncustom_domain = '{query}'");
        Binary::over(&tables).apps(&[&app]).config(&config)
    };
    for (query, told) in [
        ("SELECT id FROM tenants WHERE domain = $1", "no column store_id"),
        (
            "SELECT id AS store_id, verified_at AS is_verified FROM tenants WHERE domain = $1",
            "is_verified is of type timestamptz",
        ),
        ("SELECT id AS store_id FROM tenant WHERE domain = $1", "tenant"),
        ("SELECT id AS store_id, hostname FROM tenants WHERE domain = $1", "hostname"),
        ("SELECT id AS store_id, domain FROM tenants WHERE domain = $1", "its column domain is none of"),
        (
            "SELECT id AS store_id FROM tenants WHERE domain = $1 OR domain = $2",
            "it takes $2, and is given no more than $1",
        ),
    ] {
        let output = asking(query).run(&["check"]);
        assert_eq!(output.code, 1, "{query}: {}", output.stdout);
        assert!(
            output.stderr.contains("directory.queries.custom_domain") && output.stderr.contains(told),
            "{}",
            output.stderr
        );
        let output = asking(query).run(&["serve"]);
        assert_eq!(output.code, 1, "{query}");
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
    assert_eq!(asking("SELECT id AS store_id FROM tenants WHERE domain = $1").run(&["check"]).code, 0);
    let output = asking("SELECT id AS store_id FROM tenants WHERE domain = $1").run(&["store", "list"]);
    assert!(output.code == 1 && output.stderr.contains("directory.queries"), "{}", output.stderr);
}
