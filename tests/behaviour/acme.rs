//! From a row in `store_domains` to a request under TLS that a stranger's client trusts, with nobody doing anything in between.

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use usher::domains::dns::{Dns, Settings};

use crate::support::{
    A_MOMENT, AcmeStage, Backend, Balancer, Client, ModernCa, NameServer, Pebble, Usher, answered, eventually,
    free_address, logged, signal, within_a_minute,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[test]
fn a_row_is_all_that_a_domain_needs() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let http = free_address();
        let stage = AcmeStage::asking_at(backend, http.port());
        let usher = stage.start(http);
        stage.add("new.example");
        // Without the first visitor: nobody asks for the name until its certificate is there.
        logged(&usher, "certificate issued", 1);
        let trust = stage.pebble.trust();
        assert!(answered(&usher, &trust, "new.example").is_some());
        assert_eq!(stage.app.last().folded("x-store-id"), ["1"]);
        eventually("http is sent to https", || (usher.get("new.example", "/").status == 308).then_some(()));
        // Nobody has proven that these are theirs.
        assert!(answered(&usher, &trust, "customdomain1.com").is_none());
        assert!(answered(&usher, &trust, "stranger.example").is_none());
        assert_eq!(stage.pebble.orders(), 1);
    }
}

/// The whole way: a row that the app inserts, a TXT record, an address; and a zone that is right only later.
#[test]
fn a_domain_proves_itself_and_has_its_certificate_as_soon_as_it_leads_here() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let http = free_address();
        let zone = |address: &str| format!("@ NS ns\nns A 127.0.0.1\n@ A {address}\n_orion-verify TXT \"{TOKEN}\"");
        let names = NameServer::start(&[("brand.example", &zone("127.0.0.9"))]);
        let stage = AcmeStage::with(backend, Pebble::resolving_at(http.port(), names.address()));
        let more = format!("[domains]\nverification = 'usher'\nauthority_port = {}", names.address().port());
        let binary = stage.binary(http, ANY_PORT, &more);
        // Once more: that the token counts is known now.
        assert_eq!(binary.run(&["migrate"]).code, 0);
        let usher = binary.start();
        stage.tables.execute(&format!(
            "INSERT INTO store_domains (store_id, domain, is_active, is_verified, verification_token) \
             VALUES (1, 'brand.example', true, false, '{TOKEN}')"
        ));
        logged(&usher, "its DNS does not lead here", 1);
        let orders = if backend == Backend::Sqlite { "usher_acme_orders" } else { "usher.acme_orders" };
        let failed = format!("SELECT 1 FROM {orders} WHERE reason = 'astray' AND due_at > 0");
        eventually("the order has failed", || (stage.tables.count(&failed) == 1).then_some(()));
        // By itself it would be tried again in four hours.
        stage.tables.execute(&format!("UPDATE {orders} SET attempts = 20, due_at = due_at + 14400"));
        names.rewrite("brand.example", &zone("127.0.0.1"));
        logged(&usher, "certificate issued", 1);
        assert!(answered(&usher, &stage.pebble.trust(), "brand.example").is_some());
        assert_eq!(stage.app.last().folded("x-store-id"), ["1"]);
        assert_eq!(stage.pebble.orders(), 1);
    }
}

/// The CA meets another instance than the one that ordered, and one of them dies in the middle.
#[test]
fn three_instances_share_the_work_and_finish_what_a_dead_one_has_begun() {
    const NAMES: usize = 12;
    let balancer = Balancer::listen();
    let stage = AcmeStage::asking_at(Backend::Postgres, balancer.address.port());
    let mut instances: Vec<_> = (0..3).map(|_| stage.start(ANY_PORT)).collect();
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    (0..NAMES).for_each(|number| stage.add(&format!("shop{number}.example")));
    let issued = || instances_log(&instances).matches("certificate issued").count();
    within_a_minute("some are issued", || (issued() >= 2).then_some(()));
    let dead = instances.remove(0);
    // The balancer knows first, and visits that are under way end: what a CA meets at a dead instance is no fault of the others.
    balancer.spread_over(instances.iter().map(Usher::http).collect());
    thread::sleep(A_MOMENT);
    signal("KILL", dead.process());
    // What it was working for, and nothing else, is free when its leases have run out: let that be now.
    thread::sleep(A_MOMENT);
    stage.tables.query_with_value(
        "UPDATE usher.acme_orders SET leased_until = 0 WHERE leased_until > extract(epoch FROM now()) AND holder LIKE '%-' || $1 RETURNING name",
        &dead.process().to_string(),
    );
    let trust = stage.pebble.trust();
    for number in 0..NAMES {
        let name = format!("shop{number}.example");
        for usher in &instances {
            within_a_minute(&name, || answered(usher, &trust, &name));
        }
    }
    drop(dead);
}

fn instances_log(instances: &[Usher]) -> String {
    instances.iter().map(Usher::log).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_name_that_the_ca_refuses_is_tried_again_later_and_the_reason_is_kept() {
    let stage = AcmeStage::asking_at(Backend::Postgres, free_address().port());
    let usher = stage.start_with(free_address(), "[acme]\nself_check = false");
    stage.add("unreachable.example");
    logged(&usher, "no certificate was issued", 1);
    let failed = || {
        let sql = "SELECT name FROM usher.acme_orders \
                   WHERE name = $1 AND attempts = 1 AND reason = 'refused' AND problem LIKE '%127.0.0.1%' AND due_at > 300";
        stage.tables.query_with_value(sql, "unreachable.example")
    };
    eventually("the reason is kept", || (failed() == 1).then_some(()));
    // It would be looked at again in between.
    thread::sleep(Duration::from_secs(8));
    assert_eq!(usher.log().matches("no certificate was issued").count(), 1, "{}", usher.log());
    assert_eq!(stage.pebble.orders(), 1);
}

#[test]
fn nothing_is_ordered_for_a_name_that_leads_elsewhere_until_it_leads_here() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    // Nobody listens there.
    stage.pebble.lead_to("127.0.0.9");
    let usher = stage.start(http);
    stage.add("moved.example");
    logged(&usher, "its DNS does not lead here: nobody answers at 127.0.0.9", 1);
    stage.pebble.lead_to("127.0.0.1");
    stage.try_again();
    logged(&usher, "certificate issued", 1);
    assert_eq!(stage.pebble.orders(), 1);
}

#[test]
fn a_name_that_leads_into_our_own_network_is_not_asked() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    let usher = stage.start_with(http, "[domains]\nallow_private = false");
    stage.add("inside.example");
    logged(&usher, "its DNS does not lead here: 127.0.0.1 is no public address", 1);
    assert_eq!((stage.pebble.orders(), usher.access_log_so_far().matches("usher-self-check").count()), (0, 0));
}

#[test]
fn a_ca_that_asks_over_tls_is_answered_by_whichever_instance_it_meets() {
    for count in [1, 3] {
        let [plain, secure] = [(); 2].map(|()| Balancer::listen());
        let pebble = Pebble::asking_at_both(plain.address.port(), secure.address.port());
        let stage = AcmeStage::with(Backend::Postgres, pebble);
        let instances: Vec<_> =
            (0..count).map(|_| stage.start_with(ANY_PORT, "[acme]\nchallenges = ['tls-alpn-01']")).collect();
        plain.spread_over(instances.iter().map(Usher::http).collect());
        secure.spread_over(instances.iter().map(Usher::https).collect());
        let names: Vec<_> = (0..3).map(|number| format!("shop{number}.example")).collect();
        names.iter().for_each(|name| stage.add(name));
        let trust = stage.pebble.trust();
        for name in &names {
            for usher in &instances {
                within_a_minute(name, || answered(usher, &trust, name));
            }
        }
        let shown: f64 = instances.iter().map(|usher| usher.metric("usher_acme_proofs_shown_total", &[])).sum();
        assert!(shown >= 3.0, "{shown}");
        assert_eq!(stage.pebble.orders(), 3);
    }
}

#[test]
fn whoever_asks_for_a_proof_that_nobody_wants_is_refused_without_a_query() {
    let stage = AcmeStage::asking_at(Backend::Sqlite, free_address().port());
    let usher = stage.start(free_address());
    let trust = stage.pebble.trust().protocols(&["acme-tls/1"]);
    for name in ["customdomain1.com", "store1.platform.com", "stranger.example"] {
        assert!(trust.refusal(usher.https(), name).contains("NoApplicationProtocol"), "{name}");
    }
    assert_eq!(usher.metric("usher_directory_queries_total", &[]), 0.0);
    assert_eq!(usher.metric("usher_tls_certificate_loads_total", &[]), 0.0);
}

#[test]
fn after_a_failure_the_next_challenge_is_tried() {
    // The CA finds nobody at its port for HTTP.
    let https = free_address();
    let stage = AcmeStage::with(Backend::Sqlite, Pebble::asking_at_both(free_address().port(), https.port()));
    let more = "[acme]\nchallenges = ['http-01', 'tls-alpn-01']\nself_check = false";
    let usher = stage.binary(ANY_PORT, https, more).start();
    stage.add("both.example");
    logged(&usher, "no certificate was issued", 1);
    stage.try_again();
    logged(&usher, "certificate issued", 1);
    assert_eq!(stage.pebble.orders(), 2);
}

#[test]
fn www_comes_with_a_name_where_it_leads_here_too() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Postgres, http.port());
    let zone = |www: &str| format!("@ NS ns\nns A 127.0.0.1\n@ A 127.0.0.1\nwww A {www}");
    let (bare, full) = (zone("127.0.0.9"), zone("127.0.0.1"));
    let names = NameServer::start(&[("bare.example", &bare), ("full.example", &full)]);
    let usher = stage.start_with(http, &format!("[domains]\nresolvers = ['{}']", names.address()));
    stage.add("bare.example");
    stage.add("full.example");
    logged(&usher, "certificate issued", 2);
    let trust = stage.pebble.trust();
    let is_shown = |name: &str| Client::connect_tls(usher.https(), &trust, name).is_ok();
    for (name, expected) in
        [("bare.example", true), ("www.bare.example", false), ("full.example", true), ("www.full.example", true)]
    {
        assert_eq!(is_shown(name), expected, "{name}");
    }
    assert_eq!(stage.pebble.orders(), 2);
}

#[test]
fn www_that_leads_here_later_comes_with_its_next_visitor() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let http = free_address();
        let stage = AcmeStage::asking_at(backend, http.port());
        let zone = |www: &str| format!("@ NS ns\nns A 127.0.0.1\n@ A 127.0.0.1\n{www}");
        let names = NameServer::start(&[("late.example", &zone(""))]);
        let usher = stage.start_with(http, &format!("[domains]\nresolvers = ['{}']", names.address()));
        stage.add("late.example");
        logged(&usher, "certificate issued", 1);
        names.rewrite("late.example", &zone("www A 127.0.0.1"));
        let trust = stage.pebble.trust();
        // NSD needs a moment for its new zone, and a name that was asked for too early rests for a quarter of an hour.
        let settings = Settings { resolvers: vec![names.address()], allow_private: true, ..Settings::default() };
        let (dns, runtime) = (Dns::new(&settings).unwrap(), tokio::runtime::Runtime::new().unwrap());
        let is_new = || runtime.block_on(dns.addresses("www.late.example")).is_ok_and(|found| !found.is_empty());
        eventually("the zone is new", || is_new().then_some(()));
        within_a_minute("www is in the certificate", || {
            Client::connect_tls(usher.https(), &trust, "www.late.example").ok()
        });
        assert_eq!(stage.pebble.orders(), 2);
    }
}

#[test]
fn a_domain_whose_tenant_left_is_not_renewed_until_it_is_back() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Postgres, http.port());
    let usher = stage.start(http);
    stage.add("left.example");
    logged(&usher, "certificate issued", 1);
    stage.tables.execute("UPDATE store_domains SET is_active = false; UPDATE usher.certificates SET renew_at = 1");
    let let_go = || {
        let sql = "SELECT name FROM usher.acme_orders WHERE name = $1 AND wanted_since IS NULL AND due_at > 0";
        stage.tables.query_with_value(sql, "left.example")
    };
    within_a_minute("the name is let go", || (let_go() == 1).then_some(()));
    assert_eq!(stage.pebble.orders(), 1);
    stage.tables.execute("UPDATE store_domains SET is_active = true");
    stage.try_again();
    logged(&usher, "certificate issued", 2);
}

#[test]
fn a_ca_that_is_down_is_stood_in_for_by_the_next() {
    let http = free_address();
    let (mut first, second) = (Pebble::asking_at(http.port()), Pebble::for_customers(http.port()));
    first.stop();
    let stage = AcmeStage::with(Backend::Sqlite, first);
    let usher = stage.start_with(http, &format!("[acme]\nfallbacks = [{}]", second.fallback()));
    stage.add("shop.example");
    logged(&usher, "no certificate was issued", 1);
    stage.try_again();
    logged(&usher, "certificate issued", 1);
    assert!(answered(&usher, &second.trust(), "shop.example").is_some());
}

#[test]
fn certificates_of_a_ca_that_is_not_configured_any_more_are_replaced() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    let mut staging = stage.start(http);
    stage.add("shop.example");
    logged(&staging, "certificate issued", 1);
    staging.stop();
    let production = Pebble::asking_at(http.port());
    let usher = stage.start_with(http, &production.config());
    logged(&usher, "certificate issued", 1);
    assert!(answered(&usher, &production.trust(), "shop.example").is_some());
}

#[test]
fn a_certificate_is_renewed_when_the_ca_says_so_and_as_one_that_takes_its_place() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Postgres, http.port());
    let ca = ModernCa::before(&stage.pebble);
    ca.suggest("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let usher = stage.start_with(http, &(ca.config() + "profile = 'short'\n"));
    stage.add("shop.example");
    logged(&usher, "certificate issued", 2);
    let (orders, asked) = (ca.orders(), ca.asked());
    assert_eq!(orders[0]["profile"], "short");
    assert!(orders[0].get("replaces").is_none(), "{orders:?}");
    // pebble has some requests repeated, for the sake of those who forget that.
    assert_eq!(orders.last().unwrap()["replaces"].as_str(), Some(asked[0].as_str()), "{orders:?}");
    ca.suggest("2100-01-01T00:00:00Z", "2100-01-02T00:00:00Z");
}

#[test]
fn a_profile_that_the_ca_does_not_offer_is_told() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    let usher = stage.start_with(http, "[acme]\nprofile = 'long'");
    stage.add("shop.example");
    logged(&usher, "the CA has no profile long", 1);
    assert_eq!(stage.pebble.orders(), 0);
}

#[test]
fn what_waits_and_what_fails_is_shown_with_the_reason() {
    let http = free_address();
    let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
    stage.pebble.lead_to("127.0.0.9");
    let usher = stage.start(http);
    stage.add("moved.example");
    logged(&usher, "no certificate was issued", 1);
    stage.pebble.lead_to("127.0.0.1");
    stage.add("good.example");
    logged(&usher, "certificate issued", 1);
    let listed = stage.binary(ANY_PORT, ANY_PORT, "").run(&["cert", "list"]).stdout;
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[1].starts_with("moved.example") && lines[1].contains("failing"), "{listed}");
    assert!(lines[1].contains("its DNS does not lead here: nobody answers at 127.0.0.9"), "{listed}");
    assert!(lines[2].starts_with("good.example") && lines[2].contains("good"), "{listed}");
    let shown: serde_json::Value =
        serde_json::from_str(&usher.admin_get("/api/v1/certificates?state=failing").text()).unwrap();
    assert_eq!(
        (&shown["certificates"][0]["name"], &shown["certificates"][0]["reason"]),
        (&"moved.example".into(), &"astray".into())
    );
    assert_eq!((shown["certificates"].as_array().unwrap().len(), &shown["next"]), (1, &serde_json::Value::Null));
    assert_eq!(usher.admin_get("/api/v1/certificates?state=odd").status, 400);
    assert_eq!(usher.metric("usher_acme_orders_total", &["outcome=\"astray\""]), 1.0);
    assert_eq!(usher.metric("usher_acme_orders_total", &["outcome=\"issued\""]), 1.0);
}

/// What a CA says of a nonce (RFC 8555 §6.5) is no word on the name, whatever was asked: the order goes on within seconds.
#[test]
fn an_order_outlives_nonces_that_the_ca_does_not_know() {
    let outlives = |step| {
        let http = free_address();
        let stage = AcmeStage::asking_at(Backend::Sqlite, http.port());
        let ca = ModernCa::before(&stage.pebble);
        // As often as one request is repeated.
        ca.refuse_nonces(step, 3);
        let usher = stage.start_with(http, &ca.config());
        stage.add("shop.example");
        logged(&usher, "certificate issued", 1);
        assert!(usher.log().contains("badNonce"), "{step}: {}", usher.log());
        assert_eq!(usher.metric("usher_acme_orders_total", &["outcome=\"unreachable\""]), 1.0, "{step}");
        assert_eq!(stage.pebble.orders(), 1, "{step}");
    };
    // Below these paths pebble takes new orders, shows them, and takes the keys of certificates.
    thread::scope(|all| {
        for step in ["/order-plz", "/my-order/", "/finalize-order/"] {
            all.spawn(move || outlives(step));
        }
    });
}

/// For as long as its `Retry-After` says (RFC 8555 §6.6); clocks that are compared here count whole seconds.
#[test]
fn a_ca_that_wants_to_be_left_alone_is_not_asked_until_then() {
    const SECONDS: u64 = 3;
    let is_left_alone = |backend| {
        let http = free_address();
        let stage = AcmeStage::asking_at(backend, http.port());
        let ca = ModernCa::before(&stage.pebble);
        ca.limit_orders(1, SECONDS);
        let usher = stage.start_with(http, &ca.config());
        stage.add("limited.example");
        let shown = within_a_minute("the limit is told", || {
            let shown = usher.admin_get("/api/v1/certificates?state=failing").json();
            shown["certificates"].get(0).cloned()
        });
        // The limit is on all orders.
        stage.add("other.example");
        assert_eq!((&shown["name"], &shown["reason"]), (&"limited.example".into(), &"rate_limited".into()), "{shown}");
        assert!(shown["problem"].as_str().unwrap().contains("too many new orders"), "{shown}");
        logged(&usher, "certificate issued", 2);
        let heard = ca.heard();
        let until = heard[0] + SECONDS;
        assert!(shown["due"].as_u64().unwrap() >= until, "{until}: {shown}");
        assert!(heard[1..].iter().all(|second| *second >= until), "{until}: {heard:?}");
        let trust = stage.pebble.trust();
        assert!(["limited.example", "other.example"].iter().all(|name| answered(&usher, &trust, name).is_some()));
        assert_eq!(usher.metric("usher_acme_orders_total", &["outcome=\"rate_limited\""]), 1.0);
        assert_eq!(stage.pebble.orders(), 2);
    };
    thread::scope(|all| {
        for backend in [Backend::Postgres, Backend::Sqlite] {
            all.spawn(move || is_left_alone(backend));
        }
    });
}

/// The CA has issued, and the instance dies before it has heard of that, or has the certificate.
#[test]
fn an_order_is_gone_on_with_from_wherever_a_dead_instance_has_left_it() {
    for (backend, step) in
        [(Backend::Postgres, "/finalize-order/"), (Backend::Sqlite, "/certZ/"), (Backend::Postgres, "/certZ/")]
    {
        let http = free_address();
        let stage = AcmeStage::asking_at(backend, http.port());
        let ca = ModernCa::before(&stage.pebble);
        let table = |name: &str| match backend {
            Backend::Postgres => format!("usher.{name}"),
            Backend::Sqlite => format!("usher_{name}"),
        };
        ca.hold(step);
        let dead = stage.start_with(http, &ca.config());
        stage.add("shop.example");
        within_a_minute(step, || ca.is_holding().then_some(()));
        signal("KILL", dead.process());
        drop(dead);
        ca.release();
        assert_eq!(
            stage.tables.count(&format!("SELECT 1 FROM {} WHERE sealed_key <> ''", table("acme_order_keys"))),
            1
        );
        stage.tables.execute(&format!("UPDATE {} SET leased_until = 0", table("acme_orders")));
        let usher = stage.start_with(http, &ca.config());
        logged(&usher, "certificate issued", 1);
        assert!(answered(&usher, &stage.pebble.trust(), "shop.example").is_some());
        assert_eq!(stage.pebble.orders(), 1, "{step}");
        assert_eq!(stage.tables.count(&format!("SELECT 1 FROM {}", table("acme_order_keys"))), 0);
    }
}

/// By itself usher looks once a second, and the one before has just been found: untold, these would take five seconds.
#[test]
fn a_question_of_a_ca_is_known_to_an_instance_as_soon_as_another_one_has_told() {
    let stage = AcmeStage::asking_at(Backend::Postgres, free_address().port());
    let usher = stage.start(ANY_PORT);
    let begun = Instant::now();
    for token in ["one", "two", "three", "four", "five"] {
        let values = format!("('{token}', 'new.example', 'answer {token}', extract(epoch FROM now()))");
        stage
            .tables
            .execute(&format!("INSERT INTO usher.acme_challenges (token, name, answer, begun_at) VALUES {values}"));
        stage.tables.execute("NOTIFY usher_challenges");
        let path = format!("/.well-known/acme-challenge/{token}");
        let is_known = || (usher.get("new.example", &path).text() == format!("answer {token}")).then_some(());
        eventually("it is answered", is_known);
    }
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

/// A command that puts records into the DNS of the CA.
const HOOK: &str = r#"#!/bin/sh
case "$2" in
  add) order=set-txt ;;
  remove) order=clear-txt ;;
esac
echo "$2 $3" >> "$0.log"
exec curl -sf -d "{\"host\": \"$3.\", \"value\": \"$4\"}" "http://$1/$order"
"#;

#[test]
fn subdomains_of_the_platform_get_a_certificate_by_records_that_a_command_adds() {
    let stage = AcmeStage::asking_at(Backend::Postgres, free_address().port());
    let hook = stage.pebble.folder().join("hook");
    fs::write(&hook, HOOK).unwrap();
    let command = format!("['sh', '{}', '{}']", hook.display(), stage.pebble.dns_management());
    let usher = stage.start_with(ANY_PORT, &format!("[acme]\ndns_hook = {command}\ndns_hook_wait = '0s'"));
    logged(&usher, "certificate issued", 1);
    let trust = stage.pebble.trust();
    for host in ["store1.platform.com", "platform.com"] {
        assert!(answered(&usher, &trust, host).is_some(), "{host}");
    }
    let log = hook.with_extension("log");
    let expected = "add _acme-challenge.platform.com\nadd _acme-challenge.platform.com\n\
                    remove _acme-challenge.platform.com\nremove _acme-challenge.platform.com\n";
    eventually("the records are removed", || (fs::read_to_string(&log).unwrap() == expected).then_some(()));
    assert_eq!(stage.pebble.orders(), 1);
}
