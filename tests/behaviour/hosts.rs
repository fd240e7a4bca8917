//! The host that is looked up, the host that is forwarded and the host in the log are the same one; doubt is refused.

use crate::support::{App, Backend, Fixture, Response, Tables};

/// Sends `head` (without its last empty line) and says what came back; the app must not have seen it.
fn refused(stage: &Fixture, head: impl AsRef<[u8]>) -> Response {
    let before = stage.app.requests().len();
    let mut request = head.as_ref().to_vec();
    request.extend_from_slice(b"\r\n\r\n");
    let response = stage.usher.raw(&request);
    let shown = String::from_utf8_lossy(&request).into_owned();
    assert_eq!(stage.app.requests().len(), before, "the app saw {shown:?}");
    assert!(response.status >= 400, "{} for {shown:?}", response.status);
    response
}

/// RFC 9112 §3.2; RFC 3986 §3.2.2, §3.2.3; RFC 1035 §2.3.1, §2.3.4.
#[test]
fn a_host_that_is_no_host_is_refused_on_either_database() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        check_malformed_hosts(&Fixture::over(Tables::example(backend), App::echo(), ""));
    }
}

fn check_malformed_hosts(stage: &Fixture) {
    let long_label = "a".repeat(64);
    let long_name = format!("{}com", "abcdefg.".repeat(32));
    let hosts = [
        "",
        " ",
        "a b.com",
        "user@customdomain1.com",
        "customdomain1.com,customdomain2.com",
        "customdomain1.com:99999",
        "customdomain1.com:abc",
        "customdomain1.com:80:80",
        "a..b",
        "customdomain1.com..",
        ".customdomain1.com",
        ".",
        "[::1",
        "[::1]x",
        "::1",
        "[zz]",
        "customdomain1.com/",
        "customdomain1.com#",
        "customdomain1.com?x",
        "%63ustomdomain1.com",
        "customdomain1.com\\",
        "*.com",
        "customdomain1.com\t.x",
        "-a.com",
        "a-.com",
        "<script>",
        "http://customdomain1.com",
        &long_label,
        &long_name,
        "\u{7f}.com",
        "customdomain1.com;x",
    ];
    let mut wrong = Vec::new();
    for host in hosts {
        let response = refused(stage, format!("GET / HTTP/1.1\r\nHost: {host}"));
        if response.status != 400 {
            wrong.push((host, response.status));
        }
    }
    assert!(wrong.is_empty(), "not 400: {wrong:?}");
}

/// RFC 9110 §5.5, RFC 3986 §3.2.2.
#[test]
fn bytes_beyond_ascii_are_refused_on_the_wire() {
    let stage = Fixture::new();
    for host in [b"caf\xc3\xa9.com".as_slice(), b"caf\xe9.com", b"customdomain1\x00.com"] {
        assert_eq!(refused(&stage, [b"GET / HTTP/1.1\r\nHost: ", host].concat()).status, 400, "{host:?}");
    }
}

/// RFC 9112 §3.2, §5.1, §5.2.
#[test]
fn exactly_one_host_is_needed() {
    let stage = Fixture::new();
    let heads = [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nHost: customdomain1.com\r\nHost: customdomain2.com",
        "GET / HTTP/1.1\r\nHost: customdomain1.com\r\nhost: customdomain1.com",
        "GET / HTTP/1.1\r\nHost : customdomain1.com",
        "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n Host: customdomain2.com",
    ];
    for head in heads {
        assert_eq!(refused(&stage, head).status, 400, "{head}");
    }
}

/// RFC 9112 §3.2.2: the target in absolute form names the host; where `Host` says something else, nobody may guess.
#[test]
fn a_target_in_absolute_form_must_agree_with_the_host() {
    let stage = Fixture::new();
    let head = "GET http://customdomain2.com/p HTTP/1.1\r\nHost: customdomain1.com";
    assert!(matches!(refused(&stage, head).status, 400 | 421));
    let response = stage.usher.raw("GET http://customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    assert_eq!(response.status, 200);
    let request = stage.app.last();
    assert_eq!((request.folded("x-store-id"), request.target()), (vec!["1"], "/p"));
    assert_eq!(request.head.all("host"), ["customdomain1.com"]);
}

/// RFC 9110 §4.2.4 and RFC 9112 §3.2: the absolute form is held to what `Host` is held to.
#[test]
fn a_target_in_absolute_form_is_refused_for_what_a_host_is_refused_for() {
    let stage = Fixture::new();
    for head in [
        "GET http://customdomain1.com/p HTTP/1.1",
        "GET http://customdomain1.com/p HTTP/1.1\r\nHost:",
        "GET http://customdomain1.com:8080/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http://customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com:8080",
        "GET http://user@customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http://user:secret@customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http://customdomain2.com@customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http://customdomain1.com:0/p HTTP/1.1\r\nHost: customdomain1.com:0",
        "GET http://customdomain1.com,customdomain2.com/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http:///p HTTP/1.1\r\nHost: customdomain1.com",
        "GET http:/p HTTP/1.1\r\nHost: customdomain1.com",
        "GET //customdomain1.com/p HTTP/1.1\r\nHost: customdomain2.com, customdomain1.com",
        "GET file://customdomain1.com/p HTTP/1.1\r\nHost: customdomain1.com",
    ] {
        assert_eq!(refused(&stage, head).status, 400, "{head}");
    }
    for target in ["http://CustomDomain1.com./p", "HTTP://customdomain1.com/p", "https://customdomain1.com/p"] {
        assert_eq!(stage.usher.raw(format!("GET {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n")).status, 200);
        let request = stage.app.last();
        assert_eq!(
            (request.target(), request.folded("x-store-id"), request.folded("host")),
            ("/p", vec!["1"], vec!["customdomain1.com"]),
            "{target}"
        );
    }
}

/// What else names a host is the client's opinion: it decides nothing (RFC 7239 and its forerunners).
#[test]
fn only_the_host_says_which_tenant_is_meant() {
    let stage = Fixture::new();
    for name in
        ["X-Forwarded-Host", "X-Host", "Forwarded", "X-Original-Host", "X-Forwarded-Server", "X-HTTP-Host-Override"]
    {
        let value = if name == "Forwarded" { "host=customdomain2.com" } else { "customdomain2.com" };
        assert_eq!(stage.usher.get_with("customdomain1.com", "/", &format!("{name}: {value}\r\n")).status, 200);
        assert_eq!(stage.app.last().folded("x-store-id"), ["1"], "{name}");
        assert_eq!(stage.app.last().folded("x-forwarded-host"), ["customdomain1.com"], "{name}");
    }
}

/// RFC 9112 §2.3, §3, §3.2.
#[test]
fn targets_that_are_no_path_are_refused() {
    let stage = Fixture::new();
    for head in [
        "CONNECT customdomain1.com:443 HTTP/1.1\r\nHost: customdomain1.com:443",
        "OPTIONS * HTTP/1.1\r\nHost: customdomain1.com",
        "GET customdomain1.com HTTP/1.1\r\nHost: customdomain1.com",
        "GET ftp://customdomain1.com/ HTTP/1.1\r\nHost: customdomain1.com",
        "GET / HTTP/9.9\r\nHost: customdomain1.com",
        "GET /a b HTTP/1.1\r\nHost: customdomain1.com",
    ] {
        refused(&stage, head);
    }
}

#[test]
fn the_log_names_the_host_that_was_looked_up() {
    let stage = Fixture::new();
    stage.get("CustomDomain1.COM.:8080", "/p");
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((line["host"].as_str(), line["store"].as_str()), (Some("customdomain1.com"), Some("1")));
}
