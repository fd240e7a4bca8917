//! What `usher domain check` says to whoever answers a customer's mail.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::support::{App, Backend, Binary, NameServer, Resolver, Tables, free_address};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn zone(records: &str) -> String {
    format!("@ NS ns\nns A 127.0.0.1\n{records}\n")
}

fn tables(backend: Backend, domains: &[&str]) -> Tables {
    let tables = Tables::example(backend);
    let columns = "store_id, domain, is_active, is_verified, verification_token";
    for domain in domains {
        tables
            .execute(&format!("INSERT INTO store_domains ({columns}) VALUES (1, '{domain}', true, false, '{TOKEN}')"));
    }
    tables
}

/// The configuration of somebody who is to be asked about domains, and reached at `port`.
fn binary(tables: &Tables, names: &NameServer, resolver: &str, port: u16) -> Binary {
    Binary::over(tables).config(&format!(
        "[listen]\nhttp = ['127.0.0.1:{port}']\n[domains]\nverification = 'usher'\nresolvers = ['{resolver}']\n\
         authority_port = {}\nself_check_port = {port}\nallow_private = true\naddresses = ['192.0.2.7']\n\
         cname = 'edge.platform.example'",
        names.address().port()
    ))
}

/// Exit code and answer.
fn check(binary: &Binary, domain: &str) -> (i32, Value) {
    let output = binary.run(&["domain", "check", domain, "--json"]);
    let answer = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.code, answer)
}

fn advice(binary: &Binary, domain: &str) -> String {
    let (code, answer) = check(binary, domain);
    let who = answer["advice"]["who"].as_str().unwrap();
    assert_eq!(code, i32::from(who != "nobody"), "{answer}");
    format!("{who}: {}", answer["advice"]["what"].as_str().unwrap())
}

#[test]
fn a_customer_is_told_the_records_one_after_another() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let placed = format!("shop TXT \"{TOKEN}\"");
        let quoted = format!("_orion-verify.shop TXT \"\\\"{TOKEN}\\\"\"\nshop A 127.0.0.1");
        let proved = format!("_orion-verify TXT \"{TOKEN}\"");
        let zones = [
            ("bare.example", zone("")),
            ("placed.example", zone(&placed)),
            ("quoted.example", zone(&quoted)),
            ("proved.example", zone(&proved)),
        ];
        let names = NameServer::start(&zones.each_ref().map(|(name, records)| (*name, records.as_str())));
        let domains = ["bare.example", "shop.placed.example", "shop.quoted.example", "proved.example"];
        let tables = tables(backend, &domains);
        let binary = binary(&tables, &names, &names.address().to_string(), free_address().port());
        let told = domains.map(|domain| advice(&binary, domain));
        assert_eq!(told[0], format!("customer: Set a TXT record _orion-verify.bare.example with the value {TOKEN}."));
        assert!(
            told[1].starts_with(
                "customer: Move the TXT record from shop.placed.example to _orion-verify.shop.placed.example"
            ),
            "{}",
            told[1]
        );
        assert!(told[2].contains("without anything around it"), "{}", told[2]);
        assert!(
            told[3].starts_with("customer: Set address records (A, AAAA) of proved.example to 192.0.2.7"),
            "{}",
            told[3]
        );
        let shown = binary.run(&["domain", "check", "bare.example"]).stdout;
        assert!(
            shown.contains("there is no TXT record") && shown.lines().last().unwrap().starts_with("customer"),
            "{shown}"
        );
    }
}

#[test]
fn a_domain_whose_visitors_arrive_needs_nothing_more_and_one_that_leads_elsewhere_does() {
    let here = format!("_orion-verify.shop TXT \"{TOKEN}\"\nshop CNAME edge.cdn.example.");
    let other = App::echo();
    let zones = [("here.example", zone(&here)), ("cdn.example", zone("edge A 127.0.0.1"))];
    let names = NameServer::start(&zones.each_ref().map(|(name, records)| (*name, records.as_str())));
    let tables = tables(Backend::Postgres, &["shop.here.example"]);
    tables.execute("UPDATE store_domains SET is_verified = true");
    let port = free_address().port();
    let ready = || binary(&tables, &names, &names.address().to_string(), port).apps(&[&other]);
    let usher = ready().start();
    let (code, answer) = check(&ready(), "shop.here.example");
    assert_eq!((code, &answer["advice"]["who"]), (0, &"nobody".into()), "{answer}");
    assert_eq!(answer["found"]["aliases"], serde_json::json!(["edge.cdn.example"]));
    assert_eq!(answer["found"]["traffic"]["visits"][0]["met"]["who"], "us");
    drop(usher);
    let elsewhere: u16 = other.url().rsplit(':').next().unwrap().parse().unwrap();
    let strange = binary(&tables, &names, &names.address().to_string(), elsewhere);
    assert!(advice(&strange, "shop.here.example").starts_with(
        "customer: Set a CNAME record shop.here.example to edge.platform.example in place of 127.0.0.1, where somebody else answers (200)"
    ));
}

#[test]
fn a_caa_record_that_keeps_the_ca_out_is_told_with_the_one_to_add() {
    let records = format!("_orion-verify.shop TXT \"{TOKEN}\"\nshop A 127.0.0.1\n@ CAA 0 issue \"other.example\"");
    let names = NameServer::start(&[("brand.example", &zone(&records))]);
    let tables = tables(Backend::Sqlite, &["shop.brand.example"]);
    let port = free_address().port();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), format!("k:{}", STANDARD.encode([1; 32]))).unwrap();
    let ca = format!(
        "[tls]\nencryption_keys_file = {:?}\n[acme]\ndirectory = 'https://acme-v02.api.letsencrypt.org/directory'\nterms_agreed = true",
        keys.path()
    );
    let resolver = names.address().to_string();
    let usher = binary(&tables, &names, &resolver, port).start();
    let told = advice(&binary(&tables, &names, &resolver, port).config(&ca), "shop.brand.example");
    assert_eq!(
        told,
        "customer: Add a CAA record brand.example that says 0 issue \"letsencrypt.org\": those that are there \
         (issue \"other.example\") keep it from issuing a certificate."
    );
    drop(usher);
}

#[test]
fn signatures_that_do_not_fit_are_told_apart_from_servers_that_are_away() {
    let records = zone(&format!("_orion-verify TXT \"{TOKEN}\""));
    let names = NameServer::start(&[("broken.example", &records)]);
    let resolver = Resolver::start(&names, &["broken.example", "away.example"], "broken.example");
    let tables = tables(Backend::Sqlite, &["broken.example", "away.example"]);
    let binary = binary(&tables, &names, &resolver.address().to_string(), free_address().port());
    let told = advice(&binary, "broken.example");
    assert!(told.starts_with("customer: Repair the DNSSEC signatures of broken.example"), "{told}");
    // The server does not know this zone, and refuses.
    let told = advice(&binary, "away.example");
    assert!(told.starts_with("customer: Ask whoever runs the DNS of away.example"), "{told}");
}
