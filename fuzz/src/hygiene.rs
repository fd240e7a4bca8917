//! What a client may say to the app: nothing under a name of usher's in any spelling, nothing that was meant for one hop, and
//! everything else unchanged.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use usher::proxy::headers::HeaderRules;

/// What the app believes, since only usher can have written it.
const OWNED: &[&str] = &[
    "x-store-id",
    "x-store-match",
    "x-real-ip",
    "x-request-id",
    "x-original-url",
    "x-rewrite-url",
    "forwarded",
    "via",
    "x-internal-user",
];

/// RFC 9110 §7.6.1.
const OF_ONE_HOP: &[&str] = &["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// RFC 9110 §6.5.1.
const NEVER_TRAILERS: &[&str] =
    &["host", "content-length", "transfer-encoding", "authorization", "trailer", "content-type", "traceparent"];

/// The first octet says whether names with underscores are dropped; then fields as they stand on the wire.
pub fn check(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else { return };
    let drop_underscores = first % 2 == 0;
    let rules = HeaderRules::new(vec![HeaderName::from_static("x-internal-user")], drop_underscores);
    let sent = parse(lines);
    let nominated = nominated(&sent);
    let mut left = sent.clone();
    rules.strip_request(&mut left);
    check_gone(&left, &nominated, drop_underscores);
    check_kept(&sent, &left, &nominated, drop_underscores);
    check_trailers(&rules, sent, &nominated, drop_underscores);
}

fn parse(lines: &[u8]) -> HeaderMap {
    let fields = lines.split(|octet| *octet == b'\n').filter_map(|line| {
        let colon = line.iter().position(|octet| *octet == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    });
    fields.collect()
}

/// Names in lower case that `Connection` nominates and may nominate.
fn nominated(headers: &HeaderMap) -> BTreeSet<String> {
    let options = headers.get_all("connection").iter().flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    let names = options.map(|option| String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase());
    names.filter(|name| !matches!(name.as_str(), "host" | "content-length")).collect()
}

/// As servers read it that make variables of names (WSGI, CGI).
fn folded(name: &str) -> String {
    name.replace('_', "-")
}

fn is_owned(name: &str) -> bool {
    let name = folded(name);
    name.starts_with("x-forwarded-") || name == "x-forwarded" || OWNED.contains(&name.as_str())
}

fn check_gone(left: &HeaderMap, nominated: &BTreeSet<String>, drop_underscores: bool) {
    for name in left.keys().map(HeaderName::as_str) {
        assert!(!is_owned(name), "{name} is left");
        assert!(!OF_ONE_HOP.contains(&name), "{name} is left");
        assert!(!nominated.contains(name), "{name} was nominated and is left");
        assert!(!(drop_underscores && name.contains('_')), "{name} is left");
    }
}

/// What nobody has a reason to remove arrives with all its values, in order.
fn check_kept(sent: &HeaderMap, left: &HeaderMap, nominated: &BTreeSet<String>, drop_underscores: bool) {
    let may_go = |name: &str| {
        is_owned(name)
            || OF_ONE_HOP.contains(&name)
            || nominated.contains(name)
            || matches!(name, "traceparent" | "tracestate")
            || (drop_underscores && name.contains('_'))
    };
    for name in sent.keys().filter(|name| !may_go(name.as_str())) {
        assert!(sent.get_all(name).iter().eq(left.get_all(name).iter()), "{name} changed");
    }
}

fn check_trailers(rules: &HeaderRules, mut trailers: HeaderMap, nominated: &BTreeSet<String>, drop_underscores: bool) {
    rules.strip_trailers(&mut trailers);
    check_gone(&trailers, nominated, drop_underscores);
    for name in NEVER_TRAILERS {
        assert!(!trailers.contains_key(*name), "{name} is left in a trailer");
    }
}
