//! `[acme]`: which CAs, and what they need.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::MINIMAL;
use crate::{
    config::Config,
    tls::{Challenge, Quota},
};

/// A keyring, and the key of a customer at a CA.
fn environment(name: &str) -> Option<String> {
    match name {
        "KEYS" => Some(format!("k:{}", STANDARD.encode([1; 32]))),
        "EAB" => Some("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n".to_owned()),
        _ => None,
    }
}

fn parse(acme: &str) -> Result<Config, Vec<(String, String)>> {
    let text = format!("{MINIMAL}\n[tls]\nencryption_keys_env = \"KEYS\"\n[acme]\n{acme}");
    let told = |problems: crate::config::Problems| {
        problems.iter().map(|problem| (problem.subject.clone(), problem.cause.clone())).collect()
    };
    Config::parse(&text, "usher.toml", &environment).map_err(told)
}

fn refused(acme: &str) -> Vec<(String, String)> {
    parse(&format!("directory = \"letsencrypt\"\nterms_agreed = true\n{acme}")).unwrap_err()
}

fn one(path: &str, cause: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), cause.to_owned())]
}

#[test]
fn known_cas_have_short_names_and_each_its_own_terms_and_customer() {
    let text = "directory = \"letsencrypt\"\nterms_agreed = true\ncontacts = [\"mailto:a@b.c\"]\nprofile = \"tlsserver\"\n\
                fallbacks = [{ directory = \"zerossl\", terms_agreed = true, external_account_id = \"kid\", \
                external_account_key_env = \"EAB\" }]";
    let acme = parse(text).unwrap().acme.unwrap();
    let [first, second] = &acme.authorities[..] else { panic!("{acme:?}") };
    assert_eq!(first.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((first.profile.as_deref(), first.binding.is_none()), (Some("tlsserver"), true));
    assert_eq!(second.directory, "https://acme.zerossl.com/v2/DV90");
    assert_eq!((&second.contacts[..], second.profile.as_deref()), (&["mailto:a@b.c".to_owned()][..], None));
    let binding = second.binding.as_ref().unwrap();
    assert_eq!((binding.key_id.as_str(), binding.key.len()), ("kid", 48));
    assert!(!format!("{acme:?}").contains("205, 99"), "a key was shown");
}

#[test]
fn limits_stay_below_those_of_cas_unless_told_otherwise() {
    let acme =
        parse("directory = \"letsencrypt\"\nterms_agreed = true\norders_max = 10\norders_window = \"1h\"").unwrap();
    let acme = acme.acme.unwrap();
    assert_eq!(acme.limits.orders, Quota { max: 10, window: Duration::from_hours(1) });
    assert_eq!(acme.limits.failures, Quota { max: 4, window: Duration::from_hours(1) });
    assert_eq!((acme.challenges, acme.hook), (vec![Challenge::Http01], None));
}

#[test]
fn what_lacks_something_is_refused() {
    assert_eq!(refused("challenges = [\"tls-alpn-01\"]"), one("acme.challenges", "needs TLS"));
    assert_eq!(refused("challenges = []"), one("acme.challenges", "names none"));
    assert_eq!(refused("challenges = [\"dns-01\", \"http-01\"]"), one("acme.challenges", "is no challenge"));
    assert_eq!(refused("fallbacks = [{ terms_agreed = true }]"), one("acme.fallbacks", "names no directory"));
    let terms = "is a CA whose terms nobody has agreed to";
    assert_eq!(refused("fallbacks = [{ directory = \"zerossl\" }]"), one("acme.fallbacks.directory", terms));
    assert_eq!(
        refused("external_account_id = \"kid\""),
        one("acme.external_account_id", "is of no use without its key")
    );
    let nameless = one("acme.external_account_key_env", "is of no use without its name");
    assert_eq!(refused("external_account_key_env = \"EAB\""), nameless);
    let unset = one("acme.external_account_key_env", "is not set in the environment");
    assert_eq!(refused("external_account_id = \"kid\"\nexternal_account_key_env = \"NONE\""), unset);
    assert_eq!(refused("dns_hook = []"), one("acme.dns_hook", "names no program"));
    let late = "leaves a CA no time before an order is given up";
    assert_eq!(refused("dns_hook = ['x']\ndns_hook_wait = '5m'"), one("acme.dns_hook_wait", late));
    assert_eq!(refused("dns_hook = ['x']\ndns_hook_timeout = '70s'"), one("acme.dns_hook_timeout", late));
}
