//! App servers that are slow, reset, send half, send nonsense, or are not there.

use std::time::{Duration, Instant};

use crate::support::{App, Backend, Binary, Client, Conversation, Fixture, Framing, Tables, UNBUFFERED};

const REQUEST: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

/// Reads each request and then only waits for the other side to go.
fn never_answers(mut conversation: Conversation) {
    while conversation.request().is_some() {
        conversation.closed_by_peer();
    }
}

#[test]
fn an_app_that_never_answers_is_a_504_within_its_time() {
    let stage = Fixture::configured(App::scripted(never_answers), "[upstreams.default]\nhead_timeout = '300ms'");
    let start = Instant::now();
    assert_eq!(stage.get("customdomain1.com", "/").status, 504);
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(stage.app.requests().len(), 1, "a request that may have been processed was sent again");
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "head_timeout");
}

/// The limit is for the head: a body may take its time.
#[test]
fn a_slow_body_is_not_a_slow_head() {
    let app = App::scripted(|mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
        for byte in [b"s", b"l", b"o", b"w", b"!"] {
            std::thread::sleep(Duration::from_millis(100));
            conversation.write(byte).unwrap();
        }
    });
    let stage = Fixture::configured(app, "[upstreams.default]\nhead_timeout = '200ms'");
    let response = stage.get("customdomain1.com", "/");
    assert_eq!((response.status, response.text().as_str(), response.complete), (200, "slow!", true));
}

/// Says something, and something more after a while.
fn pausing(content_type: &'static str) -> App {
    App::scripted(move |mut conversation| {
        conversation.head();
        conversation
            .write(format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 10\r\n\r\nfirst"))
            .unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        let _cut_off = conversation.write("other");
    })
}

/// What `app` answers, whole or not, and how usher calls it.
fn answer_of(app: App, config: &str) -> (String, bool, serde_json::Value, f64) {
    let stage = Fixture::configured(app, &format!("[upstreams.default]\n{config}"));
    let mut client = stage.usher.connect();
    client.send(REQUEST);
    client.head();
    let mut body = Vec::new();
    let ended = client.wire().stream_body(Framing::Length(10), |part| body.extend_from_slice(part));
    let broken = stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"body_broken\""]);
    (String::from_utf8(body).unwrap(), ended.is_ok(), stage.usher.access_log(1).remove(0), broken)
}

#[test]
fn an_app_that_does_not_go_on_with_its_answer_is_given_up_in_its_time() {
    let begun = Instant::now();
    let (body, is_whole, line, broken) = answer_of(pausing("text/html"), "answer_timeout = '300ms'");
    assert!((Duration::from_millis(300)..Duration::from_millis(1200)).contains(&begun.elapsed()), "{line}");
    assert_eq!((body.as_str(), is_whole, broken), ("first", false, 1.0));
    assert_eq!(line["outcome"], "answer_timeout");
    for config in ["answer_timeout = '10s'", "answer_timeout = '0s'"] {
        let (body, is_whole, line, broken) = answer_of(pausing("text/html"), config);
        assert_eq!((body.as_str(), is_whole, broken), ("firstother", true, 0.0));
        assert_eq!(line["outcome"], "ok");
    }
}

#[test]
fn a_stream_may_be_silent_for_longer() {
    for media_type in ["text/event-stream", "application/grpc"] {
        let (body, is_whole, line, _) = answer_of(pausing(media_type), "answer_timeout = '300ms'");
        assert_eq!((body.as_str(), is_whole, &line["outcome"]), ("firstother", true, &"ok".into()));
        let (body, is_whole, line, _) = answer_of(pausing(media_type), "stream_idle_timeout = '300ms'");
        assert_eq!((body.as_str(), is_whole, &line["outcome"]), ("first", false, &"answer_timeout".into()));
    }
}

#[test]
fn an_app_that_resets_or_closes_before_its_answer_is_a_502() {
    let reset = App::scripted(|mut conversation| {
        conversation.head();
        conversation.reset();
    });
    let close = App::scripted(|mut conversation| drop(conversation.head()));
    let half_head = App::scripted(|mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 200 OK\r\nContent-").unwrap();
    });
    for app in [reset, close, half_head] {
        let stage = Fixture::with_app(app);
        let response = stage.usher.raw("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(response.status, 502);
        assert_eq!(stage.app.requests().len(), 1, "a POST that may have been processed was sent again");
    }
}

/// As a port forwarder without anything behind it does. Such a request may come back unsent each time.
#[test]
fn an_app_that_closes_every_connection_at_once_is_asked_a_bounded_number_of_times() {
    let stage = Fixture::configured(App::scripted(drop), "[listen]\nworkers = 1");
    let mut client = stage.usher.connect();
    for number in 1..=50 {
        assert_eq!(client.send(REQUEST).response().status, 502, "request {number}");
    }
    for line in stage.usher.access_log(50) {
        assert_eq!(line["attempts"], 1, "{line}");
    }
    assert_eq!(stage.app.connections(), 50);
}

#[test]
fn an_answer_that_is_no_http_is_a_502_and_its_connection_is_not_used_again() {
    for nonsense in [
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let stage = Fixture::with_app(App::answering(nonsense));
        for round in 1..=3 {
            assert_eq!(stage.get("customdomain1.com", "/").status, 502, "{nonsense:?}");
            assert_eq!(stage.app.connections(), round, "{nonsense:?}");
        }
    }
}

/// A client must be able to see that something is missing.
#[test]
fn half_a_body_is_never_a_whole_answer() {
    let halves = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ];
    for half in halves {
        for reset in [false, true] {
            let app = App::scripted(move |mut conversation| {
                conversation.head();
                conversation.write(half).unwrap();
                if reset {
                    conversation.reset();
                }
            });
            let stage = Fixture::with_app(app);
            let response = stage.usher.connect().send(REQUEST).try_response().ok().flatten();
            let deceived = response.as_ref().is_some_and(|response| response.status == 200 && response.complete);
            assert!(!deceived, "{half:?} became {response:?}");
            let line = &stage.usher.access_log(1)[0];
            assert_ne!(line["outcome"], "ok", "{half:?}: {line}");
        }
    }
}

#[test]
fn a_refused_connection_moves_on_to_the_next_server() {
    let tables = Tables::example(Backend::Sqlite);
    let app = App::echo();
    let servers = format!(
        "[upstreams.default]\nservers = ['{}', '{}', '{}']",
        App::refusing_url(),
        app.url(),
        App::refusing_url()
    );
    let usher = Binary::over(&tables).config(&servers).start();
    let mut client = usher.connect();
    for number in 0..50 {
        let body = format!("body {number}");
        client.send(format!(
            "POST /{number} HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(client.response().status, 200);
        assert_eq!(app.last().body, body.as_bytes());
    }
    assert_eq!(app.requests().len(), 50);
}

#[test]
fn a_server_that_does_not_accept_is_given_up_within_its_time() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let backlog: Vec<_> = (0..4).map(|_| connect_without_waiting(address)).collect();

    let tables = Tables::example(Backend::Sqlite);
    let app = App::echo();
    let config = |servers: &str| format!("[upstreams.default]\nconnect_timeout = '200ms'\nservers = [{servers}]");
    let usher = Binary::over(&tables).config(&config(&format!("'http://{address}'"))).start();
    let start = Instant::now();
    assert_eq!(usher.get("customdomain1.com", "/").status, 504);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(usher.access_log(1)[0]["outcome"], "connect_timeout");

    let usher = Binary::over(&tables).config(&config(&format!("'http://{address}', '{}'", app.url()))).start();
    for _ in 0..4 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    drop(backlog);
}

/// Starts a connection that fills the queue of a listener which never accepts.
fn connect_without_waiting(address: std::net::SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&address.into());
    socket
}

#[test]
fn requests_go_to_the_server_with_the_fewest_in_flight() {
    let (stuck, free) = (App::scripted(never_answers), App::echo());
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&[&stuck, &free]).config("[listen]\nworkers = 1").start();
    let mut held: Vec<Client> = Vec::new();
    while stuck.requests().is_empty() {
        let before = free.requests().len();
        let mut client = usher.connect();
        client.send(REQUEST);
        crate::support::eventually("the request is at one of the servers", || {
            (free.requests().len() > before || !stuck.requests().is_empty()).then_some(())
        });
        held.push(client);
        assert!(held.len() < 50, "one of two idle servers is never chosen");
    }
    for _ in 0..20 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    assert_eq!(stuck.requests().len(), 1);
}

#[test]
fn an_early_answer_to_a_large_upload_arrives() {
    let app = App::scripted(|mut conversation| {
        conversation.head();
        conversation
            .write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            .unwrap();
        conversation.closed_by_peer();
    });
    let stage = Fixture::configured(app, &format!("{UNBUFFERED}\nbody_max_bytes = '0B'"));
    let mut client = stage.usher.connect();
    client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 1000000000\r\n\r\nthe beginning");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
}

/// Nor is a request body that takes its time.
#[test]
fn a_slow_upload_is_not_a_slow_head() {
    let stage = Fixture::configured(App::echo(), "[upstreams.default]\nhead_timeout = '300ms'");
    let mut client = stage.usher.connect();
    client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 8\r\n\r\n");
    for byte in [b"s", b"l", b"o", b"w", b"l", b"y", b"!", b"!"] {
        std::thread::sleep(Duration::from_millis(100));
        client.send(byte);
    }
    assert_eq!(client.response().status, 200);
}
