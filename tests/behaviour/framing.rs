//! One request from a client is at most one request at the app: where it ends is never in doubt.

use crate::support::{App, Fixture, UNBUFFERED};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n";

/// Heads after which two readers could disagree about where the body ends, or which no reader should take.
const AMBIGUOUS: &[&str] = &[
    "Content-Length: 4\r\nContent-Length: 5",
    "Content-Length: 4, 5",
    "Content-Length: +4",
    "Content-Length: -1",
    "Content-Length: 0x4",
    "Content-Length: 4 4",
    "Content-Length: 99999999999999999999999",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: \u{b}chunked",
    "X-Folded: a\r\n b",
    "X-Nul: a\0b",
    "X Space: a",
    ": nameless",
    "no colon",
];

/// RFC 9112 §2.2, §5.1, §5.2, §6.1, §6.3; RFC 9110 §5.5.
#[test]
fn what_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let stage = Fixture::new();
    let mut wrong = Vec::new();
    for fields in AMBIGUOUS {
        let mut client = stage.usher.connect();
        client.send(format!("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\n{fields}\r\n\r\n0\r\n\r\n{SMUGGLED}"));
        let status = client.try_response().ok().flatten().map(|response| response.status);
        let closed = client.closed_by_peer();
        if !matches!(status, None | Some(400 | 501)) || !closed {
            wrong.push((fields, status, closed));
        }
    }
    let seen: Vec<String> = stage.app.requests().iter().map(|request| request.head.line.clone()).collect();
    assert!(wrong.is_empty() && seen.is_empty(), "not refused: {wrong:?}; the app saw {seen:?}");
}

/// RFC 9112 §6.1 allows to go by the coding alone, if the connection is closed afterwards and nobody sees the length.
#[test]
fn a_length_beside_a_coding_is_refused_or_never_seen_again() {
    let stage = Fixture::new();
    for fields in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let mut client = stage.usher.connect();
        client.send(format!("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\n{fields}\r\n\r\n0\r\n\r\n{SMUGGLED}"));
        assert!(matches!(client.response().status, 200 | 400), "{fields}");
        assert!(client.closed_by_peer(), "{fields}");
    }
    for request in stage.app.requests() {
        assert_eq!((request.target(), request.body.len()), ("/p", 0));
        assert!(request.head.all("content-length").is_empty() || request.head.all("transfer-encoding").is_empty());
    }
}

/// RFC 9112 §7.1, §8.
#[test]
fn chunks_that_are_no_chunks_end_the_connection() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        while conversation.request().is_some()
            && conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        {}
    }));
    for body in [
        "xyz\r\nabc\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "3 \n\rabc",
    ] {
        let mut client = stage.usher.connect();
        client.send(format!(
            "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
        ));
        let status = client.try_response().ok().flatten().map(|response| response.status);
        assert!(status.is_none_or(|status| status >= 400), "{status:?} after {body:?}");
        assert!(client.closed_by_peer(), "still open after {body:?}");
    }
    assert!(stage.app.requests().is_empty(), "a request with a broken body counts as complete at the app");
}

/// RFC 9112 §6.1: HTTP/1.0 knows no chunks.
#[test]
fn http_1_0_with_chunks_is_refused() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send(format!(
        "POST / HTTP/1.0\r\nHost: customdomain1.com\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    ));
    let status = client.try_response().ok().flatten().map(|response| response.status);
    assert!(matches!(status, None | Some(400)), "{status:?}");
    assert!(client.closed_by_peer());
    assert!(stage.app.requests().is_empty());
}

/// RFC 9112 §9.3.2.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    let pipeline: String = (0..10)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 2\r\n\r\n{n}!"))
        .collect();
    client.send(pipeline);
    for n in 0..10 {
        assert_eq!(client.response().json()["line"], format!("POST /{n} HTTP/1.1"));
    }
    assert_eq!(stage.app.requests().len(), 10);
}

/// RFC 9112 §9.3.
#[test]
fn a_body_that_the_app_did_not_read_never_becomes_the_next_request() {
    let app = App::scripted(|mut conversation| {
        conversation.head();
        let _ = conversation.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let stage = Fixture::configured(app, UNBUFFERED);
    let mut client = stage.usher.connect();
    client.send(format!(
        "POST /big HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len() + 10
    ));
    assert_eq!(client.response().status, 403);
    client.send("0123456789");
    drop(client);
    assert_eq!(stage.app.requests().len(), 1);
}

/// What stands behind an answer of the app belongs to nobody.
/// RFC 9112 §9.2.
#[test]
fn bytes_behind_an_answer_never_reach_another_client() {
    let stage = Fixture::with_app(App::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ));
    for _ in 0..20 {
        assert_eq!(stage.get("customdomain1.com", "/").text(), "ok");
    }
}

/// RFC 9110 §10.1.1.
#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let go_on = client.response();
    assert_eq!(go_on.status, 100);
    assert_eq!(client.send("abc").response().status, 200);
    assert_eq!(stage.app.last().body, b"abc");
}

/// No target has a fragment (RFC 9112 §3.2); the library cuts it off before anybody could refuse it. It decides nothing, and nobody
/// is sent it.
#[test]
fn what_stands_behind_a_hash_is_seen_by_nobody() {
    let stage = Fixture::new();
    for (sent, seen, matched) in
        [("/p?q#f", "/p?q", "custom_domain"), ("/p#/../admin", "/p", "custom_domain"), ("/admin#x", "/admin", "admin")]
    {
        assert_eq!(stage.get("customdomain1.com", sent).status, 200, "{sent}");
        assert_eq!(stage.app.last().target(), seen);
        assert_eq!(stage.app.last().head.one("x-store-match"), Some(matched));
    }
    let moved = stage.get("www.customdomain1.com", "/p#f");
    assert_eq!((moved.status, moved.header("location")), (308, Some("http://customdomain1.com/p")));
    assert!(stage.usher.access_log(4).iter().all(|line| !line["target"].as_str().unwrap().contains('#')));
}
