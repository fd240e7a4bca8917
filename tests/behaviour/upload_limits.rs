//! What one client may take of usher by the body of a request: its size, its pauses and its pace.

use std::{io::Write, sync::mpsc, thread};

use super::limits::reached;
use crate::support::{A_MOMENT, App, Fixture, Framing, SOON, UNBUFFERED, eventually};

const POST: &str = "POST / HTTP/1.1\r\nHost: customdomain1.com\r\n";

/// RFC 9110 §15.5.14, §10.1.1.
#[test]
fn a_body_that_says_it_is_too_large_never_reaches_the_app() {
    let stage = Fixture::configured(App::echo(), "[upstreams.default]\nbody_max_bytes = '1KiB'");
    let mut client = stage.usher.connect();
    let exact = "x".repeat(1024);
    client.send(format!("{POST}Content-Length: 1024\r\n\r\n{exact}"));
    assert_eq!(client.response().status, 200);
    // Nobody waits for the body, and whoever sends it nevertheless gets the answer.
    client.send(format!("{POST}Content-Length: 1025\r\nExpect: 100-continue\r\n\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    assert_eq!(response.json()["request_id"], response.header("x-request-id").unwrap());
    assert!(client.closed_by_peer());
    assert_eq!(stage.app.requests().len(), 1);
    assert_eq!(reached(&stage.usher, "body_size"), 1);
    assert_eq!(stage.usher.access_log(2)[1]["outcome"], "limited");
}

/// RFC 9112 §9.6: a reset would take the answer away.
#[test]
fn a_client_that_is_still_sending_hears_that_its_body_is_too_large() {
    let stage = Fixture::configured(App::echo(), "[upstreams.default]\nbody_max_bytes = '1MiB'");
    for head in ["Content-Length: 33554432\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2000000\r\n"] {
        let mut client = stage.usher.connect();
        client.send(format!("{POST}{head}"));
        // Many read nothing before they have sent all.
        client.sender().write_all(&vec![b'x'; 32 << 20]).unwrap();
        assert_eq!(client.response().status, 413, "{head}");
    }
}

/// RFC 9110 §15.5.14.
#[test]
fn a_body_that_grows_too_large_ends_its_attempt_and_the_apps_connection() {
    let (told, ends) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        let Some(head) = conversation.head() else { return };
        let whole = conversation.wire().body(head.framing(Framing::Empty)).is_ok();
        let _ = told.send((whole, conversation.closed_by_peer()));
    });
    let stage = Fixture::configured(app, &format!("[listen]\nworkers = 1\n{UNBUFFERED}\nbody_max_bytes = '10B'"));
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"));
    thread::sleep(A_MOMENT);
    client.send("6\r\nghijkl\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 413);
    assert!(client.closed_by_peer());
    assert_eq!(ends.recv_timeout(SOON).unwrap(), (false, true), "the app is told that the body is not whole");
    assert_eq!(reached(&stage.usher, "body_size"), 1);
    assert_eq!(stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"cancelled\""]), 1.0);
}

/// RFC 9110 §15.5.9.
#[test]
fn a_body_that_does_not_go_on_is_a_408_and_ends_the_apps_connection() {
    let (told, ends) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        let _whole = conversation.request();
        let _ = told.send(conversation.closed_by_peer());
    });
    // The app's own time does not run meanwhile.
    let stage =
        Fixture::configured(app, &format!("[listen]\nbody_timeout = '1s'\n{UNBUFFERED}\nhead_timeout = '300ms'"));
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: 10\r\n\r\nhalf "));
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(client.closed_by_peer());
    assert!(ends.recv_timeout(SOON).unwrap());
    assert_eq!(reached(&stage.usher, "body_timeout"), 1);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["outcome"], &line["reason"]), (&"limited".into(), &"request body did not go on in time".into()));
}

/// RFC 9110 §15.5.9.
#[test]
fn a_body_in_drops_is_a_408() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: 1000\r\n\r\n"));
    eventually("the client is too slow", || {
        thread::sleep(A_MOMENT);
        client.send("x");
        (reached(&stage.usher, "body_rate") == 1).then_some(())
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(reached(&stage.usher, "body_timeout"), 0);
}

#[test]
fn an_app_that_takes_its_time_makes_no_client_slow() {
    const LENGTH: usize = 16 << 20;
    let app = App::scripted(|mut conversation| {
        let Some(head) = conversation.head() else { return };
        // Long enough for the client to have sent all that fits in between.
        thread::sleep(A_MOMENT * 8);
        let body = conversation.wire().body(head.framing(Framing::Empty)).unwrap();
        let length = body.bytes.len().to_string();
        conversation.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len())).unwrap();
    });
    let stage = Fixture::configured(app, "[listen]\nbody_timeout = '500ms'");
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.response().text(), LENGTH.to_string());
}
