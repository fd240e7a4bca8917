//! Header hygiene. First everything goes that concerns one hop only (RFC 9110 §7.6.1), then every spelling of the names
//! that usher owns, and last come our own: nothing that a client nominates or sets can touch them.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::{
    ForwardedClient, Standing,
    facts::ForwardedHost,
    ids::{Ids, is_traceparent},
};
use crate::routing::{Match, TenantId};

const X_STORE_ID: HeaderName = HeaderName::from_static("x-store-id");
const X_STORE_MATCH: HeaderName = HeaderName::from_static("x-store-match");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(super) const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers that are added at most: space for them is made once.
const ADDED_MAX: usize = 12;

/// Which names no client may send to the app.
#[derive(Debug)]
pub struct HeaderRules {
    also_owned: Vec<String>,
    drop_underscores: bool,
}

impl HeaderRules {
    /// Beside the names that usher owns, `also_owned` are refused, and all with an underscore if `drop_underscores`.
    pub fn new(also_owned: Vec<HeaderName>, drop_underscores: bool) -> Self {
        Self { also_owned: also_owned.iter().map(|name| folded(name.as_str())).collect(), drop_underscores }
    }

    /// Leaves what the client says to the app, and what a peer of this `standing` may say of the client.
    pub fn strip_request(&self, headers: &mut HeaderMap, standing: Standing) {
        let traced = headers.keys().any(|name| name.as_str().starts_with("trace"));
        remove_of_one_hop(headers, |name| self.is_refused(name, standing));
        if traced {
            remove_bad_trace(headers);
        }
    }

    /// Leaves what the client says to the app after a body: a trailer is a header to many apps (RFC 9110 §6.5.1).
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        remove_of_one_hop(trailers, |name| self.is_refused(name, Standing::Stranger) || belongs_into_a_head(name));
    }

    fn is_refused(&self, name: &str, standing: Standing) -> bool {
        if name.bytes().all(is_plain) {
            return self.is_owned(name) || is_anothers_word(name, standing);
        }
        (self.drop_underscores && name.contains('_')) || self.is_refused(&folded(name), standing)
    }

    fn is_owned(&self, name: &str) -> bool {
        is_ours(name) || self.also_owned.iter().any(|owned| owned == name)
    }
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-'
}

/// The name as apps may read it: CGI and WSGI servers take `X_Store_Id` for `X-Store-Id`, and some of PHP's take `X.Store.Id` for it.
/// Whatever else a name may have (RFC 9110 §5.6.2) counts as a hyphen.
fn folded(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

fn is_ours(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            name.starts_with("x-forwarded-")
                || matches!(
                    name,
                    "x-store-id"
                        | "x-store-match"
                        | "x-real-ip"
                        | "x-request-id"
                        | "x-original-url"
                        | "x-rewrite-url"
                        | "x-forwarded"
                )
        }
        Some(b'f') => name == "forwarded",
        Some(b'v') => name == "via",
        _ => false,
    }
}

/// Names in which other proxies give one address as the client's. Apps believe them, so they pass only if the peer may
/// speak for clients, and those of Cloudflare only from Cloudflare: other proxies hand on what a client wrote there.
fn is_anothers_word(name: &str, standing: Standing) -> bool {
    match name {
        "cf-connecting-ip" | "cf-connecting-ipv6" | "cf-pseudo-ipv4" => standing != Standing::Cloudflare,
        "appengine-user-ip"
        | "client-ip"
        | "do-connecting-ip"
        | "fastly-client-ip"
        | "fly-client-ip"
        | "forwarded-for"
        | "proxy-client-ip"
        | "true-client-ip"
        | "wl-proxy-client-ip"
        | "x-appengine-user-ip"
        | "x-azure-clientip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-envoy-external-address"
        | "x-original-forwarded-for"
        | "x-originating-ip"
        | "x-remote-addr"
        | "x-remote-ip" => standing == Standing::Stranger,
        _ => false,
    }
}

/// A `traceparent` is passed on if it is one and the only one; otherwise what goes with it has lost its meaning
/// (W3C Trace Context §3.2.2.5).
fn remove_bad_trace(headers: &mut HeaderMap) {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    match (parents.next(), parents.next()) {
        (Some(parent), None) if is_traceparent(parent) => {}
        _ => {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
    }
}

/// Removes what is meant for the next hop only, and what `Connection` nominates.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_of_one_hop(headers, |_name| false);
}

/// One walk over the names finds what is to go: a look-up per name that might be there costs more. Usually it is
/// `Connection` alone, and nothing is allocated.
fn remove_of_one_hop(headers: &mut HeaderMap, is_refused: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| *name == header::CONNECTION) {
        remove_connection(headers);
    }
    let is_doomed = |name: &str| is_of_one_hop(name) || is_refused(name);
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| is_doomed(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// The fields that RFC 9110 §7.6.1 names beside what `Connection` nominates.
fn is_of_one_hop(name: &str) -> bool {
    matches!(name, "te" | "upgrade" | "keep-alive" | "proxy-connection" | "transfer-encoding")
}

/// What frames, routes or authenticates a request, or says how to read it, comes too late behind the body (RFC 9110
/// §6.5.1); and what is traced is named in front of it.
fn belongs_into_a_head(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "expect"
            | "host"
            | "max-forwards"
            | "proxy-authorization"
            | "traceparent"
            | "tracestate"
            | "trailer"
    )
}

fn remove_connection(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::CONNECTION).iter();
    match (values.next(), values.next()) {
        (Some(option), None) if is_about_persistence(option.as_bytes()) => {}
        _ => nominated(headers).into_iter().for_each(|name| drop(headers.remove(name))),
    }
    headers.remove(header::CONNECTION);
}

/// Options that nominate no field.
fn is_about_persistence(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
}

/// The fields that `Connection` nominates. Host and length of a message are its meaning, not options of a hop, and stay
/// whatever is nominated (RFC 9110 §7.6.1 forbids to nominate them).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers.get_all(header::CONNECTION).iter();
    options
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_about_persistence(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}

/// What usher tells the app about a request.
pub struct Forwarding<'a> {
    /// Who made the request.
    pub client: ForwardedClient,
    /// What the client has spoken.
    pub version: Version,
    /// The marks of the exchange.
    pub ids: &'a Ids,
    /// The host as the client sent it.
    pub host: ForwardedHost,
    /// How the request was recognised.
    pub matched: Match,
    /// The tenant; admin and homepage have none.
    pub tenant: Option<&'a TenantId>,
    /// The part of the path that was cut off.
    pub prefix: Option<HeaderValue>,
}

/// Adds our own headers to a request that has been stripped.
pub fn add_forwarding(headers: &mut HeaderMap, forwarding: Forwarding<'_>) {
    headers.reserve(ADDED_MAX);
    if let Some(tenant) = forwarding.tenant {
        headers.insert(X_STORE_ID, tenant.header().clone());
    }
    headers.insert(X_STORE_MATCH, forwarding.matched.header());
    if let Some(prefix) = forwarding.prefix {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
    let ForwardedClient { address, list, scheme, forwarded } = forwarding.client;
    headers.insert(X_FORWARDED_FOR, list);
    headers.insert(X_REAL_IP, address);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    let port = forwarding.host.port.map_or(HeaderValue::from_static(scheme.default_port()), HeaderValue::from);
    headers.insert(X_FORWARDED_PORT, port);
    if let Some(forwarded) = forwarded {
        headers.insert(header::FORWARDED, forwarded);
    }
    headers.insert(X_FORWARDED_HOST, forwarding.host.value);
    headers.insert(X_REQUEST_ID, forwarding.ids.request_id.clone());
    headers.insert(header::VIA, via(forwarding.version));
    if !headers.contains_key(TRACEPARENT) {
        headers.insert(TRACEPARENT, forwarding.ids.traceparent.clone());
    }
}

/// By which protocol usher was reached (RFC 9110 §7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 usher",
        Version::HTTP_2 => "2 usher",
        _ => "1.1 usher",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(drop_underscores: bool) -> HeaderRules {
        let also_owned = ["x-internal-user", "x_plan"].map(HeaderName::from_static);
        HeaderRules::new(also_owned.to_vec(), drop_underscores)
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        lines.iter().map(parsed).collect()
    }

    fn left(rules: &HeaderRules, lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = headers(lines);
        rules.strip_request(&mut headers, Standing::Stranger);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn every_spelling_of_an_owned_name_is_removed() {
        let spellings =
            ["X-Store-Id", "x-store-id", "X_Store_Id", "x-store_id", "X.Store.Id", "x-store~id", "x_store.id"];
        for name in spellings.into_iter().chain(["X-Forwarded-Anything", "Forwarded", "Via", "X-Plan", "X_Plan"]) {
            for drop_underscores in [true, false] {
                assert_eq!(left(&rules(drop_underscores), &[(name, "9"), ("accept", "*/*")]), ["accept"], "{name}");
            }
        }
        assert!(left(&rules(true), &[("x-internal-user", "root")]).is_empty());
        assert!(left(&rules(false), &[("x_internal_user", "root")]).is_empty());
    }

    #[test]
    fn a_clients_address_in_other_words_passes_only_from_who_may_say_it() {
        let kept = |name: &str, standing| {
            let mut headers = headers(&[(name, "6.6.6.6")]);
            rules(false).strip_request(&mut headers, standing);
            !headers.is_empty()
        };
        for name in ["True-Client-IP", "X-Client-IP", "x_client_ip", "Fastly-Client-IP", "X-Original-Forwarded-For"] {
            assert!(!kept(name, Standing::Stranger), "{name}");
            assert!(kept(name, Standing::Proxy) && kept(name, Standing::Cloudflare), "{name}");
        }
        for name in ["CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "cf_connecting_ip"] {
            assert!(!kept(name, Standing::Stranger) && !kept(name, Standing::Proxy), "{name}");
            assert!(kept(name, Standing::Cloudflare), "{name}");
        }
        assert!(!kept("X-Forwarded-For", Standing::Cloudflare) && !kept("X-Store-Id", Standing::Proxy));
    }

    #[test]
    fn other_underscores_are_dropped_by_default_and_kept_on_request() {
        assert!(left(&rules(true), &[("my_header", "1")]).is_empty());
        assert_eq!(left(&rules(false), &[("my_header", "1")]), ["my_header"]);
    }

    #[test]
    fn what_connection_nominates_goes_with_it_and_host_and_length_stay() {
        let lines = [
            ("connection", "close, X-Hop"),
            ("connection", "x-store-id, host,content-length"),
            ("x-hop", "1"),
            ("x-store-id", "9"),
            ("host", "shop.example"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
        ];
        let mut kept = left(&rules(true), &lines);
        // A removal moves the last name into its place: names have no order among each other.
        kept.sort();
        assert_eq!(kept, ["content-length", "host"]);
    }

    #[test]
    fn a_valid_traceparent_is_kept_with_its_state_and_any_other_is_not() {
        let good = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let state = ("tracestate", "vendor=1");
        assert_eq!(left(&rules(true), &[good, state]), ["traceparent", "tracestate"]);
        assert!(left(&rules(true), &[("traceparent", "garbage"), state]).is_empty());
        assert!(left(&rules(true), &[good, good, state]).is_empty());
        assert!(left(&rules(true), &[state]).is_empty());
    }

    #[test]
    fn a_trailer_cannot_set_what_a_header_cannot() {
        let mut trailers = headers(&[("x-store-id", "9"), ("x_store_id", "9"), ("checksum", "abc")]);
        rules(true).strip_trailers(&mut trailers);
        assert_eq!(trailers, headers(&[("checksum", "abc")]));
        let belongs_into_a_head = [("host", "a"), ("content-length", "1"), ("authorization", "b"), ("trailer", "c")];
        let mut trailers = headers(&belongs_into_a_head);
        rules(false).strip_trailers(&mut trailers);
        assert!(trailers.is_empty(), "{trailers:?}");
    }

    #[test]
    fn the_order_of_the_values_of_one_name_is_kept() {
        let mut headers = headers(&[("set-cookie", "a=1"), ("connection", "x"), ("x", "1"), ("set-cookie", "b=2")]);
        remove_hop_by_hop(&mut headers);
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}
