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
