//! The app learns who the client is: the peer, unless one of our own proxies says whom it speaks for.

use crate::support::{A_MOMENT, App, Client, Fixture, Request, eventually};

const GET: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A stage with these keys in `[listen]`.
fn listening(keys: &str) -> Fixture {
    Fixture::configured(App::echo(), &format!("[listen]\n{keys}"))
}

/// What the app saw of a request with these further header lines.
fn seen(stage: &Fixture, more: &str) -> Request {
    let response = stage.usher.get_with("customdomain1.com", "/p", more);
    assert_eq!(response.status, 200, "{}", response.text());
    stage.app.last()
}

/// A connection that begins with `header`, in these pieces.
fn announcing(stage: &Fixture, pieces: &[&[u8]]) -> Client {
    let mut client = stage.usher.connect();
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            std::thread::sleep(A_MOMENT / 10);
        }
        client.send(piece);
    }
    client
}

/// What the app saw of a request behind this header.
fn seen_behind(stage: &Fixture, header: impl AsRef<[u8]>) -> Request {
    let response = announcing(stage, &[header.as_ref()]).send(GET).response();
    assert_eq!(response.status, 200, "{}", response.text());
    stage.app.last()
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[0x20 | command, family], &length, block].concat()
}

/// A block for TCP over IPv4, with extensions behind it.
fn v2_tcp4(source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    let addresses = [&source[..], &[192, 0, 2, 1], &56324_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
    v2(1, 0x11, &[&addresses, extensions].concat())
}

fn refused(stage: &Fixture, reason: &str) -> f64 {
    stage.usher.metric("usher_proxy_headers_refused_total", &[&format!("reason=\"{reason}\"")])
}

/// Nothing may be asked in the name of somebody whose address was not established.
fn is_closed_unanswered(client: &mut Client) -> bool {
    !matches!(client.try_response(), Ok(Some(_)))
}

/// RFC 7239 §8.1.
#[test]
fn nobody_is_believed_by_default_and_this_machine_neither() {
    let stage = Fixture::new();
    let request = seen(
        &stage,
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nCF-Connecting-IP: 6.6.6.6\r\nX-Request-Id: mine\r\n\
         True-Client-IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
    );
    assert_eq!(request.folded("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.folded("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(request.folded("x-forwarded-proto"), ["http"]);
    assert_ne!(request.folded("x-request-id"), ["mine"]);
    for name in ["cf-connecting-ip", "true-client-ip", "x-client-ip", "forwarded"] {
        assert_eq!(request.folded(name), [""; 0], "{name}");
    }
    assert_eq!(stage.usher.access_log(1)[0]["client"], "127.0.0.1");
}

#[test]
fn a_trusted_proxy_says_whom_it_speaks_for() {
    let stage = listening("trusted_proxies = ['127.0.0.1']");
    let request = seen(&stage, "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: trace-7\r\n");
    assert_eq!(request.folded("x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
    assert_eq!(request.folded("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(request.folded("x-forwarded-proto"), ["https"]);
    assert_eq!(request.folded("x-forwarded-port"), ["443"]);
    assert_eq!(request.folded("x-request-id"), ["trace-7"]);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["client"], &line["request_id"]), (&"203.0.113.7".into(), &"trace-7".into()));
}

/// RFC 9110 §5.3: the values of several lines are one list.
#[test]
fn the_list_is_walked_from_the_right_over_all_its_lines() {
    let stage = listening("trusted_proxies = ['loopback', '10.0.0.0/8']");
    let lines = "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 10.0.0.3 ,10.0.0.2\r\n";
    let request = seen(&stage, lines);
    assert_eq!(request.folded("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(request.folded("x-forwarded-for"), ["6.6.6.6, 203.0.113.7, 10.0.0.3 ,10.0.0.2, 127.0.0.1"]);
    for (sent, client) in [
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, <script>", "127.0.0.1"),
        ("203.0.113.7, ", "127.0.0.1"),
        ("203.0.113.7:5678, [::ffff:10.0.0.2]:80", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
    ] {
        let request = seen(&stage, &format!("X-Forwarded-For: {sent}\r\n"));
        assert_eq!(request.folded("x-real-ip"), [client], "{sent}");
    }
}

/// RFC 9110 §7.6.1: what `Connection` nominates goes, but not what usher adds, nor what the proxy said.
#[test]
fn a_nomination_takes_nothing_away() {
    let stage = listening("trusted_proxies = ['loopback']");
    let request = seen(&stage, "X-Forwarded-For: 203.0.113.7\r\nConnection: X-Forwarded-For, X-Real-IP\r\n");
    assert_eq!(request.folded("x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
    assert_eq!(request.folded("x-real-ip"), ["203.0.113.7"]);
}

#[test]
fn a_scheme_that_proxies_disagree_on_is_not_believed() {
    let stage = listening("trusted_proxies = ['loopback']");
    for (lines, scheme, port) in [
        ("X-Forwarded-Proto: wss\r\n", "https", "443"),
        ("X-Forwarded-Proto: https, https\r\n", "https", "443"),
        ("X-Forwarded-Proto: https, http\r\n", "http", "80"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http", "80"),
        ("X-Forwarded-Proto: javascript\r\n", "http", "80"),
    ] {
        let request = seen(&stage, lines);
        assert_eq!(request.folded("x-forwarded-proto"), [scheme], "{lines}");
        assert_eq!(request.folded("x-forwarded-port"), [port], "{lines}");
    }
}

#[test]
fn a_redirect_leads_to_the_scheme_that_the_client_used() {
    let location = |keys: &str| {
        let more = "X-Forwarded-Proto: https\r\n";
        let response = listening(keys).usher.get_with("www.customdomain1.com", "/p?q", more);
        response.header("location").unwrap().to_owned()
    };
    assert_eq!(location("trusted_proxies = ['loopback']"), "https://customdomain1.com/p?q");
    assert_eq!(location("trusted_proxies = []"), "http://customdomain1.com/p?q");
}

#[test]
fn a_request_id_that_could_do_harm_is_replaced() {
    let stage = listening("trusted_proxies = ['loopback']");
    for id in ["<script>", "a b", "a\"b", &"x".repeat(129)] {
        let request = seen(&stage, &format!("X-Request-Id: {id}\r\n"));
        assert_eq!(request.folded("x-request-id")[0].len(), 32, "{id}");
    }
    let request = seen(&stage, "X-Request-Id: a\r\nX-Request-Id: b\r\n");
    assert_eq!(request.folded("x-request-id")[0].len(), 32);
}

#[test]
fn a_failure_is_told_to_the_client_and_the_log_with_the_id_of_the_proxy() {
    let stage = listening("trusted_proxies = ['loopback']");
    let more = "X-Forwarded-For: 203.0.113.7\r\nX-Request-Id: trace-7\r\n";
    let response = stage.usher.get_with("unknown.com", "/", more);
    assert_eq!((response.status, response.header("x-request-id")), (404, Some("trace-7")));
    let line = &stage.usher.access_log(1)[0];
    assert_eq!((&line["client"], &line["request_id"]), (&"203.0.113.7".into(), &"trace-7".into()));
}

/// Path mode is for this machine: a proxy on it may speak for the whole world.
#[test]
fn a_client_is_on_this_machine_only_if_its_proxy_says_so() {
    let status = |stage: &Fixture, more: &str| {
        let response = stage.usher.get_with("localhost", "/store/store1/p", more);
        assert!(matches!(response.status, 200 | 404), "{}", response.text());
        response.status
    };
    let stage = listening("trusted_proxies = ['loopback']");
    assert_eq!(status(&stage, ""), 200);
    assert_eq!(status(&stage, "X-Forwarded-For: 127.0.0.5\r\n"), 200);
    assert_eq!(status(&stage, "X-Forwarded-For: 203.0.113.7\r\n"), 404);
    assert_eq!(status(&stage, "X-Forwarded-For: 127.0.0.1, 203.0.113.7\r\n"), 404);
    assert_eq!(status(&listening(""), "X-Forwarded-For: 203.0.113.7\r\n"), 200);

    let stage = listening("proxy_protocol = ['loopback']");
    for (line, expected) in
        [("UNKNOWN", 200), ("TCP4 127.0.0.1 127.0.0.1 1 2", 200), ("TCP4 203.0.113.7 127.0.0.1 1 2", 404)]
    {
        let mut client = announcing(&stage, &[format!("PROXY {line}\r\n").as_bytes()]);
        client.send("GET /store/store1/p HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response().status, expected, "{line}");
    }
}

#[test]
fn cloudflare_is_believed_where_it_is_trusted() {
    let more = "CF-Connecting-IP: 203.0.113.7\r\nX-Forwarded-For: 6.6.6.6\r\n";
    let request = |keys: &str, from: [u8; 4]| {
        let stage = listening(&format!("proxy_protocol = ['loopback']\n{keys}"));
        let mut client = announcing(&stage, &[&v2_tcp4(from, b"")]);
        client.send(format!("GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n{more}\r\n"));
        assert_eq!(client.response().status, 200);
        stage.app.last()
    };
    let cloudflare = [173, 245, 48, 1];
    let believed = request("trusted_proxies = ['cloudflare']", cloudflare);
    assert_eq!(believed.folded("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(believed.folded("cf-connecting-ip"), ["203.0.113.7"]);
    let stranger = request("trusted_proxies = ['private']", cloudflare);
    assert_eq!(stranger.folded("x-real-ip"), ["173.245.48.1"]);
    assert_eq!(stranger.folded("cf-connecting-ip"), [""; 0]);
    let other_proxy = request("trusted_proxies = ['private', 'cloudflare']", [10, 0, 0, 1]);
    assert_eq!(other_proxy.folded("x-real-ip"), ["6.6.6.6"], "from its X-Forwarded-For");
    assert_eq!(other_proxy.folded("cf-connecting-ip"), [""; 0]);
}

/// RFC 7239 §4, §6: the client first, IPv6 quoted, and nothing that was not vouched for.
#[test]
fn the_app_is_sent_forwarded_where_it_wants_it() {
    let stage = listening("forwarded = true\ntrusted_proxies = ['loopback', '10.0.0.0/8']");
    let more =
        "X-Forwarded-For: 6.6.6.6, 2001:db8::7, 10.0.0.2\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n";
    let expected = r#"for="[2001:db8::7]";host="customdomain1.com";proto=https, for=10.0.0.2, for=127.0.0.1"#;
    assert_eq!(seen(&stage, more).folded("forwarded"), [expected]);
    let stage = listening("forwarded = true");
    let expected = r#"for=127.0.0.1;host="customdomain1.com";proto=http"#;
    assert_eq!(seen(&stage, more).folded("forwarded"), [expected]);
}

/// `proxy-protocol.txt` §2.1.
#[test]
fn a_proxy_line_names_the_client() {
    let stage = listening("proxy_protocol = ['loopback']");
    let request = seen_behind(&stage, "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n");
    assert_eq!(request.folded("x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(request.folded("x-real-ip"), ["203.0.113.7"]);
    let request = seen_behind(&stage, "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n");
    assert_eq!(request.folded("x-real-ip"), ["2001:db8::7"]);
    let request = seen_behind(&stage, "PROXY TCP6 ::ffff:203.0.113.7 ::1 56324 443\r\n");
    assert_eq!(request.folded("x-real-ip"), ["203.0.113.7"]);
    let request = seen_behind(&stage, "PROXY UNKNOWN whatever\r\n");
    assert_eq!(request.folded("x-real-ip"), ["127.0.0.1"]);
    let lines = stage.usher.access_log(4);
    let mut clients: Vec<_> = lines.iter().map(|line| line["client"].as_str().unwrap()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["127.0.0.1", "2001:db8::7", "203.0.113.7", "203.0.113.7"]);
}

/// `proxy-protocol.txt` §2.2.
#[test]
fn a_proxy_block_names_the_client() {
    let stage = listening("proxy_protocol = ['loopback']");
    let extensions = [&[0x04, 0x01, 0x00], &[b'x'; 256][..]].concat();
    for block in [v2_tcp4([203, 0, 113, 7], b""), v2_tcp4([203, 0, 113, 7], &extensions)] {
        assert_eq!(seen_behind(&stage, block).folded("x-real-ip"), ["203.0.113.7"]);
    }
    let mut addresses = [0; 36];
    addresses[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(seen_behind(&stage, v2(1, 0x21, &addresses)).folded("x-real-ip"), ["2001:db8::7"]);
    for own in [v2(0, 0x00, b""), v2(0, 0x11, &[9; 12]), v2(1, 0x00, b"whatever")] {
        assert_eq!(seen_behind(&stage, own).folded("x-real-ip"), ["127.0.0.1"]);
    }
}

/// `proxy-protocol.txt` §2.
#[test]
fn a_proxy_header_may_come_in_any_pieces_and_all_requests_behind_it_are_the_clients() {
    let stage = listening("proxy_protocol = ['loopback']");
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
    let block = v2_tcp4([203, 0, 113, 7], b"\x04\0\x01x");
    for header in [&line[..], &block] {
        let (start, end) = header.split_at(header.len() - 1);
        let mut piecemeal: Vec<&[u8]> = start.chunks(5).collect();
        let last = [end, GET.as_bytes(), &GET.as_bytes()[..10]].concat();
        piecemeal.push(&last);
        let mut client = announcing(&stage, &piecemeal);
        assert_eq!(client.response().status, 200);
        assert_eq!(client.send(&GET[10..]).response().status, 200);
        assert_eq!(client.send(GET).response().status, 200);
    }
    let requests = stage.app.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests.iter().all(|request| request.folded("x-real-ip") == ["203.0.113.7"]), "{requests:?}");
}

/// `proxy-protocol.txt` §2, §2.1, §2.2.
#[test]
fn whoever_must_announce_a_client_and_does_not_is_not_served() {
    let stage = listening("proxy_protocol = ['loopback']");
    let unix = v2(1, 0x31, &[0; 216]);
    let datagrams = v2(1, 0x12, &[0; 12]);
    let [too_long_line, too_long_block] =
        [format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).into(), v2(0, 0, &[0; 4097])];
    let wrong: [(&str, &[u8]); 8] = [
        ("absent", GET.as_bytes()),
        ("malformed", b"PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n"),
        ("malformed", &v2(1, 0x11, &[0; 11])),
        ("malformed", b"PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n"),
        ("unsupported", &unix),
        ("unsupported", &datagrams),
        ("too_long", &too_long_line),
        ("too_long", &too_long_block),
    ];
    for (reason, header) in wrong {
        let before = refused(&stage, reason);
        let mut client = announcing(&stage, &[header]);
        client.send(GET);
        assert!(is_closed_unanswered(&mut client), "{reason}");
        eventually("it is counted", || (refused(&stage, reason) == before + 1.0).then_some(()));
    }
    let mut half = announcing(&stage, &[b"PROXY TCP4 203."]);
    assert!(half.finish_sending().closed_by_peer());
    eventually("it is counted", || (refused(&stage, "cut_off") == 1.0).then_some(()));
    assert!(stage.app.requests().is_empty());
    assert_eq!(stage.usher.access_log_so_far(), "");
}

/// `proxy-protocol.txt` §2.
#[test]
fn a_proxy_that_is_silent_or_slow_is_cut_off_and_keeps_nobody_waiting() {
    let stage = listening("proxy_protocol = ['loopback']\nheader_timeout = '500ms'\nworkers = 1");
    let mut silent: Vec<Client> = (0..20).map(|_| stage.usher.connect()).collect();
    let mut half = announcing(&stage, &[&v2_tcp4([203, 0, 113, 7], b"")[..20]]);
    let mut dripping = announcing(&stage, &[b"PROXY UNKNOWN "]);
    assert_eq!(seen_behind(&stage, "PROXY UNKNOWN\r\n").folded("x-real-ip"), ["127.0.0.1"]);
    eventually("a dripping header is cut off", || {
        std::thread::sleep(A_MOMENT / 4);
        dripping.try_send("x").err()
    });
    assert!(half.closed_by_peer());
    assert!(silent.iter_mut().all(Client::closed_by_peer));
    eventually("all are counted", || (refused(&stage, "late") == 22.0).then_some(()));
}

#[test]
fn a_proxy_that_is_silent_does_not_hold_up_the_end() {
    let mut stage = listening("proxy_protocol = ['loopback']\nheader_timeout = '60s'\ndrain_timeout = '60s'");
    let mut silent = stage.usher.connect();
    let connections = || (stage.usher.metric("usher_connections", &[]) == 1.0).then_some(());
    eventually("the connection is accepted", connections);
    assert_eq!(stage.usher.stop().code(), Some(0));
    assert!(silent.closed_by_peer());
}

/// RFC 9112 §2.2, §3: neither version is the beginning of a request.
#[test]
fn from_others_a_proxy_header_is_no_http() {
    let stage = listening("proxy_protocol = ['192.0.2.0/24']\ntrusted_proxies = ['loopback']");
    for header in ["PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n".into(), v2_tcp4([203, 0, 113, 7], b"")] {
        let mut client = announcing(&stage, &[&header]);
        let answer = client.send(GET).try_response().ok().flatten();
        assert!(answer.is_none_or(|response| response.status == 400));
        assert!(client.closed_by_peer());
    }
    assert!(stage.app.requests().is_empty());
    assert_eq!(stage.get("customdomain1.com", "/").status, 200);
}

/// Who announces a client need not be believed about more: these are two lists.
#[test]
fn an_announced_client_is_trusted_only_if_it_is_listed_itself() {
    let stage = listening("proxy_protocol = ['loopback']\ntrusted_proxies = ['loopback', '10.0.0.0/8']");
    let seen = |source: &str| {
        let mut client = announcing(&stage, &[format!("PROXY TCP4 {source} 192.0.2.1 1 2\r\n").as_bytes()]);
        client.send("GET /p HTTP/1.1\r\nHost: customdomain1.com\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
        assert_eq!(client.response().status, 200);
        stage.app.last().folded("x-forwarded-for").concat()
    };
    assert_eq!(seen("10.0.0.1"), "203.0.113.7, 10.0.0.1");
    assert_eq!(seen("198.51.100.1"), "198.51.100.1");
}
