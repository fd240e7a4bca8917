//! `Expect: 100-continue` (RFC 9110 §10.1.1): it is the app that says whether a body is wanted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use crate::support::{
    A_MOMENT, App, Backend, Binary, Client, Fixture, Framing, H2App, H2Client, Tables, Usher, eventually,
};

const EXPECTING: &str =
    "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Whether something arrives within a moment.
fn hears(client: &mut Client) -> bool {
    client.wire().stream().set_read_timeout(Some(A_MOMENT)).unwrap();
    let heard = client.wire().stream().peek(&mut [0]).is_ok_and(|read| read > 0);
    client.wire().stream().set_read_timeout(Some(crate::support::SOON)).unwrap();
    heard
}

#[test]
fn the_body_is_held_back_until_the_app_asks_for_it() {
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let asked = std::sync::Mutex::new(asked);
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        while let Some(head) = conversation.head() {
            assert_eq!(head.one("expect"), Some("100-continue"));
            asked.lock().unwrap().recv().unwrap();
            conversation.write("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let body = conversation.wire().body(head.framing(Framing::Empty)).unwrap();
            assert_eq!(body.bytes, b"abc");
            conversation.write(OK).unwrap();
        }
    }));
    let mut client = stage.usher.connect();
    for _ in 0..2 {
        let so_far = stage.app.requests().len();
        client.send(EXPECTING);
        eventually("the app has the head", || (stage.app.requests().len() > so_far).then_some(()));
        assert!(!hears(&mut client), "the client was told to go on before the app had asked");
        ask.send(()).unwrap();
        assert_eq!(client.response().status, 100);
        assert_eq!(client.send("abc").response().text(), "ok");
    }
    assert_eq!(stage.app.connections(), 1, "a fulfilled expectation is no reason to close");
}

/// Many apps know no expectations; clients lose patience too.
#[test]
fn an_app_that_says_nothing_gets_the_body_after_a_second() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    let start = Instant::now();
    client.send(EXPECTING);
    assert_eq!(client.response().status, 100);
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(client.send("abc").response().status, 200);
    assert_eq!(stage.app.last().body, b"abc");
}

#[test]
fn a_client_that_does_not_wait_is_not_kept_waiting_for_longer() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send(EXPECTING).send("abc");
    assert_eq!(client.response().status, 100);
    assert_eq!(client.response().status, 200);
    assert_eq!(stage.app.last().body, b"abc");
}

#[test]
fn an_answer_without_the_body_is_delivered_and_both_connections_end() {
    let (told, ended) = std::sync::mpsc::channel();
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").unwrap();
        let rest = conversation.wire().body(Framing::UntilClose).map(|body| body.bytes);
        let _ = told.send(rest.unwrap_or_default());
    }));
    let mut client = stage.usher.connect();
    client.send(EXPECTING);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.closed_by_peer());
    assert_eq!(ended.recv_timeout(crate::support::SOON).unwrap(), b"", "the app was sent a body that nobody sent");
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "ok");
}

/// What is no chunk is not the end of a body either.
#[test]
fn a_chunked_body_that_was_not_wanted_is_not_ended_for_the_app() {
    let (told, ended) = std::sync::mpsc::channel();
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
        let rest = conversation.wire().body(Framing::UntilClose).map(|body| body.bytes);
        let _ = told.send(rest.unwrap_or_default());
    }));
    let request = EXPECTING.replace("Content-Length: 3", "Transfer-Encoding: chunked");
    assert_eq!(stage.usher.raw(request).status, 403);
    assert_eq!(ended.recv_timeout(crate::support::SOON).unwrap(), b"");
}

#[test]
fn another_interim_answer_asks_for_nothing() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        let Some(head) = conversation.head() else { return };
        conversation.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").unwrap();
        std::thread::sleep(A_MOMENT * 2);
        conversation.write("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        conversation.wire().body(head.framing(Framing::Empty)).unwrap();
        conversation.write(OK).unwrap();
    }));
    let mut client = stage.usher.connect();
    client.send(EXPECTING);
    assert!(!hears(&mut client));
    assert_eq!(client.response().status, 100);
    assert_eq!(client.send("abc").response().status, 200);
}

#[test]
fn an_expectation_of_http_1_0_is_ignored() {
    let stage = Fixture::new();
    let start = Instant::now();
    let response = stage.usher.raw(format!("{}abc", EXPECTING.replace("HTTP/1.1", "HTTP/1.0")));
    assert_eq!(response.status, 200, "and no 100, which such a client does not understand");
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(stage.app.last().head.one("expect"), None);
}

/// The field is for the end of the way, and an app may have its own.
#[test]
fn any_other_expectation_is_for_the_app_to_judge() {
    let stage = Fixture::with_app(App::answering("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"));
    let response = stage.usher.raw(format!("{}abc", EXPECTING.replace("100-continue", "tea")));
    assert_eq!(response.status, 417);
    assert_eq!(stage.app.last().head.one("expect"), Some("tea"));
}

/// An app that speaks HTTP/2, and the router in front of it.
fn over_http_2(app: &H2App) -> (Usher, Tables) {
    let tables = Tables::example(Backend::Sqlite);
    let config = format!("[listen]\nworkers = 1\n[upstreams.default]\nservers = ['{}']", app.url());
    (Binary::over(&tables).config(&config).start(), tables)
}

#[test]
fn a_body_is_held_back_for_an_http_2_app_too() {
    let (ask, asked) = tokio::sync::watch::channel(0);
    let app = H2App::scripted(move |mut call| {
        let mut asked = asked.clone();
        async move {
            assert_eq!(call.head.headers["expect"], "100-continue");
            asked.wait_for(|asked| *asked > call.number).await.unwrap();
            for interim in [103, 100] {
                call.answer.send_informational(http::Response::builder().status(interim).body(()).unwrap()).unwrap();
            }
            let (body, _) = call.read().await;
            call.finish(200, body);
        }
    });
    let (usher, _tables) = over_http_2(&app);
    let mut client = usher.connect();
    for number in 1..=2 {
        client.send(EXPECTING);
        eventually("the app has the head", || (app.calls().len() == number).then_some(()));
        assert!(!hears(&mut client), "the client was told to go on before the app had asked");
        ask.send(number).unwrap();
        assert_eq!(client.response().status, 100);
        assert_eq!(client.send("abc").response().text(), "abc");
    }
}

#[test]
fn an_http_2_app_that_says_nothing_gets_the_body_after_a_second() {
    let app = H2App::echo();
    let (usher, _tables) = over_http_2(&app);
    let mut client = usher.connect();
    let start = Instant::now();
    client.send(EXPECTING);
    assert_eq!(client.response().status, 100);
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(client.send("abc").response().text(), "abc");
}

/// Its stream is reset (RFC 9113 §8.1), and nothing else on the connection suffers.
#[test]
fn an_http_2_app_that_answers_without_the_body_never_sees_it() {
    let (told, ended) = std::sync::mpsc::channel();
    let app = H2App::scripted(move |mut call| {
        let told = told.clone();
        async move {
            call.finish(417, "no");
            told.send(call.body.data().await.map(|part| part.unwrap_err().reason())).unwrap();
        }
    });
    let (usher, _tables) = over_http_2(&app);
    for _ in 0..3 {
        let mut client = usher.connect();
        client.send(EXPECTING);
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (417, "no"));
        assert_eq!(ended.recv_timeout(crate::support::SOON).unwrap(), Some(Some(h2::Reason::CANCEL)));
        assert!(client.closed_by_peer(), "what it sends next could be the body or a request");
    }
    assert_eq!(app.connections(), 1);
}

/// The library has no way to tell such a client to go on, which has to lose patience by itself; its body is held back all the same.
#[test]
fn an_http_2_client_is_not_told_to_go_on_and_its_body_arrives_whole() {
    let asking = App::scripted(|mut conversation| {
        while let Some(head) = conversation.head() {
            conversation.write("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let body = conversation.wire().body(head.framing(Framing::Empty)).unwrap();
            assert_eq!(body.bytes, b"abc");
            conversation.write(OK).unwrap();
        }
    });
    for (app, least, most) in [(asking, 0, 900), (App::echo(), 900, 3000)] {
        let stage = Fixture::with_app(app);
        let mut client = H2Client::connect(stage.usher.http());
        let post =
            Request::post("http://customdomain1.com/p").header("expect", "100-continue").header("content-length", "3");
        let start = Instant::now();
        let mut stream = client.start(post.body(()).unwrap()).unwrap();
        stream.body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        let answer = client.wait(&mut stream.answer).unwrap();
        let interim = client.wait(std::future::poll_fn(|context| stream.answer.poll_informational(context)));
        assert!(answer.status() == 200 && interim.is_none(), "{answer:?} after {interim:?}");
        let allowed = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(allowed.contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(stage.app.last().head.one("expect"), Some("100-continue"));
    }
}
