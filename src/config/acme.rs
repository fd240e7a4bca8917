//! `[acme]`.

use std::{fs, ops::Range, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::Uri;
use toml::Spanned;

use super::{
    Env,
    convert::plain,
    file,
    problems::{Refusal, Report},
    units::{Count, Timespan},
    written::{List, Section, Written},
};
use crate::{
    routing::Hostname,
    tls::{AcmeSettings, AuthoritySettings, Binding, Challenge, HookSettings, Limits, Quota},
};

/// CAs that need not be written in full.
const KNOWN: [(&str, &str); 3] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
];

/// What is beside `[acme]` in the file.
pub(super) struct Beside<'a> {
    /// Whether private keys can be sealed.
    pub(super) has_keys: bool,
    /// Whether TLS is spoken.
    pub(super) has_https: bool,
    pub(super) platform_domains: &'a [Hostname<'static>],
}

/// What `[acme]` says, and whether names are looked at before anything is ordered for them.
pub(super) type Resolved = (Option<AcmeSettings>, bool);

pub(super) fn resolve(written: file::Acme, beside: &Beside<'_>, env: Env<'_>, report: &mut Report<'_>) -> Resolved {
    let self_check = written.self_check.or(true);
    let Some(span) = written.directory.span() else { return (None, self_check) };
    let contacts = plain(report.convert_list("acme.contacts", written.contacts, &[], contact));
    let first = file::Authority {
        directory: written.directory,
        terms_agreed: written.terms_agreed,
        root_file: written.root_file,
        profile: written.profile,
        external_account_id: written.external_account_id,
        external_account_key_file: written.external_account_key_file,
        external_account_key_env: written.external_account_key_env,
    };
    let mut authorities: Vec<_> = authority("acme", first, span.clone(), &contacts, env, report).into_iter().collect();
    for fallback in written.fallbacks.given().into_iter().flat_map(|list| list.into_inner().0) {
        authorities.extend(self::fallback(fallback, &contacts, env, report));
    }
    if !beside.has_keys {
        let cause = "needs a key for the private keys that it brings into the database";
        let refusal = Refusal::new(cause, "a directory, where [tls] has keys", "set tls.encryption_keys_file");
        report.refuse("acme.directory", span, refusal);
    }
    let settings = AcmeSettings {
        authorities,
        challenges: challenges(written.challenges, beside.has_https, report),
        limits: Limits {
            orders: quota(written.orders_max, 250, written.orders_window, Duration::from_hours(3)),
            domain_orders: quota(
                written.domain_orders_max,
                40,
                written.domain_orders_window,
                Duration::from_hours(168),
            ),
            failures: quota(written.failures_max, 4, written.failures_window, Duration::from_hours(1)),
        },
        hook: hook(written.dns_hook, written.dns_hook_timeout, written.dns_hook_wait, beside.platform_domains, report),
    };
    (Some(settings), self_check)
}

fn fallback(
    item: Spanned<Section<file::Authority>>,
    contacts: &[String],
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<AuthoritySettings> {
    let span = item.span();
    let Section(written) = item.into_inner();
    if written.directory.span().is_none() {
        let refusal = Refusal::new("names no directory", "{ directory = \"zerossl\", … }", "add directory = \"…\"");
        report.refuse("acme.fallbacks", span, refusal);
        return None;
    }
    authority("acme.fallbacks", written, span, contacts, env, report)
}

/// A CA, as it was written in `section`.
fn authority(
    section: &str,
    written: file::Authority,
    span: Range<usize>,
    contacts: &[String],
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<AuthoritySettings> {
    let path = format!("{section}.directory");
    let directory = report.convert(&path, written.directory, "", directory)?;
    if !written.terms_agreed.or(false) {
        let cause = "is a CA whose terms nobody has agreed to";
        let accepted = "a directory beside terms_agreed = true";
        report.refuse(&path, span, Refusal::new(cause, accepted, "read its terms, then add terms_agreed = true"));
    }
    let (file, variable) = (written.external_account_key_file, written.external_account_key_env);
    Some(AuthoritySettings {
        directory,
        contacts: contacts.to_vec(),
        root: written.root_file.given().map(Spanned::into_inner).map(Into::into),
        profile: written.profile.given().map(Spanned::into_inner),
        binding: binding(section, written.external_account_id, file, variable, env, report),
    })
}

/// The key's name and the key, of which neither is any use alone.
fn binding(
    section: &str,
    id: Written<String>,
    file: Written<String>,
    variable: Written<String>,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<Binding> {
    let accepted = "external_account_id, and one of external_account_key_file and external_account_key_env";
    let (key, named, text) = match (file.given(), variable.given()) {
        (Some(file), None) => {
            let text = fs::read_to_string(file.get_ref()).map_err(|error| format!("cannot be read: {error}"));
            ("external_account_key_file", file, text)
        }
        (None, Some(variable)) => {
            let text = env(variable.get_ref()).ok_or_else(|| "is not set in the environment".to_owned());
            ("external_account_key_env", variable, text)
        }
        (Some(_), Some(second)) => {
            let refusal = Refusal::new("is named twice", accepted, "remove one of the two");
            report.refuse(&format!("{section}.external_account_key_env"), second.span(), refusal);
            return None;
        }
        (None, None) => {
            if let Some(id) = id.given() {
                let refusal = Refusal::new("is of no use without its key", accepted, "add external_account_key_file");
                report.refuse(&format!("{section}.external_account_id"), id.span(), refusal);
            }
            return None;
        }
    };
    let path = format!("{section}.{key}");
    let decoded = text.and_then(|text| decoded(text.trim()).ok_or_else(|| "is no key in base64".to_owned()));
    match (id.given(), decoded) {
        (Some(id), Ok(key)) => Some(Binding { key_id: id.into_inner(), key }),
        (_, Err(cause)) => {
            let refusal = Refusal::new(cause, accepted, "write the key there as the CA shows it");
            report.refuse_secret(&path, named.span(), refusal);
            None
        }
        (None, Ok(_)) => {
            let refusal = Refusal::new("is of no use without its name", accepted, "add external_account_id");
            report.refuse(&path, named.span(), refusal);
            None
        }
    }
}

/// CAs show it in either alphabet.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let key = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).or_else(|_| STANDARD.decode(text)).ok();
    key.filter(|key| !key.is_empty())
}

fn quota<const MAX: usize>(
    max: Written<Count<1, MAX>>,
    default_max: usize,
    window: Written<Timespan<1000>>,
    default_window: Duration,
) -> Quota {
    Quota { max: u32::try_from(max.or::<usize>(default_max)).unwrap_or(u32::MAX), window: window.or(default_window) }
}

fn challenges(written: Written<List<String>>, has_https: bool, report: &mut Report<'_>) -> Vec<Challenge> {
    let path = "acme.challenges";
    let accepted = "\"http-01\", \"tls-alpn-01\"";
    let nothing = written.span().filter(|_| written.is_empty());
    let found = plain(report.convert_list(path, written, &["http-01"], |text| match text {
        "http-01" => Ok(Challenge::Http01),
        "tls-alpn-01" if has_https => Ok(Challenge::TlsAlpn01),
        "tls-alpn-01" => Err(Refusal::new("needs TLS", accepted, "add addresses to listen.https")),
        _ => Err(Refusal::new("is no challenge", accepted, "write one of them; DNS-01 comes with dns_hook")),
    }));
    if let Some(span) = nothing {
        report.refuse(path, span, Refusal::new("names none", accepted, "name at least one"));
    }
    found
}

fn hook(
    command: Written<List<String>>,
    timeout: Written<Timespan<1>>,
    wait: Written<Timespan<0>>,
    domains: &[Hostname<'static>],
    report: &mut Report<'_>,
) -> Option<HookSettings> {
    let slow = [("acme.dns_hook_wait", wait.span()), ("acme.dns_hook_timeout", timeout.span())];
    let command = command.given()?;
    let span = command.span();
    let command = plain(command.into_inner().0);
    if command.first().is_none_or(String::is_empty) {
        let accepted = "a program and its words: [\"/usr/local/bin/dns-record\", \"platform\"]";
        report.refuse("acme.dns_hook", span, Refusal::new("names no program", accepted, "write its path first"));
    }
    let settings = HookSettings {
        command,
        timeout: timeout.or(Duration::from_mins(1)),
        wait: wait.or(Duration::from_secs(30)),
        domains: domains.to_vec(),
    };
    let written = slow.into_iter().find_map(|(path, span)| Some((path, span?)));
    if let Some((path, span)) = written.filter(|_| settings.time() > HookSettings::TIME_MAX) {
        let cause = "leaves a CA no time before an order is given up";
        let accepted = "dns_hook_wait and twice dns_hook_timeout within 150s together";
        report.refuse(path, span, Refusal::new(cause, accepted, "lower one of the two"));
    }
    Some(settings)
}

fn directory(text: &str) -> Result<String, Refusal> {
    if let Some((_, url)) = KNOWN.iter().find(|(name, _)| *name == text) {
        return Ok((*url).to_owned());
    }
    let is_https = text.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
    let accepted = "an https:// URL, or one of \"letsencrypt\", \"letsencrypt-staging\", \"zerossl\"";
    match is_https {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new("is no https:// URL", accepted, "write the directory URL that the CA names")),
    }
}

fn contact(text: &str) -> Result<String, Refusal> {
    match text.strip_prefix("mailto:").is_some_and(|address| address.contains('@')) {
        true => Ok(text.to_owned()),
        false => {
            Err(Refusal::new("is no contact", "\"mailto:somebody@example.com\"", "put mailto: in front of an address"))
        }
    }
}
