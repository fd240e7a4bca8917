//! Every row of the decision table, on PostgreSQL and on SQLite alike.

use crate::support::{App, Backend, Binary, Response, Tables, Usher};

/// What is expected of one request.
enum Expected {
    /// Forwarded to the default upstream with this id; the app sees this path, and this prefix beside it.
    Tenant { id: &'static str, matched: &'static str, path: &'static str, prefix: Option<&'static str> },
    /// Forwarded without an id to the upstream of the administration.
    Admin,
    /// Forwarded without an id to the upstream of the homepage.
    Homepage,
    /// Answered by usher itself.
    Status(u16),
    /// 308 to this URL.
    Redirect(&'static str),
}

use Expected::{Admin, Homepage, Redirect, Status};

const fn tenant(id: &'static str, matched: &'static str, path: &'static str) -> Expected {
    Expected::Tenant { id, matched, path, prefix: None }
}

const fn by_path(id: &'static str, path: &'static str, prefix: &'static str) -> Expected {
    Expected::Tenant { id, matched: "path", path, prefix: Some(prefix) }
}

const MORE_ROWS: &str = "
    INSERT INTO stores (id, subdomain, name, is_active) VALUES (3, 'closed', 'Shop Closed', false), (4, 'www', 'Reserved', true);
    INSERT INTO store_domains (id, store_id, domain, is_primary, is_active, is_verified) VALUES
        (11, 1, 'inactive.com', false, false, true), (12, 1, 'unverified.com', false, true, false),
        (13, 3, 'closed.com', true, true, true), (14, 1, 'www.ownrow.com', false, true, true),
        (15, 2, 'ownrow.com', false, true, true), (16, 1, 'x.platform.com', false, true, true),
        (17, 1, 'a.b.platform.com', false, true, true), (18, 1, 'platform.com', false, true, true),
        (19, 1, 'admin.platform.com', false, true, true);";

const TABLE: &[(&str, &str, Expected)] = &[
    // Custom domains
    ("customdomain1.com", "/p", tenant("1", "custom_domain", "/p")),
    ("customdomain1.com", "/p?q=1&r=%2F", tenant("1", "custom_domain", "/p?q=1&r=%2F")),
    ("shop.alpha.com", "/", tenant("1", "custom_domain", "/")),
    ("customdomain2.com", "/p", tenant("2", "custom_domain", "/p")),
    ("CustomDomain1.COM", "/p", tenant("1", "custom_domain", "/p")),
    ("customdomain1.com.", "/p", tenant("1", "custom_domain", "/p")),
    ("customdomain1.com:8443", "/p", tenant("1", "custom_domain", "/p")),
    ("customdomain1.com", "/store/x", tenant("1", "custom_domain", "/store/x")),
    ("customdomain1.com", "/store/store2/p", tenant("1", "custom_domain", "/store/store2/p")),
    ("inactive.com", "/p", Status(404)),
    ("unverified.com", "/p", Status(404)),
    ("closed.com", "/p", Status(404)),
    ("sub.customdomain1.com", "/p", Status(404)),
    // Subdomains of the platform
    ("store1.platform.com", "/p", tenant("1", "subdomain", "/p")),
    ("store2.platform.com:8080", "/p", tenant("2", "subdomain", "/p")),
    ("STORE1.Platform.com", "/p", tenant("1", "subdomain", "/p")),
    ("store1.platform.com", "/store/store2/p", tenant("1", "subdomain", "/store/store2/p")),
    ("closed.platform.com", "/p", Status(404)),
    ("nosuch.platform.com", "/p", Status(404)),
    ("api.platform.com", "/p", Status(404)),
    // A platform's own names are never looked up as custom domains, whatever the table says
    ("a.b.platform.com", "/p", Status(404)),
    ("x.platform.com", "/p", Status(404)),
    // Several platform domains, one below the other: the longest wins
    ("store1.eu.platform.com", "/p", tenant("1", "subdomain", "/p")),
    ("eu.platform.com", "/p", Homepage),
    ("store2.other.net", "/p", tenant("2", "subdomain", "/p")),
    // Path mode
    ("localhost:8000", "/store/store1/p", by_path("1", "/p", "/store/store1")),
    ("localhost", "/store/store2/p?q=1", by_path("2", "/p?q=1", "/store/store2")),
    ("127.0.0.1:8000", "/store/store1/", by_path("1", "/", "/store/store1")),
    ("[::1]:8000", "/store/store1/a%2Fb//c", by_path("1", "/a%2Fb//c", "/store/store1")),
    ("localhost", "/store/nosuch/", Status(404)),
    ("localhost", "/store/closed/", Status(404)),
    ("localhost", "/store/", Status(404)),
    ("localhost", "/", Homepage),
    ("localhost", "/storefront", Homepage),
    ("localhost", "/store/a%2f..%2fb", Status(400)),
    ("localhost", "/store/store1/../store2/", Status(400)),
    // Nothing leaves the prefix or reaches another store, however it is written; what stays below is handed on as it came
    ("localhost", "/store/store1/..", Status(400)),
    ("localhost", "/store/store1/%2e%2e/store2/", Status(400)),
    ("localhost", "/store/store1/.%2E/store2/", Status(400)),
    ("localhost", "/store/store1/..%2fstore2/", Status(400)),
    ("localhost", "/store/store1%2f..%2fstore2/", Status(400)),
    ("localhost", "/store/store1/x%2f..%2f..%2fstore2/", Status(400)),
    ("localhost", "/store/store1\\..\\store2/", Status(400)),
    ("localhost", "/store/store1/%5c..%5c..%5cstore2/", Status(400)),
    ("localhost", "/store/store1;/../store2/", Status(400)),
    ("localhost", "/store/store1;x/p", Status(400)),
    ("localhost", "/store//store1/p", Status(400)),
    ("localhost", "//store/store1/p", Status(400)),
    ("localhost", "/./store/store1/p", Status(400)),
    ("localhost", "/store%2fstore1/p", Status(400)),
    ("localhost", "/x/../store/store1/p", Status(400)),
    ("localhost", "/store/STORE1/p", Status(404)),
    ("localhost", "/store/store1/%2e%2e/%2e%2e/admin", Status(400)),
    ("localhost", "/store/store1//p", by_path("1", "//p", "/store/store1")),
    ("localhost", "/store/store1/a/../b", by_path("1", "/a/../b", "/store/store1")),
    ("localhost", "/store/store1/%2fp%00?a=/../../store2/", by_path("1", "/%2fp%00?a=/../../store2/", "/store/store1")),
    ("localhost", "/%73tore/%73tore1/p", by_path("1", "/p", "/%73tore/%73tore1")),
    // The administration
    ("admin.platform.com", "/p", Admin),
    ("admin.other.net", "/p", Admin),
    ("platform.com", "/admin", Admin),
    ("platform.com", "/admin/users", Admin),
    ("store1.platform.com", "/admin", Admin),
    ("localhost", "/admin/", Admin),
    ("customdomain1.com", "/admin", Admin),
    ("customdomain1.com", "/admin/x?y", Admin),
    ("customdomain1.com", "/%61dmin", Admin),
    ("customdomain1.com", "/administrator", tenant("1", "custom_domain", "/administrator")),
    ("customdomain1.com", "/shop/admin", tenant("1", "custom_domain", "/shop/admin")),
    ("unknown.com", "/admin", Status(404)),
    ("inactive.com", "/admin", Status(404)),
    ("unverified.com", "/admin", Status(404)),
    ("admin.brand.com", "/p", Status(404)),
    // Where two readings of the path disagree
    ("customdomain1.com", "//admin", Status(400)),
    ("customdomain1.com", "/x/../admin", Status(400)),
    ("customdomain1.com", "/admin/../cart", Status(400)),
    ("customdomain1.com", "/x/%2e%2e/admin", Status(400)),
    ("customdomain1.com", "/x\\..\\admin", Status(400)),
    ("customdomain1.com", "/admin;x=1", Status(400)),
    ("platform.com", "//admin", Status(400)),
    // www
    ("www.customdomain1.com", "/p?q=1", Redirect("http://customdomain1.com/p?q=1")),
    ("www.customdomain1.com:8080", "/p", Redirect("http://customdomain1.com:8080/p")),
    ("www.ownrow.com", "/p", tenant("1", "custom_domain", "/p")),
    ("ownrow.com", "/p", tenant("2", "custom_domain", "/p")),
    ("www.unknown.com", "/p", Status(404)),
    ("www.inactive.com", "/p", Status(404)),
    // The homepage
    ("platform.com", "/p", Homepage),
    ("www.platform.com", "/p", Homepage),
    ("other.net", "/", Homepage),
    ("platform.com", "/store/store1/p", Homepage),
    // Unknown
    ("unknown.com", "/", Status(404)),
    ("192.0.2.7", "/", Status(404)),
    ("platform.com.evil.com", "/", Status(404)),
    ("evilplatform.com", "/", Status(404)),
];

/// The router with three upstreams, so that every answer tells which of them it came from.
struct Stage {
    usher: Usher,
    tenants: App,
    admin: App,
    homepage: App,
    _tables: Tables,
}

impl Stage {
    fn new(backend: Backend, config: &str) -> Self {
        let (tenants, admin, homepage) = (App::echo(), App::echo(), App::echo());
        let tables = Tables::example(backend).with(MORE_ROWS);
        let usher = Binary::over(&tables)
            .apps(&[&tenants])
            .config("[routing]\nplatform_domains = ['platform.com', 'eu.platform.com', 'other.net']")
            .config("[routing]\nadmin_upstream = 'admin'\nhomepage_upstream = 'homepage'")
            .config(&format!("[upstreams.admin]\nservers = ['{}']", admin.url()))
            .config(&format!("[upstreams.homepage]\nservers = ['{}']", homepage.url()))
            .config(config)
            .start();
        Self { usher, tenants, admin, homepage, _tables: tables }
    }

    /// What is wrong with the answer to this request, if anything.
    fn fault(&self, host: &str, target: &str, expected: &Expected) -> Option<String> {
        let before = self.requests();
        let response = self.usher.get(host, target);
        let arrived = self.requests() - before;
        let fault = match expected {
            Expected::Tenant { id, matched, path, prefix } => {
                forwarded(&response).or_else(|| seen(&self.tenants, Some(id), matched, path, *prefix))
            }
            Admin => forwarded(&response).or_else(|| seen(&self.admin, None, "admin", target, None)),
            Homepage => forwarded(&response).or_else(|| seen(&self.homepage, None, "homepage", target, None)),
            Status(status) => (response.status != *status || arrived != 0)
                .then(|| format!("{} instead of {status}, {arrived} requests at the apps", response.status)),
            Redirect(url) => (response.status != 308 || response.header("location") != Some(url) || arrived != 0)
                .then(|| format!("{} to {:?} instead of 308 to {url}", response.status, response.header("location"))),
        };
        fault.map(|fault| format!("{host} {target}: {fault}"))
    }

    fn requests(&self) -> usize {
        [&self.tenants, &self.admin, &self.homepage].map(|app| app.requests().len()).iter().sum()
    }

    fn check(&self, table: &[(&str, &str, Expected)]) {
        let faults: Vec<String> = table.iter().filter_map(|(host, target, e)| self.fault(host, target, e)).collect();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }
}

fn forwarded(response: &Response) -> Option<String> {
    (response.status != 200).then(|| format!("answered {} instead of being forwarded", response.status))
}

/// What is wrong with the last request at `app`, if anything.
fn seen(app: &App, id: Option<&str>, matched: &str, path: &str, prefix: Option<&str>) -> Option<String> {
    let requests = app.requests();
    let Some(request) = requests.last() else { return Some("forwarded to another upstream".into()) };
    let saw = (
        request.folded("x-store-id").first().copied(),
        request.folded("x-store-match").first().copied(),
        request.target(),
        request.folded("x-forwarded-prefix").first().copied(),
    );
    (saw != (id, Some(matched), path, prefix)).then(|| format!("the app saw {saw:?}"))
}

#[test]
fn every_row_holds_on_postgresql() {
    Stage::new(Backend::Postgres, "").check(TABLE);
}

#[test]
fn every_row_holds_on_sqlite() {
    Stage::new(Backend::Sqlite, "").check(TABLE);
}

#[test]
fn the_host_reaches_the_app_as_it_was_sent() {
    let stage = Stage::new(Backend::Sqlite, "");
    for host in ["customdomain1.com", "CustomDomain1.COM", "customdomain1.com:8443", "customdomain1.com."] {
        assert_eq!(stage.usher.get(host, "/").status, 200);
        assert_eq!(stage.tenants.last().head.all("host"), [host]);
    }
}

#[test]
fn listed_path_hosts_replace_localhost_and_may_be_a_platform_domain() {
    let stage = Stage::new(Backend::Sqlite, "[routing]\npath_hosts = ['platform.com', 'paths.example']");
    stage.check(&[
        ("platform.com", "/store/store1/p", by_path("1", "/p", "/store/store1")),
        ("platform.com", "/p", Homepage),
        ("platform.com", "/store/nosuch/p", Status(404)),
        ("paths.example", "/store/store2/p", by_path("2", "/p", "/store/store2")),
        ("paths.example", "/p", Homepage),
        ("localhost", "/store/store1/p", Status(404)),
    ]);
}

#[test]
fn www_can_be_served_or_left_unknown() {
    Stage::new(Backend::Sqlite, "[routing]\nwww = 'serve'").check(&[(
        "www.customdomain1.com",
        "/p",
        tenant("1", "custom_domain", "/p"),
    )]);
    Stage::new(Backend::Sqlite, "[routing]\nwww = 'off'").check(&[("www.customdomain1.com", "/p", Status(404))]);
}

#[test]
fn unknown_hosts_can_be_shown_the_homepage_or_sent_elsewhere() {
    Stage::new(Backend::Sqlite, "[routing]\nunknown_host = 'homepage'")
        .check(&[("unknown.com", "/p", Homepage), ("customdomain1.com", "/p", tenant("1", "custom_domain", "/p"))]);
    let stage =
        Stage::new(Backend::Sqlite, "[routing]\nunknown_host = { redirect = 'https://www.example.com/welcome' }");
    let response = stage.usher.get("unknown.com", "/p");
    assert!((300..400).contains(&response.status), "{}", response.status);
    assert_eq!(response.header("location"), Some("https://www.example.com/welcome"));
}

/// RFC 9110 §15.5.5, §15.5.11, §15.6.4, §10.2.3.
#[test]
fn the_hosts_of_a_store_that_is_switched_off_can_be_told_apart_from_unknown_ones() {
    for (word, status) in [("not_found", 404), ("gone", 410), ("unavailable", 503)] {
        let stage = Stage::new(Backend::Sqlite, &format!("[routing]\ninactive_store = '{word}'"));
        stage.check(&[
            ("closed.com", "/p", Status(status)),
            ("closed.platform.com", "/p", Status(status)),
            ("localhost", "/store/closed/p", Status(status)),
            ("inactive.com", "/p", Status(404)),
            ("unknown.com", "/p", Status(404)),
        ]);
        let page = stage.usher.get_with("closed.com", "/p", "Accept: text/html\r\n").text();
        assert_eq!(page.contains("This shop"), status != 404, "{page}");
        let again = stage.usher.get("closed.com", "/p");
        assert_eq!(again.header("retry-after"), (status == 503).then_some("120"), "{word}");
    }
}

#[test]
fn admin_hosts_paths_and_reserved_labels_can_be_named() {
    let config = "[routing]\nadmin_hosts = ['backoffice.*', 'ops.example']\nadmin_paths = ['/manage']\n\
                  reserved_labels = ['store2']\npath_prefix = '/shop'";
    Stage::new(Backend::Sqlite, config).check(&[
        ("backoffice.platform.com", "/", Admin),
        ("backoffice.other.net", "/", Admin),
        ("ops.example", "/", Admin),
        ("customdomain1.com", "/manage/x", Admin),
        ("customdomain1.com", "/admin", tenant("1", "custom_domain", "/admin")),
        ("store2.platform.com", "/", Status(404)),
        ("localhost", "/shop/store1/p", by_path("1", "/p", "/shop/store1")),
        ("localhost", "/store/store1/p", Homepage),
    ]);
}

/// Two requests on one connection are two decisions (RFC 9110 §3.3).
#[test]
fn the_decision_is_made_per_request_and_never_per_connection() {
    let stage = Stage::new(Backend::Sqlite, "");
    let mut client = stage.usher.connect();
    for (host, id) in [("customdomain1.com", "1"), ("customdomain2.com", "2"), ("store1.platform.com", "1")] {
        let response = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
        assert_eq!(response.status, 200);
        assert_eq!(stage.tenants.last().folded("x-store-id"), [id]);
    }
    client.send("GET / HTTP/1.1\r\nHost: unknown.com\r\n\r\n");
    assert_eq!(client.response().status, 404);
}
