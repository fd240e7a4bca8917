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
    /// The page on which the token counts as well, where that is allowed.
    pub page: Option<&'a str>,
    /// What the record has to say.
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
            Ownership::Found { .. } | Ownership::Served { .. } => None,
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
            (None, None, []) => match self.page {
                None => format!("Set a TXT record {record} with the value {token}."),
                Some(page) => format!(
                    "Set a TXT record {record} with the value {token}, or have the web server show that value, and nothing else, \
                     at {page}."
                ),
            },
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
mod tests;
