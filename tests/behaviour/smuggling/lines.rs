//! Request lines and versions: RFC 9112 §2.3, §3; methods: RFC 9110 §9.1.

use super::{Fate, NEXT, Refused, Served, ServedAndClosed, Stage};

/// Request lines in front of a `Host`.
fn check(cases: &[(&str, Fate)]) {
    Stage::new().check(cases.iter().map(|(line, fate)| (format!("{line}\r\nHost: customdomain1.com\r\n\r\n"), *fate)));
}

/// RFC 9112 §3: exactly one space between method, target and version, and nothing before or after.
#[test]
fn a_request_line_that_is_none_is_refused() {
    check(&[
        (" GET /case HTTP/1.1", Refused(&[400])),
        ("\tGET /case HTTP/1.1", Refused(&[400])),
        ("GET  /case HTTP/1.1", Refused(&[400])),
        ("GET /case  HTTP/1.1", Refused(&[400])),
        ("GET\t/case\tHTTP/1.1", Refused(&[400])),
        ("GET /case HTTP/1.1 ", Refused(&[400])),
        ("GET /case HTTP/1.1 HTTP/1.1", Refused(&[400])),
        ("GET /ca se HTTP/1.1", Refused(&[400])),
        ("GET HTTP/1.1", Refused(&[400])),
        ("/case HTTP/1.1", Refused(&[400])),
        ("GET", Refused(&[400])),
        ("GET /case", Refused(&[400])),
    ]);
}

/// RFC 9112 §2.3: `HTTP-name` is case-sensitive and a version has two digits. No other version has these messages.
#[test]
fn versions_but_1_0_and_1_1_are_refused() {
    check(&[
        ("GET /case HTTP/0.9", Refused(&[400, 505])),
        ("GET /case HTTP/1.2", Refused(&[400, 505])),
        ("GET /case HTTP/1.9", Refused(&[400, 505])),
        ("GET /case HTTP/2.0", Refused(&[400, 505])),
        ("GET /case HTTP/2", Refused(&[400, 505])),
        ("GET /case HTTP/3.0", Refused(&[400, 505])),
        ("GET /case HTTP/1.10", Refused(&[400, 505])),
        ("GET /case HTTP/01.1", Refused(&[400, 505])),
        ("GET /case HTTP/1.", Refused(&[400, 505])),
        ("GET /case HTTP/1,1", Refused(&[400, 505])),
        ("GET /case HTTP/ 1.1", Refused(&[400, 505])),
        ("GET /case http/1.1", Refused(&[400, 505])),
        ("GET /case ICY/1.1", Refused(&[400, 505])),
        ("GET /case HTTPS/1.1", Refused(&[400, 505])),
    ]);
}

/// HTTP/0.9 has a line without a version, against RFC 9112 §3, and no head; its answer would have none either.
#[test]
fn http_0_9_is_refused() {
    Stage::new().check([("GET /case\r\n", Refused(&[400])), ("GET /case\n", Refused(&[400]))]);
}

/// RFC 9112 §9.3: HTTP/1.0 closes unless asked not to, and a body needs a length.
#[test]
fn http_1_0_is_served_with_a_length_and_closed() {
    let stage = Stage::new();
    let old = |more: &str, body: &str| format!("POST /case HTTP/1.0\r\nHost: customdomain1.com\r\n{more}\r\n{body}");
    stage.check([
        (old("Content-Length: 4\r\n", "body"), ServedAndClosed("body")),
        (old("", ""), ServedAndClosed("")),
        (old("Connection: keep-alive\r\nContent-Length: 4\r\n", "body"), Served("body")),
    ]);
}

/// RFC 9113 §3.4: the preface of HTTP/2 is no request of HTTP/1.1, and nothing behind it becomes one.
#[test]
fn a_preface_of_http_2_in_pieces_carries_no_request_of_http_1_1() {
    let stage = Stage::new();
    for preface in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "PRI /case HTTP/2.0\r\n\r\n"] {
        let outcome = stage.send(format!("{preface}{NEXT}"));
        assert!(outcome.closed && outcome.take.requests.is_empty(), "{preface:?}: {outcome:?}");
    }
}

/// RFC 9110 §9.1: a method is a token, case and all; what is none is refused, what nobody knows is the app's business.
#[test]
fn methods_are_tokens() {
    check(&[
        ("G(T /case HTTP/1.1", Refused(&[400])),
        ("GET, /case HTTP/1.1", Refused(&[400])),
        ("G\u{c9}T /case HTTP/1.1", Refused(&[400])),
        ("\"GET\" /case HTTP/1.1", Refused(&[400])),
        ("get /case HTTP/1.1", Served("")),
        ("Post /case HTTP/1.1", Served("")),
        ("M-SEARCH /case HTTP/1.1", Served("")),
        ("!#$%&'*+-.^_`|~09 /case HTTP/1.1", Served("")),
    ]);
}

/// CONNECT and TRACE (RFC 9110 §9.3.6, §9.3.8) in any letters: an app that does not mind case, against §9.1, would take them
/// for what they are not.
#[test]
fn connect_and_trace_are_refused_in_any_letters() {
    let stage = Stage::new();
    for line in [
        "TRACE /case HTTP/1.1",
        "trace /case HTTP/1.1",
        "Trace /case HTTP/1.1",
        "CONNECT customdomain1.com:80 HTTP/1.1",
        "connect /case HTTP/1.1",
        "Connect /case HTTP/1.1",
    ] {
        let outcome = stage.send(format!("{line}\r\nHost: customdomain1.com\r\nConnection: close\r\n\r\n"));
        assert!(Refused(&[405]).fits(&outcome) && outcome.closed, "{line}: {outcome:?}");
    }
}

/// RFC 9110 §9.3.6: behind a CONNECT that was refused nobody knows what the client meant to send.
#[test]
fn bytes_behind_a_refused_connect_are_no_request() {
    let connect = "CONNECT customdomain1.com:80 HTTP/1.1\r\nHost: customdomain1.com:80\r\n\r\n";
    Stage::new().check([(connect, Refused(&[405]))]);
}

/// A head that never ends is no request (RFC 9112 §8).
#[test]
fn a_head_that_the_client_breaks_off_is_no_request() {
    let stage = Stage::new();
    let mut client = stage.usher.connect();
    client.send("GET /case HTTP/1.1\r\nHost: customdomain1.com\r\n").finish_sending();
    assert!(client.closed_by_peer());
    let after = stage.send(NEXT);
    assert_eq!(after.take.requests.len(), 1, "{after:?}");
}
