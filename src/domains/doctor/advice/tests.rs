//! What is said of each state of a domain.

use super::*;
use crate::domains::Traffic;

const NAME: &str = "shop.brand.example";
const RECORD: &str = "_orion-verify.shop.brand.example";
const OURS: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))];

fn visit(address: &str, met: Met) -> Visit {
    Visit { address: address.parse().unwrap(), met }
}

fn good() -> Findings {
    Findings {
        zone: Zone::Answers,
        ownership: Some(Ownership::Found { record: RECORD.into() }),
        misplaced: None,
        aliases: Vec::new(),
        addresses: Vec::new(),
        traffic: Traffic { visits: vec![visit("192.0.2.7", Met::Us)], failure: None },
        issuance: vec![permission("letsencrypt.org", Issuance::Allowed)],
    }
}

fn permission(authority: &str, issuance: Issuance) -> Permission {
    Permission { authority: authority.into(), issuance }
}

fn forbidden() -> Issuance {
    Issuance::Forbidden { at: "brand.example".into(), records: vec!["issue \"other.example\"".into()] }
}

fn outlook(findings: &Findings) -> Outlook<'_> {
    Outlook {
        name: NAME,
        findings,
        record: RECORD,
        page: None,
        token: Some("abc"),
        is_active: true,
        is_verified: true,
        are_verified: true,
        is_live: false,
        addresses: &OURS,
        cname: Some("edge.platform.example"),
        certificate: Certificate::Good,
    }
}

fn told(findings: Findings, change: impl Fn(&mut Outlook<'_>)) -> (Who, String) {
    let mut outlook = outlook(&findings);
    change(&mut outlook);
    let Advice { who, what } = advise(&outlook);
    (who, what)
}

fn unproved(ownership: Ownership, misplaced: Option<&str>) -> String {
    let findings = Findings { ownership: Some(ownership), misplaced: misplaced.map(str::to_owned), ..good() };
    let (who, what) = told(findings, |outlook| outlook.is_verified = false);
    assert_eq!(who, Who::Customer);
    what
}

fn absent(texts: &[&str]) -> Ownership {
    Ownership::Absent { record: RECORD.into(), texts: texts.iter().map(|text| format!("{text:?}")).collect() }
}

#[test]
fn a_page_is_told_of_where_it_counts() {
    let findings = Findings { ownership: Some(absent(&[])), ..good() };
    let page = "http://shop.brand.example/.well-known/orion-verify";
    let (_, what) = told(findings, |outlook| (outlook.is_verified, outlook.page) = (false, Some(page)));
    let either = format!("Set a TXT record {RECORD} with the value abc, or have the web server show that value");
    assert!(what.starts_with(&either) && what.contains(page), "{what}");
}

#[test]
fn no_token_is_in_what_is_printed_for_debugging() {
    let findings = good();
    let outlook = Outlook { token: Some("secret-token"), ..outlook(&findings) };
    let printed = format!("{outlook:?}");
    assert!(printed.contains(NAME) && !printed.contains("secret-token"), "{printed}");
}

#[test]
fn a_domain_that_is_well_needs_nothing() {
    assert_eq!(told(good(), |_| {}).0, Who::Nobody);
}

#[test]
fn the_txt_record_is_told_with_its_value() {
    assert_eq!(unproved(absent(&[]), None), format!("Set a TXT record {RECORD} with the value abc."));
    assert!(unproved(absent(&["xyz"]), None).contains("it is \"xyz\" now"));
    assert!(unproved(absent(&["\"abc\""]), None).contains("without anything around it"));
    assert!(unproved(absent(&[]), Some(NAME)).starts_with(&format!("Move the TXT record from {NAME} to {RECORD}")));
    assert!(unproved(Ownership::Unknown { record: RECORD.into(), reason: "REFUSED".into() }, None).contains("REFUSED"));
    let findings = Findings { ownership: None, ..good() };
    assert_eq!(told(findings, |outlook| (outlook.is_verified, outlook.token) = (false, None)).0, Who::Operator);
}

#[test]
fn a_proof_that_is_gone_is_not_asked_for_again_while_the_domain_counts_as_proved() {
    assert_eq!(told(Findings { ownership: Some(absent(&[])), ..good() }, |_| {}).0, Who::Nobody);
}

#[test]
fn the_record_that_leads_here_is_told() {
    let to = |visits: &[Visit]| Findings { traffic: Traffic { visits: visits.to_vec(), failure: None }, ..good() };
    let (who, what) = told(to(&[]), |_| {});
    assert_eq!(
        (who, what.as_str()),
        (
            Who::Customer,
            "Set a CNAME record shop.brand.example to edge.platform.example: shop.brand.example has no address yet."
        )
    );
    let (_, what) = told(to(&[]), |outlook| outlook.name = "brand.example");
    assert!(what.starts_with("Set address records (A, AAAA) of brand.example to 192.0.2.7"), "{what}");
    let (_, what) = told(to(&[visit("198.51.100.1", Met::Other { status: 301 })]), |_| {});
    assert!(what.ends_with("in place of 198.51.100.1, where somebody else answers (301)."), "{what}");
    let forgotten = [visit("192.0.2.7", Met::Us), visit("2001:db8::1", Met::Other { status: 404 })];
    let (_, what) = told(to(&forgotten), |_| {});
    assert!(what.starts_with("Remove the AAAA record of shop.brand.example with 2001:db8::1"), "{what}");
    let ours = [visit("192.0.2.7", Met::Nobody { reason: "refused".into() })];
    assert_eq!(told(to(&ours), |_| {}).0, Who::Operator);
}

#[test]
fn a_live_domain_behind_a_cdn_that_forces_https_is_left_alone_and_a_new_one_is_told_how_to_let_us_through() {
    let traffic = Traffic { visits: vec![visit("198.51.100.1", Met::Secure { status: 301 })], failure: None };
    let findings = Findings { traffic, ..good() };
    let missing = |outlook: &mut Outlook<'_>| outlook.certificate = Certificate::Missing;
    assert_eq!(told(findings.clone(), |outlook| outlook.is_live = true).0, Who::Nobody);
    assert_eq!(told(findings.clone(), |_| {}).0, Who::Nobody, "a certificate was issued");
    let (who, what) = told(findings, missing);
    assert_eq!(who, Who::Customer);
    assert!(what.starts_with("Let requests for http://shop.brand.example/.well-known/acme-challenge/ pass"), "{what}");
}

#[test]
fn silence_sends_nobody_to_change_the_records_of_a_live_domain_and_a_strange_answer_does() {
    let to = |met| Findings { traffic: Traffic { visits: vec![visit("198.51.100.1", met)], failure: None }, ..good() };
    let live = |outlook: &mut Outlook<'_>| outlook.is_live = true;
    let silent = to(Met::Nobody { reason: "no connection".into() });
    let (who, what) = told(silent.clone(), live);
    assert!(who == Who::Nobody && what.starts_with("Look again in some minutes"), "{what}");
    assert_eq!(told(silent, |_| {}).0, Who::Customer);
    assert_eq!(told(to(Met::Other { status: 200 }), live).0, Who::Customer);
}

#[test]
fn one_ca_that_may_issue_is_enough() {
    let issuance = vec![permission("letsencrypt.org", forbidden()), permission("sectigo.com", Issuance::Allowed)];
    assert_eq!(told(Findings { issuance, ..good() }, |_| {}).0, Who::Nobody);
}

#[test]
fn an_order_that_has_failed_is_told_with_its_reason_and_the_time_of_the_next() {
    let of = |reason: &'static str| {
        let failing = Certificate::Failing { reason, problem: "too many orders", again: "noon" };
        told(good(), |outlook| outlook.certificate = failing)
    };
    assert_eq!(of("astray").0, Who::Nobody);
    for reason in ["rate_limited", "postponed", "refused", "unreachable", "internal"] {
        let (who, what) = of(reason);
        assert!(who == Who::Operator && what.contains("too many orders") && what.contains("noon"), "{reason}: {what}");
    }
}

#[test]
fn what_is_in_the_way_of_everything_comes_first() {
    let everything = Findings {
        zone: Zone::Forged,
        ownership: Some(absent(&[])),
        traffic: Traffic::default(),
        issuance: vec![permission("letsencrypt.org", forbidden()), permission("sectigo.com", forbidden())],
        ..good()
    };
    let mut findings = everything;
    let next = |findings: &Findings| told(findings.clone(), |outlook| outlook.is_verified = false).1;
    assert!(next(&findings).contains("DNSSEC"));
    findings.zone = Zone::Answers;
    assert!(next(&findings).contains("TXT record"));
    findings.ownership = good().ownership;
    assert!(next(&findings).contains("CNAME"));
    findings.traffic = good().traffic;
    assert!(next(&findings).contains("CAA record brand.example that says 0 issue \"letsencrypt.org\""));
    findings.issuance = good().issuance;
    assert!(next(&findings).contains("takes note"));
}

#[test]
fn what_the_table_or_the_certificate_lacks_is_not_the_customers() {
    assert_eq!(told(good(), |outlook| outlook.is_active = false).0, Who::Operator);
    assert_eq!(told(good(), |outlook| (outlook.is_verified, outlook.are_verified) = (false, false)).0, Who::Operator);
    assert_eq!(told(good(), |outlook| outlook.certificate = Certificate::Missing).0, Who::Nobody);
    assert_eq!(told(good(), |outlook| outlook.certificate = Certificate::Expired).0, Who::Operator);
}
