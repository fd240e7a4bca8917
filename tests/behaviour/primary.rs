//! Redirects from data: a store's other hosts stand back for its primary domain.

use crate::support::{App, Backend, Binary, Tables, Usher, eventually};

const BOTH: &str = "[routing]\nsecondary_domains = 'redirect'\nsubdomains = 'redirect'";

fn start(backend: Backend, config: &str) -> (Tables, App, Usher) {
    let (tables, app) = (Tables::example(backend), App::echo());
    let binary = Binary::over(&tables).apps(&[&app]).config(config);
    assert_eq!(binary.run(&["migrate"]).code, 0);
    let usher = binary.start();
    (tables, app, usher)
}

/// Where a request is sent, or its status.
fn way(usher: &Usher, host: &str, target: &str) -> String {
    let response = usher.get(host, target);
    response.header("location").map_or(response.status.to_string(), str::to_owned)
}

#[test]
fn other_hosts_of_a_store_are_sent_to_its_primary_domain() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let (tables, _app, usher) = start(backend, BOTH);
        assert_eq!(way(&usher, "shop.alpha.com", "/p?q=1"), "http://customdomain1.com/p?q=1");
        assert_eq!(way(&usher, "store1.platform.com", "/p"), "http://customdomain1.com/p");
        assert_eq!(way(&usher, "www.shop.alpha.com", "/p"), "http://customdomain1.com/p");
        assert_eq!(way(&usher, "customdomain1.com", "/p"), "200");
        // The administration is nobody's, and a path names its store itself.
        assert_eq!(way(&usher, "shop.alpha.com", "/admin"), "200");
        assert_eq!(way(&usher, "localhost", "/store/store1/"), "200");
        // What is not served is not led to.
        tables.execute("UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com'");
        eventually("the edit shows", || (way(&usher, "shop.alpha.com", "/") == "200").then_some(()));
        tables.execute("UPDATE store_domains SET is_primary = true WHERE domain = 'shop.alpha.com'");
        eventually("the edit shows", || {
            (way(&usher, "store1.platform.com", "/") == "http://shop.alpha.com/").then_some(())
        });
    }
}

#[test]
fn nothing_stands_back_unless_it_is_asked_for() {
    let (_tables, _app, usher) = start(Backend::Postgres, "");
    for host in ["shop.alpha.com", "store1.platform.com", "customdomain1.com"] {
        assert_eq!(way(&usher, host, "/"), "200", "{host}");
    }
    let (_tables, _app, usher) = start(Backend::Sqlite, "[routing]\nsecondary_domains = 'redirect'");
    assert_eq!(way(&usher, "store1.platform.com", "/"), "200");
    assert_eq!(way(&usher, "shop.alpha.com", "/"), "http://customdomain1.com/");
}

#[test]
fn whoever_writes_down_a_name_without_proof_takes_it_from_nobody() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let (tables, app, usher) = start(backend, BOTH);
        tables.execute("UPDATE store_domains SET domain = 'CustomDomain1.com' WHERE domain = 'customdomain1.com'");
        let columns = "store_id, domain, is_primary, is_active, is_verified";
        tables.execute(&format!(
            "INSERT INTO store_domains ({columns}) VALUES (2, 'customdomain1.com', false, true, false),
             (2, 'www.customdomain1.com', false, true, false), (2, 'www.shop.alpha.com', false, true, false)"
        ));
        eventually("the last row was read", || {
            let looked = Binary::over(&tables).apps(&[&app]).config(BOTH).run(&["resolve", "www.shop.alpha.com"]);
            looked.stdout.contains("domain is not verified").then_some(())
        });
        assert_eq!(way(&usher, "customdomain1.com", "/"), "200");
        assert_eq!(app.last().folded("x-store-id"), ["1"]);
        assert_eq!(way(&usher, "www.customdomain1.com", "/p"), "http://customdomain1.com/p");
        assert_eq!(way(&usher, "shop.alpha.com", "/p"), "http://customdomain1.com/p");
        // Once it is proved the name is theirs, and nobody's visitors are sent there.
        tables.execute("UPDATE store_domains SET is_verified = true WHERE store_id = 2");
        eventually("the name is the other store's", || {
            (way(&usher, "customdomain1.com", "/") == "http://customdomain2.com/").then_some(())
        });
        assert_eq!(way(&usher, "shop.alpha.com", "/p"), "200");
    }
}
