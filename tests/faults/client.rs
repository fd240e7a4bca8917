//! Clients that go away, at any moment.

use std::{sync::mpsc, thread};

use crate::support::{App, Fixture, UNBUFFERED, eventually};

/// An app that says when a connection was closed by usher.
fn watching(answer: &'static str) -> (App, mpsc::Receiver<()>) {
    let (closed, closings) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        conversation.head();
        let _ = conversation.write(answer);
        if conversation.closed_by_peer() {
            let _ = closed.send(());
        }
    });
    (app, closings)
}

const REQUEST: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

fn arrives(stage: &Fixture) {
    eventually("the request is at the app", || (!stage.app.requests().is_empty()).then_some(()));
}

#[test]
fn a_client_that_goes_away_before_the_answer_ends_the_attempt() {
    let (app, closings) = watching("");
    let stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    arrives(&stage);
    client.reset();
    closings.recv_timeout(crate::support::SOON).expect("the app sees the connection closed");
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_the_answer_ends_the_attempt() {
    for reset in [true, false] {
        let (app, closings) = watching("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe first bytes");
        let stage = Fixture::with_app(app);
        let mut client = stage.usher.connect();
        client.send(REQUEST);
        client.head();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        closings.recv_timeout(crate::support::SOON).expect("the app sees the connection closed");
        assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
    }
}

/// The app must not take half an upload for a whole one.
#[test]
fn a_client_that_goes_away_in_the_middle_of_its_upload_is_not_completed() {
    for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let (ended, endings) = mpsc::channel();
        let app = App::scripted(move |mut conversation| {
            ended.send(conversation.request().is_some()).unwrap();
        });
        let stage = Fixture::configured(app, UNBUFFERED);
        let mut client = stage.usher.connect();
        client.send(format!("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\n{framing}"));
        eventually("the upload has begun", || (stage.app.connections() == 1).then_some(()));
        drop(client);
        let whole = endings.recv_timeout(crate::support::SOON).expect("the app sees the end of the upload");
        assert!(!whole, "the app took half an upload for a whole one");
        assert_ne!(stage.usher.access_log(1)[0]["outcome"], "ok");
    }
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let stage = Fixture::new();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", stage.usher.process())).unwrap().count();
    assert_eq!(stage.get("customdomain1.com", "/").status, 200);
    let before = descriptors();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..250 {
                    let mut client = stage.usher.connect();
                    client.send(&REQUEST[..REQUEST.len() * (number % 5) / 4]);
                    client.reset();
                }
            });
        }
    });
    assert_eq!(stage.get("customdomain1.com", "/").status, 200);
    eventually("descriptors are given back", || (descriptors() <= before + 16).then_some(()));
}
