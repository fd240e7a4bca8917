//! From http to https: where there is a certificate for the host, and never round in a circle.

use crate::support::{App, Client, Response, TlsFixture};

const HOST: &str = "customdomain1.com";

fn ask(client: &mut Client, host: &str, target: &str, more: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).response()
}

/// What a request by http is answered: its status, and where it is sent.
fn by_http(stage: &TlsFixture, host: &str, target: &str, more: &str) -> (u16, Option<String>) {
    let response = ask(&mut stage.usher.connect(), host, target, more);
    (response.status, response.header("location").map(ToOwned::to_owned))
}

fn to(location: &str) -> (u16, Option<String>) {
    (308, Some(location.to_owned()))
}

#[test]
fn stores_administration_and_homepage_are_sent_to_https() {
    let stage = TlsFixture::new();
    for (host, target) in [
        (HOST, "/a%2Fb?c=d"),
        ("store1.platform.com", "/"),
        ("platform.com", "/"),
        ("admin.platform.com", "/"),
        (HOST, "/admin/x"),
        (HOST, "/.well-known/other"),
    ] {
        assert_eq!(by_http(&stage, host, target, ""), to(&format!("https://{host}{target}")));
    }
    assert_eq!(by_http(&stage, "CustomDomain1.com.:80", "/", ""), to("https://customdomain1.com/"));
    let port = stage.usher.https().port();
    assert_eq!(by_http(&stage, "customdomain1.com:8080", "/", ""), to(&format!("https://customdomain1.com:{port}/")));
    let post = stage.usher.raw(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"));
    assert_eq!((post.status, post.header("location")), (308, Some("https://customdomain1.com/")));
    assert!(stage.app.requests().is_empty());
    assert_eq!(ask(&mut stage.connect(HOST), HOST, "/", "").status, 200);
    assert_eq!(stage.usher.access_log(10)[0]["outcome"], "redirected");
}

#[test]
fn what_has_no_certificate_or_is_unknown_is_answered_as_it_was() {
    let stage = TlsFixture::with(App::echo(), "", &[("origin", &["origin.example"], ", default = true")]);
    assert_eq!(by_http(&stage, HOST, "/", ""), (200, None));
    let stage = TlsFixture::new();
    assert_eq!(by_http(&stage, "customdomain2.com", "/", ""), (200, None));
    for unknown in ["nobody.example", "nosuch.platform.com"] {
        assert_eq!(by_http(&stage, unknown, "/", ""), (404, None));
    }
}

#[test]
fn questions_of_a_ca_are_answered_where_they_are_asked() {
    let stage = TlsFixture::new();
    assert_eq!(by_http(&stage, HOST, "/.well-known/acme-challenge/token", ""), (200, None));
    assert_eq!(stage.app.last().target(), "/.well-known/acme-challenge/token");
}

#[test]
fn what_came_to_a_trusted_proxy_by_https_stays() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\ntrusted_proxies = ['loopback']");
    assert_eq!(by_http(&stage, HOST, "/", "X-Forwarded-Proto: https\r\n"), (200, None));
    assert_eq!(by_http(&stage, HOST, "/", "X-Forwarded-Proto: http\r\n"), to("https://customdomain1.com/"));
    let untrusting = TlsFixture::new();
    assert_eq!(by_http(&untrusting, HOST, "/", "X-Forwarded-Proto: https\r\n"), to("https://customdomain1.com/"));
}

#[test]
fn it_can_be_switched_off() {
    let stage = TlsFixture::configured(App::echo(), "[tls]\nredirect = false");
    assert_eq!(by_http(&stage, HOST, "/", ""), (200, None));
}

/// Whoever follows what usher says arrives, after two steps at most, and by https where there is a certificate.
#[test]
fn no_redirect_leads_round_in_a_circle() {
    let with_certificates: &[&str] = &[HOST, "www.customdomain1.com", "platform.com", "*.platform.com"];
    for (names, arrives_by) in [(with_certificates, "https"), (&["other.example"], "http")] {
        let stage = TlsFixture::with(App::echo(), "", &[("all", names, "")]);
        for host in [HOST, "www.customdomain1.com", "platform.com", "www.platform.com", "store1.platform.com"] {
            let starts: &[&str] = if arrives_by == "https" { &["http", "https"] } else { &["http"] };
            for start in starts {
                let (scheme, arrived) = follow(&stage, start, host).pop().unwrap();
                assert_eq!(scheme, arrives_by, "{start}://{host}");
                assert!(arrived == host || host == format!("www.{arrived}"), "{host}: {arrived}");
            }
        }
    }
}

/// The same where a store's other hosts stand back for its primary domain; by https nobody is sent to one that has no certificate.
#[test]
fn hosts_that_stand_back_lead_nobody_round_in_a_circle() {
    let others = ["shop.alpha.com", "www.shop.alpha.com", "platform.com", "*.platform.com"];
    let all = [&others[..], &[HOST, "www.customdomain1.com"]].concat();
    for names in [&all[..], &others] {
        let config = "[routing]\nsecondary_domains = 'redirect'\nsubdomains = 'redirect'";
        let stage = TlsFixture::with(App::echo(), config, &[("all", names, "")]);
        let has_certificate = |host: &str| names.contains(&host) || host.ends_with(".platform.com");
        for host in [
            HOST,
            "www.customdomain1.com",
            "shop.alpha.com",
            "www.shop.alpha.com",
            "store1.platform.com",
            "platform.com",
        ] {
            let starts: &[&str] = if has_certificate(host) { &["http", "https"] } else { &["http"] };
            for start in starts {
                let way = follow(&stage, start, host);
                let (scheme, arrived) = way.last().unwrap();
                let expected = match *start {
                    _ if host == "platform.com" => ("https", host),
                    _ if has_certificate(HOST) => ("https", HOST),
                    "http" => ("http", HOST),
                    _ => ("https", host.trim_start_matches("www.")),
                };
                assert_eq!((scheme.as_str(), arrived.as_str()), expected, "{start}://{host}");
                is_explained(&stage, &way);
            }
        }
    }
}

/// What `usher resolve` says of each step is what becomes of it.
fn is_explained(stage: &TlsFixture, way: &[(String, String)]) {
    for (position, (scheme, host)) in way.iter().enumerate() {
        let told = stage.usher.admin_get(&format!("/api/v1/resolve?url={scheme}://{host}/p")).json();
        let next = way.get(position + 1).map(|(scheme, host)| format!("{scheme}://{host}/p"));
        let decision = if next.is_some() { "redirect" } else { "forward" };
        assert_eq!((told["decision"].as_str(), told["location"].as_str()), (Some(decision), next.as_deref()), "{told}");
    }
}

/// Scheme and host of each page on the way of a visitor, none of them twice; the last one is shown.
fn follow(stage: &TlsFixture, scheme: &str, host: &str) -> Vec<(String, String)> {
    let mut way = vec![(scheme.to_owned(), host.to_owned())];
    while let Some((scheme, host)) = way.last().filter(|_| way.len() <= 3) {
        let mut client = if scheme == "https" { stage.connect(host) } else { stage.usher.connect() };
        let response = ask(&mut client, host, "/p", "");
        if response.status == 200 {
            return way;
        }
        assert_eq!(response.status, 308, "{way:?}");
        let (scheme, rest) = response.header("location").unwrap().split_once("://").unwrap();
        let next = (scheme.to_owned(), rest.strip_suffix("/p").unwrap().to_owned());
        assert!(!way.contains(&next), "{way:?} leads to {next:?} again");
        way.push(next);
    }
    panic!("{way:?} does not end");
}

#[test]
fn browsers_are_told_to_stay_where_that_is_wanted_and_under_tls_only() {
    let app = App::scripted(|mut conversation| {
        while let Some(request) = conversation.request() {
            let own = if request.target() == "/own" { "Strict-Transport-Security: max-age=5\r\n" } else { "" };
            let _ = conversation.write(format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 0\r\n\r\n"));
        }
    });
    let config = "[tls]\nhsts_platform = '365d'\nhsts_custom = '1h'\nredirect = false";
    let stage = TlsFixture::configured(app, config);
    let told = |host: &str, target: &str| {
        let response = ask(&mut stage.connect(host), host, target, "");
        response.header("strict-transport-security").map(ToOwned::to_owned)
    };
    assert_eq!(told(HOST, "/").as_deref(), Some("max-age=3600"));
    for host in ["store1.platform.com", "platform.com", "admin.platform.com"] {
        assert_eq!(told(host, "/").as_deref(), Some("max-age=31536000"), "{host}");
    }
    assert_eq!(told(HOST, "/admin").as_deref(), Some("max-age=3600"), "whatever is shown there");
    assert_eq!(told(HOST, "/own").as_deref(), Some("max-age=5"), "the app knows better");
    let plain = ask(&mut stage.usher.connect(), HOST, "/", "");
    assert_eq!((plain.status, plain.header("strict-transport-security")), (200, None));
    let silent = TlsFixture::new();
    let mut client = silent.connect(HOST);
    assert_eq!(ask(&mut client, HOST, "/", "").header("strict-transport-security"), None);
}
