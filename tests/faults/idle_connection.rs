//! The app closes an idle connection just as it is used: the commonest random 502 of all proxies.

use std::{net::Shutdown, sync::mpsc, thread, time::Duration};

use crate::support::{App, Backend, Binary, Fixture, Tables, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FIRST: &str = "GET /first HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const DEADLY: &str = "GET /deadly HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

#[test]
fn a_connection_closed_while_idle_is_never_a_502() {
    let app = App::scripted(|mut conversation| {
        conversation.request();
        let _ = conversation.write(OK);
    });
    let stage = Fixture::configured(app, "[listen]\nworkers = 1");
    let mut client = stage.usher.connect();
    for number in 0..400 {
        client.send("GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
        assert_eq!(client.response().status, 200, "request {number}");
        thread::sleep(Duration::from_micros(number * 13 % 700));
    }
}

/// Nothing of the request was read, so that repeating it is safe whatever its method.
#[test]
fn a_request_with_a_body_survives_a_stale_connection_too() {
    let (closed, closings) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        conversation.request();
        let _ = conversation.write(OK);
        // Closed alone it would stay open while another test starts a program, which holds all that is open until it runs.
        conversation.wire().stream().shutdown(Shutdown::Both).unwrap();
        drop(conversation);
        closed.send(()).unwrap();
    });
    let stage = Fixture::configured(app, "[listen]\nworkers = 1");
    let mut client = stage.usher.connect();
    for number in 0..100 {
        client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().status, 200, "request {number}");
        closings.recv().unwrap();
    }
    assert_eq!(stage.app.requests().len(), 100);
    assert!(stage.app.requests().iter().all(|request| request.body == b"abc"));
}

/// Answers the first request of each connection, and ends it some time after it has read another.
fn ends_with_the_second(after: Duration) -> App {
    App::scripted(move |mut conversation| {
        conversation.request();
        let _ = conversation.write(OK);
        if conversation.request().is_some() {
            thread::sleep(after);
        }
    })
}

/// The statuses of these, one after another on a connection of one client's.
fn statuses<const N: usize>(stage: &Fixture, requests: [&str; N]) -> [u16; N] {
    let mut client = stage.usher.connect();
    requests.map(|request| client.send(request).response().status)
}

/// How often the app has seen a request for `target`.
fn seen(stage: &Fixture, target: &str) -> usize {
    stage.app.requests().iter().filter(|request| request.target() == target).count()
}

/// Read, and then closed without an answer on a connection that had worked before: a GET may be repeated, a POST may not.
#[test]
fn a_post_that_may_have_been_processed_is_not_sent_twice() {
    let stage = Fixture::configured(ends_with_the_second(Duration::ZERO), "[listen]\nworkers = 1");
    let once = "POST /once HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(statuses(&stage, [FIRST, once]), [200, 502]);
    assert_eq!(seen(&stage, "/once"), 1);
}

#[test]
fn a_get_on_a_kept_connection_that_breaks_is_sent_again() {
    let stage = Fixture::configured(ends_with_the_second(Duration::ZERO), "[listen]\nworkers = 1");
    assert_eq!(statuses(&stage, [FIRST; 20]), [200; 20]);
}

/// Its end comes with the request then, and not beside it: sent again it would end the next one.
#[test]
fn a_kept_connection_that_breaks_after_a_while_is_no_crossing() {
    let config = "[listen]\nworkers = 1\n[upstreams.default]\nrepeat_percent = 0";
    let stage = Fixture::configured(ends_with_the_second(Duration::from_secs(1)), config);
    assert_eq!(statuses(&stage, [FIRST, DEADLY]), [200, 502]);
    assert_eq!(seen(&stage, "/deadly"), 1);
}

/// One that ends at once may be a crossing, and is counted as one. Who ends each connection so is asked three times and no more.
#[test]
fn a_get_that_ends_every_connection_is_sent_a_bounded_number_of_times() {
    let app = App::scripted(|mut conversation| {
        while conversation.request().is_some_and(|request| request.target() != "/deadly") {
            let _ = conversation.write(OK);
        }
    });
    let stage = Fixture::configured(app, "[listen]\nworkers = 1\n[upstreams.default]\nrepeat_percent = 100");
    assert_eq!(statuses(&stage, [FIRST, DEADLY]), [200, 502]);
    assert_eq!(seen(&stage, "/deadly"), 2, "on the kept connection, and on a new one of the only server");
    assert_eq!(stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"crossed\""]), 1.0);
}

#[test]
fn a_connection_idle_for_longer_than_its_time_is_closed_by_usher() {
    let (closed, closings) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        conversation.request();
        let _ = conversation.write(OK);
        let _ = closed.send(conversation.closed_by_peer());
    });
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&[&app]).config("[upstreams.default]\nidle_timeout = '300ms'").start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    let by_usher = eventually("the idle connection is closed", || closings.try_recv().ok());
    assert!(by_usher);
}
