//! `[domains]`.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Duration,
};

use super::{
    Domains,
    convert::{hostname, plain, refused_by},
    file::{self, Verification},
    problems::{Refusal, Report},
};
use crate::{
    domains::{Settings, dns},
    routing::Label,
};

const VERIFICATION: &str = "domains.verification";
const TIMEOUT: &str = "domains.check_timeout";

/// A lease of a look lasts a minute; who takes longer would be looked after twice.
const CHECK_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// `own_tables` says whether the look-ups read tables that usher knows nothing of.
pub(super) fn resolve(written: file::Domains, own_tables: bool, report: &mut Report<'_>) -> Domains {
    let verification = written.verification.span();
    let are_verified = matches!(written.verification.or(Verification::App), Verification::Usher);
    if are_verified && own_tables {
        refuse_own_tables(verification.unwrap_or_default(), report);
    }
    let prefix = report.convert("domains.verification_prefix", written.verification_prefix, "_orion-verify", prefix);
    let former = report.convert_list("domains.former_prefixes", written.former_prefixes, &[], self::prefix);
    let cname = match written.cname.span() {
        Some(_) => report.convert("domains.cname", written.cname, "", hostname),
        None => None,
    };
    let timeout = written.check_timeout.span();
    let check_timeout = written.check_timeout.or(Duration::from_secs(20));
    if let Some(span) = timeout.filter(|_| check_timeout > CHECK_TIMEOUT_MAX) {
        let refusal = Refusal::new("is longer than a lease", "50s at most", "shorten it");
        report.refuse(TIMEOUT, span, refusal);
    }
    let resolvers = plain(report.convert_list("domains.resolvers", written.resolvers, &[], resolver));
    let authority_port = port(written.authority_port.or(53));
    let dns = dns::Settings {
        resolvers,
        authority_port,
        allow_private: written.allow_private.or(false),
        ..dns::Settings::default()
    };
    let checks = Settings {
        prefixes: prefix.into_iter().chain(plain(former)).collect(),
        dns,
        port: port(written.self_check_port.or(80)),
        checks_max: written.checks_max.or(32),
        check_timeout,
        http_token: written.http_token.or(false),
        unverify_lost: written.unverify_lost.or(false),
    };
    Domains {
        are_verified,
        checks,
        addresses: plain(report.convert_list("domains.addresses", written.addresses, &[], address)),
        cname,
    }
}

fn refuse_own_tables(span: Range<usize>, report: &mut Report<'_>) {
    let cause = "needs the tables stores and store_domains, and directory.queries reads others";
    let refusal = Refusal::new(cause, "\"app\" beside directory.queries", "leave it to the app");
    report.refuse(VERIFICATION, span, refusal);
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

fn resolver(text: &str) -> Result<SocketAddr, Refusal> {
    let accepted = "an address and a port, such as \"9.9.9.9:53\" or \"[2620:fe::fe]:53\"";
    let address = text.parse().or_else(|error| text.parse::<IpAddr>().map(|ip| (ip, 53).into()).map_err(|_| error));
    address.map_err(|error| refused_by(error, accepted, "write address and port of a resolver"))
}

/// The bounds of the key are those of a port.
fn port(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
