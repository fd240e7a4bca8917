//! What one client may take of usher by HTTP/2, where one connection has room for many requests.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client};
use http::Request;

use super::limits::{LARGE, holding, reached};
use crate::support::{
    A_MOMENT, App, Backend, Binary, Conversation, END_HEADERS, END_STREAM, Fixture, Frames, Framing, GOAWAY, H2App,
    H2Client, HEADERS, RST_STREAM, SETTINGS, SOON, Tables, Usher, eventually, h2_get,
};

const HOST: &str = "customdomain1.com";

/// RFC 6585 §4.
#[test]
fn streams_count_as_requests_of_their_client() {
    let stage = Fixture::configured(App::scripted(holding), "[listen]\nrequests_per_client_max = 5");
    let mut client = H2Client::connect(stage.usher.http());
    let held: Vec<_> = (0..5).map(|_| client.ask(h2_get(HOST, "/held")).unwrap()).collect();
    eventually("they are at the app", || (stage.app.requests().len() == 5).then_some(()));
    assert_eq!(client.get(HOST, "/").unwrap().0.status(), 429);
    assert_eq!(stage.get(HOST, "/").status, 429);
    drop(held);
    eventually("there is room again", || (client.get(HOST, "/").unwrap().0.status() == 200).then_some(()));
}

/// RFC 9113 §5.2.1: a window for each stream and one for all of them.
#[test]
fn uploads_that_an_app_does_not_read_take_nothing_from_others_on_their_connection() {
    const UPLOADS: usize = 16;
    let stage = Fixture::configured(
        App::scripted(holding),
        "[listen]\nbody_timeout = '1s'\n[upstreams.default]\nbuffer_request = '0B'",
    );
    let mut client = H2Client::connect(stage.usher.http());
    let post = |path: &str| Request::post(format!("http://{HOST}{path}")).body(()).unwrap();
    let held: Vec<_> = (0..UPLOADS)
        .map(|_| {
            let mut stream = client.start(post("/unread")).unwrap();
            stream.body.send_data(Bytes::from(vec![b'x'; 8 << 20]), false).unwrap();
            stream
        })
        .collect();
    eventually("they are at the app", || (stage.app.requests().len() == UPLOADS).then_some(()));
    thread::sleep(Duration::from_secs(2));
    let mut stream = client.start(post("/")).unwrap();
    stream.body.send_data(Bytes::from(vec![b'x'; 100_000]), true).unwrap();
    let (head, body) = client.answer(stream).unwrap();
    assert_eq!((head.status().as_u16(), body.len()), (200, 100_000));
    assert_eq!(reached(&stage.usher, "body_timeout"), 0);
    drop(held);
}

/// More than usher and the kernels hold for somebody who does not read.
const BURST: usize = 16 << 20;

/// Says much at once.
fn bursts(mut conversation: Conversation) {
    if conversation.head().is_some() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {BURST}\r\n\r\n");
        let _ = conversation.write(head).and_then(|()| conversation.write(vec![b'x'; BURST]));
    }
}

#[test]
fn who_listens_to_events_may_leave_them_unread() {
    let limits = "[listen]\nwrite_timeout = '500ms'\nrate_min = '1MiB'";
    let stage = Fixture::configured(App::scripted(bursts), limits);
    let mut client = stage.usher.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    let (mut http2, mut body) = unread(&stage.usher, 65_535);
    thread::sleep(Duration::from_millis(2500));
    let mut received = 0;
    client.wire().stream_body(Framing::Length(BURST as u64), |part| received += part.len()).unwrap();
    assert_eq!((received, http2.read(&mut body).unwrap().len()), (BURST, BURST));
    assert_eq!(reached(&stage.usher, "write_timeout") + reached(&stage.usher, "write_rate"), 0);
    assert_eq!(http2.get(HOST, "/").unwrap().1.len(), BURST);
}

/// Requests `/` with such windows, and leaves the answer where it is.
fn unread(usher: &Usher, window: u32) -> (H2Client, h2::RecvStream) {
    let mut client = H2Client::with(usher.http(), client::Builder::new().initial_window_size(window));
    let stream = client.ask(h2_get(HOST, "/")).unwrap();
    let response = client.wait(stream.answer).unwrap();
    assert_eq!(response.status(), 200);
    (client, response.into_body())
}

/// RFC 9113 §5.4.2, §10.5.
#[test]
fn a_stream_of_which_the_client_takes_nothing_is_reset_and_the_others_go_on() {
    let app = App::scripted(|mut conversation| match conversation.head() {
        Some(head) if head.line.contains("/small") => {
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap()
        }
        Some(_) => drop(
            conversation
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"))
                .and_then(|()| conversation.write(vec![b'x'; LARGE])),
        ),
        None => {}
    });
    let stage = Fixture::configured(app, "[listen]\nwrite_timeout = '1s'\nrate_min = '1MiB'");
    for (number, window) in [0, 1, 65_535].into_iter().enumerate() {
        let (mut client, mut body) = unread(&stage.usher, window);
        let error = loop {
            match client.wait(body.data()) {
                Some(Ok(_untaken)) => {}
                ended => break ended.unwrap().unwrap_err(),
            }
        };
        assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
        assert_eq!(client.get(HOST, "/small").unwrap().0.status(), 200, "with a window of {window}");
        assert_eq!(reached(&stage.usher, "write_timeout"), u32::try_from(number).unwrap() + 1);
    }
    let lines = stage.usher.access_log(6);
    assert_eq!(lines.iter().filter(|line| line["outcome"] == "limited").count(), 3);
    assert_eq!(reached(&stage.usher, "resets"), 0);
}

#[test]
fn a_stream_that_is_taken_slowly_but_steadily_is_not_reset() {
    let app = App::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000)));
    let stage = Fixture::configured(app, "[listen]\nwrite_timeout = '500ms'\nrate_min = '1KiB'");
    let (client, mut body) = unread(&stage.usher, 8000);
    let mut taken = 0;
    while let Some(part) = client.wait(body.data()) {
        taken += part.as_ref().unwrap().len();
        thread::sleep(Duration::from_millis(100));
        body.flow_control().release_capacity(part.unwrap().len()).unwrap();
    }
    assert_eq!(taken, 200_000);
    assert_eq!(reached(&stage.usher, "write_timeout"), 0);
}

fn silent(mut conversation: Conversation) {
    conversation.head();
    let _ = conversation.closed_by_peer();
}

/// RFC 9113 §5.4.2, §7: whether it takes back its request or goes away altogether.
#[test]
fn a_client_that_goes_away_ends_the_work_of_an_app_that_speaks_http_1_1() {
    let (tell, told) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        if conversation.head().is_some() && conversation.closed_by_peer() {
            let _ = tell.send(());
        }
    });
    let stage = Fixture::with_app(app);
    let mut client = H2Client::connect(stage.usher.http());
    let mut taken_back = client.ask(h2_get(HOST, "/")).unwrap();
    let _left = client.ask(h2_get(HOST, "/")).unwrap();
    eventually("both requests are at the app", || (stage.app.requests().len() == 2).then_some(()));
    taken_back.body.send_reset(Reason::CANCEL);
    told.recv_timeout(SOON).unwrap();
    assert!(told.try_recv().is_err(), "the other one goes on");
    drop(client);
    told.recv_timeout(SOON).unwrap();
    assert!(stage.usher.access_log(2).iter().all(|line| line["outcome"] == "client_gone"));
}

#[test]
fn an_event_is_passed_on_before_the_next_one_comes() {
    let (say, said) = mpsc::channel::<()>();
    let said = std::sync::Mutex::new(said);
    let stage = Fixture::with_app(App::scripted(move |mut conversation| {
        conversation.head();
        conversation.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
        while conversation.write("data: x\n\n").is_ok() && said.lock().unwrap().recv().is_ok() {}
    }));
    let mut client = H2Client::connect(stage.usher.http());
    let stream = client.ask(h2_get(HOST, "/")).unwrap();
    let mut body = client.wait(stream.answer).unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(client.wait(body.data()).unwrap().unwrap(), "data: x\n\n");
        say.send(()).unwrap();
    }
}

/// Waits until the app has seen more than `count` requests; false where usher has cut off the client before.
fn arrives(stage: &Fixture, count: usize) -> bool {
    eventually("the request is at the app, or the client is cut off", || {
        let has_arrived = stage.app.requests().len() > count;
        (has_arrived || reached(&stage.usher, "resets") > 0).then_some(has_arrived)
    })
}

/// CVE-2023-44487; RFC 9113 §10.5.
#[test]
fn a_client_that_takes_its_requests_back_is_cut_off() {
    let stage = Fixture::configured(App::scripted(silent), "[listen]\nworkers = 1");
    let mut client = H2Client::connect(stage.usher.http());
    let mut sent = 0;
    while let Ok(mut stream) = client.ask(h2_get(HOST, "/"))
        && arrives(&stage, sent)
    {
        stream.body.send_reset(Reason::CANCEL);
        sent += 1;
    }
    assert!(client.closed_by_peer());
    assert!((100..200).contains(&sent), "after {sent}");
    assert_eq!((reached(&stage.usher, "resets"), reached(&stage.usher, "flood")), (1, 0));
    assert_eq!(stage.get("unknown.example", "/").status, 404);
}

/// A small frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A GET for `/` at this host (RFC 7541, appendix A).
fn ask(stream: u32, host: &str) -> Vec<u8> {
    let length = u8::try_from(host.len()).unwrap();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[b"\x82\x86\x84\x01", &[length][..], host.as_bytes()].concat())
}

/// The same, taken back at once.
fn ask_for_nothing(stream: u32) -> Vec<u8> {
    [ask(stream, HOST), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
}

/// A request that announces a body and ends without one: its stream is reset (RFC 9113 §8.1.1).
fn ask_for_a_reset(stream: u32) -> Vec<u8> {
    let fields = [b"\x82\x86\x84\x01\x11", HOST.as_bytes(), b"\x0f\x0d\x014"].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

/// CVE-2023-44487; RFC 9113 §10.5.
#[test]
fn a_client_that_takes_them_back_before_anybody_sees_them_is_cut_off() {
    let stage = Fixture::configured(App::scripted(silent), "[listen]\nworkers = 1");
    let mut client = Frames::connect(stage.usher.http());
    client.send((1..400).step_by(2).flat_map(ask_for_nothing).collect::<Vec<u8>>());
    assert!(client.next_of(GOAWAY).is_none_or(|farewell| farewell.payload.ends_with(b"too_many_resets")));
    // The connection is closed first and counted then.
    eventually("the flood is counted", || (reached(&stage.usher, "flood") == 1).then_some(()));
    assert_eq!(stage.get("unknown.example", "/").status, 404);
}

/// CVE-2025-8671; RFC 9113 §10.5.
#[test]
fn a_client_that_has_its_streams_reset_for_what_it_sends_is_cut_off() {
    let stage = Fixture::configured(App::echo(), "[listen]\nworkers = 1");
    let mut client = Frames::connect(stage.usher.http());
    client.send((1..400).step_by(2).flat_map(ask_for_a_reset).collect::<Vec<u8>>());
    eventually("the flood is counted", || (reached(&stage.usher, "flood") == 1).then_some(()));
    assert!(stage.app.requests().is_empty());
}

/// It carries thousands of clients, each of whom may close its page.
#[test]
fn a_proxy_of_ours_hands_on_what_its_clients_take_back() {
    const STRANGER: &str = "unknown.example";
    let stage = Fixture::configured(App::scripted(silent), "[listen]\nworkers = 1\ntrusted_proxies = ['loopback']");
    let mut proxy = H2Client::connect(stage.usher.http());
    for sent in 0..150 {
        let mut stream = proxy.ask(h2_get(HOST, "/")).unwrap();
        assert!(arrives(&stage, sent), "cut off after {sent}");
        stream.body.send_reset(Reason::CANCEL);
    }
    assert_eq!(proxy.get(STRANGER, "/").unwrap().0.status(), 404);

    let mut proxy = Frames::connect(stage.usher.http());
    proxy.send((1..400).step_by(2).flat_map(ask_for_nothing).chain(ask(401, STRANGER)).collect::<Vec<u8>>());
    assert_eq!(proxy.next_of(HEADERS).map(|answer| answer.stream), Some(401), "the connection has ended");

    let mut proxy = Frames::connect(stage.usher.http());
    for burst in 0..4 {
        // Fewer than it may have at once.
        let streams = (burst * 100 + 1..burst * 100 + 100).step_by(2);
        proxy.send(streams.clone().flat_map(ask_for_a_reset).collect::<Vec<u8>>());
        for stream in streams {
            assert_eq!(proxy.next_of(RST_STREAM).map(|reset| reset.stream), Some(stream), "the connection has ended");
        }
    }
    assert_eq!((reached(&stage.usher, "resets"), reached(&stage.usher, "flood")), (0, 0));
}

/// RFC 9113 §5.1.2: whoever keeps to the setting waits, and whoever does not is refused that stream, which is counted.
#[test]
fn streams_beyond_the_most_at_once_wait_or_are_refused() {
    let stage = Fixture::configured(App::scripted(holding), "[listen]\nhttp2_streams_max = 2");
    let mut client = Frames::connect(stage.usher.http());
    let settings = client.next_of(SETTINGS).unwrap().payload;
    let setting = |key: u16| settings.chunks(6).find(|setting| setting.starts_with(&key.to_be_bytes())).unwrap();
    assert_eq!(setting(3), [0, 3, 0, 0, 0, 2], "SETTINGS_MAX_CONCURRENT_STREAMS");
    let held = |stream: u32| {
        let path = [b"\x82\x86\x04\x05/held\x01\x11", HOST.as_bytes()].concat();
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &path)
    };
    client.send([held(1), held(3), held(5)].concat());
    let refused = client.next_of(RST_STREAM).unwrap();
    assert_eq!((refused.stream, refused.payload), (5, vec![0, 0, 0, 7]), "REFUSED_STREAM");
    eventually("the others are at the app", || (stage.app.requests().len() == 2).then_some(()));
    assert_eq!(reached(&stage.usher, "streams"), 1);

    let mut client = H2Client::connect(stage.usher.http());
    assert_eq!(client.get(HOST, "/").unwrap().0.status(), 200);
    let asked: Vec<_> = (0..2).map(|_| client.ask(h2_get(HOST, "/")).unwrap()).collect();
    let statuses: Vec<_> = asked.into_iter().map(|stream| client.answer(stream).unwrap().0.status()).collect();
    assert_eq!(statuses, [200, 200]);
    assert_eq!(reached(&stage.usher, "streams"), 1);
}

/// RFC 9113 §3.4.
#[test]
fn a_preface_that_does_not_come_to_its_end_is_cut_off_however_it_drips() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '1s'");
    let begun = Instant::now();
    let mut half = stage.usher.connect();
    half.send(&PREFACE[..20]);
    let mut dripping = stage.usher.connect();
    for octet in &PREFACE[..23] {
        thread::sleep(A_MOMENT / 2);
        dripping.send([*octet]);
    }
    assert!(half.closed_by_peer() && dripping.closed_by_peer());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(reached(&stage.usher, "header_timeout"), 2);
}

/// RFC 9113 §4.3: nothing else may come between the frames of a head.
#[test]
fn a_later_head_that_does_not_come_to_its_end_is_cut_off_however_it_drips() {
    let stage = Fixture::configured(App::scripted(bursts), "[listen]\nheader_timeout = '1s'");
    let begun = Instant::now();
    let [mut half, mut dripping] = [(); 2].map(|()| {
        let mut client = Frames::connect(stage.usher.http());
        // An answer that has no end runs all the while.
        client.send(ask(1, HOST));
        assert!(client.next_of(HEADERS).is_some());
        client
    });
    half.send(&ask(3, HOST)[..12]);
    let long = frame(HEADERS, END_STREAM | END_HEADERS, 3, &[0; 255]);
    let drops = long.chunks(1).take_while(|drop| {
        thread::sleep(A_MOMENT / 2);
        dripping.try_send(drop)
    });
    assert!(drops.count() < long.len(), "it is heard to its end");
    while half.next().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!((reached(&stage.usher, "header_timeout"), reached(&stage.usher, "keep_alive")), (2, 0));
}

/// RFC 9113 §6.8, §9.1.
#[test]
fn a_connection_that_never_asks_for_anything_is_told_to_end() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '1s'");
    let begun = Instant::now();
    let mut client = Frames::connect(stage.usher.http());
    let farewell = client.next_of(GOAWAY).unwrap();
    assert_eq!(farewell.payload[4..8], [0; 4], "NO_ERROR");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    while client.next().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!((reached(&stage.usher, "header_timeout"), reached(&stage.usher, "keep_alive")), (1, 0));
}

/// RFC 9110 §15.5.9.
#[test]
fn an_upload_that_pauses_on_http_2_is_a_408_unless_it_is_a_call_of_grpc() {
    let app = App::scripted(|mut conversation| drop(conversation.request()));
    let grpc = H2App::echo();
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables)
        .apps(&[&app])
        .config(&format!("[listen]\nbody_timeout = '500ms'\n[routing]\nhomepage_upstream = 'grpc'\n[upstreams.grpc]\nservers = ['{}']", grpc.url()))
        .start();
    let mut client = H2Client::connect(usher.http());
    let mut upload = |host: &str, media_type: &str| {
        let request = Request::post(format!("http://{host}/")).header("content-type", media_type);
        let mut stream = client.start(request.body(()).unwrap()).unwrap();
        stream.body.send_data(Bytes::from_static(b"half "), false).unwrap();
        thread::sleep(Duration::from_millis(1500));
        let _reset = stream.body.send_data(Bytes::from_static(b"whole"), true);
        client.answer(stream).unwrap()
    };
    let (head, body) = upload("platform.com", "application/grpc");
    assert_eq!((head.status().as_u16(), body.as_slice()), (200, &b"half whole"[..]));
    assert_eq!(upload("platform.com", "application/json").0.status(), 408);
    assert_eq!(upload(HOST, "application/grpc").0.status(), 408, "an app without HTTP/2 has no gRPC");
    assert_eq!(reached(&usher, "body_timeout"), 2);
}
