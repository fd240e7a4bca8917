//! From a row in `store_domains` to a request for its store: the customer sets a TXT record, and nobody else does anything.

use std::net::{SocketAddr, UdpSocket};

use crate::support::{A_MOMENT, App, Backend, Binary, NameServer, Tables, Usher, eventually, free_address};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Tables, an app server and the DNS of customers.
struct Stage {
    tables: Tables,
    app: App,
    names: NameServer,
}

impl Stage {
    fn new(backend: Backend, zones: &[(&str, &str)]) -> Self {
        Self { tables: Tables::example(backend), app: App::echo(), names: NameServer::start(zones) }
    }

    fn start(&self, domains: &str) -> Usher {
        self.asking(&self.names.address().to_string(), domains)
    }

    fn asking(&self, resolver: &str, domains: &str) -> Usher {
        self.configured(resolver, "usher", domains)
    }

    fn configured(&self, resolver: &str, verification: &str, domains: &str) -> Usher {
        let http = free_address();
        self.visiting(http.port(), http, resolver, verification, domains)
    }

    /// Domains are visited at `visited`, where usher itself need not be.
    fn visiting(&self, visited: u16, http: SocketAddr, resolver: &str, verification: &str, domains: &str) -> Usher {
        let port = self.names.address().port();
        let config = format!(
            "[listen]\nhttp = ['{http}']\n[domains]\nverification = '{verification}'\nresolvers = ['{resolver}']\n\
             authority_port = {port}\nself_check_port = {visited}\nallow_private = true\n{domains}",
        );
        let binary = Binary::over(&self.tables).apps(&[&self.app]).config(&config);
        // Once more: that the token counts is known now.
        assert_eq!(binary.run(&["migrate"]).code, 0);
        binary.start()
    }

    fn add(&self, domain: &str, token: &str) {
        let columns = "store_id, domain, is_active, is_verified, verification_token";
        self.tables
            .execute(&format!("INSERT INTO store_domains ({columns}) VALUES (1, '{domain}', true, false, '{token}')"));
    }

    fn has(&self, condition: &str) -> bool {
        self.tables.count(&format!("SELECT 1 FROM {} WHERE {condition}", self.claims())) > 0
    }

    fn claims(&self) -> &'static str {
        match self.tables.url().starts_with("sqlite") {
            true => "usher_domain_claims",
            false => "usher.domain_claims",
        }
    }

    /// The customer has waited, or come back later.
    fn later(&self) {
        self.tables.execute(&format!("UPDATE {} SET due_at = 0", self.claims()));
    }
}

fn is_served(usher: &Usher, host: &str) -> bool {
    usher.get(host, "/").status == 200
}

fn zone(records: &str) -> String {
    format!("@ NS ns\nns A 127.0.0.1\n{records}\n")
}

#[test]
fn a_row_and_a_txt_record_are_all_that_a_domain_needs() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let shop =
            zone(&format!("@ A 127.0.0.1\n_orion-verify TXT \"v=something else\"\n_orion-verify TXT \"{TOKEN}\""));
        let stage = Stage::new(backend, &[("brand.example", &shop), ("other.example", &zone("@ A 127.0.0.1"))]);
        let usher = stage.start("");
        stage.add("Brand.Example.", TOKEN);
        stage.add("other.example", TOKEN);
        eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
        assert_eq!(stage.app.last().folded("x-store-id"), ["1"]);
        eventually("visitors are seen to arrive", || {
            stage.has("name = 'brand.example' AND state = 'live'").then_some(())
        });
        eventually("the other one was looked at", || stage.has("name = 'other.example' AND looks > 0").then_some(()));
        assert!(!is_served(&usher, "other.example"));
        assert!(stage.has("name = 'other.example' AND state = 'pending' AND finding LIKE 'there is no TXT record%'"));
        assert!(usher.metric("usher_domain_looks_total", &["proof=\"present\""]) >= 1.0);
    }
}

#[test]
fn a_wrong_token_proves_nothing_and_is_told() {
    let shop = zone("_orion-verify TXT \"0123456789abcdef0123456789abcdee\"\n_orion-verify TXT \"\"");
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &shop)]);
    let usher = stage.start("");
    stage.add("brand.example", TOKEN);
    stage.add("empty.brand.example", "");
    eventually("it was looked at", || stage.has("name = 'brand.example' AND finding LIKE '%cdee%'").then_some(()));
    assert!(!is_served(&usher, "brand.example"));
    assert!(!stage.has("token = ''"));
}

#[test]
fn a_row_that_the_database_refuses_is_told_without_what_stands_in_it() {
    let shop = zone(&format!("@ A 127.0.0.1\n_orion-verify TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &shop)]);
    let usher = stage.start("");
    stage.tables.execute("ALTER TABLE usher.domain_claims ADD CONSTRAINT odd CHECK (name <> 'brand.example')");
    stage.add("brand.example", TOKEN);
    eventually("it is told", || usher.log().contains("SQLSTATE 23514").then_some(()));
    assert!(usher.log().contains("odd") && !usher.log().contains(TOKEN), "{}", usher.log());
}

#[test]
fn a_resolver_that_remembers_an_absence_does_not_keep_a_customer_waiting() {
    // The resolver knows the zone as it was, the zone's own server as it is.
    let before = zone("@ A 127.0.0.1");
    let now = zone(&format!("@ A 127.0.0.1\n_orion-verify TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Sqlite, &[("brand.example", &now)]);
    let resolver = NameServer::start(&[("brand.example", &before)]);
    let usher = stage.asking(&resolver.address().to_string(), "");
    stage.add("brand.example", TOKEN);
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
}

#[test]
fn a_resolver_that_is_down_takes_nothing_from_anybody() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stage = Stage::new(Backend::Postgres, &[]);
    stage.tables.execute(&format!("UPDATE store_domains SET verification_token = '{TOKEN}'"));
    let usher = stage.asking(&silent.local_addr().unwrap().to_string(), "check_timeout = '1s'\nunverify_lost = true");
    stage.add("brand.example", TOKEN);
    eventually("it was looked at", || stage.has("name = 'brand.example' AND looks > 0").then_some(()));
    eventually("those of before are known", || {
        stage.has("name = 'customdomain1.com' AND state = 'verified'").then_some(())
    });
    stage.later();
    eventually("they were looked at", || stage.has("name = 'customdomain1.com' AND looks > 0").then_some(()));
    assert!(stage.has("name = 'customdomain1.com' AND state = 'verified'"));
    assert!(is_served(&usher, "customdomain1.com") && !is_served(&usher, "brand.example"));
    assert!(usher.metric("usher_domain_looks_total", &["proof=\"unknown\""]) >= 1.0);
}

#[test]
fn a_proof_counts_for_one_name_and_one_token() {
    let shop = zone(&format!("@ A 127.0.0.1\n_orion-verify TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &shop), ("rival.example", &zone("@ A 127.0.0.1"))]);
    let usher = stage.start("");
    stage.add("brand.example", TOKEN);
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
    // The mark stays on the row, as an app may leave it.
    stage.tables.execute("UPDATE store_domains SET domain = 'rival.example' WHERE domain = 'brand.example'");
    eventually("it was looked at", || stage.has("name = 'rival.example' AND looks > 0").then_some(()));
    eventually("it is not served", || (!is_served(&usher, "rival.example")).then_some(()));
    assert!(stage.has("name = 'rival.example' AND state = 'pending'") && !stage.has("name = 'brand.example'"));
    stage.tables.execute("UPDATE store_domains SET domain = 'brand.example' WHERE domain = 'rival.example'");
    eventually("the domain is served again", || is_served(&usher, "brand.example").then_some(()));
    stage.tables.execute("UPDATE store_domains SET verification_token = 'another' WHERE domain = 'brand.example'");
    eventually("another token is another claim", || stage.has("token = 'another' AND looks > 0").then_some(()));
    assert!(stage.has("token = 'another' AND state = 'pending'"));
    eventually("it is not served", || (!is_served(&usher, "brand.example")).then_some(()));
}

#[test]
fn an_older_prefix_counts_while_it_is_listed() {
    let shop = zone(&format!("_before TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Sqlite, &[("brand.example", &shop)]);
    let usher = stage.start("former_prefixes = ['_before']");
    stage.add("brand.example", TOKEN);
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
}

#[test]
fn a_page_of_the_customers_counts_where_it_may() {
    let shop = zone("@ A 127.0.0.1\nother A 127.0.0.1");
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &shop)]);
    let website = App::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{TOKEN}\n"));
    let resolver = stage.names.address().to_string();
    let start = |domains| stage.visiting(website.address().port(), free_address(), &resolver, "usher", domains);
    stage.add("brand.example", TOKEN);
    let usher = start("");
    eventually("it was looked at", || stage.has("name = 'brand.example' AND looks > 0").then_some(()));
    assert!(!is_served(&usher, "brand.example"));
    drop(usher);
    let usher = start("http_token = true");
    let binary = Binary::over(&stage.tables).apps(&[&stage.app]).config("[domains]\nhttp_token = true");
    let shown = binary.run(&["domain", "show", "brand.example"]).stdout;
    let told = "may show the token, and nothing else, at http://brand.example/.well-known/orion-verify\n";
    assert!(shown.ends_with(told), "{shown}");
    stage.add("other.brand.example", "ffffffffffffffffffffffffffffffff");
    stage.later();
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
    assert!(website.requests().iter().any(|request| request.target() == "/.well-known/orion-verify"));
    assert!(stage.has("finding LIKE 'http://brand.example/.well-known/orion-verify holds the token%'"));
    eventually("the other one was looked at", || stage.has("name = 'other.brand.example' AND looks > 0").then_some(()));
    assert!(!is_served(&usher, "other.brand.example"));
}

#[test]
fn people_may_vouch_for_a_name_and_take_their_word_back() {
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &zone("@ A 127.0.0.1"))]);
    let usher = stage.start("");
    stage.add("brand.example", TOKEN);
    eventually("it was looked at", || stage.has("name = 'brand.example' AND looks > 0").then_some(()));
    stage.tables.execute("UPDATE store_domains SET is_verified = true WHERE domain = 'brand.example'");
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
    stage.later();
    eventually("their word counts", || stage.has("name = 'brand.example' AND state = 'live'").then_some(()));
    stage.tables.execute("UPDATE store_domains SET is_verified = false WHERE domain = 'brand.example'");
    stage.later();
    eventually("it has to be proved", || stage.has("name = 'brand.example' AND state = 'pending'").then_some(()));
    assert!(!is_served(&usher, "brand.example"));
}

#[test]
fn what_a_dead_instance_was_looking_at_is_looked_at_by_another() {
    let shop = zone(&format!("_orion-verify TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Postgres, &[("brand.example", &shop)]);
    let columns = "name, token, row_id, state, since, looks, fence, holder, leased_until, looked_at, due_at";
    let until = "CAST(extract(epoch FROM now()) AS bigint) + 3600";
    stage.add("brand.example", TOKEN);
    stage.tables.execute(&format!(
        "INSERT INTO usher.domain_claims ({columns}) VALUES ('brand.example', '{TOKEN}', '4', 'pending', 1, 0, 7, 'dead', {until}, 0, 0)"
    ));
    let usher = stage.start("");
    std::thread::sleep(A_MOMENT * 10);
    assert!(!is_served(&usher, "brand.example"), "somebody else has the lease");
    stage.tables.execute("UPDATE usher.domain_claims SET leased_until = 1");
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
    assert!(stage.has("name = 'brand.example' AND fence = 8"));
}

#[test]
fn of_several_instances_one_looks_at_a_domain() {
    const DOMAINS: usize = 40;
    let zones: Vec<_> = (0..DOMAINS)
        .map(|number| (format!("brand{number}.example"), zone(&format!("_orion-verify TXT \"{TOKEN}\""))))
        .collect();
    let zones: Vec<_> = zones.iter().map(|(name, records)| (name.as_str(), records.as_str())).collect();
    let stage = Stage::new(Backend::Postgres, &zones);
    let instances = [stage.start("checks_max = 4"), stage.start("checks_max = 4")];
    zones.iter().for_each(|(name, _)| stage.add(name, TOKEN));
    for (name, _) in &zones {
        eventually(name, || is_served(&instances[0], name).then_some(()));
        eventually(name, || is_served(&instances[1], name).then_some(()));
    }
    let looks: f64 = instances.iter().map(|usher| usher.metric("usher_domain_looks_total", &[])).sum();
    assert!(looks <= DOMAINS as f64, "{looks} looks at {DOMAINS} domains");
}

#[test]
fn the_app_decides_unless_it_leaves_that_to_usher() {
    let shop = zone(&format!("_orion-verify TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Sqlite, &[("brand.example", &shop)]);
    let usher = stage.configured(&stage.names.address().to_string(), "app", "");
    stage.add("brand.example", TOKEN);
    std::thread::sleep(A_MOMENT * 10);
    assert!(!is_served(&usher, "brand.example") && !stage.has("true"));
    stage.tables.execute("UPDATE store_domains SET is_verified = true WHERE domain = 'brand.example'");
    eventually("the domain is served", || is_served(&usher, "brand.example").then_some(()));
}

#[test]
fn what_is_known_of_domains_is_in_the_api_page_by_page() {
    let shop = zone(&format!("_orion-verify TXT \"{TOKEN}\"\n_orion-verify.shop TXT \"{TOKEN}\""));
    let stage = Stage::new(Backend::Sqlite, &[("brand.example", &shop)]);
    let usher = stage.start("");
    stage.add("brand.example", TOKEN);
    stage.add("shop.brand.example", TOKEN);
    eventually("both are known", || stage.has("name = 'shop.brand.example' AND state = 'verified'").then_some(()));
    eventually("both are known", || stage.has("name = 'brand.example' AND state = 'verified'").then_some(()));
    let first = usher.admin_get("/api/v1/domains?count=1").json();
    assert_eq!(
        (&first["domains"][0]["name"], &first["domains"][0]["state"]),
        (&"brand.example".into(), &"verified".into())
    );
    let rest = usher.admin_get("/api/v1/domains?after=brand.example").json();
    assert_eq!(rest["domains"][0]["name"], "shop.brand.example");
    assert_eq!((first["next"].as_str(), rest["next"].as_str()), (Some("brand.example"), None));
    assert!(!first.to_string().contains(TOKEN), "{first}");
    assert_eq!(usher.admin_get("/ask?domain=shop.brand.example").status, 200);
    assert_eq!(usher.admin_get("/ask?domain=rival.example").status, 404);
}
