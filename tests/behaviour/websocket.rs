//! WebSockets: what both sides say goes through as it is, and each is told when the other has ended.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;

use crate::support::{A_MOMENT, App, Client, Conversation, Fixture, H2App, H2Client, SOON, eventually};

const HOST: &str = "customdomain1.com";

const ASK: &str = "GET /live?room=1 HTTP/1.1\r\nHost: customdomain1.com\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A Close frame of a server that goes away (RFC 6455 §5.5.1, §7.4.1), and of a client.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
const GOING_AWAY_MASKED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// An app that agrees to every upgrade and then does as `script` says with the socket.
fn agreeing(script: impl Fn(TcpStream) + Send + Sync + 'static) -> App {
    App::scripted(move |mut conversation: Conversation| {
        if let Some(head) = conversation.head() {
            conversation.agree(&head);
            let stream = conversation.sender();
            stream.set_read_timeout(Some(SOON)).unwrap();
            script(stream);
        }
    })
}

/// Sends back whatever comes, and ends when the client does.
fn echoing() -> App {
    agreeing(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// Tells what it was sent until that ended, and ends then.
fn hearing(tell: mpsc::Sender<Vec<u8>>) -> App {
    agreeing(move |mut stream| tell.send(rest(&mut stream)).unwrap())
}

/// The same, but never ends its own direction.
fn lingering(tell: mpsc::Sender<Vec<u8>>) -> App {
    agreeing(move |mut stream| {
        tell.send(rest(&mut stream)).unwrap();
        std::mem::forget(stream);
    })
}

/// Says all that it was sent, once that has ended.
fn repeating() -> App {
    agreeing(|mut stream| {
        let received = rest(&mut stream);
        stream.write_all(b"all of ").unwrap();
        stream.write_all(&received).unwrap();
    })
}

/// The socket of a client whose upgrade has succeeded.
fn upgraded(stage: &Fixture) -> TcpStream {
    let mut client = stage.usher.connect();
    let head = client.send(ASK).head();
    assert!(head.line.contains(" 101 "), "{}", head.line);
    assert_eq!(head.one("upgrade"), Some("websocket"));
    assert_eq!(head.one("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let stream = client.sender();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits until so many tunnels are open.
fn wait_for_tunnels(stage: &Fixture, count: f64) {
    eventually("so many tunnels are open", || (stage.usher.metric("usher_tunnels", &[]) == count).then_some(()));
}

/// RFC 6455 §4.1, RFC 9110 §7.8.
#[test]
fn an_upgrade_is_asked_of_the_app_and_bytes_go_both_ways() {
    let stage = Fixture::with_app(echoing());
    let mut socket = upgraded(&stage);
    for message in [&b"\x81\x85\0\0\0\0hello"[..], &[0x82; 100_000], b"x"] {
        let mut sender = socket.try_clone().unwrap();
        let sent = message.to_vec();
        let sending = thread::spawn(move || sender.write_all(&sent).unwrap());
        let mut echoed = vec![0; message.len()];
        socket.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, message);
        sending.join().unwrap();
    }
    let asked = stage.app.last();
    assert_eq!((asked.method(), asked.target()), ("GET", "/live?room=1"));
    assert_eq!(asked.folded("connection"), ["upgrade"]);
    assert_eq!(asked.folded("upgrade"), ["websocket"]);
    assert_eq!(asked.folded("x-store-id"), ["1"]);
    assert_eq!(asked.folded("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
}

/// RFC 9293 §3.6.1.
#[test]
fn the_end_of_one_direction_is_carried_across_and_the_other_goes_on() {
    let stage = Fixture::with_app(repeating());
    let mut socket = upgraded(&stage);
    socket.write_all(b"what was said").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut socket), b"all of what was said");
}

/// RFC 9293 §3.6.1.
#[test]
fn an_app_that_has_said_its_last_still_hears_its_client() {
    let (tell, told) = mpsc::channel();
    let stage = Fixture::with_app(agreeing(move |mut stream| {
        // The client looks at its socket from now on.
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"my last").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        tell.send(rest(&mut stream)).unwrap();
    }));
    let mut socket = upgraded(&stage);
    socket.write_all(b"speak").unwrap();
    assert_eq!(rest(&mut socket), b"my last");
    socket.write_all(b"and mine").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), b"and mine");
}

#[test]
fn a_tunnel_is_counted_and_has_a_line_in_the_access_log() {
    let stage = Fixture::with_app(echoing());
    let mut socket = upgraded(&stage);
    socket.write_all(b"12345").unwrap();
    socket.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(stage.usher.metric("usher_tunnels", &[]), 1.0);
    socket.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut socket).is_empty());
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["status"], &line["outcome"], &line["store"]), (&101.into(), &"ok".into(), &"1".into()));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &5.into()));
    wait_for_tunnels(&stage, 0.0);
}

/// RFC 9110 §7.8: the protocol is another one behind a 101 only, which nobody has waited for here.
#[test]
fn what_a_client_says_behind_a_refused_upgrade_is_no_request() {
    let stage = Fixture::with_app(App::echo());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: customdomain2.com\r\n\r\n";
    let mut client = stage.usher.connect();
    let refused = client.send(format!("{ASK}{smuggled}")).response();
    assert_eq!((refused.status, refused.header("connection")), (200, Some("close")));
    assert!(client.closed_by_peer());
    assert_eq!(stage.app.requests().len(), 1);
}

/// The same (RFC 9110 §7.8) where usher refuses by itself, and the app never hears of it.
#[test]
fn what_a_client_says_behind_an_upgrade_that_usher_refuses_is_no_request_either() {
    let (h2c, refusing) = (H2App::echo(), App::refusing_url());
    let upstreams = format!(
        "[routing]\nhomepage_upstream = 'h2c'\nadmin_upstream = 'refusing'\nsecondary_domains = 'redirect'\n\
         [upstreams.h2c]\nservers = ['{}']\n[upstreams.refusing]\nservers = ['{refusing}']",
        h2c.url()
    );
    let stage = Fixture::configured(App::echo(), &upstreams);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
    for (host, target, status) in [
        ("nobody.example", "/live", 404),
        ("customdomain1.com,b", "/live", 400),
        ("shop.alpha.com", "/live", 308),
        ("platform.com", "/live", 501),
        ("customdomain1.com", "/admin/live", 502),
    ] {
        let ask = ASK.replace("customdomain1.com", host).replace("/live?room=1", target);
        let mut client = stage.usher.connect();
        let refused = client.send(format!("{ask}{smuggled}")).response();
        assert_eq!((refused.status, refused.header("connection")), (status, Some("close")), "{host}{target}");
        assert!(client.try_response().ok().flatten().is_none(), "{host}{target}: the bytes behind it were answered");
    }
    assert!(stage.app.requests().is_empty() && h2c.calls().is_empty());
}

/// An offer of another protocol is no upgrade here: the request is served as it stands, and so is the next one.
/// RFC 9110 §7.8.
#[test]
fn behind_an_offer_that_is_dropped_the_next_request_is_served() {
    let stage = Fixture::new();
    let mut client = stage.usher.connect();
    for _ in 0..2 {
        client.send(ASK.replace("Upgrade: websocket", "Upgrade: h2c").replace("customdomain1.com", "nobody.example"));
        let response = client.response();
        assert_eq!((response.status, response.header("connection")), (404, None));
    }
}

/// RFC 9110 §7.8.
#[test]
fn an_app_may_not_switch_to_what_was_not_asked_for() {
    let stage = Fixture::with_app(App::answering(AGREE.replace("Upgrade: websocket", "Upgrade: other")));
    assert_eq!(stage.usher.raw(ASK).status, 502);
}

/// RFC 6455 §4.1.
#[test]
fn a_websocket_needs_a_get_of_http_1_1_without_a_body() {
    let stage = Fixture::new();
    for request in [
        ASK.replace("GET", "POST"),
        ASK.replace("HTTP/1.1", "HTTP/1.0"),
        ASK.replace(", Upgrade", ""),
        ASK.replace("Upgrade: websocket", "Upgrade: h2c"),
        ASK.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        assert_eq!(stage.usher.raw(&request).status, 200, "{request}");
        let asked = stage.app.last();
        assert!(asked.folded("upgrade").is_empty() && asked.folded("connection").is_empty(), "{request}");
    }
}

/// RFC 6455 §7.4.1.
#[test]
fn a_silent_tunnel_is_ended_and_both_sides_are_told() {
    let (tell, told) = mpsc::channel();
    let stage = Fixture::configured(hearing(tell), "[listen]\ntunnel_idle_timeout = '1s'");
    let mut socket = upgraded(&stage);
    let begun = Instant::now();
    assert_eq!(rest(&mut socket), GOING_AWAY);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(told.recv_timeout(SOON).unwrap(), GOING_AWAY_MASKED);
    assert_eq!(stage.usher.metric("usher_limits_total", &["limit=\"tunnel_idle\""]), 1.0);
}

/// Stops in the middle of a frame, and goes on a moment later; tells what comes thereafter.
fn halting(tell: mpsc::Sender<Vec<u8>>) -> App {
    agreeing(move |mut stream| {
        // The client looks at its socket from now on.
        stream.read_exact(&mut [0; 2]).unwrap();
        // A frame of ten octets, of which the last five come later.
        stream.write_all(b"\x82\x0aabcde").unwrap();
        thread::sleep(A_MOMENT);
        stream.write_all(b"fghij").unwrap();
        tell.send(rest(&mut stream)).unwrap();
    })
}

/// RFC 6455 §5.5.1, §7.4.1.
#[test]
fn a_drain_ends_tunnels_between_two_frames() {
    let (tell, told) = mpsc::channel();
    let mut stage = Fixture::with_app(halting(tell));
    let mut socket = upgraded(&stage);
    socket.write_all(b"\x81\0").unwrap();
    socket.read_exact(&mut [0; 7]).unwrap();
    stage.usher.terminate();
    assert_eq!(rest(&mut socket), [b"fghij", &GOING_AWAY[..]].concat());
    assert_eq!(told.recv_timeout(SOON).unwrap(), GOING_AWAY_MASKED);
    assert!(stage.usher.wait().success());
}

#[test]
fn an_app_that_breaks_off_ends_the_tunnel() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        conversation.head();
        conversation.write(AGREE).unwrap();
        conversation.reset();
    }));
    let mut client: Client = stage.usher.connect();
    client.send(ASK).head();
    assert!(client.closed_by_peer());
}

/// What is left of a tunnel when its client has done `end`: nothing, of which the app hears.
fn ended_by(app: fn(mpsc::Sender<Vec<u8>>) -> App, end: impl FnOnce(Client)) -> Fixture {
    let (tell, told) = mpsc::channel();
    let stage = Fixture::with_app(app(tell));
    let mut client = stage.usher.connect();
    client.send(ASK).head();
    wait_for_tunnels(&stage, 1.0);
    end(client);
    assert!(told.recv_timeout(SOON).unwrap().is_empty());
    wait_for_tunnels(&stage, 0.0);
    stage
}

#[test]
fn a_client_that_closes_its_connection_ends_the_tunnel() {
    ended_by(hearing, drop);
}

#[test]
fn a_client_that_breaks_off_ends_the_tunnel_though_the_app_does_not() {
    let stage = ended_by(lingering, Client::reset);
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
}

/// RFC 8441: from HTTP/2, by extended CONNECT, to an app that speaks HTTP/1.1.
#[test]
fn a_stream_of_http_2_becomes_a_websocket() {
    let stage = Fixture::with_app(echoing());
    let mut client = H2Client::connect(stage.usher.http());
    let mut stream = client.ask_for_tunnel("websocket", HOST, "/live?room=1");
    let answer = client.wait(stream.answer).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let mut receiver = answer.into_body();
    stream.body.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(client.wait(receiver.data()).unwrap().unwrap(), "hello");
    stream.body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(client.read(&mut receiver).unwrap(), b"");

    let refused = client.ask_for_tunnel("other", HOST, "/");
    assert_eq!(client.wait(refused.answer).unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    let asked = stage.app.requests().remove(0);
    assert_eq!((asked.method(), asked.target()), ("GET", "/live?room=1"));
    assert_eq!((asked.folded("upgrade"), asked.folded("connection")), (vec!["websocket"], vec!["upgrade"]));
    assert_eq!(asked.folded("host"), [HOST]);
    assert_eq!(asked.folded("sec-websocket-key").len(), 1);
}

/// RFC 6455 §4.1: an app that has not read the key may take the request for something else.
#[test]
fn an_app_that_agrees_to_another_key_agrees_to_nothing() {
    for agree in [AGREE.to_owned(), AGREE.replace("Sec-WebSocket-Accept: ", "X: ")] {
        let stage = Fixture::with_app(App::answering(agree));
        let mut client = H2Client::connect(stage.usher.http());
        let stream = client.ask_for_tunnel("websocket", HOST, "/live");
        assert_eq!(client.wait(stream.answer).unwrap().status(), StatusCode::BAD_GATEWAY);
    }
}

/// RFC 8441 §5: `END_STREAM` ends one direction, as FIN does.
#[test]
fn on_a_stream_the_app_still_speaks_after_its_client_has_ended() {
    let stage = Fixture::with_app(repeating());
    let mut client = H2Client::connect(stage.usher.http());
    let mut stream = client.ask_for_tunnel("websocket", HOST, "/live");
    let mut receiver = client.wait(stream.answer).unwrap().into_body();
    stream.body.send_data(Bytes::from_static(b"what was said"), true).unwrap();
    assert_eq!(client.read(&mut receiver).unwrap(), b"all of what was said");
}

/// RFC 8441 §5: `RST_STREAM` with `CANCEL` stands for a reset of the connection.
#[test]
fn a_client_that_resets_its_stream_ends_the_tunnel_though_the_app_does_not() {
    let (tell, told) = mpsc::channel();
    let stage = Fixture::with_app(lingering(tell));
    let mut client = H2Client::connect(stage.usher.http());
    let mut stream = client.ask_for_tunnel("websocket", HOST, "/live");
    let _receiver = client.wait(stream.answer).unwrap().into_body();
    wait_for_tunnels(&stage, 1.0);
    stream.body.send_reset(Reason::CANCEL);
    assert!(told.recv_timeout(SOON).unwrap().is_empty());
    wait_for_tunnels(&stage, 0.0);
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "client_gone");
    assert_eq!(client.get("nobody.example", "/").unwrap().0.status(), StatusCode::NOT_FOUND);
}

/// An app that answers everything with its start page has not agreed to a tunnel, though 200 says so on HTTP/2.
/// RFC 8441 §5.
#[test]
fn a_success_that_is_no_agreement_opens_no_tunnel() {
    let stage = Fixture::new();
    let mut client = H2Client::connect(stage.usher.http());
    let stream = client.ask_for_tunnel("websocket", HOST, "/");
    assert_eq!(client.wait(stream.answer).unwrap().status(), StatusCode::BAD_GATEWAY);
}

/// RFC 8441 §5: the end of a stream stands for that of a connection.
#[test]
fn a_silent_tunnel_on_a_stream_is_ended_and_its_connection_goes_on() {
    let (tell, told) = mpsc::channel();
    let stage = Fixture::configured(hearing(tell), "[listen]\ntunnel_idle_timeout = '1s'");
    let mut client = H2Client::connect(stage.usher.http());
    let stream = client.ask_for_tunnel("websocket", HOST, "/live");
    let mut receiver = client.wait(stream.answer).unwrap().into_body();
    let begun = Instant::now();
    assert_eq!(client.read(&mut receiver).unwrap(), GOING_AWAY);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(told.recv_timeout(SOON).unwrap(), GOING_AWAY_MASKED);
    assert_eq!(stage.usher.metric("usher_limits_total", &["limit=\"tunnel_idle\""]), 1.0);
    assert_eq!(client.get("nobody.example", "/").unwrap().0.status(), StatusCode::NOT_FOUND);
    wait_for_tunnels(&stage, 0.0);
}

/// RFC 8441 §5, RFC 6455 §5.5.1.
#[test]
fn a_drain_ends_tunnels_on_streams_between_two_frames_too() {
    let (tell, told) = mpsc::channel();
    let mut stage = Fixture::with_app(halting(tell));
    let mut client = H2Client::connect(stage.usher.http());
    let mut stream = client.ask_for_tunnel("websocket", HOST, "/live");
    let mut receiver = client.wait(stream.answer).unwrap().into_body();
    stream.body.send_data(Bytes::from_static(b"\x81\0"), false).unwrap();
    assert_eq!(client.wait(receiver.data()).unwrap().unwrap(), &b"\x82\x0aabcde"[..]);
    stage.usher.terminate();
    assert_eq!(client.read(&mut receiver).unwrap(), [b"fghij", &GOING_AWAY[..]].concat());
    assert_eq!(told.recv_timeout(SOON).unwrap(), GOING_AWAY_MASKED);
    drop(stream.body);
    assert!(stage.usher.wait().success());
}
