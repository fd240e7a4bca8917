//! Slow clients hold no app server: requests are read before one is chosen, answers ahead of whoever takes them, and both only
//! as far as it delays nothing and there is room.

use std::{
    io::Write,
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
};

use h2::client::Builder;

use crate::support::{
    A_MOMENT, App, Backend, Binary, Client, Conversation, Fixture, Framing, H2Client, SOON, Tables, Usher, eventually,
    h2_get,
};

const HOST: &str = "customdomain1.com";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// More than all kernels on the way take for somebody who does not read: loopback has room for some megabytes.
const LARGE: usize = 24 * MIB;
/// Room for it.
const ROOMY: &str = "[upstreams.default]\nbuffer_response = '32MiB'";

/// Whether no app server has been asked, nor is within a moment.
fn is_unasked(stage: &Fixture) -> bool {
    std::thread::sleep(A_MOMENT);
    stage.app.connections() == 0
}

fn post(client: &mut Client, length: usize, more: &str, beginning: &[u8]) {
    client.send(format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n{more}\r\n"));
    client.send(beginning);
}

fn arrives(stage: &Fixture) {
    eventually("the request arrives", || (!stage.app.requests().is_empty()).then_some(()));
}

/// Takes heads, and the bodies only when the test is over.
fn heads_only(mut conversation: Conversation) {
    conversation.head();
    let _ = conversation.wire().stream_body(Framing::UntilClose, |_| {});
}

#[test]
fn a_slow_upload_holds_no_app_server() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    post(&mut client, 10_000, "", &[b'a'; 4000]);
    assert!(is_unasked(&stage));
    client.send([b'b'; 6000]);
    assert_eq!(client.response().json()["body_length"], 10_000);
    assert_eq!(stage.app.last().body, [&[b'a'; 4000][..], &[b'b'; 6000]].concat());
}

#[test]
fn what_is_too_large_to_be_held_follows_as_it_comes() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        conversation.head();
        let mut beginning = Vec::new();
        conversation.wire().stream_body(Framing::Length(64 * 1024), |part| beginning.extend_from_slice(part)).unwrap();
        conversation.write("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        conversation.wire().stream_body(Framing::Length(36 * 1024), |part| beginning.extend_from_slice(part)).unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
            if beginning == pattern(100 * KIB) { "right" } else { "wrong" }
        );
        conversation.write(answer).unwrap();
    }));
    let (mut client, body) = (stage.usher.connect(), pattern(100 * KIB));
    post(&mut client, body.len(), "", &body[..63 * KIB]);
    assert!(is_unasked(&stage));
    client.send(&body[63 * KIB..64 * KIB]);
    arrives(&stage);
    client.send(&body[64 * KIB..]);
    assert_eq!(client.response().text(), "right");
}

#[test]
fn an_upload_goes_through_at_once_where_nothing_is_to_be_held() {
    for config in ["[upstreams.default]\nbuffer_request = '0B'", "[listen]\nbuffers_max = '0B'"] {
        let stage = Fixture::configured(App::scripted(heads_only), config);
        let mut client = stage.usher.connect();
        post(&mut client, 20_000, "", b"a");
        arrives(&stage);
    }
}

#[test]
fn what_is_answered_in_turns_goes_through_at_once() {
    for more in ["Content-Type: application/grpc\r\n", "Content-Type: application/grpc-web+proto\r\n"] {
        let stage = Fixture::with_app(App::scripted(heads_only));
        let mut client = stage.usher.connect();
        post(&mut client, 10_000, more, b"a");
        arrives(&stage);
    }
}

#[test]
fn a_live_stream_is_waited_for_a_second_and_then_passed_on_piece_by_piece() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        let head = conversation.head().unwrap();
        let mut back = conversation.sender();
        write!(back, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").unwrap();
        conversation.wire().stream_body(head.framing(Framing::Empty), |part| back.write_all(part).unwrap()).unwrap();
    }));
    let mut client = stage.usher.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"));
    assert!(is_unasked(&stage));
    assert_eq!(client.head().framing(Framing::Empty), Framing::Length(6));
    for piece in ["ab", "cd", "ef"] {
        if piece != "ab" {
            client.send(format!("2\r\n{piece}\r\n"));
        }
        let mut echoed = Vec::new();
        client.wire().stream_body(Framing::Length(2), |part| echoed.extend_from_slice(part)).unwrap();
        assert_eq!(echoed, piece.as_bytes());
    }
    client.send("0\r\n\r\n");
}

#[test]
fn a_whole_upload_keeps_its_coding_and_its_trailers() {
    let stage = Fixture::new();
    let response = stage.usher.raw(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Store-Id\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\nX-Store-Id: 2\r\n\r\n"
    ));
    assert_eq!(response.status, 200);
    let request = stage.app.last();
    assert_eq!((request.body.as_slice(), request.folded("x-sum")), (&b"abcde"[..], vec!["7"]));
    assert_eq!((request.folded("transfer-encoding"), request.folded("x-store-id")), (vec!["chunked"], vec!["1"]));
}

/// Answers one request per connection and closes as the next one comes, without a word.
fn closes_under_the_second(mut conversation: Conversation) {
    conversation.request();
    let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if conversation.number == 0 {
        conversation.request();
    }
}

#[test]
fn a_body_that_was_held_whole_is_sent_again_with_its_idempotent_request() {
    for (method, status, seen) in [("PUT", 200, 3), ("DELETE", 200, 3), ("POST", 502, 2)] {
        let stage = Fixture::configured(App::scripted(closes_under_the_second), "[listen]\nworkers = 1");
        assert_eq!(stage.get(HOST, "/").status, 200);
        let body = "x".repeat(20_000);
        let request = format!("{method} /b HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(stage.usher.raw(request).status, status, "{method}");
        let requests = stage.app.requests();
        assert_eq!(requests.len(), seen, "{method}");
        for request in &requests[1..] {
            assert!(request.method() == method && request.target() == "/b" && request.body == body.as_bytes());
            assert_eq!(request.folded("x-store-id"), ["1"]);
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position ^ (position >> 8) ^ (position >> 16)).to_le_bytes()[0]).collect()
}

/// Answers with `LARGE` bytes under this head, tells when all of them were taken, and then with little.
fn large_app(fields: &'static str) -> (App, Receiver<()>) {
    let (written, all_written) = channel();
    let app = App::scripted(move |mut conversation| {
        while let Some(request) = conversation.request() {
            if request.target() == "/" {
                let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {LARGE}\r\n\r\n");
            if conversation.write(head).and_then(|()| conversation.write(pattern(LARGE))).is_ok() {
                let _ = written.send(());
            }
        }
    });
    (app, all_written)
}

/// Asks for the large answer and takes nothing of it but its head.
fn reluctant(usher: &Usher) -> Client {
    let mut client = usher.connect();
    client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.head().framing(Framing::Empty), Framing::Length(LARGE as u64));
    client
}

/// Bytes that are held, as the metrics tell them.
fn held(usher: &Usher) -> f64 {
    usher.metric("usher_buffers_held_bytes", &[])
}

#[test]
fn an_app_is_done_before_its_client_and_takes_the_next_request() {
    let ((one, one_written), (two, two_written)) = (large_app(""), large_app(""));
    let tables = Tables::example(Backend::Sqlite);
    let usher = Binary::over(&tables).apps(&[&one, &two]).config("[listen]\nworkers = 1").config(ROOMY).start();
    let mut client = reluctant(&usher);
    let app = if one.requests().is_empty() { &two } else { &one };
    let written = if one.requests().is_empty() { two_written } else { one_written };
    written.recv_timeout(SOON).unwrap();
    eventually("nothing runs there", || (usher.metric("usher_endpoint_in_flight", &[]) == 0.0).then_some(()));
    eventually("it takes the next request", || {
        assert_eq!(usher.get(HOST, "/").text(), "ok");
        (app.requests().len() > 1).then_some(())
    });
    assert_eq!(app.connections(), 1, "and its connection too");
    assert!(held(&usher) > 0.0);

    let mut received = Vec::new();
    client.wire().stream_body(Framing::Length(LARGE as u64), |part| received.extend_from_slice(part)).unwrap();
    assert!(received == pattern(LARGE));
    assert_eq!(client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).response().text(), "ok");
    assert_eq!(held(&usher), 0.0);
    eventually("the whole answer is in the log", || {
        let log = usher.access_log_so_far();
        log.lines()
            .any(|line| line.contains(&format!("\"bytes_out\":{LARGE},")) && line.contains("\"ok\""))
            .then_some(())
    });
}

#[test]
fn an_app_waits_for_its_client_where_nothing_is_to_be_read_ahead() {
    for (fields, config) in [
        ("", "[upstreams.default]\nbuffer_response = '0B'"),
        ("", "[upstreams.default]\nbuffer_response = '1MiB'"),
        ("X-Accel-Buffering: no\r\n", ROOMY),
        ("Content-Type: text/event-stream\r\n", ROOMY),
        ("Content-Type: application/grpc+proto\r\n", ROOMY),
    ] {
        let (app, all_written) = large_app(fields);
        let stage = Fixture::configured(app, config);
        let _client = reluctant(&stage.usher);
        assert!(all_written.recv_timeout(A_MOMENT * 3).is_err(), "{fields} {config}");
    }
}

#[test]
fn all_bodies_together_have_a_bound_beyond_which_they_are_passed_on_as_they_come() {
    let (app, all_written) = large_app("");
    let stage = Fixture::configured(app, &format!("[listen]\nbuffers_max = '1MiB'\n{ROOMY}"));
    let mut clients = [reluctant(&stage.usher), reluctant(&stage.usher), reluctant(&stage.usher)];
    eventually("room is missing", || (stage.usher.metric("usher_buffers_refused_total", &[]) >= 1.0).then_some(()));
    let held_now = held(&stage.usher);
    assert!((1.0..=1_048_576.0).contains(&held_now), "{held_now}");
    assert!(all_written.try_recv().is_err());
    for client in &mut clients {
        let mut received = 0;
        client.wire().stream_body(Framing::Length(LARGE as u64), |part| received += part.len()).unwrap();
        assert_eq!(received, LARGE);
    }
    assert_eq!(held(&stage.usher), 0.0);
}

#[test]
fn what_is_held_for_a_client_goes_with_it() {
    let (app, all_written) = large_app("");
    let stage = Fixture::configured(app, ROOMY);
    let client = reluctant(&stage.usher);
    all_written.recv_timeout(SOON).unwrap();
    assert!(held(&stage.usher) > 0.0);
    client.reset();
    eventually("the room is given back", || (held(&stage.usher) == 0.0).then_some(()));
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
}

/// Bytes that the system holds of what usher has sent on this connection, once they grow no more (`proc_pid_net`(5)).
fn unsent(client: &mut Client) -> u64 {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let (server, client) = (client.wire().stream().peer_addr().unwrap(), client.wire().stream().local_addr().unwrap());
    let queue = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row[1].ends_with(&port(server)) && row[2].ends_with(&port(client))).unwrap();
        u64::from_str_radix(row[4].split_once(':').unwrap().0, 16).unwrap()
    };
    let mut last = 0;
    eventually("no more is taken", || {
        std::thread::sleep(A_MOMENT);
        let before = std::mem::replace(&mut last, queue());
        (before == last && last > 0).then_some(last)
    })
}

#[test]
fn the_system_holds_little_for_a_client_that_does_not_read() {
    let (app, _all_written) = large_app("");
    let stage = Fixture::configured(app, ROOMY);
    let mut client = reluctant(&stage.usher);
    let unsent = unsent(&mut client);
    assert!(unsent <= 256 * KIB as u64, "{unsent}");
    let mut received = 0;
    client.wire().stream_body(Framing::Length(LARGE as u64), |part| received += part.len()).unwrap();
    assert_eq!(received, LARGE);
}

#[test]
fn a_stream_of_http_2_without_a_window_holds_no_app_server_either() {
    let (app, all_written) = large_app("");
    let stage = Fixture::configured(app, ROOMY);
    let mut client = H2Client::with(stage.usher.http(), Builder::new().initial_window_size(1000));
    let stream = client.ask(h2_get(HOST, "/large")).unwrap();
    let mut body = client.wait(stream.answer).unwrap().into_body();
    all_written.recv_timeout(SOON).unwrap();
    body.flow_control().release_capacity(0).unwrap();
    assert!(client.read(&mut body).unwrap() == pattern(LARGE));
    assert_eq!(held(&stage.usher), 0.0);
}

/// The answer with a pause could be read ahead, and is not to be taken for that of the stream which has no room.
#[test]
fn an_answer_goes_on_beside_one_that_nobody_takes() {
    const HALF: usize = 10_000;
    let (go_on, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let stage = Fixture::configured(
        App::scripted(move |mut conversation| {
            while let Some(request) = conversation.request() {
                let is_paused = request.target() == "/paused";
                let length = if is_paused { 2 * HALF } else { LARGE };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let mut written = conversation.write(head);
                if is_paused {
                    written = written.and_then(|()| conversation.write(pattern(HALF)));
                    let _ = told.lock().unwrap().recv_timeout(SOON);
                }
                if written.and_then(|()| conversation.write(pattern(if is_paused { HALF } else { LARGE }))).is_err() {
                    return;
                }
            }
        }),
        ROOMY,
    );
    let mut client = H2Client::with(stage.usher.http(), Builder::new().initial_connection_window_size(1 << 24));
    let untaken = client.ask(h2_get(HOST, "/large")).unwrap();
    let mut untaken = client.wait(untaken.answer).unwrap().into_body();
    eventually("it is read ahead", || (held(&stage.usher) > 0.0).then_some(()));
    let paused = client.ask(h2_get(HOST, "/paused")).unwrap();
    let mut body = client.wait(paused.answer).unwrap().into_body();
    let mut received = client.wait(body.data()).unwrap().unwrap().len();
    while received < HALF {
        received += client.wait(body.data()).unwrap().unwrap().len();
    }
    // Room for a little more, so that usher turns to it once again.
    let piece = client.wait(untaken.data()).unwrap().unwrap();
    untaken.flow_control().release_capacity(piece.len()).unwrap();
    let _none = client.wait(async { tokio::time::timeout(A_MOMENT, body.data()).await });
    go_on.send(()).unwrap();
    received += client.read(&mut body).unwrap().len();
    assert_eq!(received, 2 * HALF);
}

#[test]
fn an_answer_that_breaks_off_after_it_was_read_ahead_breaks_off_for_its_client() {
    let (written, all_written) = channel();
    let stage = Fixture::configured(
        App::scripted(move |mut conversation| {
            conversation.request();
            conversation.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LARGE + 1)).unwrap();
            conversation.write(pattern(LARGE)).unwrap();
            written.send(()).unwrap();
        }),
        ROOMY,
    );
    let mut client = stage.usher.connect();
    client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    all_written.recv_timeout(SOON).unwrap();
    let mut received = Vec::new();
    let ended = client.wire().stream_body(Framing::Length(LARGE as u64 + 1), |part| received.extend_from_slice(part));
    assert!(ended.is_err() && received.len() > MIB && pattern(LARGE).starts_with(&received), "{}", received.len());
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "body_broken");
}

#[test]
fn chunks_and_trailers_that_were_read_ahead_arrive() {
    let (written, all_written) = channel();
    let stage = Fixture::configured(
        App::scripted(move |mut conversation| {
            conversation.request();
            conversation.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n").unwrap();
            for part in pattern(LARGE).chunks(MIB) {
                conversation.write(format!("{:x}\r\n", part.len())).unwrap();
                conversation.write(part).unwrap();
                conversation.write("\r\n").unwrap();
            }
            conversation.write("0\r\nX-Sum: 7\r\n\r\n").unwrap();
            written.send(()).unwrap();
        }),
        ROOMY,
    );
    let mut client = stage.usher.connect();
    client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\n\r\n"));
    all_written.recv_timeout(SOON).unwrap();
    let response = client.response();
    assert!(response.complete && response.body == pattern(LARGE));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn a_word_of_the_app_is_passed_on_at_once_however_much_could_be_held() {
    let (say, said) = channel::<&str>();
    let said = std::sync::Mutex::new(said);
    let stage = Fixture::configured(
        App::scripted(move |mut conversation| {
            conversation.request();
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n").unwrap();
            conversation.write("x".repeat(39_990)).unwrap();
            for word in said.lock().unwrap().iter() {
                conversation.write(word).unwrap();
            }
        }),
        ROOMY,
    );
    let mut client = stage.usher.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    client.wire().stream_body(Framing::Length(39_990), |_| {}).unwrap();
    for word in ["hello", "world"] {
        say.send(word).unwrap();
        let mut heard = Vec::new();
        client.wire().stream_body(Framing::Length(5), |part| heard.extend_from_slice(part)).unwrap();
        assert_eq!(heard, word.as_bytes());
    }
    assert_eq!(held(&stage.usher), 0.0);
}
