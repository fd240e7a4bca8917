//! App servers that speak HTTP/2 without TLS: exchanges share a connection, and none of them suffers from another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use crate::support::{
    A_MOMENT, App, Backend, Binary, Call, Client, DATA, END_STREAM, FrameApp, H2App, H2Client, HEADERS, RST_STREAM,
    Response, SOON, Tables, UNBUFFERED, Usher, eventually,
};

pub(super) const GET: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
pub(super) const POST: &str = "POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 3\r\n\r\nabc";

/// One worker in front of some servers.
pub(super) struct Stage {
    pub(super) usher: Usher,
    _tables: Tables,
}

impl std::ops::Deref for Stage {
    type Target = Usher;

    fn deref(&self) -> &Usher {
        &self.usher
    }
}

pub(super) fn usher(urls: &[String], config: &str) -> Stage {
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables)
        .config("[listen]\nworkers = 1")
        .config(&format!("[upstreams.default]\nservers = {urls:?}"))
        .config(config)
        .start();
    Stage { usher, _tables: tables }
}

pub(super) fn in_front_of(app: &H2App) -> Stage {
    usher(&[app.url()], "")
}

/// The answer to a request on a connection of its own.
pub(super) fn answered(usher: &Usher, request: &str) -> Response {
    usher.raw(request)
}

/// RFC 9113 §8.2.2, §8.3.1.
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
/// RFC 9110 §10.1.4, RFC 9113 §8.2.2.
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

/// RFC 9110 §6.5, RFC 9113 §8.1.
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

/// RFC 9113 §5.
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

/// RFC 9113 §5.1.2.
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

/// RFC 9113 §5.4.2, §7.
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

/// RFC 9112 §8, RFC 9113 §5.4.2.
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

/// RFC 9112 §8, RFC 9113 §5.4.2.
#[test]
fn half_an_answer_is_never_a_whole_one() {
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let app = H2App::scripted(move |mut call| async move {
            let mut stream = call.head_of(200);
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::time::sleep(A_MOMENT).await;
            stream.send_reset(reason);
        });
        let usher = in_front_of(&app);
        let response = usher.connect().send(GET).try_response().ok().flatten();
        assert!(response.is_none_or(|response| !response.complete), "{reason:?}");
        assert_eq!(usher.access_log(1)[0]["outcome"], "body_broken", "{reason:?}");
    }
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

/// Such streams are open still (RFC 9113 §5.1.2): they must not use up what the app allows to others.
#[test]
fn uploads_that_go_on_after_their_answer_keep_nobody_waiting() {
    let (told, ended) = mpsc::channel();
    let app = H2App::limited(2, move |mut call| {
        let told = told.clone();
        async move {
            call.finish(401, "early");
            while let Some(part) = call.body.data().await {
                if let Err(error) = part {
                    let _ = told.send(error.reason());
                    return;
                }
            }
        }
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
    // They have a moment; then their streams are reset, and others may have them.
    for _ in &uploads {
        assert_eq!(ended.recv_timeout(SOON).unwrap(), Some(Reason::CANCEL));
    }
    drop(uploads);
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

/// RFC 9113 §5.2.1.
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

/// RFC 9110 §15.6.5.
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
/// RFC 9113 §3.4, RFC 9110 §15.6.3.
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

/// RFC 9110 §15.6.5.
#[test]
fn an_app_that_accepts_and_says_nothing_is_given_up_in_time() {
    let app = App::scripted(|mut conversation| assert!(conversation.closed_by_peer()));
    let usher = usher(&[app.url().replace("http:", "h2c:")], "[upstreams.default]\nconnect_timeout = '200ms'");
    let start = std::time::Instant::now();
    assert_eq!(answered(&usher, GET).status, 504);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// `proxy-protocol.txt` §2, §2.2.
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
