//! What to do next: one sentence, to be sent to the customer as it is. Pure.

use std::{fmt, net::IpAddr};

use serde::Serialize;

use super::{Findings, Issuance, Permission};
use crate::domains::{Met, Ownership, Visit, dns::Zone};

/// All that is known of a domain.
#[derive(Clone, Copy)]
pub struct Outlook<'a> {
    /// Its name, canonical.
    pub name: &'a str,
    /// What is set.
    pub findings: &'a Findings,
    /// The name of the TXT record that customers are told of.
    pub record: &'a str,
    /// What it has to say.
    pub token: Option<&'a str>,
    /// Whether the row is switched on, and its store with it.
    pub is_active: bool,
    /// Whether the name counts as its customer's.
    pub is_verified: bool,
    /// Whether usher decides that; else the app does.
    pub are_verified: bool,
    /// Whether its visitors arrived here when they were looked at last.
    pub is_live: bool,
    /// Addresses of this edge.
    pub addresses: &'a [IpAddr],
    /// A name of this edge.
    pub cname: Option<&'a str>,
    /// Whether a certificate is there.
    pub certificate: Certificate<'a>,
}

impl fmt::Debug for Outlook<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, is_active, is_verified, is_live, certificate, .. } = self;
        let mut outlook = f.debug_struct("Outlook");
        outlook.field("name", name).field("is_active", is_active).field("is_verified", is_verified);
        outlook.field("is_live", is_live).field("certificate", certificate).finish_non_exhaustive()
    }
}

/// How it stands with the certificate of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// None is asked for, nor kept in the database.
    Unmanaged,
    /// There is none yet.
    Missing,
    /// There is one, and it is good.
    Good,
    /// There is one that has run out.
    Expired,
    /// There is none that is good, and the last order for one has failed.
    Failing {
        /// Why, in a word: one of those of `usher_acme_names`.
        reason: &'a str,
        /// Why, in a sentence.
        problem: &'a str,
        /// When the next one is made.
        again: &'a str,
    },
}

/// What to do next, and who has to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Who.
    pub who: Who,
    /// What, in a sentence.
    pub what: String,
}

/// Who has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The customer, at whoever runs their DNS.
    Customer,
    /// Whoever runs usher and the app.
    Operator,
    /// Nobody.
    Nobody,
}

/// The one thing that is in the way of all others comes first.
pub fn advise(outlook: &Outlook<'_>) -> Advice {
    outlook
        .zone()
        .or_else(|| outlook.proof())
        .or_else(|| outlook.way())
        .or_else(|| outlook.issuance())
        .or_else(|| outlook.table())
        .or_else(|| outlook.certificate())
        .unwrap_or_else(|| nobody("Nothing: the domain is set up as it should be.".into()))
}

impl Outlook<'_> {
    fn zone(&self) -> Option<Advice> {
        let name = self.name;
        match &self.findings.zone {
            Zone::Answers => None,
            Zone::Forged => Some(customer(format!(
                "Repair the DNSSEC signatures of {name}, or remove the DS record at its registrar: they do not fit, so that \
                 whoever checks them gets no answer."
            ))),
            Zone::Silent { reason } => Some(customer(format!(
                "Ask whoever runs the DNS of {name} why its name servers give no answer ({reason})."
            ))),
            Zone::Unasked { reason } => Some(operator(format!(
                "See that this machine can ask the DNS ({reason}); domains.resolvers names other resolvers."
            ))),
        }
    }

    fn proof(&self) -> Option<Advice> {
        if self.is_verified {
            return None;
        }
        let (record, token) = (self.record, self.token.filter(|token| !token.is_empty()));
        let Some((token, ownership)) = token.zip(self.findings.ownership.as_ref()) else {
            return Some(operator(
                "Give the row in store_domains a verification_token, as `usher domain add` does.".into(),
            ));
        };
        match ownership {
            Ownership::Found { .. } => None,
            Ownership::Unknown { reason, .. } => Some(customer(format!(
                "Ask whoever runs the DNS of {} why its name servers do not say whether there is a TXT record {record} ({reason}).",
                self.name
            ))),
            Ownership::Absent { texts, .. } => Some(customer(self.set_record(record, token, texts))),
        }
    }

    fn set_record(&self, record: &str, token: &str, texts: &[String]) -> String {
        let is_wrapped = |text: &&String| text.len() > token.len() + 2 && text.contains(token);
        match (&self.findings.misplaced, texts.iter().find(is_wrapped), texts) {
            (Some(place), _, _) => format!(
                "Move the TXT record from {place} to {record}: some DNS panels add the name of the zone by themselves, so that \
                 only what stands in front of it is to be entered."
            ),
            (None, Some(text), _) => format!(
                "Set the value of the TXT record {record} to {token} without anything around it; it is {text} now."
            ),
            (None, None, []) => format!("Set a TXT record {record} with the value {token}."),
            (None, None, others) => format!(
                "Set the value of the TXT record {record} to {token}, or add a second record with it; it is {} now.",
                others.join(" and ")
            ),
        }
    }

    fn way(&self) -> Option<Advice> {
        let traffic = &self.findings.traffic;
        if let Some(failure) = &traffic.failure {
            return Some(customer(format!(
                "Ask whoever runs the DNS of {} why its name servers do not tell its addresses ({failure}).",
                self.name
            )));
        }
        let astray = traffic.visits.iter().find(|visit| !self.leads_here(&visit.met));
        match (astray, traffic.visits.len()) {
            (None, 0) => Some(customer(format!("Set {}: {} has no address yet.", self.target(), self.name))),
            (None, _) => None,
            (Some(visit), _) if self.addresses.contains(&visit.address) => Some(operator(format!(
                "See why {}, which is an address of this edge, does not lead to it: {}.",
                visit.address,
                met(&visit.met)
            ))),
            (Some(Visit { address, met: Met::Nobody { reason } }), _) if self.is_live => Some(nobody(format!(
                "Look again in some minutes: nobody answers at {address} now ({reason}), where visitors arrived before."
            ))),
            (Some(visit), count) => Some(customer(self.lead_here(visit, count > 1))),
        }
    }

    /// Whether visitors may be believed to arrive. Behind somebody who sends all to https it is not to be seen where they do; where
    /// they arrived before, or a certificate was issued for the name, that is a CDN in front of this edge.
    fn leads_here(&self, met: &Met) -> bool {
        match met {
            Met::Us => true,
            Met::Secure { .. } => self.is_live || self.certificate == Certificate::Good,
            Met::Other { .. } | Met::Nobody { .. } | Met::NotPublic => false,
        }
    }

    /// `has_other` says that there is a way of the other family, which leads here or will be told of next.
    fn lead_here(&self, visit: &Visit, has_other: bool) -> String {
        let (kind, address) = (if visit.address.is_ipv4() { "A" } else { "AAAA" }, visit.address);
        let leads_here = self.findings.traffic.visits.iter().any(|visit| visit.met == Met::Us);
        if let Met::Secure { status } = visit.met {
            return format!(
                "Let requests for http://{}/.well-known/acme-challenge/ pass at the CDN in front of it, which sends them to https \
                 ({status}); where {address} is no CDN, set {}.",
                self.name,
                self.target()
            );
        }
        match has_other && leads_here {
            true => format!(
                "Remove the {kind} record of {} with {address}, or change it to an address of ours: {}.",
                self.name,
                met(&visit.met)
            ),
            false => {
                format!("Set {} in place of {address}, where {}.", self.target(), met(&visit.met))
            }
        }
    }

    /// The record that leads here.
    fn target(&self) -> String {
        let name = self.name;
        // The top of a zone can have no CNAME (RFC 1034 §3.6.2); with two labels a name is one for certain.
        let is_zone_top = name.matches('.').count() < 2;
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        match (self.cname, addresses.as_slice()) {
            (Some(cname), _) if !is_zone_top => format!("a CNAME record {name} to {cname}"),
            (_, [_, ..]) => format!("address records (A, AAAA) of {name} to {}", addresses.join(" and ")),
            (Some(cname), []) => format!("an ALIAS or ANAME record {name} to {cname}"),
            (None, []) => format!("the records of {name} that lead here"),
        }
    }

    fn issuance(&self) -> Option<Advice> {
        let asked = &self.findings.issuance;
        if asked.iter().any(|asked| asked.issuance == Issuance::Allowed) {
            return None;
        }
        let Permission { authority, issuance, .. } = asked.first()?;
        match issuance {
            Issuance::Allowed => None,
            Issuance::Forbidden { at, records } => Some(customer(format!(
                "Add a CAA record {at} that says 0 issue \"{authority}\": those that are there ({}) keep it from issuing a certificate.",
                records.join(", ")
            ))),
            Issuance::Unknown { reason } => Some(customer(format!(
                "Ask whoever runs the DNS of {} why its name servers do not answer for CAA records ({reason}): a CA that gets no \
                 answer issues no certificate.",
                self.name
            ))),
        }
    }

    fn table(&self) -> Option<Advice> {
        match (self.is_verified, self.is_active, self.are_verified) {
            (false, _, true) => Some(nobody(
                "Nothing: the TXT record is right, and usher takes note of it by itself within hours.".into(),
            )),
            (false, _, false) => {
                Some(operator("Mark the domain as verified in the app: the TXT record is right.".into()))
            }
            (true, false, _) => Some(operator("Switch the domain and its store on in the app.".into())),
            (true, true, _) => None,
        }
    }

    fn certificate(&self) -> Option<Advice> {
        match self.certificate {
            Certificate::Unmanaged | Certificate::Good => None,
            Certificate::Missing => {
                Some(nobody("Nothing: the certificate is being asked for, or will be with the first visitor.".into()))
            }
            Certificate::Failing { reason, problem, again } => Some(match reason {
                "astray" => nobody(format!(
                    "Nothing: the domain leads here by now, and its certificate is asked for with the next visitor, or at {again}."
                )),
                "rate_limited" | "postponed" => {
                    operator(format!("Wait until {again}: as many certificates were asked for as may be ({problem})."))
                }
                "refused" => {
                    operator(format!("See why the CA issues no certificate ({problem}); it is asked again at {again}."))
                }
                _ => operator(format!(
                    "See why no certificate was issued ({problem}); it is asked for again at {again}."
                )),
            }),
            Certificate::Expired => Some(operator(
                "See in the log of usher why the certificate, which has run out, was not renewed.".into(),
            )),
        }
    }
}

/// As it stands in a sentence.
fn met(met: &Met) -> String {
    match met {
        Met::Us => "this edge answers".to_owned(),
        Met::Secure { status } => format!("somebody answers who leads to https ({status})"),
        Met::Other { status } => format!("somebody else answers ({status})"),
        Met::Nobody { reason } => format!("nobody answers ({reason})"),
        Met::NotPublic => "nobody outside can arrive".to_owned(),
    }
}

fn customer(what: String) -> Advice {
    Advice { who: Who::Customer, what }
}

fn operator(what: String) -> Advice {
    Advice { who: Who::Operator, what }
}

fn nobody(what: String) -> Advice {
    Advice { who: Who::Nobody, what }
}

#[cfg(test)]
mod tests {
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
        assert!(
            unproved(Ownership::Unknown { record: RECORD.into(), reason: "REFUSED".into() }, None).contains("REFUSED")
        );
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
        assert!(
            what.starts_with("Let requests for http://shop.brand.example/.well-known/acme-challenge/ pass"),
            "{what}"
        );
    }

    #[test]
    fn silence_sends_nobody_to_change_the_records_of_a_live_domain_and_a_strange_answer_does() {
        let to =
            |met| Findings { traffic: Traffic { visits: vec![visit("198.51.100.1", met)], failure: None }, ..good() };
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
            assert!(
                who == Who::Operator && what.contains("too many orders") && what.contains("noon"),
                "{reason}: {what}"
            );
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
        assert_eq!(
            told(good(), |outlook| (outlook.is_verified, outlook.are_verified) = (false, false)).0,
            Who::Operator
        );
        assert_eq!(told(good(), |outlook| outlook.certificate = Certificate::Missing).0, Who::Nobody);
        assert_eq!(told(good(), |outlook| outlook.certificate = Certificate::Expired).0, Who::Operator);
    }
}
