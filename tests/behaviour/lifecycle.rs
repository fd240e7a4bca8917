//! Start and stop: bound addresses are told, readiness is earned, and what runs may finish.

use std::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use crate::support::{App, Backend, Binary, Fixture, Tables, eventually};

/// An app that answers each request only when told, and says when one has arrived.
fn held_app() -> (App, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrived, arrivals) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let app = App::scripted(move |mut conversation| {
        while conversation.request().is_some() {
            arrived.lock().unwrap().send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    (app, arrivals, release)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

#[test]
fn sigterm_lets_a_running_request_finish_and_exits_0() {
    let (app, arrivals, release) = held_app();
    let mut stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    arrivals.recv().unwrap();

    stage.usher.terminate();
    let address = stage.usher.http();
    eventually("usher no longer accepts", || TcpStream::connect(address).is_err().then_some(()));
    assert!(stage.usher.is_running(), "usher ended before its last request");
    release.send(()).unwrap();

    let response = client.response();
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "done", true));
    assert!(client.closed_by_peer());
    assert_eq!(stage.usher.wait().code(), Some(0));
}

#[test]
fn draining_is_not_ready_but_alive() {
    let (app, arrivals, release) = held_app();
    let mut stage = Fixture::with_app(app);
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    arrivals.recv().unwrap();
    stage.usher.terminate();
    let reasons = eventually("usher is not ready", || {
        let ready = stage.usher.admin_get("/ready");
        (ready.status == 503).then(|| ready.text())
    });
    assert!(reasons.contains("drain"), "{reasons}");
    assert_eq!(stage.usher.admin_get("/live").status, 200);
    release.send(()).unwrap();
    assert_eq!(client.response().status, 200);
    assert_eq!(stage.usher.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_delay_the_end() {
    let mut stage = Fixture::configured(App::echo(), "[listen]\ndrain_timeout = '60s'");
    let mut idle = stage.usher.connect();
    assert_eq!(idle.send(REQUEST).response().status, 200);
    let silent = stage.usher.connect();
    assert_eq!(stage.usher.stop().code(), Some(0));
    assert!(idle.closed_by_peer());
    drop(silent);
}

#[test]
fn a_request_that_does_not_end_is_cut_off_at_the_deadline() {
    let (app, arrivals, release) = held_app();
    let mut stage = Fixture::configured(app, "[listen]\ndrain_timeout = '300ms'");
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    arrivals.recv().unwrap();
    let begun = Instant::now();
    assert_eq!(stage.usher.stop().code(), Some(0));
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((line["outcome"].as_str(), line["fault"].as_str()), (Some("drained"), Some("usher")), "{line}");
    assert!(client.try_response().ok().flatten().is_none_or(|response| response.status >= 500 || !response.complete));
    drop(release);
}

#[test]
fn sigint_is_understood_too() {
    let mut stage = Fixture::new();
    crate::support::signal("INT", stage.usher.process());
    assert_eq!(stage.usher.wait().code(), Some(0));
}

#[test]
fn ports_of_zero_are_bound_and_told() {
    let app = App::echo();
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&[&app]).config("[listen]\nhttp = ['127.0.0.1:0', '[::1]:0']").start();
    assert!(usher.http().port() != 0 && usher.admin().port() != 0);
    let told = usher.log().lines().filter(|line| line.contains("listening")).count();
    assert_eq!(told, 3, "{}", usher.log());
}

#[test]
fn an_address_in_use_is_named() {
    let app = App::echo();
    let tables = Tables::example(Backend::Sqlite);
    let admin = Binary::over(&tables).config(&format!("[admin]\nlisten = '{}'", app.address())).run(&["serve"]);
    assert_ne!(admin.code, 0);
    assert!(admin.stderr.contains(&app.address().to_string()), "{}", admin.stderr);
}

#[test]
fn a_database_that_is_away_is_a_reason_not_to_be_ready_until_it_is_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://usher@{}/nothing", listener.local_addr().unwrap());
    drop(listener);
    let mut usher = Binary::new().config(&format!("[directory]\nurl = '{url}'")).start_unready();
    let ready = usher.admin_get("/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("database"), "{}", ready.text());
    assert_eq!(usher.admin_get("/live").status, 200);
    let response = usher.get("customdomain1.com", "/");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert_eq!(usher.stop().code(), Some(0));
}
