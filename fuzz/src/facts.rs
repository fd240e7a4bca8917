//! Host and path of a request, up to the decision whose it is: however a path is read, the decision is the same.

use usher::routing::{
    Authority, Host, Hostname, InactiveStore, KeyRef, Path, PathHosts, Redirects, RequestFacts, Route, Rules, Settings,
    UnknownHost, UnroutableReason, WwwPolicy,
};

/// The first line of the input is the value of a `Host` field, the second a target.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Some((host, target)) = text.split_once('\n') else { return };
    let (Ok(authority), Ok(target)) = (Authority::parse(host), target.parse::<http::uri::PathAndQuery>()) else {
        return;
    };
    let path = Path::read(target.path());
    for rules in [rules(PathHosts::Loopback), rules(PathHosts::Listed(path_hosts()))] {
        for peer_is_loopback in [true, false] {
            let facts = RequestFacts { host: &authority.host, path: &path, peer_is_loopback };
            check_route(&rules, &facts);
        }
    }
}

fn rules(path_hosts: PathHosts) -> Rules {
    Rules::new(Settings {
        platform_domains: names(&["platform.com", "eu.platform.com"]),
        admin_hosts: names(&["admin.platform.com", "admin.eu.platform.com", "ops.example"]),
        admin_labels: vec!["admin".into()],
        admin_paths: vec!["/admin".into(), "/back/office".into()],
        reserved_labels: ["admin", "api", "www"].map(Into::into).into(),
        www: WwwPolicy::Redirect,
        path_prefix: "/store".into(),
        path_hosts,
        unknown_host: UnknownHost::Homepage,
        inactive_store: InactiveStore::Unknown,
        redirects: Redirects::default(),
    })
}

fn names(names: &[&str]) -> Vec<Hostname<'static>> {
    names.iter().filter_map(|name| Hostname::parse_human(name).ok()).collect()
}

fn path_hosts() -> Vec<Host<'static>> {
    ["platform.com", "localhost", "paths.example"].into_iter().filter_map(|name| Host::parse_human(name).ok()).collect()
}

fn check_route(rules: &Rules, facts: &RequestFacts<'_>) {
    let Ok(route) = rules.route(facts) else { return };
    check_admin_is_not_missed(&route, facts);
    check_platform_names_stay_ours(rules, &route, facts);
    check_prefix(&route, facts.path);
    check_readings_agree(rules, &route, facts);
}

/// No reading of the path is the administration's where the route is somebody's else.
fn check_admin_is_not_missed(route: &Route<'_>, facts: &RequestFacts<'_>) {
    if matches!(route, Route::Homepage | Route::Tenant { admin_path: false, .. }) {
        for reading in [facts.path.as_sent(), facts.path.normalised()] {
            let is_admin =
                |admin: &[u8]| reading.strip_prefix(admin).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
            assert!(!is_admin(b"/admin") && !is_admin(b"/back/office"), "{facts:?} is {route:?}");
        }
    }
}

/// A name of the platform is never looked up as somebody's own domain.
fn check_platform_names_stay_ours(rules: &Rules, route: &Route<'_>, facts: &RequestFacts<'_>) {
    let (Route::Tenant { key, without_www, .. }, Host::Name(name)) = (route, facts.host) else { return };
    let is_ours = rules.settings().platform_domains.iter().any(|ours| {
        name.as_str().strip_suffix(ours.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    });
    let is_custom = |key: &KeyRef<'_>| matches!(key, KeyRef::CustomDomain(_));
    assert!(!is_ours || !(is_custom(key) || without_www.as_ref().is_some_and(is_custom)), "{facts:?} is {route:?}");
}

/// The prefix ends where a segment does, and the whole path stays below it in both readings.
fn check_prefix(route: &Route<'_>, path: &Path<'_>) {
    let Route::Tenant { key: KeyRef::Label { label, .. }, prefix: Some(prefix), .. } = route else { return };
    let (front, rest) = prefix.split(path.raw()).unwrap_or_else(|| panic!("{prefix:?} does not fit {path:?}"));
    let expected = format!("/store/{label}");
    assert!(rest.is_empty() || rest.starts_with('/'), "{path:?}");
    assert_eq!(Path::read(front).as_sent(), expected.as_bytes());
    for reading in [path.as_sent(), path.normalised()] {
        let below = reading.strip_prefix(expected.as_bytes());
        assert!(below.is_some_and(|below| matches!(below, [] | [b'/', ..])), "{path:?} leaves {expected}");
    }
}

/// An app that takes the path in either reading decides as usher did. A path is decoded once, so one that still has
/// percent signs in it means another path to whoever decodes it again; and an admin path on a host that is nobody's is
/// refused in either reading.
fn check_readings_agree(rules: &Rules, route: &Route<'_>, facts: &RequestFacts<'_>) {
    if *route == Route::Unroutable(UnroutableReason::AdminPath) {
        return;
    }
    for reading in [facts.path.as_sent(), facts.path.normalised()] {
        let Ok(text) = str::from_utf8(reading) else { continue };
        if !text.contains('%') {
            let path = Path::read(text);
            let again = rules.route(&RequestFacts { path: &path, ..*facts });
            assert_eq!(again.map(without_prefix), Ok(without_prefix(route.clone())), "{facts:?} as {text:?}");
        }
    }
}

/// The length of a prefix differs with its spelling.
fn without_prefix(route: Route<'_>) -> Route<'_> {
    match route {
        Route::Tenant { key, matched, admin_path, without_www, .. } => {
            Route::Tenant { key, matched, prefix: None, admin_path, without_www }
        }
        other => other,
    }
}
