//! Foreign clients of HTTP/2: one that writes frames and breaks the rules one by one (RFC 9113, RFC 7541), and a library.

use std::{io, net::Shutdown, thread};

use crate::{
    program::{alone, python, ran},
    support::{A_MOMENT, App, Conversation, Fixture, Request},
};

const LARGE: usize = 1024 * 1024;

/// What `http2_library.py` asks of an app.
fn versatile(mut conversation: Conversation) {
    while let Some(request) = conversation.request() {
        let answered = match request.target() {
            "/trailers" => conversation.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nabcde\r\n0\r\nX-Sum: 7\r\n\r\n",
            ),
            "/large" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
                conversation.write(head).and_then(|()| conversation.write(vec![b'x'; 1_000_000]))
            }
            "/live" => return mirror(conversation, &request),
            "/slow" => slowly(&mut conversation),
            _ => conversation.account(&request),
        };
        if answered.is_err() {
            return;
        }
    }
}

/// Agrees to the WebSocket, and sends back what comes.
fn mirror(mut conversation: Conversation, request: &Request) {
    conversation.agree(&request.head);
    let (mut from, mut to) = (conversation.sender(), conversation.sender());
    let _ended = std::io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}

fn slowly(conversation: &mut Conversation) -> io::Result<()> {
    conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nbegun")?;
    thread::sleep(A_MOMENT * 2);
    conversation.write(" and done")
}

fn run(script: &str, stage: &Fixture) -> String {
    ran(python(script).args([stage.usher.http().port().to_string(), stage.usher.process().to_string()]))
}

/// Where two readers could differ, nothing reaches the app; what is odd and legal does.
fn assert_only_served(requests: &[Request]) {
    let strangers: Vec<&str> = requests.iter().map(Request::target).filter(|t| !t.starts_with("/served/")).collect();
    assert!(strangers.is_empty(), "the app saw {strangers:?}");
}

#[test]
fn a_message_that_is_none_is_refused_and_an_odd_one_served() {
    let stage = Fixture::new();
    run("http2_messages.py", &stage);
    let requests = stage.app.requests();
    assert_only_served(&requests.iter().filter(|r| !is_cut_off(r)).cloned().collect::<Vec<_>>());
    let of = |target: &str| requests.iter().find(|request| request.target() == target).unwrap();
    for request in &requests {
        assert_eq!(request.folded("x-store-id"), ["1"], "{}", request.target());
        assert_eq!(request.folded("host"), ["customdomain1.com"], "{}", request.target());
        for gone in ["connection", "te", "keep-alive", "proxy-connection", "upgrade"] {
            assert_eq!(request.folded(gone), [""; 0], "{}", request.target());
        }
    }
    assert_eq!(of("/served/owned").folded("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(of("/served/cookies").head.all("cookie"), ["a=1; b=2; c=3"], "RFC 9113 §8.2.3");
    assert_eq!(of("/served/spaces").head.one("x-value"), Some("a b\tc"));
    assert_eq!(of("/served/fragment").target(), "/served/fragment");
    assert_eq!(of("/served/length").body, b"abcd");
    assert_eq!(of("/served/twice").head.all("content-length"), ["4"]);
    assert_eq!(of("/served/none").body, b"abcd");
    assert_eq!(of("/served/trailers").trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

/// A request whose body turned out wrong had been passed on by then; it never became whole at the app.
fn is_cut_off(request: &Request) -> bool {
    request.head.framing(crate::support::Framing::Empty) == crate::support::Framing::Length(4) && request.body.len() < 4
}

#[test]
fn a_frame_that_breaks_the_rules_ends_its_stream_or_connection() {
    let stage = Fixture::new();
    run("http2_frames.py", &stage);
    assert_only_served(&stage.app.requests());
}

#[test]
fn no_flood_keeps_others_waiting_or_grows_without_bound() {
    let _alone = alone();
    let stage = Fixture::configured(App::small_or_large("/large", LARGE), "[listen]\nrequests_per_client_max = 100");
    run("http2_floods.py", &stage);
    assert!(stage.usher.metric("usher_limits_total", &["limit=\"requests_per_client\""]) > 0.0);
}

/// One connection from the first request to the drain, in which the library checks all that it is sent.
#[test]
fn a_library_of_others_finds_nothing_to_complain_of() {
    let mut stage = Fixture::with_app(App::scripted(versatile));
    run("http2_library.py", &stage);
    assert!(stage.usher.wait().success());
    let requests = stage.app.requests();
    let of = |target: &str| requests.iter().find(|request| request.target() == target).unwrap();
    assert_eq!(of("/echo/trailers").trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!((of("/live").method(), of("/live").folded("upgrade")), ("GET", vec!["websocket"]));
    assert!(requests.iter().all(|request| request.folded("x-store-id") == ["1"]));
}
