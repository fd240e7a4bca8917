//! What a client may say to the app: nothing under a name of usher's in any spelling, nothing that was meant for one hop, and
//! everything else unchanged.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use usher::proxy::{Standing, headers::HeaderRules};

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

/// Names in which some proxies give the client's address, and apps believe it: not from strangers.
const ANOTHERS_WORD: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "appengine-user-ip",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-remote-addr",
    "x-remote-ip",
];

/// RFC 9110 §7.6.1.
const OF_ONE_HOP: &[&str] = &["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// RFC 9110 §6.5.1.
const NEVER_TRAILERS: &[&str] =
    &["host", "content-length", "transfer-encoding", "authorization", "trailer", "content-type", "traceparent"];

/// What decides, beside the name, whether a field may pass.
struct Circumstances {
    drop_underscores: bool,
    standing: Standing,
    nominated: BTreeSet<String>,
}

/// The first octet says whether names with underscores are dropped and who the peer is; then fields as they stand on the
/// wire.
pub fn check(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else { return };
    let sent = parse(lines);
    let circumstances = Circumstances {
        drop_underscores: first % 2 == 0,
        standing: [Standing::Stranger, Standing::Proxy, Standing::Cloudflare][usize::from(first / 2 % 3)],
        nominated: nominated(&sent),
    };
    let rules = HeaderRules::new(vec![HeaderName::from_static("x-internal-user")], circumstances.drop_underscores);
    let mut left = sent.clone();
    rules.strip_request(&mut left, circumstances.standing);
    circumstances.check_gone(&left);
    circumstances.check_kept(&sent, &left);
    check_trailers(&rules, sent, circumstances);
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

/// As servers read it that make variables of names (WSGI, CGI): to one or another of them, nothing but letters and digits counts.
fn folded(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

fn is_owned(name: &str) -> bool {
    let name = folded(name);
    name.starts_with("x-forwarded-") || name == "x-forwarded" || OWNED.contains(&name.as_str())
}

fn is_anothers_word(name: &str) -> bool {
    ANOTHERS_WORD.contains(&folded(name).as_str())
}

impl Circumstances {
    fn check_gone(&self, left: &HeaderMap) {
        for name in left.keys().map(HeaderName::as_str) {
            assert!(!is_owned(name), "{name} is left");
            assert!(!OF_ONE_HOP.contains(&name), "{name} is left");
            assert!(!self.nominated.contains(name), "{name} was nominated and is left");
            assert!(!(self.drop_underscores && name.contains('_')), "{name} is left");
            assert!(!(self.standing == Standing::Stranger && is_anothers_word(name)), "{name} is left");
        }
    }

    /// What nobody has a reason to remove arrives with all its values, in order.
    fn check_kept(&self, sent: &HeaderMap, left: &HeaderMap) {
        let may_go = |name: &str| {
            is_owned(name)
                || OF_ONE_HOP.contains(&name)
                || self.nominated.contains(name)
                || matches!(name, "traceparent" | "tracestate")
                || (self.drop_underscores && name.contains('_'))
                || (self.standing != Standing::Cloudflare && is_anothers_word(name))
        };
        for name in sent.keys().filter(|name| !may_go(name.as_str())) {
            assert!(sent.get_all(name).iter().eq(left.get_all(name).iter()), "{name} changed");
        }
    }
}

/// Behind a body everybody is a stranger.
fn check_trailers(rules: &HeaderRules, mut trailers: HeaderMap, circumstances: Circumstances) {
    rules.strip_trailers(&mut trailers);
    Circumstances { standing: Standing::Stranger, ..circumstances }.check_gone(&trailers);
    for name in NEVER_TRAILERS {
        assert!(!trailers.contains_key(*name), "{name} is left in a trailer");
    }
}
