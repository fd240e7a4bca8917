//! Upstreams beside the default one: stores whose row names one are served there.

use crate::support::{App, Backend, Binary, Tables, Usher, eventually};

/// A default upstream, and one called `cell`.
struct Stage {
    usher: Usher,
    default: App,
    cell: App,
    tables: Tables,
}

impl Stage {
    fn new(backend: Backend, sql: &str, config: &str) -> Self {
        let (default, cell) = (App::telling("x-store-id"), App::telling("x-store-id"));
        let tables = Tables::example(backend).with(sql);
        let cells = format!("[upstreams.cell]\nservers = ['{}']", cell.url());
        let usher = Binary::over(&tables).apps(&[&default]).config(&cells).config(config).start();
        Self { usher, default, cell, tables }
    }

    /// How many requests each has had.
    fn served(&self) -> (usize, usize) {
        (self.default.requests().len(), self.cell.requests().len())
    }
}

const COLUMN: &str = "ALTER TABLE stores ADD COLUMN upstream text; UPDATE stores SET upstream = 'cell' WHERE id = 2;";

#[test]
fn a_store_is_served_by_the_upstream_that_its_row_names() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let stage = Stage::new(backend, COLUMN, "");
        for host in ["customdomain2.com", "store2.platform.com"] {
            assert_eq!(stage.usher.get(host, "/").text(), "2", "{backend:?}");
        }
        assert_eq!(stage.served(), (0, 2), "{backend:?}");
        // The first level of each worker holds it as well.
        let mut client = stage.usher.connect();
        for _ in 0..5 {
            client.send("GET / HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n");
            assert_eq!(client.response().text(), "2");
        }
        assert_eq!(stage.served(), (0, 7), "{backend:?}");
        stage.usher.get("customdomain1.com", "/");
        stage.usher.get("platform.com", "/");
        stage.usher.get("customdomain2.com", "/admin");
        assert_eq!(stage.served(), (3, 7), "the administration and the homepage are not the store's: {backend:?}");
    }
}

#[test]
fn an_edit_of_the_name_is_followed() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let stage = Stage::new(backend, COLUMN, "");
        stage.usher.get("customdomain1.com", "/");
        assert_eq!(stage.served(), (1, 0));
        // On PostgreSQL the triggers have to know of the column.
        let output = Binary::over(&stage.tables).run(&["migrate"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        stage.tables.execute("UPDATE stores SET upstream = 'cell' WHERE id = 1");
        eventually("the store moves", || {
            stage.usher.get("customdomain1.com", "/");
            (!stage.cell.requests().is_empty()).then_some(())
        });
    }
}

#[test]
fn queries_of_the_users_own_may_name_one() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let sql = "CREATE TABLE tenants (slug text, domain text, cell text);
                   INSERT INTO tenants VALUES ('a', 'a.example', 'cell'), ('b', 'b.example', NULL)";
        let query = "SELECT slug AS store_id, cell AS upstream FROM tenants WHERE domain = $1";
        let config = format!(
            "[directory]\nqueries = {{ custom_domain = \"{query}\" }}\n\
             watch = [{{ table = 'tenants', columns = ['cell'], domain = 'domain' }}]"
        );
        let stage = Stage::new(backend, sql, &config);
        assert_eq!([stage.usher.get("a.example", "/").text(), stage.usher.get("b.example", "/").text()], ["a", "b"]);
        assert_eq!(stage.served(), (1, 1), "{backend:?}");
    }
}

const UNKNOWN: &str =
    "ALTER TABLE stores ADD COLUMN upstream text; UPDATE stores SET upstream = 'nosuch' WHERE id = 2;";

#[test]
fn a_name_that_does_not_exist_falls_back_loudly() {
    let stage = Stage::new(Backend::Sqlite, UNKNOWN, "");
    for _ in 0..3 {
        assert_eq!(stage.usher.get("customdomain2.com", "/").status, 200);
    }
    assert_eq!(stage.served(), (3, 0));
    assert_eq!(stage.usher.metric("usher_unknown_upstream_requests_total", &[]), 3.0);
    let told = || stage.usher.log().matches("names an upstream that does not exist").count();
    eventually("the log says so", || (told() > 0).then_some(()));
    assert_eq!(told(), 1, "{}", stage.usher.log());
}

#[test]
fn it_is_served_by_nobody_where_that_is_asked_for() {
    let stage = Stage::new(Backend::Sqlite, UNKNOWN, "[routing]\nunknown_upstream = 'unavailable'");
    let response = stage.usher.get("customdomain2.com", "/");
    assert_eq!((response.status, stage.served()), (503, (0, 0)));
    assert_eq!(response.header("retry-after"), Some("120"), "it passes when somebody has corrected the row");
    assert!(!response.text().contains("nosuch"), "{}", response.text());
    assert_eq!(stage.usher.get("customdomain1.com", "/").status, 200);
    assert_eq!(stage.usher.metric("usher_requests_total", &["outcome=\"unknown_upstream\""]), 1.0);
}

#[test]
fn check_refuses_a_name_that_does_not_exist() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let tables = Tables::example(backend).with(UNKNOWN);
        let app = App::echo();
        let checked = || Binary::over(&tables).apps(&[&app]).run(&["check"]);
        let output = checked();
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.contains("stores.upstream = nosuch: there is no such upstream"), "{}", output.stderr);
        assert_eq!(output.stderr.contains("older than the column"), backend == Backend::Postgres, "{}", output.stderr);
        assert_eq!(Binary::over(&tables).run(&["migrate"]).code, 0);
        tables.execute("UPDATE stores SET upstream = 'default' WHERE id = 2");
        let output = checked();
        assert_eq!((output.code, output.stderr.contains("stores.upstream")), (0, false), "{output:?}");
    }
}
