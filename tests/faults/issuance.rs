//! An instance dies in the middle of many orders: the others finish what it has begun, and the CA hardly notices.

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use crate::support::{AcmeStage, Backend, Balancer, ModernCa, Output, Pebble, Usher, answered, signal, within};

/// Longer than the orders take that are under way, on a busy machine.
const LONG: Duration = Duration::from_mins(6);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn name(number: usize) -> String {
    format!("shop{number:03}.example")
}

/// Names with a certificate, by their state.
fn listed(stage: &AcmeStage) -> BTreeMap<String, serde_json::Value> {
    let Output { stdout, stderr, code } = stage.binary(ANY_PORT, ANY_PORT, "").run(&["cert", "list", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let entries: Vec<serde_json::Value> = serde_json::from_str(&stdout).unwrap();
    entries.into_iter().map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry)).collect()
}

fn without_a_certificate(stage: &AcmeStage, count: usize) -> Vec<serde_json::Value> {
    let mut listed = listed(stage);
    let entries =
        (0..count).map(name).map(|name| listed.remove(&name).unwrap_or_else(|| serde_json::Value::from(name)));
    entries.filter(|entry| entry["state"] != "good").collect()
}

/// What a dead instance was working for is free when its leases have run out: lets that be now; how many there were. What it had begun
/// to write may be written after its death.
fn free_leases(stage: &AcmeStage, dead: u32) -> usize {
    stage.tables.query_with_value(
        "UPDATE usher.acme_orders SET leased_until = 0 WHERE leased_until > extract(epoch FROM now()) AND holder LIKE '%-' || $1 RETURNING name",
        &dead.to_string(),
    )
}

/// Names that wait, told at the very end where the test fails.
struct Missing(Vec<serde_json::Value>);

impl Drop for Missing {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("without a certificate: {:?}", self.0);
        }
    }
}

#[test]
fn of_two_hundred_orders_none_is_lost_with_the_instance_that_made_it() {
    lose_an_instance(200, "http-01");
}

#[test]
fn of_forty_orders_none_is_lost_where_the_ca_asks_over_tls() {
    lose_an_instance(40, "tls-alpn-01");
}

/// One of three, in the middle of `count` orders; the CA is shown by `challenge` whose a name is.
fn lose_an_instance(count: usize, challenge: &str) {
    let mut missing = Missing(Vec::new());
    let [plain, secure] = [(); 2].map(|()| Balancer::listen());
    let pebble = Pebble::asking_at_both(plain.address.port(), secure.address.port());
    let stage = AcmeStage::with(Backend::Postgres, pebble);
    let ca = ModernCa::before(&stage.pebble);
    let config = format!("{}challenges = ['{challenge}']", ca.config());
    let mut instances: Vec<_> = (0..3).map(|_| stage.start_with(ANY_PORT, &config)).collect();
    let spread_over = |instances: &[Usher]| {
        plain.spread_over(instances.iter().map(Usher::http).collect());
        secure.spread_over(instances.iter().map(Usher::https).collect());
    };
    spread_over(&instances);
    (0..count).for_each(|number| stage.add(&name(number)));
    let issued = |instances: &[Usher]| -> usize {
        instances.iter().map(|usher| usher.log().matches("certificate issued").count()).sum()
    };
    within(LONG, "half of them are issued", || (issued(&instances) >= count / 2).then_some(()));
    // The balancers know first, and visits that are under way end: what a CA meets at a dead instance is no fault of the others.
    let dead = instances.remove(0);
    spread_over(&instances);
    let is_visited = || plain.carries_to(dead.http()) || secure.carries_to(dead.https());
    within(LONG, "visits end", || (!is_visited()).then_some(()));
    signal("KILL", dead.process());
    let mut cut_off = 0;
    within(LONG, "every name has a certificate", || {
        cut_off += free_leases(&stage, dead.process());
        missing.0 = without_a_certificate(&stage, count);
        missing.0.is_empty().then_some(())
    });
    let trust = stage.pebble.trust();
    let shows = |number: &usize| answered(&instances[number % 2], &trust, &name(*number)).is_some();
    let not_shown: Vec<_> = (0..count).filter(|number| !shows(number)).map(name).collect();
    assert_eq!(not_shown, Vec::<String>::new());
    // An order more for each that was cut off, at most.
    let orders = stage.pebble.orders();
    assert!((count..=count + cut_off).contains(&orders), "{orders} orders, {cut_off} cut off");
    drop((dead, ca));
}
