//! `[domains]`.

use std::net::IpAddr;

use super::{
    Domains,
    convert::{hostname, plain, refused_by},
    file,
    problems::{Refusal, Report},
};
use crate::routing::Label;

pub(super) fn resolve(written: file::Domains, report: &mut Report<'_>) -> Domains {
    let prefix = report.convert("domains.verification_prefix", written.verification_prefix, "_orion-verify", prefix);
    let cname = match written.cname.span() {
        Some(_) => report.convert("domains.cname", written.cname, "", hostname),
        None => None,
    };
    Domains {
        verification_prefix: prefix.unwrap_or_default(),
        addresses: plain(report.convert_list("domains.addresses", written.addresses, &[], address)),
        cname,
    }
}

fn prefix(text: &str) -> Result<String, Refusal> {
    let label = text.to_ascii_lowercase();
    let refused = |error| refused_by(error, "one label of a DNS name, such as \"_orion-verify\"", "correct the label");
    Label::parse(&label).map(|label| label.as_str().to_owned()).map_err(refused)
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    let accepted = "an IPv4 or IPv6 address, such as \"192.0.2.7\" or \"2001:db8::7\"";
    text.parse().map_err(|error| refused_by(error, accepted, "write a public address of this edge"))
}
