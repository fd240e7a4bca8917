//! What holds for every input.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{table::settings, *};

/// Pieces that paths are attacked with, in any order.
fn any_path() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "/", "//", "\\", ";", ".", "..", "%", "%2f", "%2F", "%5c", "%2e", "%3b", "%25", "%61", "%73", "%ff", "%zz",
        "%%36", "admin", "store", "store1", "store2", "%61dmin", "%73tore", "x", "é", " ", "~",
    ];
    vec(select(PIECES), 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Names near the ones that count, and names that have nothing to do with them.
fn any_name() -> impl Strategy<Value = String> {
    const TAILS: &[&str] =
        &["platform.com", "eu.platform.com", "platform.localhost", "localhost", "brand.com", "com", "xplatform.com"];
    let labels = prop_oneof![
        select(&["www", "admin", "api", "store1", "_x", "xn--p1ai"][..]).prop_map(String::from),
        "[a-z0-9_]{1,8}"
    ];
    (vec(labels, 0..4), select(TAILS)).prop_map(|(labels, tail)| [labels, vec![tail.into()]].concat().join("."))
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let www = select(&[WwwPolicy::Redirect, WwwPolicy::Serve, WwwPolicy::Off][..]);
    let hosts = option::of(vec(any_name().prop_map(|name| Host::parse_human(&name).unwrap()), 0..3));
    let unknown = select(vec![UnknownHost::NotFound, UnknownHost::Homepage]);
    (www, hosts, unknown).prop_map(|(www, hosts, unknown_host)| Settings {
        www,
        path_hosts: hosts.map_or(PathHosts::Loopback, PathHosts::Listed),
        unknown_host,
        ..settings()
    })
}

fn localhost() -> Host<'static> {
    Host::parse("localhost").unwrap()
}

fn route<'a>(rules: &Rules, host: &'a Host<'a>, path: &'a Path<'a>) -> Result<Route<'a>, AmbiguousPath> {
    rules.route(&RequestFacts { host, path, peer_is_loopback: true })
}

/// A route without the length of its prefix, which differs with the spelling.
fn meaning(route: Route<'_>) -> Route<'_> {
    match route {
        Route::Tenant { key, matched, admin_path, without_www, .. } => {
            Route::Tenant { key, matched, prefix: None, admin_path, without_www }
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn parse_of_printed_is_the_same(name in "[a-zA-Z0-9_.-]{1,40}") {
        if let Ok(host) = Host::parse(&name) {
            prop_assert!(Host::parse(&host.to_string()) == Ok(host.clone()), "{host}");
            prop_assert!(!host.to_string().bytes().any(|octet| octet.is_ascii_uppercase()));
        }
    }

    #[test]
    fn the_short_way_and_the_long_way_read_the_same(name in "([a-z0-9_-]{0,3}|[a-z0-9]{62,65})(\\.([a-z0-9_-]{0,3}|[a-z0-9]{62,65})){0,5}") {
        let upper = name.to_ascii_uppercase();
        prop_assert_eq!(Hostname::parse(&name), Hostname::parse(&upper));
    }

    #[test]
    fn every_address_is_read_back(address: std::net::IpAddr, port in option::of(1..=u16::MAX)) {
        let authority = Authority { host: Host::Ip(address), port };
        prop_assert!(Authority::parse(&authority.to_string()) == Ok(authority.clone()), "{authority}");
    }

    #[test]
    fn a_person_may_write_what_stands_on_the_wire(name in any_name(), dot in "\\.?") {
        let upper = name.to_ascii_uppercase() + &dot;
        prop_assert_eq!(Hostname::parse_human(&upper), Hostname::parse(&name).map(Hostname::into_owned));
    }

    #[test]
    fn what_a_person_wrote_stands_on_the_wire(written: String) {
        if let Ok(name) = Hostname::parse_human(&written) {
            prop_assert_eq!(Hostname::parse(name.as_str()), Ok(name.clone()));
        }
    }

    #[test]
    fn no_text_panics(text: String, path: String) {
        let _ = (Hostname::parse(&text), Hostname::parse_human(&text), Host::parse_human(&text), Label::parse(&text));
        let _ = TenantId::parse(&text);
        let path = Path::read(&path);
        if let Ok(authority) = Authority::parse(&text) {
            let _ = route(&Rules::new(settings()), &authority.host, &path);
        }
        let _ = route(&Rules::new(settings()), &localhost(), &path);
    }

    #[test]
    fn a_name_under_a_platform_domain_is_never_a_custom_domain(
        settings in any_settings(), name in any_name(), path in any_path(), loopback: bool,
    ) {
        let rules = Rules::new(settings.clone());
        let (host, path) = (Host::parse(&name).unwrap(), Path::read(&path));
        let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: loopback };
        let ours = settings.platform_domains.iter().any(|ours| name == ours.as_str() || name.ends_with(&format!(".{ours}")));
        if let Ok(Route::Tenant { key, without_www, .. }) = rules.route(&facts) {
            let custom = [Some(key), without_www].into_iter().flatten().any(|key| matches!(key, KeyRef::CustomDomain(_)));
            prop_assert!(!(ours && custom), "{name} would be looked up as {key}");
        }
    }

    #[test]
    fn stripping_the_prefix_changes_nothing_behind_it(
        prefix in select(&["/store/store1", "/%73tore/store1", "/st%6Fre/%73tor%651", "/store/%73%74%6f%72%65%31"][..]),
        rest in prop_oneof![Just(String::new()), any_path()],
    ) {
        let (raw, host) = (format!("{prefix}{rest}"), localhost());
        let (rules, path) = (Rules::new(settings()), Path::read(&raw));
        match route(&rules, &host, &path) {
            Ok(Route::Tenant { key, prefix: Some(found), .. }) => {
                prop_assert_eq!(key, KeyRef::Label { platform: None, label: "store1" });
                prop_assert_eq!(found.split(&raw), Some((prefix, rest.as_str())));
            }
            other => prop_assert_eq!(other, Err(AmbiguousPath), "{}", raw),
        }
    }

    #[test]
    fn any_prefix_that_is_stripped_ends_where_a_segment_does(raw in any_path()) {
        let (rules, path, host) = (Rules::new(settings()), Path::read(&raw), localhost());
        if let Ok(Route::Tenant { key: KeyRef::Label { label, .. }, prefix: Some(prefix), .. }) = route(&rules, &host, &path) {
            let (prefix, rest) = prefix.split(&raw).unwrap();
            prop_assert!(rest.is_empty() || rest.starts_with('/'));
            prop_assert!(Path::read(prefix).as_sent() == format!("/store/{label}").as_bytes(), "{prefix}");
        }
    }

    /// A path is decoded once, so one that was encoded twice still has percent signs in it and means another path then.
    #[test]
    fn where_the_readings_agree_reading_them_again_changes_nothing(raw in any_path(), name in any_name()) {
        let (rules, host, path) = (Rules::new(settings()), Host::parse(&name).unwrap(), Path::read(&raw));
        let once = route(&rules, &host, &path).map(meaning);
        for reading in [path.as_sent(), path.normalised()] {
            let Ok(text) = str::from_utf8(reading) else { continue };
            if once.is_ok() && !text.contains('%') {
                let again = Path::read(text);
                prop_assert_eq!(&route(&rules, &host, &again).map(meaning), &once, "{} as {}", raw, text);
            }
        }
    }

    #[test]
    fn normalising_a_decoded_path_again_changes_nothing(raw in any_path()) {
        let path = Path::read(&raw);
        match str::from_utf8(path.normalised()) {
            Ok(text) if !text.contains('%') => {
                prop_assert!(Path::read(text).normalised() == text.as_bytes(), "{text}");
            }
            _ => {}
        }
    }
}
