//! App servers that speak HTTP/2 without TLS: exchanges share a connection, and none of them suffers from another.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use crate::support::{
    A_MOMENT, App, Backend, Binary, Call, Client, DATA, END_HEADERS, END_STREAM, FrameApp, Frames, GOAWAY, H2App,
    H2Client, HEADERS, RST_STREAM, Response, SOON, Tables, UNBUFFERED, Usher, WINDOW_UPDATE, eventually,
};

const GET: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc";

/// One worker in front of some servers.
struct Stage {
    usher: Usher,
    _tables: Tables,
}

impl std::ops::Deref for Stage {
    type Target = Usher;

    fn deref(&self) -> &Usher {
        &self.usher
    }
}

fn usher(urls: &[String], config: &str) -> Stage {
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables)
        .config("[listen]\nworkers = 1")
        .config(&format!("[upstreams.default]\nservers = {urls:?}"))
        .config(config)
        .start();
    Stage { usher, _tables: tables }
}

fn in_front_of(app: &H2App) -> Stage {
    usher(&[app.url()], "")
}

/// The answer to a request on a connection of its own.
fn answered(usher: &Usher, request: &str) -> Response {
    usher.raw(request)
}

#[test]
fn a_request_arrives_in_the_words_of_http_2() {
    let app = H2App::echo();
    let usher = in_front_of(&app);
    let response = usher.raw(
        "POST /a%2Fb//c?q=%20 HTTP/1.1\r\nHost: CustomDomain1.com:8080\r\nContent-Length: 3\r\nX-Hop: 1\r\n\
         Connection: keep-alive, x-hop\r\nX-Store-Id: 9\r\nCookie: a=1\r\n\r\nabc",
    );
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    let head = app.last().head;
    assert_eq!(head.uri.to_string(), "http://CustomDomain1.com:8080/a%2Fb//c?q=%20");
    assert_eq!((head.headers["x-store-id"].as_bytes(), head.headers["cookie"].as_bytes()), (&b"1"[..], &b"a=1"[..]));
    assert_eq!(head.headers["content-length"], "3");
    for gone in ["host", "connection", "x-hop", "te", "keep-alive", "transfer-encoding"] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
}

/// gRPC servers refuse who does not say so.
#[test]
fn the_client_that_takes_trailers_is_heard_and_gets_them() {
    let app = H2App::scripted(|mut call| async move {
        call.read().await;
        let head = http::Response::builder().header("trailer", "grpc-status, grpc-message");
        let mut stream = call.answer.send_response(head.body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(b"message"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let usher = in_front_of(&app);
    let response = usher.raw(POST.replace("\r\n\r\n", "\r\nTE: gzip, trailers\r\nConnection: te\r\n\r\n"));
    assert_eq!(app.last().head.headers["te"], "trailers");
    assert_eq!(response.text(), "message");
    assert_eq!(response.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    assert_eq!(usher.access_log(1)[0]["outcome"], "ok");
}

#[test]
fn the_trailers_of_a_request_arrive() {
    let app = H2App::scripted(|mut call| async move {
        let (body, trailers) = call.read().await;
        let fields = trailers.unwrap_or_default();
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        let head = http::Response::builder().header("seen", fields.join(" ")).body(()).unwrap();
        call.answer.send_response(head, false).unwrap().send_data(body, true).unwrap();
    });
    let usher = in_front_of(&app);
    let response = usher.raw(
        "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\
         TE: trailers\r\nConnection: te\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-Store-Id: 9\r\n\r\n",
    );
    assert_eq!((response.text().as_str(), response.header("seen")), ("abc", Some("x-sum=6")));
    assert!(!app.last().head.headers.contains_key("transfer-encoding"));
}

#[test]
fn exchanges_share_a_connection() {
    let (release, released) = tokio::sync::watch::channel(false);
    let app = H2App::scripted(move |mut call| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            call.finish(200, "shared");
        }
    });
    let usher = in_front_of(&app);
    let mut clients: Vec<Client> = (0..50).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    eventually("all are at the app at once", || (app.calls().len() == 50).then_some(()));
    release.send(true).unwrap();
    assert!(clients.iter_mut().all(|client| client.response().text() == "shared"));
    assert_eq!(app.connections(), 1, "all came at once, and one connection was enough");
    assert_eq!(usher.metric("usher_upstream_attempts_total", &["outcome=\"answered\""]), 50.0);
}

#[test]
fn beyond_what_the_app_allows_another_connection_is_opened() {
    let (release, released) = tokio::sync::watch::channel(false);
    let app = H2App::limited(2, move |mut call| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            call.finish(200, "");
        }
    });
    let usher = in_front_of(&app);
    let mut clients: Vec<Client> = (0..7).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    eventually("all are at the app at once", || (app.calls().len() == 7).then_some(()));
    assert_eq!(app.connections(), 4);
    for connection in 0..4 {
        let there = app.calls().iter().filter(|call| call.connection == connection).count();
        assert!((1..=2).contains(&there), "{there} on connection {connection}");
    }
    release.send(true).unwrap();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn an_unused_connection_is_closed_in_time() {
    let app = H2App::echo();
    let usher = usher(&[app.url()], "[upstreams.default]\nidle_timeout = '500ms'");
    assert_eq!(answered(&usher, GET).status, 200);
    assert_eq!(app.open_connections(), 1);
    eventually("the connection is closed", || (app.open_connections() == 0).then_some(()));
    assert_eq!(answered(&usher, POST).text(), "abc");
}

/// Whatever the method: nothing was done (RFC 9113 §8.7).
#[test]
fn a_refused_request_goes_to_another_server_with_its_whole_body() {
    let refusing = H2App::scripted(|mut call| async move { call.answer.send_reset(Reason::REFUSED_STREAM) });
    let taking = H2App::echo();
    let usher = usher(&[refusing.url(), taking.url()], "");
    let body = "x".repeat(40_000);
    for number in 1..=6 {
        let response = usher
            .raw(format!("POST /{number} HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 40000\r\n\r\n{body}"));
        assert_eq!((response.status, response.text() == body), (200, true), "request {number}");
    }
    assert_eq!(taking.calls().len(), 6);
    assert!(!refusing.calls().is_empty());
    let refused = usher.metric("usher_upstream_attempts_total", &["outcome=\"refused\""]);
    assert_eq!(refused, refusing.calls().len() as f64);
}

/// The second server answers before it has read what is sent to it again.
#[test]
fn an_upload_that_is_sent_again_has_no_gap_where_the_answer_begins() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    const MORE: [u8; 4] = [0, 0, 1, 0];
    let (tell, told) = mpsc::channel();
    // SETTINGS_INITIAL_WINDOW_SIZE: one piece.
    let app = FrameApp::saying(&[0, 4, 0, 0, 0, 4], move |mut frames| {
        let mut received = Vec::new();
        let mut stream = frames.next_of(HEADERS).unwrap().stream;
        if frames.number == 0 {
            frames.answer(stream);
            stream = frames.next_of(HEADERS).unwrap().stream;
        } else {
            received.extend(frames.next_of(DATA).unwrap().payload);
            frames.head(stream);
            std::thread::sleep(A_MOMENT);
        }
        frames.write(WINDOW_UPDATE, 0, stream, &MORE);
        while received.len() < 12 {
            let Some(frame) = frames.next_of(DATA) else { break };
            received.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
        match frames.number {
            0 => frames.write(RST_STREAM, 0, stream, &REFUSED_STREAM),
            _ => frames.write(DATA, END_STREAM, stream, b"ok"),
        }
        let _ = tell.send(received);
        frames.next_of(GOAWAY);
    });
    let usher = usher(&[app.url()], UNBUFFERED);
    assert_eq!(answered(&usher, GET).status, 200);
    let upload = "PUT /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = answered(&usher, &format!("{upload}4\r\naaaa\r\n4\r\nbbbb\r\n4\r\ncccc\r\n0\r\n\r\n"));
    assert_eq!((response.status, response.text()), (200, "ok".into()));
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(SOON).unwrap(), b"aaaabbbbcccc");
    }
}

#[test]
fn a_server_that_refuses_everything_is_asked_a_bounded_number_of_times() {
    let app = H2App::scripted(|mut call| async move { call.answer.send_reset(Reason::REFUSED_STREAM) });
    let usher = in_front_of(&app);
    for _ in 0..3 {
        assert_eq!(answered(&usher, POST).status, 502);
    }
    assert!(app.calls().len() <= 6, "{}", app.calls().len());
}

/// What can be kept of a body is bounded; what cannot be repeated is not.
#[test]
fn a_large_upload_that_is_refused_late_is_a_502() {
    let app = H2App::scripted(|mut call| async move {
        let mut left: usize = 200_000;
        while left > 0 {
            let Some(Ok(part)) = call.body.data().await else { return };
            call.body.flow_control().release_capacity(part.len()).unwrap();
            left -= part.len();
        }
        call.answer.send_reset(Reason::REFUSED_STREAM);
    });
    let usher = in_front_of(&app);
    let body = "x".repeat(200_000);
    let response =
        usher.raw(format!("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 200000\r\n\r\n{body}"));
    assert_eq!((response.status, app.calls().len()), (502, 1));
}

#[test]
fn a_request_behind_the_last_one_of_a_leaving_connection_goes_elsewhere() {
    let app = FrameApp::scripted(|mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            match (frames.number, request.stream) {
                (0, 1) => frames.answer(1),
                (0, _) => frames.go_away(1),
                (_, stream) => frames.answer(stream),
            }
        }
    });
    let usher = usher(&[app.url()], "");
    assert_eq!(answered(&usher, GET).status, 200);
    assert_eq!(answered(&usher, POST).status, 200, "the app has said that it did not process it");
    assert_eq!(answered(&usher, POST).status, 200);
    assert_eq!(app.connections(), 2);
    assert_eq!(usher.access_log(3)[1]["attempts"], 2);
}

#[test]
fn who_had_a_place_keeps_it_when_its_connection_was_leaving() {
    let [is_there, leaves] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (at, go) = (Arc::clone(&is_there), Arc::clone(&leaves));
    let app = FrameApp::scripted(move |mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            if (frames.number, request.stream) == (0, 3) {
                at.store(true, Ordering::SeqCst);
                eventually("it may leave", || go.load(Ordering::SeqCst).then_some(()));
                return frames.go_away(1);
            }
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "[upstreams.default]\nrequests_max = 1\nqueue_timeout = '30s'");
    assert_eq!(answered(&usher, GET).status, 200);
    let [mut has_place, mut waits] = [(); 2].map(|()| usher.connect());
    has_place.send(GET.replace("/p", "/has"));
    eventually("it is at the app", || is_there.load(Ordering::SeqCst).then_some(()));
    waits.send(GET.replace("/p", "/waits"));
    std::thread::sleep(A_MOMENT);
    leaves.store(true, Ordering::SeqCst);
    assert_eq!([has_place.response().status, waits.response().status], [200, 200]);
    let paths: Vec<_> = usher.access_log(3).iter().map(|line| line["target"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/p", "/has", "/waits"]);
}

/// It says that nothing new is taken; what runs goes on.
#[test]
fn a_connection_that_is_going_away_is_left_and_finishes_what_runs() {
    let (say, said) = mpsc::channel::<()>();
    let said = Mutex::new(said);
    let app = FrameApp::scripted(move |mut frames| {
        let Some(first) = frames.next_of(HEADERS) else { return };
        if frames.number == 0 {
            frames.go_away(1);
            said.lock().unwrap().recv().unwrap();
        }
        frames.answer(first.stream);
        while let Some(request) = frames.next_of(HEADERS) {
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "");
    let mut running = usher.connect();
    running.send(GET);
    eventually("the first request is at the app", || (app.connections() == 1).then_some(()));
    std::thread::sleep(A_MOMENT);
    for _ in 0..3 {
        assert_eq!(answered(&usher, POST).status, 200);
    }
    assert_eq!(app.connections(), 2);
    say.send(()).unwrap();
    assert_eq!(running.response().status, 200);
}

#[test]
fn a_request_that_failed_in_the_app_is_not_sent_again() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let app = H2App::scripted(move |mut call| async move { call.answer.send_reset(reason) });
        let usher = in_front_of(&app);
        for (number, request) in [GET, POST, GET].into_iter().enumerate() {
            assert_eq!(answered(&usher, request).status, 502, "{reason:?}");
            assert_eq!(app.calls().len(), number + 1, "{reason:?}");
        }
        assert_eq!(app.connections(), 1, "a reset ends its stream and nothing else");
    }
}

/// As with HTTP/1.1: what may have been processed is repeated only where nobody can notice.
#[test]
fn a_connection_that_breaks_under_a_request_is_forgiven_only_where_it_was_kept_and_the_request_harmless() {
    let broken = |requests: &[(&str, u16)]| {
        let app = FrameApp::scripted(|mut frames: Frames| {
            if let Some(first) = frames.next_of(HEADERS) {
                frames.answer(first.stream);
            }
            if frames.number > 0 {
                while let Some(request) = frames.next_of(HEADERS) {
                    frames.answer(request.stream);
                }
            }
            frames.next_of(HEADERS);
        });
        let usher = usher(&[app.url()], "");
        for (request, status) in requests {
            assert_eq!(answered(&usher, request).status, *status, "{requests:?}");
        }
        app.connections()
    };
    assert_eq!(broken(&[(GET, 200), (GET, 200), (GET, 200)]), 2);
    assert_eq!(broken(&[(GET, 200), (POST, 502), (GET, 200)]), 2);
}

#[test]
fn a_client_that_goes_away_resets_its_stream_and_no_other() {
    let (told, reasons) = mpsc::channel();
    let app = H2App::scripted(move |mut call| {
        let told = told.clone();
        async move {
            if call.head.uri.path() == "/p" {
                let mut stream = call.head_of(200);
                stream.send_data(Bytes::from_static(b"half"), false).unwrap();
                let _ = told.send(Call::reset(&mut stream).await);
            } else if call.head.uri.path() == "/silent" {
                let reason = std::future::poll_fn(|context| call.answer.poll_reset(context)).await;
                let _ = told.send(reason.unwrap());
            } else {
                call.finish(200, "other");
            }
        }
    });
    let usher = in_front_of(&app);
    for (number, path) in ["/p", "/silent"].into_iter().enumerate() {
        let mut client = usher.connect();
        client.send(GET.replace("/p", path));
        eventually("the request is at the app", || (app.calls().len() == 2 * number + 1).then_some(()));
        if path == "/p" {
            client.head();
        }
        client.reset();
        assert_eq!(reasons.recv_timeout(SOON).unwrap(), Reason::CANCEL, "{path}");
        assert_eq!(answered(&usher, &GET.replace("/p", "/other")).text(), "other");
    }
    assert_eq!(app.connections(), 1);
}

#[test]
fn a_client_that_breaks_off_its_upload_resets_its_stream() {
    let (told, ends) = mpsc::channel();
    let app = H2App::scripted(move |mut call| {
        let told = told.clone();
        async move {
            let mut received = 0;
            let end = loop {
                match call.body.data().await {
                    Some(Ok(part)) => received += part.len(),
                    Some(Err(error)) => break Some(error.reason().is_some()),
                    None => break None,
                }
            };
            let _ = told.send((received, end));
        }
    });
    let usher = in_front_of(&app);
    let mut client = usher.connect();
    client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    eventually("the request is at the app", || (app.calls().len() == 1).then_some(()));
    std::thread::sleep(A_MOMENT);
    client.reset();
    assert_eq!(ends.recv_timeout(SOON).unwrap(), (4, Some(true)), "half an upload must not look like a whole one");
}

/// A client of HTTP/1.1 has all of it with the last byte, and hyper asks for nothing behind it.
#[test]
fn an_answer_whose_end_is_said_apart_shows_that_its_app_is_well() {
    let app = H2App::scripted(|mut call| async move {
        if call.number % 2 == 0 {
            return call.finish(503, "bad");
        }
        let head = http::Response::builder().header("content-length", "4").body(()).unwrap();
        let mut stream = call.answer.send_response(head, false).unwrap();
        stream.send_data(Bytes::from_static(b"good"), false).unwrap();
        tokio::time::sleep(A_MOMENT).await;
        let _ = stream.send_data(Bytes::new(), true);
    });
    let rules = "[upstreams.default]\neject_after = 2\neject_percent = 0\nejected_max_percent = 100";
    let usher = usher(&[app.url()], rules);
    for _ in 0..4 {
        assert_eq!([answered(&usher, POST).status, answered(&usher, POST).status], [503, 200]);
    }
    assert_eq!(usher.metric("usher_endpoint_state", &["state=\"ejected\""]), 0.0);
}

#[test]
fn half_an_answer_is_never_a_whole_one() {
    let app = H2App::scripted(|mut call| async move {
        let mut stream = call.head_of(200);
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(A_MOMENT).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let usher = in_front_of(&app);
    let response = usher.connect().send(GET).try_response().ok().flatten();
    assert!(response.is_none_or(|response| !response.complete));
    assert_eq!(usher.access_log(1)[0]["outcome"], "body_broken");
}

/// A server may answer so, and ask with a reset to be spared the rest (RFC 9113 §8.1): the answer counts.
#[test]
fn an_answer_to_half_an_upload_arrives() {
    const NO_ERROR: [u8; 4] = [0; 4];
    for reset in [true, false] {
        let app = FrameApp::scripted(move |mut frames| {
            while let Some(request) = frames.next_of(HEADERS) {
                frames.head(request.stream);
                frames.write(DATA, END_STREAM, request.stream, b"early");
                if reset {
                    frames.write(RST_STREAM, 0, request.stream, &NO_ERROR);
                }
            }
        });
        let usher = usher(&[app.url()], UNBUFFERED);
        let mut client = usher.connect();
        client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 1000000\r\n\r\nthe beginning");
        let response = client.response();
        assert_eq!((response.status, response.text().as_str(), response.complete), (200, "early", true));
        assert_eq!(answered(&usher, GET).text(), "early");
        assert_eq!(app.connections(), 1);
    }
}

/// Such streams are open still: they must not use up what the app allows to others.
#[test]
fn uploads_that_go_on_after_their_answer_keep_nobody_waiting() {
    let app = H2App::limited(2, |mut call| async move {
        call.finish(401, "early");
        std::future::pending::<()>().await;
    });
    let usher = usher(&[app.url()], &format!("{UNBUFFERED}\nhead_timeout = '2s'"));
    let uploads: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = usher.connect();
            client.send("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 10\r\n\r\nhalf ");
            assert_eq!(client.response().status, 401);
            client
        })
        .collect();
    assert_eq!((app.connections(), app.open_connections()), (3, 3));
    drop(uploads);
}

#[test]
fn interim_answers_are_dropped() {
    let early_hints = [0x08, 3, b'1', b'0', b'3'];
    let app = FrameApp::scripted(move |mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            for _ in 0..3 {
                frames.write(HEADERS, END_HEADERS, request.stream, &early_hints);
            }
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "");
    let mut client = usher.connect();
    for _ in 0..3 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert_eq!(app.connections(), 1);
}

/// RFC 9110 §6.4.1. Clients of HTTP/2 would be free to take it for content.
#[test]
fn content_that_cannot_be_there_reaches_nobody() {
    const STATUSES: [(u16, u8); 2] = [(204, 0x89), (304, 0x8b)];
    for (status, indexed) in STATUSES {
        let app = FrameApp::scripted(move |mut frames| {
            while let Some(request) = frames.next_of(HEADERS) {
                frames.write(HEADERS, END_HEADERS, request.stream, &[indexed]);
                frames.write(DATA, END_STREAM, request.stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let usher = usher(&[app.url()], "");
        let (mut client, mut on_http_2) = (usher.connect(), H2Client::connect(usher.http()));
        for _ in 0..3 {
            assert_eq!(client.send(GET).response().status, status);
            let (head, body) = on_http_2.get("customdomain1.com", "/p").unwrap();
            assert_eq!((head.status().as_u16(), body.len()), (status, 0));
        }
        assert!(usher.access_log(6).iter().all(|line| line["outcome"] == "ok"));
        assert_eq!(app.connections(), 1);
    }
}

#[test]
fn a_byte_is_passed_on_before_the_next_one_comes() {
    let app = H2App::scripted(|mut call| async move {
        let mut stream = call.head_of(200);
        while let Some(Ok(part)) = call.body.data().await {
            stream.send_data(part, false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let usher = usher(&[app.url()], UNBUFFERED);
    let mut client = usher.connect();
    client.send("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\n");
    assert!(client.head().has_chunked_body());
    let mut sender = client.sender();
    let mut received = Vec::new();
    std::io::Write::write_all(&mut sender, b"a").unwrap();
    client
        .wire()
        .stream_body(crate::support::Framing::Chunked, |part| {
            received.extend_from_slice(part);
            let next: &[u8] = match received.len() {
                1 => b"b",
                2 => b"c",
                _ => b"",
            };
            std::io::Write::write_all(&mut sender, next).unwrap();
        })
        .unwrap();
    assert_eq!(received, b"abc");
}

#[test]
fn a_client_that_does_not_read_does_not_stop_its_neighbours() {
    let app = H2App::scripted(|mut call| async move {
        if call.head.uri.path() != "/p" {
            return call.finish(200, "neighbour");
        }
        let mut stream = call.head_of(200);
        let part = Bytes::from(vec![0; 16 * 1024]);
        loop {
            stream.reserve_capacity(part.len());
            let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let Some(Ok(granted)) = granted else { return };
            if stream.send_data(part.slice(..granted.min(part.len())), false).is_err() {
                return;
            }
        }
    });
    let usher = in_front_of(&app);
    let slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = usher.connect();
            client.send(GET).head();
            client
        })
        .collect();
    std::thread::sleep(A_MOMENT);
    for _ in 0..20 {
        assert_eq!(answered(&usher, &GET.replace("/p", "/other")).text(), "neighbour");
    }
    assert_eq!(app.connections(), 1);
    drop(slow);
}

/// A server of gRPC may say nothing before it has heard all.
#[test]
fn a_call_of_grpc_whose_client_pauses_waits_for_its_head() {
    let app = H2App::echo();
    let usher = usher(&[app.url()], "[upstreams.default]\nhead_timeout = '300ms'");
    let mut client = H2Client::connect(usher.http());
    let request = http::Request::post("http://customdomain1.com/").header("content-type", "application/grpc");
    let mut stream = client.start(request.body(()).unwrap()).unwrap();
    stream.body.send_data(Bytes::from_static(b"half "), false).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    stream.body.send_data(Bytes::from_static(b"whole"), true).unwrap();
    let (head, body) = client.answer(stream).unwrap();
    assert_eq!((head.status().as_u16(), body.as_slice()), (200, &b"half whole"[..]));
}

#[test]
fn a_connection_that_stays_silent_is_left() {
    let app = H2App::scripted(|mut call| async move {
        if call.number == 0 {
            tokio::time::sleep(SOON).await;
        }
        call.finish(200, "");
    });
    let usher = usher(&[app.url()], "[upstreams.default]\nhead_timeout = '300ms'");
    assert_eq!(answered(&usher, GET).status, 504);
    assert_eq!(answered(&usher, GET).status, 200);
    assert_eq!(app.last().connection, 1, "what is silent may be dead");
}

/// Nothing of a request is sent before the other side has shown what it speaks.
#[test]
fn an_app_that_speaks_http_1_1_is_a_502_and_sees_no_request() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let app = App::scripted(move |mut conversation| {
        if conversation.wire().head().is_ok_and(|head| head.is_some_and(|head| head.line.starts_with("PRI"))) {
            let _ = conversation.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        } else {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let usher = usher(&[app.url().replace("http:", "h2c:")], "");
    assert_eq!(answered(&usher, POST).status, 502);
    assert_eq!(usher.access_log(1)[0]["outcome"], "connect_failed");
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[test]
fn an_app_that_accepts_and_says_nothing_is_given_up_in_time() {
    let app = App::scripted(|mut conversation| assert!(conversation.closed_by_peer()));
    let usher = usher(&[app.url().replace("http:", "h2c:")], "[upstreams.default]\nconnect_timeout = '200ms'");
    let start = std::time::Instant::now();
    assert_eq!(answered(&usher, GET).status, 504);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// A 204 and an answer to HEAD have no content in HTTP/2 either.
#[test]
fn answers_without_content_have_none() {
    let app = H2App::scripted(|mut call| async move {
        let status: u16 = call.head.uri.path().trim_start_matches('/').parse().unwrap();
        let head = http::Response::builder().status(status).header("etag", "x");
        let head = if status == 204 { head } else { head.header("content-length", "10") };
        call.answer.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let usher = in_front_of(&app);
    for (method, target, length) in [("GET", "/204", None), ("HEAD", "/200", Some("10")), ("GET", "/304", None)] {
        let mut client = usher.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n"));
        let response = if method == "HEAD" { client.response_to_head() } else { client.response() };
        assert_eq!((format!("/{}", response.status), response.header("etag")), (target.to_owned(), Some("x")));
        assert_eq!(response.header("content-length"), length, "{target}");
        assert_eq!(client.send(GET.replace("/p", "/204")).response().status, 204, "{target}");
    }
}

#[test]
fn an_answer_whose_length_is_a_lie_is_visibly_broken() {
    let app = H2App::scripted(|mut call| async move {
        let head = http::Response::builder().header("content-length", "10");
        let mut stream = call.answer.send_response(head.body(()).unwrap(), false).unwrap();
        let _ = stream.send_data(Bytes::from_static(b"short"), true);
    });
    let usher = in_front_of(&app);
    let response = usher.connect().send(GET).try_response().ok().flatten();
    assert!(response.is_none_or(|response| response.status == 502 || !response.complete));
}

#[test]
fn a_frame_that_is_no_answer_ends_its_connection_and_the_next_request_gets_another() {
    let app = FrameApp::scripted(|mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            match frames.number {
                // Data in front of a head.
                0 => frames.write(DATA, 0, request.stream, b"x"),
                _ => frames.answer(request.stream),
            }
        }
    });
    let usher = usher(&[app.url()], "");
    assert_eq!(answered(&usher, POST).status, 502);
    assert_eq!(answered(&usher, POST).status, 200);
}

#[test]
fn a_request_with_proxy_protocol_has_a_connection_of_its_own() {
    let app = App::scripted(|mut conversation| {
        let header = conversation.wire().body(crate::support::Framing::Length(28)).unwrap().bytes;
        assert_eq!(header[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(conversation.wire().head().unwrap().unwrap().line, "PRI * HTTP/2.0");
    });
    let usher = usher(&[app.url().replace("http:", "h2c:")], "[upstreams.default]\nproxy_protocol = 'v2'");
    assert_eq!(answered(&usher, GET).status, 502);
    assert_eq!(app.connections(), 1);
}
