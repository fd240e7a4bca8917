//! Answers that come before they are due: to an upload that has not ended, and in front of the final one.

use std::{io::Write, thread, time::Duration};

use http::Request;

use super::limits::PARKED_AFTER;
use crate::support::{A_MOMENT, App, Fixture, Framing, H2Client, UNBUFFERED, eventually};

const UPLOAD: &str = "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 10\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";

/// Answers a POST by its head, and a GET as it should.
fn hasty() -> App {
    App::scripted(|mut conversation| {
        while let Some(head) = conversation.head() {
            if conversation.write(ANSWER).is_err() {
                return;
            }
            if conversation.wire().body(head.framing(Framing::Empty)).is_err() {
                return;
            }
        }
    })
}

/// RFC 9112 §9.3: what was not read would be taken for the next request.
#[test]
fn an_answer_to_half_an_upload_is_delivered_and_its_connection_never_used_again() {
    let stage = Fixture::configured(hasty(), &format!("[listen]\nworkers = 1\n{UNBUFFERED}"));
    let mut client = stage.usher.connect();
    client.send(UPLOAD).send("half ");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    // The rest may still be sent: the app has a moment to read it, and the client's connection stays.
    client.send("there").send("GET /next HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    assert_eq!(client.response().status, 403);
    assert_eq!(stage.app.connections(), 2, "an app that has not read an upload takes its rest for a request");
    assert_eq!(stage.get("customdomain1.com", "/").status, 403);
    assert_eq!(stage.app.connections(), 2, "a connection without doubts is kept");
}

/// A request in the shape of a body.
const WITHIN: &str = "GET /within HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

/// RFC 9112 §9.3: also where the connection is parked with its answers, so that another hyper reads what comes next.
#[test]
fn what_is_left_of_a_body_is_no_request_though_its_answer_came_first() {
    let app = App::scripted(|mut conversation| {
        while let Some(head) = conversation.head() {
            let is_upload = head.line.starts_with("POST");
            if conversation.write(ANSWER).is_err() || is_upload && conversation.closed_by_peer() {
                return;
            }
        }
    });
    let stage = Fixture::configured(app, UNBUFFERED);
    let get = "GET /first HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
    for (was_parked, pause) in [(true, 0), (true, 300), (false, 0), (false, 700)] {
        for host in ["customdomain1.com", "unknown.example"] {
            let mut client = stage.usher.connect();
            assert_eq!(client.send(get).response().status, 403);
            if was_parked {
                thread::sleep(PARKED_AFTER);
            }
            let length = 2 * WITHIN.len();
            client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{WITHIN}"));
            assert!([403, 404].contains(&client.response().status));
            thread::sleep(Duration::from_millis(pause));
            let _ended_already = client.try_send(WITHIN);
            client.wire().stream().set_read_timeout(Some(2 * A_MOMENT)).unwrap();
            let more = client.try_response().ok().flatten();
            assert!(more.is_none(), "{was_parked} {pause} {host}: {more:?}");
        }
    }
    assert!(stage.app.requests().iter().all(|request| request.target() != "/within"));
}

/// The app need not read on, nor the client go on: the connection ends nevertheless.
/// RFC 9112 §9.3.
#[test]
fn an_upload_that_stalls_after_its_answer_does_not_hold_the_apps_connection() {
    let (told, ended) = std::sync::mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write(ANSWER).unwrap();
        let _ = told.send(conversation.closed_by_peer());
    });
    let stage = Fixture::configured(app, UNBUFFERED);
    let mut client = stage.usher.connect();
    client.send(UPLOAD).send("half ");
    assert_eq!(client.response().status, 403);
    assert!(ended.recv_timeout(crate::support::SOON).unwrap());
}

/// RFC 9112 §9.3.
#[test]
fn an_upload_that_ended_before_its_answer_leaves_the_connection_in_use() {
    let stage = Fixture::configured(App::echo(), "[listen]\nworkers = 1");
    let mut client = stage.usher.connect();
    for _ in 0..5 {
        assert_eq!(client.send(UPLOAD).send("0123456789").response().status, 200);
        client.send(UPLOAD.replace("Content-Length: 10", "Transfer-Encoding: chunked"));
        assert_eq!(client.send("3\r\nabc\r\n0\r\n\r\n").response().status, 200);
    }
    assert_eq!(stage.app.connections(), 1);
}

/// hyper cannot pass them on, so they are dropped: an optimisation that is lost, and nothing else.
/// RFC 9110 §15.2.
#[test]
fn early_hints_and_other_interim_answers_are_dropped() {
    let stage = Fixture::configured(
        App::answering(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        "[listen]\nworkers = 1",
    );
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        let response = client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n").response();
        assert_eq!((response.status, response.text().as_str(), response.header("link")), (200, "ok", None));
    }
    assert_eq!(stage.app.connections(), 1);
}

/// RFC 9110 §15.2, §15.6.5.
#[test]
fn an_app_that_sends_interim_answers_for_ever_is_a_504() {
    let stage = Fixture::configured(
        App::scripted(|mut conversation| {
            conversation.head();
            while conversation.write("HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }),
        "[upstreams.default]\nhead_timeout = '300ms'",
    );
    assert_eq!(stage.get("customdomain1.com", "/").status, 504);
}

/// RFC 9112 §9.5.
#[test]
fn a_client_that_goes_away_ends_the_work_of_the_app() {
    let (told, ended) = std::sync::mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
        let _ = told.send(conversation.closed_by_peer());
    });
    let stage = Fixture::configured(app, UNBUFFERED);
    let mut client = stage.usher.connect();
    client.send(UPLOAD).send("half ");
    client.head();
    drop(client);
    assert!(ended.recv_timeout(crate::support::SOON).unwrap());
    eventually("the exchange is over", || (stage.usher.access_log_so_far().lines().count() == 1).then_some(()));
}

/// The usual buffers hold the beginning of it; the answer comes while the rest is still on its way.
/// RFC 9112 §9.5: a client has to watch for it.
#[test]
fn an_answer_to_a_large_upload_is_delivered_though_the_app_reads_nothing() {
    const LENGTH: usize = 1 << 20;
    let (answered, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write(ANSWER).unwrap();
        let _ended = told.lock().unwrap().recv_timeout(crate::support::SOON);
    }));
    let mut client = stage.usher.connect();
    client.send(UPLOAD.replace("10", &LENGTH.to_string()));
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || sender.write_all(&vec![b'x'; LENGTH]));
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    answered.send(()).unwrap();
    let _cut_off = sending.join().unwrap();

    let mut client = H2Client::connect(stage.usher.http());
    let mut stream = client.start(Request::post("http://customdomain1.com/p").body(()).unwrap()).unwrap();
    stream.body.send_data(vec![b'x'; LENGTH].into(), true).unwrap();
    let (head, body) = client.answer(stream).unwrap();
    assert_eq!((head.status().as_u16(), body.as_slice()), (403, &b"no"[..]));
    answered.send(()).unwrap();
    assert!(stage.usher.access_log(2).iter().all(|line| line["status"] == 403 && line["outcome"] == "ok"));
}
