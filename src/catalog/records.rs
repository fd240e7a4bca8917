//! The DNS records that a customer has to set.

use std::net::IpAddr;

use serde::Serialize;

use crate::routing::Hostname;

/// Where this edge can be reached, and how ownership is proved.
#[derive(Clone, Copy, Debug)]
pub struct DnsTargets<'a> {
    /// The label in front of the name of the TXT record.
    pub verification_prefix: &'a str,
    /// For A and AAAA records.
    pub addresses: &'a [IpAddr],
    /// For CNAME records.
    pub cname: Option<&'a str>,
}

/// One DNS record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsRecord {
    /// What it is for.
    pub purpose: Purpose,
    /// Its name, without a trailing dot.
    pub name: String,
    /// `TXT`, `A`, `AAAA` or `CNAME`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it says.
    pub value: String,
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Proves that the name is the customer's.
    Ownership,
    /// Leads visitors here.
    Traffic,
    /// Leads visitors here where the name is the top of its DNS zone, and so can have no CNAME (RFC 1034 §3.6.2).
    TrafficAtZoneTop,
    /// Leads visitors who write `www.` here; not needed for the name itself.
    Www,
}

/// The records for `domain`. None leads here where the configuration says neither addresses nor a name.
pub fn dns_records(domain: &Hostname<'_>, token: Option<&str>, targets: DnsTargets<'_>) -> Vec<DnsRecord> {
    let name = domain.as_str();
    let mut records = Vec::new();
    if let Some(token) = token {
        let owner = format!("{}.{name}", targets.verification_prefix);
        records.push(record(Purpose::Ownership, &owner, "TXT", token.to_owned()));
    }
    // Which name is the top of a zone (shop.co.uk is, shop.brand.com is hardly) only the customer knows, except for two labels.
    let is_zone_top = name.matches('.').count() < 2;
    match targets.cname {
        Some(cname) if !is_zone_top => {
            records.push(record(Purpose::Traffic, name, "CNAME", cname.to_owned()));
            records.extend(addresses(Purpose::TrafficAtZoneTop, name, targets.addresses));
        }
        _ => records.extend(addresses(Purpose::Traffic, name, targets.addresses)),
    }
    if is_zone_top && !(targets.addresses.is_empty() && targets.cname.is_none()) {
        let target = targets.cname.unwrap_or(name).to_owned();
        records.push(record(Purpose::Www, &format!("www.{name}"), "CNAME", target));
    }
    records
}

fn addresses(purpose: Purpose, name: &str, addresses: &[IpAddr]) -> impl Iterator<Item = DnsRecord> {
    addresses.iter().map(move |address| {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        record(purpose, name, kind, address.to_string())
    })
}

fn record(purpose: Purpose, name: &str, kind: &'static str, value: String) -> DnsRecord {
    DnsRecord { purpose, name: name.to_owned(), kind, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(domain: &str, addresses: &[&str], cname: Option<&str>) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let targets = DnsTargets { verification_prefix: "_orion-verify", addresses: &addresses, cname };
        let records = dns_records(&Hostname::parse(domain).unwrap(), Some("abc"), targets);
        let line =
            |record: &DnsRecord| format!("{:?} {} {} {}", record.purpose, record.name, record.kind, record.value);
        records.iter().map(line).collect()
    }

    #[test]
    fn the_top_of_a_zone_gets_addresses() {
        let records = shown("brand.com", &["192.0.2.1", "2001:db8::1"], Some("edge.platform.com"));
        assert_eq!(
            records,
            [
                "Ownership _orion-verify.brand.com TXT abc",
                "Traffic brand.com A 192.0.2.1",
                "Traffic brand.com AAAA 2001:db8::1",
                "Www www.brand.com CNAME edge.platform.com",
            ]
        );
    }

    #[test]
    fn a_name_below_gets_a_cname_and_addresses_in_case_it_is_a_top() {
        assert_eq!(
            shown("shop.co.uk", &["192.0.2.1"], Some("edge.platform.com"))[1..],
            ["Traffic shop.co.uk CNAME edge.platform.com", "TrafficAtZoneTop shop.co.uk A 192.0.2.1"]
        );
        assert_eq!(shown("shop.brand.com", &["192.0.2.1"], None)[1..], ["Traffic shop.brand.com A 192.0.2.1"]);
    }

    #[test]
    fn without_targets_only_ownership_can_be_told() {
        assert_eq!(shown("brand.com", &[], None), ["Ownership _orion-verify.brand.com TXT abc"]);
    }
}
