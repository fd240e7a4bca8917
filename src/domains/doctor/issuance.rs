//! Whether the CA may issue for a name (CAA, RFC 8659).

use serde::Serialize;

use super::super::{
    dns::{self, Authorization},
    ownership::reason,
};
use hickory_resolver::proto::rr::rdata::CAA;

/// What CAs call themselves in CAA records, where the host of their directory does not end in that.
const IDENTITIES: [(&str, &str); 2] = [("acme.zerossl.com", "sectigo.com"), ("acme.sectigo.com", "comodoca.com")];

/// A CA that is asked for certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The host of its directory.
    pub host: String,
    /// The account there (RFC 8657 §3); where none is known, what CAA records say of accounts is not judged.
    pub account: Option<String>,
    /// How it is shown whose a name is, as RFC 8555 §9.7.8 has it.
    pub methods: Vec<&'static str>,
}

/// A CA, and whether it may issue for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// What it calls itself in CAA records.
    pub authority: String,
    /// Whether it may.
    #[serde(flatten)]
    pub issuance: Issuance,
}

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

impl Permission {
    /// Judges for each CA what stands in the DNS.
    pub(super) fn all(found: &Result<Authorization, dns::Error>, asked: &[Asked]) -> Vec<Self> {
        let permission =
            |asked: &Asked| Self { authority: identity(&asked.host).to_owned(), issuance: Issuance::of(found, asked) };
        asked.iter().map(permission).collect()
    }
}

impl Issuance {
    fn of(found: &Result<Authorization, dns::Error>, asked: &Asked) -> Self {
        match found {
            Err(error) => Self::Unknown { reason: reason(error) },
            Ok(Authorization { records, .. }) if may_issue(records, asked) => Self::Allowed,
            Ok(Authorization { at, records }) => {
                let shown = |caa: &CAA| format!("{} \"{}\"", caa.tag, caa.value.escape_ascii());
                Self::Forbidden { at: at.clone(), records: records.iter().map(shown).collect() }
            }
        }
    }
}

/// Without an `issue` record everybody may, unless something has to be understood and is not (RFC 8659 §4.1, §4.2).
fn may_issue(records: &[CAA], asked: &Asked) -> bool {
    let is = |caa: &&CAA, tag: &str| caa.tag.eq_ignore_ascii_case(tag);
    let is_understood = |caa: &CAA| ["issue", "issuewild", "iodef"].iter().any(|tag| is(&caa, tag));
    let mut issue = records.iter().filter(|caa| is(caa, "issue")).peekable();
    records.iter().all(|caa| is_understood(caa) || !caa.issuer_critical)
        && (issue.peek().is_none() || issue.any(|caa| names(&caa.value, asked)))
}

/// Whether the value names the CA, for our account there and a way in which it is asked (RFC 8657 §3, §4).
fn names(value: &[u8], Asked { host, account, methods }: &Asked) -> bool {
    let text = String::from_utf8_lossy(value);
    let (issuer, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let parameter = |name: &str| {
        let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        parameters.find(|(tag, _)| tag.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let is_ours = |uri: &str| account.as_ref().is_none_or(|account| account == uri);
    let is_one =
        |allowed: &str| allowed.split(',').any(|method| methods.contains(&method.trim().to_ascii_lowercase().as_str()));
    is_identity(&issuer.trim().to_ascii_lowercase(), host)
        && parameter("accounturi").is_none_or(is_ours)
        && parameter("validationmethods").is_none_or(is_one)
}

/// What the CA whose directory is at `host` calls itself in CAA records.
fn identity(host: &str) -> &str {
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

    fn asked(account: Option<&str>, methods: &[&'static str]) -> Asked {
        Asked { host: HOST.to_owned(), account: account.map(str::to_owned), methods: methods.to_vec() }
    }

    fn may_as(records: &[(&str, &str)], asked: &Asked) -> bool {
        let records: Vec<_> = records.iter().map(|(tag, value)| record(tag, value, false)).collect();
        may_issue(&records, asked)
    }

    fn may(records: &[(&str, &str)]) -> bool {
        may_as(records, &asked(None, &["http-01"]))
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
        let asked = asked(None, &["http-01"]);
        assert!(!may_issue(&[record("tbs", "unknown", true)], &asked));
        assert!(may_issue(&[record("tbs", "unknown", false)], &asked));
    }

    #[test]
    fn any_of_the_configured_methods_will_do() {
        let by_tls = asked(None, &["tls-alpn-01"]);
        for (methods, by_http_only, by_tls_only) in
            [("http-01", true, false), ("TLS-ALPN-01", false, true), ("dns-01", false, false)]
        {
            let records = [("issue", format!("letsencrypt.org; ValidationMethods={methods}"))];
            let records = records.each_ref().map(|(tag, value)| (*tag, value.as_str()));
            assert_eq!((may(&records), may_as(&records, &by_tls)), (by_http_only, by_tls_only), "{methods}");
        }
    }

    #[test]
    fn the_account_of_somebody_else_forbids_it() {
        let ours = "https://acme-v02.api.letsencrypt.org/acme/acct/17";
        let record = format!("letsencrypt.org; accounturi={ours}");
        let may = |account| may_as(&[("issue", &record)], &asked(account, &["http-01"]));
        assert!(may(Some(ours)) && may(None));
        assert!(!may(Some("https://acme-v02.api.letsencrypt.org/acme/acct/18")));
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
