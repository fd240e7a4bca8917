//! An instance dies in the middle of many orders: the others finish what it has begun, and the CA hardly notices.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, SystemTime},
};

use crate::support::{A_MOMENT, AcmeStage, Backend, Balancer, Output, Usher, answered, signal, within};

const NAMES: usize = 200;

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

#[test]
fn of_two_hundred_orders_none_is_lost_with_the_instance_that_made_it() {
    let balancer = Balancer::listen();
    let stage = AcmeStage::asking_at(Backend::Postgres, balancer.address.port());
    let mut instances: Vec<_> = (0..3).map(|_| stage.start(ANY_PORT)).collect();
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    (0..NAMES).for_each(|number| stage.add(&name(number)));
    let issued = |instances: &[Usher]| -> usize {
        instances.iter().map(|usher| usher.log().matches("certificate issued").count()).sum()
    };
    within(LONG, "half of them are issued", || (issued(&instances) >= NAMES / 2).then_some(()));
    // The balancer knows first, and visits that are under way end: what a CA meets at a dead instance is no fault of the others.
    let dead = instances.remove(0);
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    thread::sleep(A_MOMENT);
    signal("KILL", dead.process());
    // What it was working for is free when its leases have run out: let that be now.
    thread::sleep(A_MOMENT);
    let cut_off = stage.tables.query_with_value(
        "UPDATE usher.acme_orders SET leased_until = 0 WHERE leased_until > extract(epoch FROM now()) AND holder LIKE '%-' || $1 RETURNING name",
        &dead.process().to_string(),
    );
    let mut missing = Vec::new();
    within(LONG, "every name has a certificate", || {
        let (listed, before) = (listed(&stage), missing.len());
        let state = |name: &String| listed.get(name).cloned().unwrap_or_default();
        missing = (0..NAMES).map(name).map(|name| (state(&name), name)).collect::<Vec<_>>();
        missing.retain(|(state, _)| state["state"] != "good");
        if missing.len() != before {
            eprintln!("{:?}: without a certificate: {missing:?}", SystemTime::now());
        }
        missing.is_empty().then_some(())
    });
    let trust = stage.pebble.trust();
    for number in (0..NAMES).step_by(10) {
        for usher in &instances {
            within(LONG, &name(number), || answered(usher, &trust, &name(number)));
        }
    }
    // An order more for each that was cut off, at most.
    let orders = stage.pebble.orders();
    assert!((NAMES..=NAMES + cut_off).contains(&orders), "{orders} orders, {cut_off} cut off");
    drop(dead);
}
