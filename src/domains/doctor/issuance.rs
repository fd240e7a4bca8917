//! Whether the CA may issue for a name (CAA, RFC 8659).

use serde::Serialize;

use super::super::{
    dns::{self, Authorization},
    ownership::reason,
};
use hickory_resolver::proto::rr::rdata::CAA;

/// What CAs call themselves in CAA records, where the host of their directory does not end in that.
const IDENTITIES: [(&str, &str); 2] = [("acme.zerossl.com", "sectigo.com"), ("acme.sectigo.com", "comodoca.com")];

/// Whether the CA may issue for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Issuance {
    /// Nothing is said against it.
    Allowed,
    /// Others may, or nobody.
    Forbidden {
        /// The name whose records say so.
        at: String,
        /// What they say.
        records: Vec<String>,
    },
    /// They could not be asked for, and a CA that cannot either does not issue.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Issuance {
    /// Judges what stands in the DNS for CAs whose directories are at `hosts`.
    pub(super) fn of(found: Result<Authorization, dns::Error>, hosts: &[String]) -> Self {
        match found {
            Err(error) => Self::Unknown { reason: reason(&error) },
            Ok(Authorization { records, .. }) if hosts.iter().any(|host| may_issue(&records, host)) => Self::Allowed,
            Ok(Authorization { at, records }) => {
                let shown = |caa: &CAA| format!("{} \"{}\"", caa.tag, caa.value.escape_ascii());
                Self::Forbidden { at, records: records.iter().map(shown).collect() }
            }
        }
    }
}

/// Without an `issue` record everybody may, unless something has to be understood and is not (RFC 8659 §4.1, §4.2).
fn may_issue(records: &[CAA], host: &str) -> bool {
    let is = |caa: &&CAA, tag: &str| caa.tag.eq_ignore_ascii_case(tag);
    let is_understood = |caa: &CAA| ["issue", "issuewild", "iodef"].iter().any(|tag| is(&caa, tag));
    let mut issue = records.iter().filter(|caa| is(caa, "issue")).peekable();
    records.iter().all(|caa| is_understood(caa) || !caa.issuer_critical)
        && (issue.peek().is_none() || issue.any(|caa| names(&caa.value, host)))
}

/// Whether the value names the CA, for the way in which it is asked (RFC 8657 §4).
fn names(value: &[u8], host: &str) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let issuer = parts.next().unwrap_or_default();
    let methods = parts.find_map(|part| part.split_once('=').filter(|(tag, _)| tag.trim() == "validationmethods"));
    let fits = methods.is_none_or(|(_, methods)| methods.split(',').any(|method| method.trim() == "http-01"));
    is_identity(issuer, host) && fits
}

/// What the CA whose directory is at `host` calls itself in CAA records.
pub fn identity(host: &str) -> &str {
    let known = IDENTITIES.iter().find(|(known, _)| *known == host).map(|(_, identity)| *identity);
    // The last two labels, as nearly all of them have it.
    let registered = || host.rmatch_indices('.').nth(1).map_or(host, |(dot, _)| &host[dot + 1..]);
    known.unwrap_or_else(registered)
}

fn is_identity(issuer: &str, host: &str) -> bool {
    let is_above = host.strip_suffix(issuer).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !issuer.is_empty() && (is_above || IDENTITIES.contains(&(host, issuer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "acme-v02.api.letsencrypt.org";

    fn record(tag: &str, value: &str, issuer_critical: bool) -> CAA {
        let mut caa = CAA::new_issue(issuer_critical, None, Vec::new());
        caa.tag = tag.to_owned();
        caa.value = value.as_bytes().to_vec();
        caa
    }

    fn may(records: &[(&str, &str)]) -> bool {
        let records: Vec<_> = records.iter().map(|(tag, value)| record(tag, value, false)).collect();
        may_issue(&records, HOST)
    }

    #[test]
    fn who_is_not_named_may_not_issue_where_somebody_is() {
        assert!(may(&[]) && may(&[("iodef", "mailto:a@b.example")]) && may(&[("issuewild", ";")]));
        assert!(may(&[("issue", "letsencrypt.org")]) && may(&[("ISSUE", "LetsEncrypt.org; accounturi=x")]));
        assert!(may(&[("issue", "digicert.com"), ("issue", "letsencrypt.org")]));
        assert!(!may(&[("issue", "digicert.com")]) && !may(&[("issue", ";")]) && !may(&[("issue", "")]));
        assert!(!may(&[("issue", "encrypt.org")]) && !may(&[("issue", "org.letsencrypt")]));
    }

    #[test]
    fn a_method_that_is_not_ours_forbids_it_and_so_does_what_has_to_be_understood() {
        assert!(!may(&[("issue", "letsencrypt.org; validationmethods=dns-01")]));
        assert!(may(&[("issue", "letsencrypt.org;validationmethods=dns-01,http-01")]));
        assert!(!may_issue(&[record("tbs", "unknown", true)], HOST));
        assert!(may_issue(&[record("tbs", "unknown", false)], HOST));
    }

    #[test]
    fn some_cas_have_other_names_than_their_hosts() {
        assert!(is_identity("sectigo.com", "acme.zerossl.com") && is_identity("pki.goog", "dv.acme-v02.api.pki.goog"));
        assert!(!is_identity("sectigo.com", HOST));
        assert_eq!(
            [HOST, "acme.zerossl.com", "localhost"].map(identity),
            ["letsencrypt.org", "sectigo.com", "localhost"]
        );
    }
}
