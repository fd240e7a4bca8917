//! What one client may take of usher: each limit with its answer, its metric, and those whom it must not hit.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use http::Request;

use crate::support::{
    A_MOMENT, App, Client, Conversation, Fixture, Framing, H2Client, Response, SOON, Usher, connections_possible,
    eventually,
};

const HOST: &str = "customdomain1.com";
const GET: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: customdomain1.com\r\n";

/// After this a connection that does nothing is parked.
pub(crate) const PARKED_AFTER: Duration = Duration::from_millis(1200);

/// How often `limit` was reached.
pub(crate) fn reached(usher: &Usher, limit: &str) -> u32 {
    let count = usher.metric("usher_limits_total", &[&format!("limit=\"{limit}\"")]);
    (0..1_000_000).find(|number| f64::from(*number) == count).unwrap()
}

fn is_a_problem(response: &Response, status: u16) {
    assert_eq!((response.status, response.header("content-type")), (status, Some("application/problem+json")));
    assert_eq!(response.json()["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(response.header("connection"), Some("close"));
}

/// RFC 9110 §15.5.9.
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

/// RFC 9112 §2.2.
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

/// RFC 9110 §5.4, RFC 6585 §5.
#[test]
fn a_head_with_too_many_bytes_or_fields_is_a_431() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_max_bytes = '8KiB'\nheader_max_count = 20");
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let ask = |fields: String| stage.usher.raw(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
    assert_eq!(ask(many(19)).status, 200);
    is_a_problem(&ask(many(20)), 431);
    is_a_problem(&ask(format!("X: {}\r\n", "y".repeat(9000))), 431);
    assert_eq!(reached(&stage.usher, "header_size"), 2);
}

/// h2 would answer the last one by itself, without a page, a line or a count (RFC 9113 §10.5.1).
#[test]
fn a_head_of_http_2_with_too_many_bytes_or_fields_is_a_431_too() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_max_bytes = '8KiB'\nheader_max_count = 20");
    let mut client = H2Client::connect(stage.usher.http());
    let mut ask = |fields: Vec<(String, String)>| {
        let builder =
            fields.into_iter().fold(Request::get(format!("http://{HOST}/")), |b, (name, value)| b.header(name, value));
        let stream = client.ask(builder.body(()).unwrap()).unwrap();
        client.answer(stream).unwrap()
    };
    let many = |count: usize| (0..count).map(|number| (format!("x-{number}"), "y".to_owned())).collect::<Vec<_>>();
    assert_eq!(ask(many(19)).0.status(), 200);
    assert_eq!(ask(vec![("x".into(), "y".repeat(7500))]).0.status(), 200);
    // Of a browser with many cookies (RFC 9113 §8.2.3).
    let crumbs = (0..150).map(|number| ("cookie".to_owned(), format!("c{number}=1"))).collect();
    assert_eq!(ask(crumbs).0.status(), 200);
    for fields in [many(20), vec![("x".into(), "y".repeat(9000))]] {
        let (head, body) = ask(fields);
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((head.status().as_u16(), &problem["status"]), (431, &431.into()));
        assert_eq!(problem["request_id"], head.headers()["x-request-id"].to_str().unwrap());
    }
    assert_eq!(reached(&stage.usher, "header_size"), 2);
    assert_eq!(stage.usher.access_log(5).iter().filter(|line| line["status"] == 431).count(), 2);
    // Beyond twice the limit it is h2 that answers.
    assert_eq!(ask(vec![("x".into(), "y".repeat(17_000))]).0.status(), 431);
    assert_eq!(reached(&stage.usher, "header_size"), 2);
}

/// RFC 9112 §3, RFC 9110 §15.5.15.
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

/// RFC 9112 §9.6, RFC 9113 §6.8.
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
/// RFC 9112 §9.6.
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

/// RFC 9112 §9.6.
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
        "[listen]\nconnection_requests_max = 1\nconnections_per_client_max = 1\nconnection_lifetime = '1s'\n\
         trusted_proxies = ['loopback']",
    );
    let mut clients: Vec<Client> = (0..5).map(|_| stage.usher.connect()).collect();
    let mut on_http_2 = H2Client::connect(stage.usher.http());
    for _ in 0..2 {
        for client in &mut clients {
            for _ in 0..3 {
                assert_eq!(client.send(GET).response().header("connection"), None);
            }
        }
        assert_eq!(on_http_2.get(HOST, "/").unwrap().0.status(), 200);
        thread::sleep(PARKED_AFTER);
    }
    assert_eq!(on_http_2.get(HOST, "/").unwrap().0.status(), 200);
    assert_eq!((reached(&stage.usher, "connection_lifetime"), reached(&stage.usher, "connection_requests")), (0, 0));
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
pub(crate) fn holding(mut conversation: Conversation) {
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

/// RFC 6585 §4.
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

/// RFC 9112 §9.5, RFC 9113 §9.1.
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

/// It cannot be parked, since its answer came without a look at the body.
#[test]
fn a_connection_whose_last_body_nobody_wanted_has_the_same_limits() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '1s'\nkeep_alive_timeout = '3s'");
    let begun = Instant::now();
    let [mut idle, mut half] = [(); 2].map(|()| {
        let mut client = stage.usher.connect();
        client.send("POST / HTTP/1.1\r\nHost: unknown.example\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.response().status, 404);
        client
    });
    half.send(&GET[..20]);
    assert!(half.closed_by_peer() && reached(&stage.usher, "keep_alive") == 0);
    assert!(idle.closed_by_peer() && begun.elapsed() < Duration::from_secs(10));
    assert_eq!((reached(&stage.usher, "header_timeout"), reached(&stage.usher, "keep_alive")), (1, 1));
}

/// RFC 9112 §9.3.2.
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

/// RFC 9110 §15.5.9, as for the first head of a connection.
#[test]
fn a_head_that_stops_on_a_connection_that_was_parked_is_a_408() {
    let stage = Fixture::configured(App::echo(), "[listen]\nheader_timeout = '1s'");
    let mut client = stage.usher.connect();
    assert_eq!(client.send(GET).response().status, 200);
    thread::sleep(PARKED_AFTER);
    let begun = Instant::now();
    is_a_problem(&client.send("GET / HTTP/1.1\r\nHost: custom").response(), 408);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!((reached(&stage.usher, "header_timeout"), reached(&stage.usher, "keep_alive")), (1, 0));
}

/// RFC 9112 §9.6.
#[test]
fn the_requests_of_a_connection_are_counted_across_its_pauses() {
    let stage = Fixture::configured(App::echo(), "[listen]\nconnection_requests_max = 3");
    let mut client = stage.usher.connect();
    for close in [None, None, Some("close")] {
        assert_eq!(client.send(GET).response().header("connection"), close);
        thread::sleep(PARKED_AFTER);
    }
    assert!(client.closed_by_peer());
    assert_eq!(reached(&stage.usher, "connection_requests"), 1);
}

/// RFC 9112 §9.5.
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
pub(crate) const LARGE: usize = 64 << 20;

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

/// Never silent for long, and never done.
#[test]
fn a_client_that_takes_an_answer_in_drops_is_cut_off() {
    let stage = Fixture::configured(App::scripted(large), "[listen]\nrate_min = '1MiB'");
    let mut client = stage.usher.connect();
    let begun = Instant::now();
    client.send(GET);
    client.head();
    let mut part = vec![0; 32 * 1024];
    while reached(&stage.usher, "write_rate") == 0 {
        assert!(begun.elapsed() < SOON * 2, "still served");
        client.wire().read(&mut part).unwrap();
        thread::sleep(A_MOMENT);
    }
    // Ten seconds of waiting are forgiven.
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"limited".into()));
    assert_eq!(reached(&stage.usher, "write_timeout"), 0);
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
