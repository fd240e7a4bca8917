//! The documented table of requests and outcomes, row by row, over the example stores.

use std::{convert::Infallible, sync::Arc};

use super::*;

/// The rules of the default configuration, with a second platform domain below the first.
pub(super) fn settings() -> Settings {
    let names = |names: &[&str]| names.iter().map(|name| Hostname::parse_human(name).unwrap()).collect();
    Settings {
        platform_domains: names(&["platform.com", "eu.platform.com", "platform.localhost"]),
        admin_hosts: names(&[
            "admin.platform.com",
            "admin.eu.platform.com",
            "admin.platform.localhost",
            "ops.example.org",
        ]),
        admin_labels: vec!["admin".into()],
        admin_paths: vec!["/admin".into()],
        reserved_labels: vec!["www".into(), "admin".into(), "api".into()],
        www: WwwPolicy::Redirect,
        path_prefix: "/store".into(),
        path_hosts: PathHosts::Loopback,
        unknown_host: UnknownHost::NotFound,
        inactive_store: InactiveStore::Unknown,
        redirects: Redirects::default(),
    }
}

fn listed(hosts: &[&str]) -> PathHosts {
    PathHosts::Listed(hosts.iter().map(|host| Host::parse_human(host).unwrap()).collect())
}

/// The example rows, and a few that are switched off.
fn directory(key: KeyRef<'_>) -> Option<Arc<Tenant>> {
    let (id, status) = match key {
        KeyRef::CustomDomain("customdomain1.com" | "shop.alpha.com" | "www.own.com" | "localhost") => {
            ("1", Status::Active)
        }
        KeyRef::CustomDomain("admin.brand.com" | "own.com" | "admin.net") => ("1", Status::Active),
        KeyRef::CustomDomain("customdomain2.com") => ("2", Status::Active),
        KeyRef::CustomDomain("unverified.com" | "www.customdomain2.com") => ("2", Status::DomainUnverified),
        KeyRef::CustomDomain("off.com") => ("2", Status::DomainInactive),
        KeyRef::CustomDomain("closed.com") | KeyRef::Label { label: "closed", .. } => ("3", Status::StoreInactive),
        // Rows that must never be asked for.
        KeyRef::CustomDomain("store9.platform.com" | "a.b.platform.com" | "platform.com") => ("9", Status::Active),
        KeyRef::Label { label: "api" | "www" | "admin" | "a.b" | "STORE1", .. } => ("9", Status::Active),
        KeyRef::Label { platform: None | Some(PlatformId(0 | 2)), label: "store1" } => ("1", Status::Active),
        KeyRef::Label { platform: Some(PlatformId(1)), label: "store1" } => ("eu-1", Status::Active),
        KeyRef::Label { label: "store2", .. } => ("2", Status::Active),
        _ => return None,
    };
    Some(Arc::new(Tenant { id: TenantId::parse(id).unwrap(), status, upstream: None, primary: None }))
}

/// What becomes of a request for `url` (host, perhaps port, path), in words; in path mode with what the app sees.
fn outcome(settings: Settings, url: &str, peer_is_loopback: bool) -> String {
    let (authority, raw) = url.split_at(url.find('/').unwrap());
    let (host, path) = (Authority::parse(authority).unwrap().host, Path::read(raw));
    let rules = Rules::new(settings);
    let route = match rules.route(&RequestFacts { host: &host, path: &path, peer_is_loopback }) {
        Ok(route) => route,
        Err(AmbiguousPath) => return "400".into(),
    };
    let mut inquiry = Inquiry::new(&rules, route);
    while let Some(key) = inquiry.question() {
        let answer = directory(key);
        inquiry.answer(Ok::<_, Infallible>(answer)).unwrap();
    }
    let decision = decide(&rules, inquiry.subject());
    match &decision {
        Decision::Forward(Destination { prefix: Some(prefix), .. }) => {
            let (prefix, rest) = prefix.split(raw).unwrap();
            format!("{decision}, prefix {prefix}, rest {rest}")
        }
        _ => decision.to_string(),
    }
}

#[track_caller]
fn expect(rows: &[(&str, &str)]) {
    expect_with(&settings(), rows);
}

#[track_caller]
fn expect_with(settings: &Settings, rows: &[(&str, &str)]) {
    for (url, wanted) in rows {
        assert_eq!(outcome(settings.clone(), url, true), *wanted, "{url}");
    }
}

const ADMIN: &str = "forward without a store (admin)";
const HOMEPAGE: &str = "forward without a store (homepage)";
const ABSENT: &str = "unknown: not in the directory";
const LOOKALIKE: &str = "unknown: a custom domain that looks like an administration";
const DEEP: &str = "unknown: more than one label in front of a platform domain";

#[test]
fn an_active_and_verified_custom_domain_is_forwarded_with_its_store() {
    expect(&[
        ("customdomain1.com/p", "forward for store 1 (custom_domain)"),
        ("CustomDomain1.COM.:8080/p", "forward for store 1 (custom_domain)"),
        ("shop.alpha.com/", "forward for store 1 (custom_domain)"),
        ("customdomain2.com/", "forward for store 2 (custom_domain)"),
    ]);
}

#[test]
fn an_inactive_or_unverified_one_is_unknown_and_the_log_says_why() {
    expect(&[
        ("unverified.com/", "unknown: domain is not verified"),
        ("off.com/", "unknown: domain is inactive"),
        ("closed.com/", "unknown: store is inactive"),
        ("closed.com/admin", "unknown: store is inactive"),
        ("closed.platform.com/", "unknown: store is inactive"),
    ]);
}

#[test]
fn one_label_of_a_platform_domain_is_a_subdomain() {
    expect(&[
        ("store1.platform.com/p", "forward for store 1 (subdomain)"),
        ("STORE1.platform.com/p", "forward for store 1 (subdomain)"),
        ("store1.platform.localhost:8080/", "forward for store 1 (subdomain)"),
        ("nosuch.platform.com/", ABSENT),
    ]);
}

#[test]
fn two_labels_of_a_platform_domain_are_unknown() {
    expect(&[("a.b.platform.com/", DEEP), ("www.store1.platform.com/", DEEP), ("a.b.platform.com/admin", DEEP)]);
}

#[test]
fn the_nearest_platform_domain_counts() {
    expect(&[
        ("eu.platform.com/", HOMEPAGE),
        ("www.eu.platform.com/", HOMEPAGE),
        ("store1.eu.platform.com/", "forward for store eu-1 (subdomain)"),
        ("a.b.eu.platform.com/", DEEP),
        ("notplatform.com/", ABSENT),
        ("platform.com.evil.org/", ABSENT),
    ]);
    let mut reversed = settings();
    reversed.platform_domains.reverse();
    let host = Host::parse("store1.eu.platform.com").unwrap();
    let facts = RequestFacts { host: &host, path: &Path::read("/"), peer_is_loopback: false };
    let place = Rules::new(reversed).place(&facts);
    assert_eq!(place, Place::Subdomain { platform: PlatformId(1), label: "store1" });
}

#[test]
fn the_path_prefix_names_a_store_on_path_hosts() {
    expect(&[
        ("localhost:8000/store/store1/p", "forward for store 1 (path), prefix /store/store1, rest /p"),
        ("127.0.0.1/store/store1/p", "forward for store 1 (path), prefix /store/store1, rest /p"),
        ("[::1]:8000/store/store1/p", "forward for store 1 (path), prefix /store/store1, rest /p"),
        ("localhost/store/store1", "forward for store 1 (path), prefix /store/store1, rest "),
        ("localhost/store/store1/", "forward for store 1 (path), prefix /store/store1, rest /"),
        ("localhost/store/store1/a%2Fb;c//d", "forward for store 1 (path), prefix /store/store1, rest /a%2Fb;c//d"),
        ("localhost/%73tore/%73tore1/p", "forward for store 1 (path), prefix /%73tore/%73tore1, rest /p"),
        ("localhost/store/closed/", "unknown: store is inactive"),
    ]);
}

#[test]
fn without_a_list_path_hosts_are_for_peers_on_the_loopback_interface() {
    let from_afar = |url: &str| outcome(settings(), url, false);
    assert_eq!(from_afar("localhost/store/store1/p"), "forward for store 1 (custom_domain)", "a name like any other");
    assert_eq!(from_afar("127.0.0.1/store/store1/p"), "unknown: an address that is no path host");
    assert_eq!(from_afar("127.0.0.1//admin"), "unknown: an address that is no path host");
    expect(&[("127.0.0.2/", "unknown: an address that is no path host")]);
}

#[test]
fn listed_path_hosts_are_for_everybody_and_may_be_platform_domains() {
    let settings = Settings { path_hosts: listed(&["platform.com", "go.platform.com", "10.0.0.1"]), ..settings() };
    let from_afar = |url: &str| outcome(settings.clone(), url, false);
    assert_eq!(from_afar("platform.com/store/store1/p"), "forward for store 1 (path), prefix /store/store1, rest /p");
    assert_eq!(from_afar("platform.com/p"), HOMEPAGE);
    assert_eq!(from_afar("go.platform.com/p"), HOMEPAGE);
    assert_eq!(from_afar("10.0.0.1/store/store2/"), "forward for store 2 (path), prefix /store/store2, rest /");
    assert_eq!(from_afar("eu.platform.com/store/store1/p"), HOMEPAGE);
    assert_eq!(from_afar("localhost/store/store1/p"), "forward for store 1 (custom_domain)");
}

#[test]
fn the_path_of_a_custom_domain_is_its_own_business() {
    expect(&[
        ("customdomain1.com/store/x", "forward for store 1 (custom_domain)"),
        ("customdomain1.com/store/a%2f..%2fb", "forward for store 1 (custom_domain)"),
        ("store2.platform.com/store/store1/p", "forward for store 2 (subdomain)"),
        ("store2.platform.com//store/store1/../x", "forward for store 2 (subdomain)"),
    ]);
}

#[test]
fn the_administration_has_no_store() {
    for path in ["/admin", "/admin/", "/admin/users?", "/%61dmin", "/admin/%2e/x", "/admin//x", "/admin/x;y"] {
        for host in ["platform.com", "www.platform.com", "eu.platform.com", "store1.platform.com", "localhost", "[::1]"]
        {
            expect(&[(&format!("{host}{path}"), ADMIN)]);
        }
        expect(&[(&format!("customdomain1.com{path}"), ADMIN), (&format!("admin.platform.com{path}"), ADMIN)]);
    }
    expect(&[
        ("admin.platform.com/", ADMIN),
        ("admin.platform.com//x", ADMIN),
        ("admin.eu.platform.com/", ADMIN),
        ("ops.example.org/", ADMIN),
    ]);
}

#[test]
fn what_only_begins_like_an_admin_path_is_none() {
    expect(&[
        ("platform.com/administrator", HOMEPAGE),
        ("platform.com/Admin", HOMEPAGE),
        ("customdomain1.com/x/admin", "forward for store 1 (custom_domain)"),
        ("localhost/store/store1/admin", "forward for store 1 (path), prefix /store/store1, rest /admin"),
    ]);
}

#[test]
fn the_administration_is_not_found_on_unknown_hosts() {
    expect(&[
        ("nosuch.com/admin", ABSENT),
        ("admin.brand.com/", LOOKALIKE),
        ("admin.brand.com/admin", LOOKALIKE),
        ("www.admin.net/", ABSENT),
        ("10.0.0.1/admin", "unknown: an address that is no path host"),
    ]);
    let without_pattern = Settings { admin_labels: vec![], ..settings() };
    expect_with(&without_pattern, &[("admin.brand.com/", "forward for store 1 (custom_domain)")]);
}

#[test]
fn paths_that_can_be_read_in_two_ways_are_refused() {
    for path in [
        "//admin",
        "/x/../admin",
        "/admin/../cart",
        "/admin;x",
        "/admin%2fx",
        "/%5cadmin",
        "/./admin",
        "/x/%2e%2e/admin",
    ] {
        for host in ["platform.com", "store1.platform.com", "customdomain1.com", "nosuch.com", "localhost"] {
            expect(&[(&format!("{host}{path}"), "400")]);
        }
    }
    for path in [
        "/store/a%2f..%2fb",
        "/store/store1/../store2",
        "//store/store1",
        "/store//store1",
        "/store/store1;x",
        "/store/store1/../../p",
    ] {
        expect(&[(&format!("localhost{path}"), "400")]);
    }
}

#[test]
fn a_path_that_names_no_known_store_is_never_the_homepage() {
    let unusable = "unknown: a path prefix without a usable label";
    let rows = [
        ("localhost:8000/store/nosuch/", ABSENT),
        ("localhost/store/", unusable),
        ("localhost/store/-a/", unusable),
        ("localhost/store/STORE1/", unusable),
        ("localhost/store/a%20b/", unusable),
        ("localhost/store/a.b/", unusable),
        ("localhost/store/api/", "unknown: a path prefix with a reserved label"),
    ];
    expect(&rows);
    expect_with(&Settings { unknown_host: UnknownHost::Homepage, ..settings() }, &rows);
    let elsewhere = UnknownHost::Redirect(http::HeaderValue::from_static("https://platform.com/"));
    expect_with(&Settings { unknown_host: elsewhere, ..settings() }, &rows);
}

#[test]
fn a_name_with_www_leads_to_the_name_without() {
    expect(&[
        ("www.customdomain1.com/p", "redirect to host customdomain1.com"),
        ("www.own.com/", "forward for store 1 (custom_domain)"),
        ("www.customdomain2.com/", "redirect to host customdomain2.com"),
        ("www.closed.com/", "unknown: store is inactive"),
        ("www.nosuch.com/", ABSENT),
        ("www.com/", ABSENT),
        ("www.localhost/", ABSENT),
    ]);
    let serve = Settings { www: WwwPolicy::Serve, ..settings() };
    expect_with(
        &serve,
        &[("www.customdomain1.com/p", "forward for store 1 (custom_domain)"), ("www.customdomain1.com/admin", ADMIN)],
    );
    expect_with(&Settings { www: WwwPolicy::Off, ..settings() }, &[("www.customdomain1.com/p", ABSENT)]);
}

#[test]
fn a_platform_domain_is_the_homepage() {
    expect(&[
        ("platform.com/", HOMEPAGE),
        ("www.platform.com/p", HOMEPAGE),
        ("platform.com/store/store1/p", HOMEPAGE),
        ("localhost/", HOMEPAGE),
        ("localhost/store", HOMEPAGE),
        ("localhost/storefront/x", HOMEPAGE),
    ]);
}

#[test]
fn reserved_labels_are_nobodys() {
    expect(&[
        ("api.platform.com/", "unknown: a reserved label"),
        ("api.eu.platform.com/", "unknown: a reserved label"),
    ]);
}

#[test]
fn unknown_hosts_may_be_shown_the_homepage_but_not_its_administration() {
    let settings = Settings { unknown_host: UnknownHost::Homepage, ..settings() };
    expect_with(
        &settings,
        &[
            ("nosuch.com/p", HOMEPAGE),
            ("off.com/p", HOMEPAGE),
            ("nosuch.platform.com/", HOMEPAGE),
            ("a.b.platform.com/p", HOMEPAGE),
            ("nosuch.com/admin", ABSENT),
            ("a.b.platform.com/admin", "unknown: an admin path on an unknown host"),
            ("10.0.0.1//admin", "unknown: an admin path on an unknown host"),
            ("admin.brand.com/admin/x", "unknown: an admin path on an unknown host"),
        ],
    );
}

#[test]
fn a_store_that_is_switched_off_may_be_told_apart_from_one_that_nobody_knows() {
    for (closed, told) in [
        (Closed::Gone, "store is inactive, and said to be gone"),
        (Closed::Unavailable, "store is inactive, and said to be closed for a while"),
    ] {
        let inactive_store = InactiveStore::Closed(closed);
        let settings = Settings { inactive_store, unknown_host: UnknownHost::Homepage, ..settings() };
        expect_with(
            &settings,
            &[
                ("closed.com/", told),
                ("closed.com/admin", told),
                ("closed.platform.com/p", told),
                ("localhost/store/closed/", told),
                ("off.com/p", HOMEPAGE),
                ("nosuch.com/p", HOMEPAGE),
            ],
        );
    }
}

#[test]
fn unknown_hosts_may_be_redirected() {
    let elsewhere = UnknownHost::Redirect(http::HeaderValue::from_static("https://platform.com/"));
    let settings = Settings { unknown_host: elsewhere, ..settings() };
    let redirect = "redirect to https://platform.com/";
    expect_with(&settings, &[("nosuch.com/p", redirect), ("10.0.0.1/", redirect), ("off.com/admin", redirect)]);
}

#[test]
fn several_admin_paths_and_a_deeper_prefix_are_possible() {
    let settings = Settings {
        admin_paths: vec!["/ops/console".into(), "/root".into()],
        path_prefix: "/t/shop".into(),
        ..settings()
    };
    expect_with(
        &settings,
        &[
            ("platform.com/ops/console/x", ADMIN),
            ("platform.com/root", ADMIN),
            ("platform.com/ops", HOMEPAGE),
            ("localhost/t/shop/store1/p", "forward for store 1 (path), prefix /t/shop/store1, rest /p"),
        ],
    );
    let none = Settings { admin_paths: vec![], ..settings };
    expect_with(&none, &[("platform.com//root", HOMEPAGE)]);
}
