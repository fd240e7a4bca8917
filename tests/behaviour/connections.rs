//! Nothing that one client does keeps others from being served.

use std::{
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use super::limits::{PARKED_AFTER, reached};
use crate::support::{A_MOMENT, App, Backend, Binary, Client, Fixture, H2Client, SOON, Tables, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

#[test]
fn the_accept_loop_survives_the_end_of_descriptors() {
    let app = App::echo();
    let tables = Tables::example(Backend::Sqlite);
    let usher =
        Binary::over(&tables).apps(&[&app]).config("[listen]\nconnections_max = 1000").descriptors_max(64).start();
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);

    let crowd: Vec<Client> = (0..200).map(|_| usher.connect()).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", usher.process())).unwrap().count();
    eventually("the descriptors are used up", || (descriptors() >= 60).then_some(()));
    std::thread::sleep(A_MOMENT);
    drop(crowd);

    eventually("requests are served again", || {
        let mut client = usher.connect();
        let answer = client.send(REQUEST).try_response();
        answer.ok().flatten().is_some_and(|response| response.status == 200).then_some(())
    });
    assert_eq!(usher.admin_get("/live").status, 200);
}

#[test]
fn beyond_the_most_connections_the_next_one_waits_for_its_turn() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnections_max = 4\nworkers = 1\npark_after = '1m'");
    let mut held: Vec<Client> = (0..4).map(|_| stage.usher.connect()).collect();
    for client in &mut held {
        assert_eq!(client.send(REQUEST).response().status, 200);
    }
    let mut waiting = stage.usher.connect();
    waiting.send(REQUEST);
    std::thread::sleep(A_MOMENT);
    assert_eq!(stage.app.requests().len(), 4, "a fifth connection was served beside four");
    assert_eq!(reached(&stage.usher, "connections"), 1);
    drop(held.pop());
    assert_eq!(waiting.response().status, 200);
    assert_eq!(reached(&stage.usher, "displaced"), 0);
}

/// RFC 9112 §9.5: an idle connection may end at any time.
#[test]
fn beyond_the_most_connections_the_one_that_is_idle_for_longest_stands_back() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnections_max = 4\nworkers = 1");
    let mut held: Vec<Client> = Vec::new();
    for count in [1, 3] {
        for _ in 0..count {
            let mut client = stage.usher.connect();
            assert_eq!(client.send(REQUEST).response().status, 200);
            held.push(client);
        }
        std::thread::sleep(PARKED_AFTER);
    }
    let mut new = stage.usher.connect();
    assert_eq!(new.send(REQUEST).response().status, 200);
    assert!(held.remove(0).try_response().unwrap().is_none());
    for client in &mut held {
        assert_eq!(client.send(REQUEST).response().status, 200, "no other was closed");
    }
    assert_eq!((reached(&stage.usher, "connections"), reached(&stage.usher, "displaced")), (1, 1));
}

/// RFC 9113 §9.1: the same is true of HTTP/2, and of clients that have said nothing yet.
#[test]
fn idle_connections_of_http_2_and_silent_ones_stand_back_as_well() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnections_max = 4\nworkers = 1");
    let mut idle = [(); 2].map(|()| H2Client::connect(stage.usher.http()));
    for client in &mut idle {
        assert_eq!(client.get("customdomain1.com", "/").unwrap().0.status(), 200);
    }
    let mut silent = [(); 2].map(|()| stage.usher.connect());
    silent[0].send("G");
    for count in 1..=4 {
        assert_eq!(stage.usher.get("customdomain1.com", "/").status, 200);
        let mut new = stage.usher.connect();
        assert_eq!(new.send(REQUEST).response().status, 200, "the {count}th");
        std::mem::forget(new);
    }
    assert!(reached(&stage.usher, "displaced") >= 4);
}

/// Never answers, and tells when its connection has ended.
fn silent(tell: Sender<()>) -> App {
    App::scripted(move |mut conversation| {
        if conversation.head().is_some() && conversation.closed_by_peer() {
            let _ = tell.send(());
        }
    })
}

/// Whether a client has gone or has only said its last cannot be told before it is written to (RFC 9112 §9.6 leaves it to the server).
#[test]
fn a_client_that_ends_its_direction_gets_an_answer_that_comes_within_a_moment() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        while conversation.request().is_some() {
            thread::sleep(Duration::from_millis(100));
            conversation.write(OK).unwrap();
        }
    }));
    let mut parked = stage.usher.connect();
    assert_eq!(parked.send(REQUEST).response().status, 200);
    thread::sleep(PARKED_AFTER);
    for mut client in [parked, stage.usher.connect()] {
        client.send(REQUEST).finish_sending();
        assert_eq!(client.response().status, 200);
        assert!(client.closed_by_peer());
    }
    let mut pipelining = stage.usher.connect();
    pipelining.send(REQUEST.repeat(2)).finish_sending();
    assert!((0..2).all(|_| pipelining.response().status == 200));
}

#[test]
fn a_client_that_ends_its_direction_long_before_its_answer_counts_as_gone() {
    let (tell, told) = channel();
    let stage = Fixture::with_app(silent(tell));
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    eventually("the request is at the app", || (stage.app.requests().len() == 1).then_some(()));
    assert!(client.finish_sending().try_response().unwrap().is_none());
    told.recv_timeout(SOON).unwrap();
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["outcome"], &line["status"]), (&"client_gone".into(), &0.into()));
}

/// RFC 9112 §9.5.
#[test]
fn a_client_that_goes_away_ends_the_work_of_the_app_though_it_has_asked_for_more() {
    let (tell, told) = channel();
    let stage = Fixture::with_app(silent(tell));
    let mut client = stage.usher.connect();
    client.send(REQUEST.repeat(2));
    eventually("the first request is at the app", || (stage.app.requests().len() == 1).then_some(()));
    drop(client);
    told.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
}

/// RFC 9112 §9.5.
#[test]
fn a_client_that_goes_away_ends_the_work_of_the_app_though_nobody_reads_its_upload() {
    let (answered, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        conversation.head();
        let _ended = told.lock().unwrap().recv_timeout(SOON * 2);
    }));
    let mut client = stage.usher.connect();
    client.send("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 99999999\r\n\r\n");
    client.wire().stream().set_write_timeout(Some(A_MOMENT * 5)).unwrap();
    client.try_send(vec![b'x'; 64 << 20]).expect_err("there is not that much room");
    assert_eq!(stage.app.requests().len(), 1);
    client.reset();
    let gone_at = Instant::now();
    stage.usher.access_log(1);
    assert!(gone_at.elapsed() < Duration::from_secs(5), "{:?}", gone_at.elapsed());
    assert_eq!(stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"cancelled\""]), 1.0);
    answered.send(()).unwrap();
}

/// RFC 9112 §9.5.
#[test]
fn a_head_that_never_ends_is_cut_off_however_it_drips() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '500ms'");
    let mut silent = stage.usher.connect();
    let mut half = stage.usher.connect();
    half.send("GET / HTTP/1.1\r\nHost: custom");
    let mut dripping = stage.usher.connect();
    dripping.send("GET / HTTP/1.1\r\n");
    eventually("a dripping head is cut off", || {
        std::thread::sleep(A_MOMENT / 4);
        dripping.try_send("X-A: 1\r\n").err()
    });
    assert!(silent.closed_by_peer() && half.closed_by_peer());
    assert!(stage.app.requests().is_empty());
}

#[test]
fn slow_clients_do_not_keep_others_waiting() {
    let stage = Fixture::configured(App::echo(), "[listen]\nworkers = 1");
    let slow: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = stage.usher.connect();
            client.send("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 100\r\n\r\nhalf");
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(stage.get("customdomain1.com", "/").status, 200);
    }
    drop(slow);
}

/// RFC 9112 §9.3.
#[test]
fn connections_to_the_app_are_kept_and_used_again() {
    let stage = Fixture::configured(App::echo(), "[listen]\nworkers = 1");
    for _ in 0..50 {
        assert_eq!(stage.get("customdomain1.com", "/").status, 200);
    }
    assert!(stage.app.connections() <= 2, "{} connections for 50 requests one after another", stage.app.connections());
}

/// RFC 9112 §9.3, §9.6.
#[test]
fn the_connection_to_the_client_is_kept_unless_it_says_otherwise() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    for _ in 0..10 {
        assert_eq!(client.send(REQUEST).response().status, 200);
    }
    client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(client.closed_by_peer());
}

/// RFC 9112 §6.1.
#[test]
fn an_http_1_0_client_gets_an_answer_that_it_understands() {
    let app = App::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    client.send("GET / HTTP/1.0\r\nHost: customdomain1.com\r\n\r\n");
    let response = client.response();
    assert!(!response.head.has_chunked_body());
    assert_eq!(response.text(), "abc");
}

#[test]
fn as_many_workers_run_as_were_asked_for() {
    for workers in [1, 5] {
        let stage = Fixture::configured(App::echo(), &format!("[listen]\nworkers = {workers}"));
        assert_eq!(stage.usher.threads("worker-"), workers);
    }
}
