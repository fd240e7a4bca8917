//! Which app server gets a request.

use crate::support::{App, Backend, Binary, Tables, Usher};

fn usher(apps: &[App], config: &str) -> (Usher, Tables) {
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&apps.iter().collect::<Vec<_>>()).config(config).start();
    (usher, tables)
}

/// How often each of three servers is asked when `hosts` are asked for in turn.
fn spread(config: &str, hosts: &[&str]) -> Vec<usize> {
    let apps = [App::echo(), App::echo(), App::echo()];
    let (usher, _tables) = usher(&apps, config);
    for host in hosts.iter().cycle().take(60) {
        assert_eq!(usher.get(host, "/").status, 200);
    }
    apps.iter().map(|app| app.requests().len()).collect()
}

#[test]
fn in_turn_all_servers_get_the_same() {
    assert_eq!(spread("[upstreams.default]\nbalance = 'round_robin'", &["customdomain1.com"]), [20; 3]);
}

#[test]
fn by_load_each_server_is_used() {
    let spread = spread("", &["customdomain1.com"]);
    assert!(spread.iter().all(|requests| *requests > 0), "{spread:?}");
}

#[test]
fn with_affinity_all_requests_of_a_store_meet_at_one_server() {
    let config = "[upstreams.default]\nbalance = 'store_affinity'";
    for hosts in [["customdomain1.com", "shop.alpha.com", "store1.platform.com"].as_slice(), &["customdomain2.com"]] {
        let mut spread = spread(config, hosts);
        spread.sort_unstable();
        assert_eq!(spread, [0, 0, 60], "{hosts:?}");
    }
}

#[test]
fn a_heavier_server_gets_more() {
    let apps = [App::echo(), App::echo()];
    let [light, heavy] = [&apps[0], &apps[1]].map(App::url);
    let servers = format!("servers = ['{light}', {{ url = '{heavy}', weight = 3 }}]");
    let config = format!("[upstreams.default]\nbalance = 'round_robin'\n{servers}");
    let (usher, _tables) = usher(&apps, &config);
    for _ in 0..40 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    assert_eq!(apps.each_ref().map(|app| app.requests().len()), [10, 30]);
}
