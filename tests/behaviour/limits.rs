//! What one client may take of usher: each limit with its answer, its metric, and those whom it must not hit.

use std::{
    io::Write,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client};
use http::Request;

use crate::support::{
    A_MOMENT, App, Backend, Binary, Client, Conversation, END_HEADERS, END_STREAM, Fixture, Framing, H2App, H2Client,
    HEADERS, RST_STREAM, Response, SOON, Tables, UNBUFFERED, Usher, connections_possible, eventually, h2_get,
};

const HOST: &str = "customdomain1.com";
const GET: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: customdomain1.com\r\n";

/// After this a connection that does nothing is parked.
const PARKED_AFTER: Duration = Duration::from_millis(1200);

/// How often `limit` was reached.
fn reached(usher: &Usher, limit: &str) -> u32 {
    let count = usher.metric("usher_limits_total", &[&format!("limit=\"{limit}\"")]);
    (0..1_000_000).find(|number| f64::from(*number) == count).unwrap()
}

fn is_a_problem(response: &Response, status: u16) {
    assert_eq!((response.status, response.header("content-type")), (status, Some("application/problem+json")));
    assert_eq!(response.json()["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn a_head_in_drops_is_a_408_and_silence_is_closed_in_silence() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '1s'");
    let mut dripping = stage.usher.connect();
    let mut silent = stage.usher.connect();
    dripping.send("GET / HTTP/1.1\r\n");
    let mut sender = dripping.sender();
    thread::spawn(move || {
        while sender.write_all(b"X: y\r\n").is_ok() {
            thread::sleep(A_MOMENT / 2);
        }
    });
    is_a_problem(&dripping.response(), 408);
    assert!(silent.try_response().unwrap().is_none());
    assert_eq!(reached(&stage.usher, "header_timeout"), 2);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["status"], &line["outcome"]), (&408.into(), &"limited".into()));
}

#[test]
fn what_is_no_http_gets_a_problem_with_an_id_a_line_and_a_count() {
    let stage = Fixture::new();
    let response = stage.usher.raw("GET / HTTP/1.1\r\nHost customdomain1.com\r\n\r\n");
    is_a_problem(&response, 400);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["outcome"], &line["status"]), (&"bad_request".into(), &400.into()));
    assert_eq!(line["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(stage.usher.metric("usher_requests_total", &["outcome=\"bad_request\""]), 1.0);
}

#[test]
fn a_head_with_too_many_bytes_or_fields_is_a_431() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_max_bytes = '8KiB'\nheader_max_count = 20");
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let ask = |fields: String| stage.usher.raw(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
    assert_eq!(ask(many(19)).status, 200);
    is_a_problem(&ask(many(20)), 431);
    is_a_problem(&ask(format!("X: {}\r\n", "y".repeat(9000))), 431);
    assert_eq!(reached(&stage.usher, "header_size"), 2);

    let mut client = H2Client::connect(stage.usher.http());
    let mut status = |fields: Vec<(String, String)>| {
        let builder =
            fields.into_iter().fold(Request::get(format!("http://{HOST}/")), |b, (name, value)| b.header(name, value));
        let stream = client.ask(builder.body(()).unwrap()).unwrap();
        client.answer(stream).unwrap().0.status().as_u16()
    };
    let many = |count: usize| (0..count).map(|number| (format!("x-{number}"), "y".to_owned())).collect::<Vec<_>>();
    assert_eq!(status(many(19)), 200);
    assert_eq!(status(many(20)), 431);
    assert_eq!(status(vec![("x".into(), "y".repeat(9000))]), 431);
}

#[test]
fn a_target_that_is_too_long_is_a_414() {
    let stage = Fixture::configured(App::echo(), "[listen]\ntarget_max_bytes = '1KiB'");
    let target = |length: usize| format!("/{}", "x".repeat(length - 1));
    assert_eq!(stage.get(HOST, &target(1024)).status, 200);
    assert_eq!(stage.get(HOST, &target(1025)).status, 414);
    let mut client = H2Client::connect(stage.usher.http());
    assert_eq!(client.get(HOST, &target(1024)).unwrap().0.status(), 200);
    assert_eq!(client.get(HOST, &target(1025)).unwrap().0.status(), 414);
    assert_eq!(reached(&stage.usher, "target_length"), 2);
}

#[test]
fn the_last_request_of_a_connection_closes_it() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnection_requests_max = 3");
    let mut client = stage.usher.connect();
    for _ in 0..2 {
        assert_eq!(client.send(GET).response().header("connection"), None);
    }
    let last = client.send(GET).response();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(client.closed_by_peer());
    assert_eq!(reached(&stage.usher, "connection_requests"), 1);

    let mut client = H2Client::connect(stage.usher.http());
    for _ in 0..3 {
        assert_eq!(client.get(HOST, "/").unwrap().0.status(), 200);
    }
    assert!(client.closed_by_peer());
    assert_eq!(reached(&stage.usher, "connection_requests"), 2);
}

/// Also one that is never idle for long ends with an answer, and takes no request with it.
#[test]
fn a_busy_connection_that_has_lived_its_time_loses_no_request() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnection_lifetime = '1s'");
    for target in ["/", "/unknown"] {
        let host = if target == "/" { HOST } else { "unknown.com" };
        let (mut client, began) = (stage.usher.connect(), Instant::now());
        let mut asked = 0;
        loop {
            asked += 1;
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            if client.response().header("connection") == Some("close") {
                break;
            }
            assert!(began.elapsed() < SOON);
            thread::sleep(Duration::from_millis(50));
        }
        assert!(asked > 1 && began.elapsed() >= Duration::from_millis(900));
        assert!(client.closed_by_peer());
    }
    assert_eq!(reached(&stage.usher, "connection_lifetime"), 2);
}

#[test]
fn a_connection_that_has_lived_its_time_answers_once_more_and_ends() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnection_lifetime = '1s'");
    let mut client = stage.usher.connect();
    assert_eq!(client.send(GET).response().header("connection"), None);
    thread::sleep(PARKED_AFTER);
    let last = client.send(GET).response();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(client.closed_by_peer());
    assert_eq!(reached(&stage.usher, "connection_lifetime"), 1);
}

#[test]
fn a_proxy_of_ours_may_keep_its_connections() {
    let stage = Fixture::configured(
        App::echo(),
        "[listen]\nconnection_requests_max = 1\nconnections_per_client_max = 1\ntrusted_proxies = ['loopback']",
    );
    let mut clients: Vec<Client> = (0..5).map(|_| stage.usher.connect()).collect();
    for client in clients.iter_mut().chain([&mut stage.usher.connect()]) {
        for _ in 0..3 {
            assert_eq!(client.send(GET).response().header("connection"), None);
        }
    }
}

/// A connection on which a load balancer announces `client`.
fn announced(usher: &Usher, client: &str) -> Client {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let mut connection = usher.connect();
    connection.send(format!("PROXY {family} {client} {client} 1 2\r\n"));
    connection
}

#[test]
fn one_client_takes_its_share_of_the_connections_and_others_still_get_in() {
    let stage =
        Fixture::configured(App::echo(), "[listen]\nconnections_per_client_max = 3\nproxy_protocol = ['loopback']");
    let is_served = |client: &str| {
        let mut connection = announced(&stage.usher, client);
        let answer = connection.send(GET).try_response();
        answer.ok().flatten().is_some_and(|response| response.status == 200).then_some(connection)
    };
    for (client, sibling, other) in
        [("203.0.113.7", "203.0.113.7", "203.0.113.8"), ("2001:db8:1:2::1", "2001:db8:1:2:f::9", "2001:db8:1:3::1")]
    {
        let mut held: Vec<Client> = (0..3).map(|_| is_served(client).unwrap()).collect();
        assert!(is_served(client).is_none() && is_served(sibling).is_none());
        assert!(is_served(other).is_some());
        drop(held.pop());
        eventually("the place is free again", || is_served(sibling));
    }
    assert!(reached(&stage.usher, "connections_per_client") >= 4);
}

/// Never answers a request for `/held`, nor one for `/unread`, whose body it leaves in the socket.
fn holding(mut conversation: Conversation) {
    while let Some(head) = conversation.head() {
        if head.line.contains("/held") {
            let _ended = conversation.closed_by_peer();
            return;
        }
        if head.line.contains("/unread") {
            return thread::sleep(SOON);
        }
        let body = conversation.wire().body(head.framing(Framing::Empty)).unwrap().bytes;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.len(), "x".repeat(body.len()));
        if conversation.write(answer).is_err() {
            return;
        }
    }
}

#[test]
fn one_client_has_its_share_of_requests_on_whatever_connections_and_others_are_served() {
    let config = "[listen]\nrequests_per_client_max = 3\nproxy_protocol = ['loopback']\ntrusted_proxies = ['10.0.0.1']";
    let stage = Fixture::configured(App::scripted(holding), config);
    let held = |client: &str, fields: &str| {
        let mut connection = announced(&stage.usher, client);
        connection.send(format!("GET /held HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
        connection
    };
    let asked = |client: &str, fields: &str| {
        announced(&stage.usher, client).send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).response()
    };
    let brought = "X-Forwarded-For: 203.0.113.7\r\n";
    let mut holds = vec![held("203.0.113.7", ""), held("203.0.113.7", ""), held("10.0.0.1", brought)];
    eventually("they are at the app", || (stage.app.requests().len() == 3).then_some(()));

    for response in [asked("203.0.113.7", ""), asked("10.0.0.1", brought)] {
        assert_eq!((response.status, response.header("retry-after")), (429, Some("5")));
        assert_eq!(response.header("connection"), None);
    }
    assert_eq!(asked("203.0.113.8", "").status, 200);
    assert_eq!(asked("10.0.0.1", "X-Forwarded-For: 203.0.113.8\r\n").status, 200);
    assert_eq!(asked("10.0.0.1", "").status, 200);
    assert_eq!(reached(&stage.usher, "requests_per_client"), 2);

    holds.pop();
    eventually("there is room again", || (asked("203.0.113.7", "").status == 200).then_some(()));
}

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

#[test]
fn an_idle_connection_is_closed_in_silence_parked_or_not() {
    for (keep_alive, least) in [("100ms", 100), ("1500ms", 1500)] {
        let stage = Fixture::configured(App::echo(), &format!("[listen]\nkeep_alive_timeout = '{keep_alive}'"));
        let mut client = stage.usher.connect();
        assert_eq!(client.send(GET).response().status, 200);
        let idle_since = Instant::now();
        assert!(client.try_response().unwrap().is_none());
        assert!(idle_since.elapsed() >= Duration::from_millis(least), "{:?}", idle_since.elapsed());
        assert_eq!(reached(&stage.usher, "keep_alive"), 1);

        let mut client = H2Client::connect(stage.usher.http());
        assert_eq!(client.get(HOST, "/").unwrap().0.status(), 200);
        assert!(client.closed_by_peer());
        assert_eq!(reached(&stage.usher, "keep_alive"), 2);
    }
}

#[test]
fn a_parked_connection_loses_no_byte() {
    let stage = Fixture::new();
    let parked = || {
        let mut client = stage.usher.connect();
        assert_eq!(client.send(GET).response().status, 200);
        client
    };
    let [mut pipelining, mut dripping, mut leaving, mut uploading] = [(); 4].map(|()| parked());
    thread::sleep(PARKED_AFTER);

    pipelining.send(GET.repeat(3).as_bytes());
    assert!((0..3).all(|_| pipelining.response().status == 200));

    for byte in GET.as_bytes() {
        dripping.send([*byte]);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(dripping.response().status, 200);

    // Who says that nothing more will come, says so with nothing under way.
    leaving.finish_sending();
    assert!(leaving.try_response().unwrap().is_none());

    let body = "x".repeat(100_000);
    uploading.send(format!("{POST}Content-Length: 100000\r\n\r\n{body}"));
    assert_eq!(uploading.response().json()["body_length"], 100_000);
}

#[test]
fn a_parked_connection_drains_at_once() {
    let mut stage = Fixture::new();
    let mut client = stage.usher.connect();
    assert_eq!(client.send(GET).response().status, 200);
    thread::sleep(PARKED_AFTER);
    let told = Instant::now();
    assert!(stage.usher.stop().success());
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert!(client.try_response().unwrap().is_none());
}

/// More than fits between two sockets, and more than a window.
const LARGE: usize = 64 << 20;

fn large(mut conversation: Conversation) {
    while conversation.head().is_some() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        if conversation.write(head).and_then(|()| conversation.write(vec![b'x'; LARGE])).is_err() {
            return;
        }
    }
}

/// Says something every two seconds.
fn events(mut conversation: Conversation) {
    if conversation.head().is_some() {
        conversation.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
        for _ in 0..2 {
            conversation.write("data: tick\n\n").unwrap();
            thread::sleep(Duration::from_secs(2));
        }
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let stage = Fixture::configured(App::scripted(large), "[listen]\nwrite_timeout = '1s'");
    let mut client = stage.usher.connect();
    client.send(GET);
    client.head();
    eventually("the client is cut off", || (reached(&stage.usher, "write_timeout") == 1).then_some(()));
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"limited".into()));
    eventually("its connection is closed", || (stage.usher.metric("usher_connections", &[]) == 0.0).then_some(()));
}

#[test]
fn a_client_that_waits_for_events_is_not_cut_off() {
    let limits = "[listen]\nwrite_timeout = '1s'\nrate_min = '1MiB'\nkeep_alive_timeout = '1s'\nheader_timeout = '1s'";
    let stage = Fixture::configured(App::scripted(events), limits);
    let response = stage.get(HOST, "/");
    assert_eq!((response.text().as_str(), response.complete), ("data: tick\n\ndata: tick\n\n", true));
    let (_head, body) = H2Client::connect(stage.usher.http()).get(HOST, "/").unwrap();
    assert_eq!(body, b"data: tick\n\ndata: tick\n\n");
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
    client.send(GET);
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

/// Waits until the app has seen more than `count` requests; false where usher has cut off the client before.
fn arrives(stage: &Fixture, count: usize) -> bool {
    eventually("the request is at the app, or the client is cut off", || {
        let has_arrived = stage.app.requests().len() > count;
        (has_arrived || reached(&stage.usher, "resets") > 0).then_some(has_arrived)
    })
}

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

#[test]
fn a_client_that_takes_them_back_before_anybody_sees_them_is_cut_off() {
    let stage = Fixture::configured(App::scripted(silent), "[listen]\nworkers = 1");
    // GET, http, / and the authority (RFC 7541, appendix A).
    let get = [b"\x82\x86\x84\x01\x11", HOST.as_bytes()].concat();
    let mut flood = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    for stream in (1..400).step_by(2) {
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut client = stage.usher.connect();
    assert!(client.send(flood).closed_by_peer());
    // The connection is closed first and counted then.
    eventually("the flood is counted", || (reached(&stage.usher, "flood") == 1).then_some(()));
    assert_eq!(stage.get("unknown.example", "/").status, 404);
}

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

#[test]
fn ten_thousand_idle_connections_take_little_memory() {
    let count = connections_possible(10_000);
    let stage = Fixture::configured(App::echo(), "[listen]\nconnections_per_client_max = 10000");
    let ask = |client: &mut Client| assert_eq!(client.send(GET).response().status, 200);
    // What is needed once is there before.
    (0..100).for_each(|_| ask(&mut stage.usher.connect()));
    let before = stage.usher.memory();
    let mut clients: Vec<Client> = (0..count).map(|_| stage.usher.connect()).collect();
    clients.iter_mut().for_each(ask);
    assert_eq!(stage.usher.metric("usher_connections", &[]), f64::from(u32::try_from(count).unwrap()));
    eventually("idle connections are parked", || {
        let each = stage.usher.memory().saturating_sub(before) / count as u64;
        (each < 4096).then_some(())
    });
    ask(&mut clients[count / 2]);
    drop(clients);
    eventually("no connection is left", || (stage.usher.metric("usher_connections", &[]) == 0.0).then_some(()));
}

#[test]
fn a_body_that_says_it_is_too_large_never_reaches_the_app() {
    let stage = Fixture::configured(App::echo(), "[upstreams.default]\nbody_max_bytes = '1KiB'");
    let mut client = stage.usher.connect();
    let exact = "x".repeat(1024);
    client.send(format!("{POST}Content-Length: 1024\r\n\r\n{exact}"));
    assert_eq!(client.response().status, 200);
    // Nobody waits for the body, and whoever sends it nevertheless gets the answer.
    client.send(format!("{POST}Content-Length: 1025\r\nExpect: 100-continue\r\n\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    assert_eq!(response.json()["request_id"], response.header("x-request-id").unwrap());
    assert!(client.closed_by_peer());
    assert_eq!(stage.app.requests().len(), 1);
    assert_eq!(reached(&stage.usher, "body_size"), 1);
    assert_eq!(stage.usher.access_log(2)[1]["outcome"], "limited");
}

#[test]
fn a_client_that_is_still_sending_hears_that_its_body_is_too_large() {
    let stage = Fixture::configured(App::echo(), "[upstreams.default]\nbody_max_bytes = '1MiB'");
    for head in ["Content-Length: 3145728\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n300000\r\n"] {
        let mut client = stage.usher.connect();
        client.send(format!("{POST}{head}"));
        let mut sender = client.sender();
        let sending = thread::spawn(move || sender.write_all(&vec![b'x'; 3 << 20]));
        assert_eq!(client.response().status, 413, "{head}");
        let _cut_off = sending.join().unwrap();
    }
}

#[test]
fn a_body_that_grows_too_large_ends_its_attempt_and_the_apps_connection() {
    let (told, ends) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        let Some(head) = conversation.head() else { return };
        let whole = conversation.wire().body(head.framing(Framing::Empty)).is_ok();
        let _ = told.send((whole, conversation.closed_by_peer()));
    });
    let stage = Fixture::configured(app, &format!("[listen]\nworkers = 1\n{UNBUFFERED}\nbody_max_bytes = '10B'"));
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"));
    thread::sleep(A_MOMENT);
    client.send("6\r\nghijkl\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 413);
    assert!(client.closed_by_peer());
    assert_eq!(ends.recv_timeout(SOON).unwrap(), (false, true), "the app is told that the body is not whole");
    assert_eq!(reached(&stage.usher, "body_size"), 1);
    assert_eq!(stage.usher.metric("usher_upstream_attempts_total", &["outcome=\"cancelled\""]), 1.0);
}

#[test]
fn a_body_that_does_not_go_on_is_a_408_and_ends_the_apps_connection() {
    let (told, ends) = mpsc::channel();
    let app = App::scripted(move |mut conversation| {
        let _whole = conversation.request();
        let _ = told.send(conversation.closed_by_peer());
    });
    // The app's own time does not run meanwhile.
    let stage =
        Fixture::configured(app, &format!("[listen]\nbody_timeout = '1s'\n{UNBUFFERED}\nhead_timeout = '300ms'"));
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: 10\r\n\r\nhalf "));
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(client.closed_by_peer());
    assert!(ends.recv_timeout(SOON).unwrap());
    assert_eq!(reached(&stage.usher, "body_timeout"), 1);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["outcome"], &line["reason"]), (&"limited".into(), &"request body did not go on in time".into()));
}

#[test]
fn a_body_in_drops_is_a_408() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: 1000\r\n\r\n"));
    eventually("the client is too slow", || {
        thread::sleep(A_MOMENT);
        client.send("x");
        (reached(&stage.usher, "body_rate") == 1).then_some(())
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(reached(&stage.usher, "body_timeout"), 0);
}

#[test]
fn an_app_that_takes_its_time_makes_no_client_slow() {
    const LENGTH: usize = 16 << 20;
    let app = App::scripted(|mut conversation| {
        let Some(head) = conversation.head() else { return };
        // Long enough for the client to have sent all that fits in between.
        thread::sleep(A_MOMENT * 8);
        let body = conversation.wire().body(head.framing(Framing::Empty)).unwrap();
        let length = body.bytes.len().to_string();
        conversation.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len())).unwrap();
    });
    let stage = Fixture::configured(app, "[listen]\nbody_timeout = '500ms'");
    let mut client = stage.usher.connect();
    client.send(format!("{POST}Content-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.response().text(), LENGTH.to_string());
}
