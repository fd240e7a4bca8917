//! What stands behind a request: a body that looks like a request, a request behind a refused one, bytes after an upgrade.

use super::{NEXT, Outcome, Refused, Served, Stage, post};

/// RFC 9112 §6.3: what the length counts is body, whatever it looks like.
#[test]
fn a_request_in_a_body_is_body() {
    let stage = Stage::new();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n";
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    stage.check([
        (post(&format!("Content-Length: {}", inner.len()), inner), Served(inner)),
        (post("Transfer-Encoding: chunked", &chunk), Served(inner)),
    ]);
}

/// The same behind a request that usher answers itself: the body is read to its end, or the connection is closed
/// (RFC 9112 §9.3).
#[test]
fn a_request_in_the_body_of_a_refused_one_is_not_served() {
    let stage = Stage::new();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n";
    let framings = [format!("Content-Length: {}\r\n\r\n{inner}", inner.len()), {
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())
    }];
    for framing in framings {
        for refused in
            ["unknown.com", "user@customdomain1.com", "customdomain1.com, customdomain2.com", "admin.brand.com"]
        {
            let outcome = stage.send(format!("POST /case HTTP/1.1\r\nHost: {refused}\r\n{framing}{NEXT}"));
            assert_only_next(&outcome);
        }
    }
}

/// Either the connection went with the refused request, or [`NEXT`] was served for what it is.
fn assert_only_next(outcome: &Outcome) {
    let targets: Vec<&str> = outcome.take.requests.iter().map(super::Arrived::target).collect();
    let after = outcome.statuses.get(1..).unwrap_or_default();
    assert!(outcome.statuses.first().is_some_and(|status| (400..500).contains(status)), "{outcome:?}");
    assert!(outcome.closed && outcome.take.unfinished == 0, "{outcome:?}");
    assert!(matches!((after, &targets[..]), ([], []) | ([200], ["/next"])), "{outcome:?}");
    assert!(super::are_apart(&outcome.take), "{outcome:?}");
}

/// RFC 9112 §9.3.2: a pipeline is answered in order, and ends with the first request that cannot be delimited.
#[test]
fn nothing_behind_a_request_without_a_clear_end_is_served() {
    let stage = Stage::new();
    let good = post("Content-Length: 4", "body");
    let bad = "POST /bad HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let outcome = stage.send(format!("{good}{bad}{NEXT}"));
    assert_eq!(outcome.statuses, [200, 501]);
    assert!(outcome.closed);
    let targets: Vec<&str> = outcome.take.requests.iter().map(super::Arrived::target).collect();
    assert_eq!(targets, ["/case"]);
}

/// RFC 9112 §9.6.
#[test]
fn garbage_behind_a_refused_request_is_not_served() {
    let stage = Stage::new();
    for garbage in
        ["\0\0\0\0", "\r\n\r\n\r\n", "garbage\r\n\r\n", "0\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03"]
    {
        let outcome = stage.send(format!("GET /case HTTP/1.1\r\nHost: a,b\r\nConnection: close\r\n\r\n{garbage}"));
        assert!(Refused(&[400]).fits(&outcome) && outcome.closed, "{garbage:?}: {outcome:?}");
    }
}

/// RFC 9110 §7.8: an upgrade that is not granted has not happened; what follows are requests, each decided for itself.
#[test]
fn bytes_after_a_refused_upgrade_are_requests_of_their_own() {
    let stage = Stage::new();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let outcome = stage.send(post(upgrade, NEXT));
    assert!(super::are_apart(&outcome.take) && outcome.closed, "{outcome:?}");
    assert!(!outcome.statuses.contains(&101), "{outcome:?}");
    let frames = stage.send(post(upgrade, "\u{1}\u{5}\u{0}hello"));
    assert!(frames.take.requests.len() <= 1 && frames.take.unfinished == 0 && frames.closed, "{frames:?}");
}

/// RFC 9110 §7.8: `Upgrade` to what we do not speak is ignored. Java's client offers h2c on every plain request.
#[test]
fn an_offer_of_h2c_is_dropped_and_the_request_served() {
    let stage = Stage::new();
    for offer in [
        "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\
         Upgrade: h2c\r\nUser-Agent: Java-http-client/21.0.2\r\nContent-Length: 4",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\nContent-Length: 4",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\nContent-Length: 4",
        "Upgrade: h2c\r\nContent-Length: 4",
    ] {
        let outcome = stage.send(post(offer, "body") + NEXT);
        assert!(Served("body").fits(&outcome) && outcome.closed, "{offer}: {outcome:?}");
        let request = &outcome.take.requests[0];
        for gone in ["upgrade", "connection"] {
            assert_eq!(request.all(gone), [""; 0], "{gone} after {offer}");
        }
    }
}

/// RFC 9110 §10.1.1: whoever does not wait for the 100 has sent its body, and that is where the request ends.
#[test]
fn a_body_that_does_not_wait_for_100_continue_is_no_request() {
    let stage = Stage::new();
    let outcome = stage.send(post("Expect: 100-continue\r\nContent-Length: 4", "body") + NEXT);
    let finals: Vec<u16> = outcome.statuses.iter().copied().filter(|status| *status != 100).collect();
    assert_eq!(finals, [200, 200], "{outcome:?}");
    assert_eq!(outcome.take.requests[0].body, b"body");
    assert!(super::are_apart(&outcome.take) && outcome.closed);
}
