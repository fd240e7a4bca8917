//! Visitors of a name whose certificate is not there yet: they wait while somebody works for it, and no longer.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    AcmeStage, Backend, Ca, Client, Trust, Usher, answered, eventually, free_address, logged, within_a_minute,
};

#[test]
fn the_first_visitor_waits_for_a_certificate_that_is_not_there_yet() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    let usher = stage.start(http);
    let trust = stage.pebble.trust();
    stage.add("asked.example");
    eventually("the row is known", || (usher.get("asked.example", "/").status == 200).then_some(()));
    let visitors: Vec<_> = (0..5)
        .map(|_| {
            let (address, trust) = (usher.https(), trust.clone());
            thread::spawn(move || Client::connect_tls(address, &trust, "asked.example").is_ok())
        })
        .collect();
    assert!(visitors.into_iter().all(|visitor| visitor.join().unwrap()));
    assert_eq!(stage.pebble.orders(), 1);
}

/// Until a handshake has been told that nothing comes of its wait.
const PROMPTLY: Duration = Duration::from_secs(5);

/// How the handshake for `name` ends, which is at once.
fn refused_promptly(usher: &Usher, trust: &Trust, name: &str) -> String {
    let begun = Instant::now();
    let refusal = trust.refusal(usher.https(), name);
    assert!(begun.elapsed() < PROMPTLY, "{name}: {:?}, {refusal}", begun.elapsed());
    refusal
}

#[test]
fn nobody_waits_for_a_name_whose_time_has_not_come_or_whose_order_fails() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    stage.pebble.lead_to("127.0.0.9");
    let usher = stage.start(http);
    let trust = stage.pebble.trust();
    stage.add("failing.example");
    eventually("the row is known", || (usher.get("failing.example", "/").status == 200).then_some(()));
    // The first may be the one that the work is begun for; the others come while it is not due.
    for _ in 0..3 {
        assert!(refused_promptly(&usher, &trust, "failing.example").contains("UnrecognisedName"));
    }
    logged(&usher, "its DNS does not lead here", 1);
    assert_eq!(stage.pebble.orders(), 0);
}

#[test]
fn with_a_default_nobody_waits_and_the_certificate_is_asked_for_behind_the_handshake() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    let (origin, folder) = (Ca::new(), stage.pebble.folder());
    let item = origin.issue(&["origin.example"]).write(folder, "origin");
    let usher = stage.start_with(http, &format!("[tls]\ncertificates = [{{ {item}, default = true }}]"));
    stage.pebble.lead_to("127.0.0.9");
    stage.add("late.example");
    logged(&usher, "its DNS does not lead here", 1);
    for _ in 0..3 {
        assert!(refused_promptly(&usher, &origin.trust(), "late.example").contains("not valid for name"));
    }
    stage.pebble.lead_to("127.0.0.1");
    let trust = stage.pebble.trust();
    within_a_minute("the next visitors bring the certificate", || answered(&usher, &trust, "late.example"));
    assert_eq!(stage.pebble.orders(), 1);
}

/// A customer has set the record a day later, when the next try would have been hours away.
#[test]
fn a_visitor_brings_the_certificate_of_a_name_that_led_elsewhere_for_long() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    stage.pebble.lead_to("127.0.0.9");
    let usher = stage.start(http);
    stage.add("tomorrow.example");
    logged(&usher, "its DNS does not lead here", 1);
    let later = "UPDATE usher_acme_orders SET attempts = 20, due_at = strftime('%s', 'now') + 14400";
    let is_later =
        || stage.tables.count("SELECT 1 FROM usher_acme_orders WHERE leased_until < strftime('%s', 'now')") > 0;
    eventually("the lease is given back", || is_later().then_some(()));
    stage.tables.execute(later);
    stage.pebble.lead_to("127.0.0.1");
    let trust = stage.pebble.trust();
    within_a_minute("the visitor is served", || answered(&usher, &trust, "tomorrow.example"));
    assert_eq!(stage.pebble.orders(), 1);
}
