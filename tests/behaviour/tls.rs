//! TLS: the certificate of the name that was asked for or no handshake, and everything that HTTP promises beneath it.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    HandshakeKind, NamedGroup, ProtocolVersion,
    crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768},
    version::{TLS12, TLS13},
};

use crate::support::{
    A_MOMENT, App, Binary, Ca, Client, Conversation, Fixture, H2Client, Pair, TlsFixture, Trust, connections_possible,
    eventually, h2_get,
};

const HOST: &str = "customdomain1.com";
const GET: &str = "GET /p HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

/// Until a connection on which nothing happens is parked.
const PARKED_AFTER: Duration = Duration::from_millis(1500);

/// What is under way in a kernel's buffers is less.
const LARGE: usize = 64 << 20;

fn handshakes(stage: &TlsFixture, labels: &[&str]) -> f64 {
    stage.usher.metric("usher_tls_handshakes_total", labels)
}

/// Waits until so many handshakes have failed for this reason; a client may hear of it first.
fn await_failures(stage: &TlsFixture, reason: &str, count: f64) {
    let label = format!("reason=\"{reason}\"");
    let failures = || stage.usher.metric("usher_tls_handshake_failures_total", &[&label]);
    eventually(&format!("{count} failures: {reason}"), || (failures() == count).then_some(()));
}

/// The status of a request for `host` on a connection that was opened for `name`.
fn status_on(client: &mut Client, host: &str) -> u16 {
    client.send(format!("GET /p HTTP/1.1\r\nHost: {host}\r\n\r\n")).response().status
}

#[test]
fn a_request_under_tls_is_one_by_https_whatever_the_client_says() {
    let stage = TlsFixture::configured(App::echo(), "[tls]\nredirect = false");
    let mut client = stage.connect(HOST);
    let request = GET.replace("\r\n\r\n", "\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n\r\n");
    assert_eq!(client.send(request).response().status, 200);
    let seen = stage.app.last();
    assert_eq!(seen.folded("x-store-id"), ["1"]);
    assert_eq!(seen.folded("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.folded("x-forwarded-port"), ["443"]);
    assert_eq!(client.send(GET.replace(".com", ".com:8443")).response().status, 200);
    assert_eq!(stage.app.last().folded("x-forwarded-port"), ["8443"]);
    assert_eq!(stage.usher.get(HOST, "/").status, 200);
    assert_eq!(stage.app.last().folded("x-forwarded-proto"), ["http"]);
    // In no order: each worker writes its own.
    let versions: Vec<_> = stage.usher.access_log(3).iter().filter_map(|line| line.get("tls").cloned()).collect();
    assert_eq!(versions, ["1.3", "1.3"]);
    assert_eq!(handshakes(&stage, &["version=\"1.3\"", "resumed=\"false\""]), 1.0);
}

#[test]
fn a_trusted_proxy_may_say_that_its_own_client_used_http() {
    let stage =
        TlsFixture::configured(App::echo(), "[listen]\ntrusted_proxies = ['127.0.0.1']\n[tls]\nredirect = false");
    for (said, scheme) in [("", "https"), ("X-Forwarded-Proto: http\r\n", "http")] {
        let request = GET.replace("\r\n\r\n", &format!("\r\n{said}\r\n"));
        assert_eq!(stage.connect(HOST).send(request).response().status, 200);
        assert_eq!(stage.app.last().folded("x-forwarded-proto"), [scheme]);
    }
}

#[test]
fn a_redirect_stays_under_tls() {
    let certificates: &[(&str, &[&str], &str)] = &[("www", &["www.customdomain1.com"], "")];
    let stage = TlsFixture::with(App::echo(), "", certificates);
    let mut client = stage.connect("www.customdomain1.com");
    let response = client.send("GET /a?b HTTP/1.1\r\nHost: www.customdomain1.com\r\n\r\n").response();
    assert_eq!((response.status, response.header("location")), (308, Some("https://customdomain1.com/a?b")));
}

#[test]
fn the_protocol_is_what_was_agreed_on_and_nothing_else() {
    let stage = TlsFixture::new();
    let mut client = H2Client::connect_tls(stage.usher.https(), &stage.ca.trust(), HOST);
    let (head, _) = client.get(HOST, "/").unwrap();
    assert_eq!((head.status().as_u16(), head.version()), (200, http::Version::HTTP_2));
    assert_eq!(stage.app.last().folded("x-forwarded-proto"), ["https"]);

    let connect = |trust: Trust| Client::connect_tls(stage.usher.https(), &trust, HOST);
    let mut silent = connect(stage.ca.trust().protocols(&[])).unwrap();
    assert_eq!(silent.send(GET).response().status, 200);
    // The preface of HTTP/2 is no request of HTTP/1.1.
    let mut client = connect(stage.ca.trust()).unwrap();
    assert!(client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").closed_by_peer());
    // RFC 7301 §3.2.
    let error = stage.ca.trust().protocols(&["imap"]).refusal(stage.usher.https(), HOST);
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    await_failures(&stage, "incompatible", 1.0);
}

#[test]
fn the_certificate_of_the_name_itself_is_shown_before_a_wildcard() {
    let certificates: &[(&str, &[&str], &str)] =
        &[("wild", &["*.platform.com", "platform.com"], ""), ("exact", &["store1.platform.com"], "")];
    let stage = TlsFixture::with(App::echo(), "", certificates);
    let shown = |name: &str| {
        let mut client = stage.connect(name);
        client.wire().session().peer_certificates().unwrap()[0].to_vec()
    };
    assert_ne!(shown("store1.platform.com"), shown("store2.platform.com"));
    assert_eq!(shown("platform.com"), shown("STORE2.platform.com"));
}

#[test]
fn names_that_nobody_has_cost_no_signature_and_no_query() {
    let stage = TlsFixture::new();
    let address = stage.usher.https();
    let queries = || stage.usher.metric("usher_directory_loads_total", &[]);
    let unknown = |trust: &Trust, name: &str| {
        let error = trust.refusal(address, name);
        assert!(error.contains("UnrecognisedName"), "{name}: {error}");
    };
    let trust = stage.ca.trust();
    let before = queries();
    for name in ["other.example", "customdomain2.com", "a.b.platform.com"] {
        unknown(&trust, name);
    }
    for name in ["127.0.0.1", "::1"] {
        unknown(&trust, name);
    }
    unknown(&trust.clone().nameless(), HOST);
    await_failures(&stage, "no_certificate", 3.0);
    await_failures(&stage, "no_name", 3.0);
    assert_eq!(queries(), before);

    // There is a certificate for these, and nobody behind them.
    for name in ["nobody.example", "nosuch.platform.com", "nobody.example"] {
        unknown(&trust, name);
    }
    await_failures(&stage, "unknown_name", 3.0);
    assert_eq!(queries(), before + 2.0, "an absence is remembered");
    for name in ["platform.com", "store1.platform.com", "admin.platform.com", HOST] {
        stage.connect(name);
    }
    assert!(stage.app.requests().is_empty());
}

#[test]
fn a_store_that_is_switched_off_is_not_shown_a_certificate_for() {
    let stage = TlsFixture::configured(App::echo(), "[directory]\nfresh_for = '1ms'\nusable_for = '1ms'");
    stage.connect(HOST);
    stage.tables.execute("UPDATE store_domains SET is_active = false WHERE domain = 'customdomain1.com'");
    eventually("the name is refused", || {
        let refused = stage.ca.trust().connect(stage.usher.https(), HOST).err()?;
        refused.to_string().contains("UnrecognisedName").then_some(())
    });
}

#[test]
fn where_unknown_hosts_are_answered_they_get_their_handshake() {
    let stage = TlsFixture::configured(App::echo(), "[routing]\nunknown_host = 'homepage'");
    let mut client = stage.connect("nosuch.platform.com");
    assert_eq!(status_on(&mut client, "nosuch.platform.com"), 200);
    assert_eq!(stage.app.last().folded("x-store-match"), ["homepage"]);
}

#[test]
fn the_default_certificate_is_for_everybody_else() {
    let certificates: &[(&str, &[&str], &str)] =
        &[("origin", &["origin.example"], ", default = true"), ("custom", &[HOST], "")];
    let stage = TlsFixture::with(App::echo(), "", certificates);
    let trust = stage.ca.trust().nameless();
    let mut client = Client::connect_tls(stage.usher.https(), &trust, "origin.example").unwrap();
    let statuses = [HOST, "store1.platform.com", "other.example", "192.0.2.9"].map(|host| status_on(&mut client, host));
    assert_eq!(statuses, [200, 200, 404, 404], "never 421");
    // Nor for a CDN that asks for the origin's own name.
    let mut client = stage.connect("origin.example");
    assert_eq!([HOST, "store1.platform.com"].map(|host| status_on(&mut client, host)), [200, 200]);
    // A client that asks for a name gets the certificate of that name.
    let mut client = stage.connect(HOST);
    assert_eq!(status_on(&mut client, HOST), 200);
    let error = stage.ca.trust().refusal(stage.usher.https(), "other.example");
    assert!(error.contains("certificate"), "{error}");
    await_failures(&stage, "refused_by_client", 1.0);
}

/// RFC 9110 §7.4: browsers send requests for all names of a certificate on one connection.
#[test]
fn a_request_for_another_name_is_misdirected_unless_the_certificate_covers_it() {
    let stage = TlsFixture::new();
    let mut client = stage.connect("store1.platform.com");
    for (host, status) in [
        ("store1.platform.com", 200),
        ("STORE2.platform.com:8443", 200),
        ("platform.com", 200),
        ("nosuch.platform.com", 404),
        (HOST, 421),
        ("a.b.platform.com", 421),
        ("127.0.0.1", 421),
        ("store1.platform.com", 200),
    ] {
        assert_eq!(status_on(&mut client, host), status, "{host}");
    }
    assert_eq!(stage.app.last().folded("x-store-id"), ["1"]);
    let mut client = H2Client::connect_tls(stage.usher.https(), &stage.ca.trust(), HOST);
    let mut status = |host| client.get(host, "/").unwrap().0.status().as_u16();
    assert_eq!([HOST, "shop.alpha.com", "store1.platform.com", HOST].map(&mut status), [200, 200, 421, 200]);
}

#[test]
fn the_oldest_version_is_a_matter_of_configuration() {
    for (config, served) in [("", true), ("[tls]\nminimum_version = '1.3'", false)] {
        let stage = TlsFixture::configured(App::echo(), config);
        let old = stage.ca.trust().versions(&[&TLS12]);
        match old.connect(stage.usher.https(), HOST) {
            Ok(stream) => assert!(served && stream.conn.protocol_version() == Some(ProtocolVersion::TLSv1_2)),
            Err(error) => assert!(!served && error.to_string().contains("ProtocolVersion"), "{error}"),
        }
        // The client may be done with the handshake before usher has counted it.
        let expected = if served { 1.0 } else { 0.0 };
        eventually("the handshake is counted", || (handshakes(&stage, &["version=\"1.2\""]) == expected).then_some(()));
        stage.ca.trust().versions(&[&TLS13]).connect(stage.usher.https(), HOST).unwrap();
    }
}

#[test]
fn a_session_goes_on_with_whichever_worker_the_client_meets() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nworkers = 4");
    for (version, label) in [(&TLS13, "version=\"1.3\""), (&TLS12, "version=\"1.2\"")] {
        let trust = stage.ca.trust().versions(&[version]).remembering();
        let kinds: Vec<_> = (0..8)
            .map(|_| {
                let mut client = Client::connect_tls(stage.usher.https(), &trust, HOST).unwrap();
                // The ticket comes with the first answer at the latest.
                assert_eq!(client.send(GET).response().status, 200);
                client.wire().session().handshake_kind().unwrap()
            })
            .collect();
        assert_eq!((kinds[0], &kinds[1..]), (HandshakeKind::Full, &[HandshakeKind::Resumed; 7][..]), "{label}");
        assert_eq!(handshakes(&stage, &[label, "resumed=\"true\""]), 7.0);
    }
}

/// A session was proven for one name only.
#[test]
fn a_session_does_not_go_on_under_another_name() {
    let stage = TlsFixture::new();
    let trust = stage.ca.trust().remembering();
    for name in [HOST, "shop.alpha.com"] {
        let mut client = Client::connect_tls(stage.usher.https(), &trust, name).unwrap();
        assert_eq!(status_on(&mut client, name), 200);
        assert_eq!(client.wire().session().handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn keys_are_exchanged_safe_from_later_computers_where_the_client_can() {
    let stage = TlsFixture::new();
    for (groups, agreed) in [
        (&[X25519MLKEM768, X25519][..], NamedGroup::X25519MLKEM768),
        (&[X25519MLKEM768], NamedGroup::X25519MLKEM768),
        (&[X25519], NamedGroup::X25519),
        (&[SECP256R1], NamedGroup::secp256r1),
    ] {
        let stream = stage.ca.trust().exchanges(groups).connect(stage.usher.https(), HOST).unwrap();
        assert_eq!(stream.conn.negotiated_key_exchange_group().unwrap().name(), agreed);
    }
}

#[test]
fn a_handshake_has_its_time_however_it_drips() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nheader_timeout = '500ms'");
    let silent = Client::connect(stage.usher.https());
    let mut half = Client::connect(stage.usher.https());
    half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let mut dripping = Client::connect(stage.usher.https());
    dripping.send(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03");
    eventually("a dripping hello is cut off", || {
        thread::sleep(A_MOMENT / 4);
        dripping.try_send([0]).err()
    });
    for mut client in [silent, half] {
        assert!(client.closed_by_peer());
    }
    await_failures(&stage, "late", 3.0);
}

/// Browsers connect ahead of what they may want.
#[test]
fn a_client_that_asks_for_nothing_is_told_nothing() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nheader_timeout = '500ms'");
    let mut silent = stage.connect(HOST);
    assert!(silent.try_response().unwrap().is_none());
    let mut half = stage.connect(HOST);
    half.send("GET / HTT");
    assert_eq!(half.response().status, 408);
    assert_eq!(stage.usher.access_log(1)[0]["status"], 408);
}

#[test]
fn an_unfinished_handshake_does_not_delay_the_end() {
    let mut stage = TlsFixture::new();
    let _silent = Client::connect(stage.usher.https());
    stage.connect(HOST);
    let told = Instant::now();
    assert!(stage.usher.stop().success());
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[test]
fn what_is_no_tls_is_no_request_either() {
    let stage = TlsFixture::new();
    let mut plain = Client::connect(stage.usher.https());
    plain.send(GET);
    assert!(plain.closed_by_peer());
    let mut mistaken = stage.usher.connect();
    let hello = mistaken.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n").response();
    assert_eq!(hello.status, 400);
    await_failures(&stage, "malformed", 1.0);
    assert!(stage.app.requests().is_empty());
}

#[test]
fn a_proxy_announces_its_client_ahead_of_the_handshake() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nproxy_protocol = ['loopback']");
    let mut socket = TcpStream::connect(stage.usher.https()).unwrap();
    socket.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n").unwrap();
    let mut client = Client::over_tls(socket, &stage.ca.trust(), HOST).unwrap();
    assert_eq!(client.send(GET).response().status, 200);
    assert_eq!(stage.app.last().folded("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(stage.app.last().folded("x-forwarded-proto"), ["https"]);
}

#[test]
fn a_parked_connection_loses_no_byte() {
    let stage = TlsFixture::new();
    let parked = || {
        let mut client = stage.connect(HOST);
        assert_eq!(client.send(GET).response().status, 200);
        client
    };
    let [mut pipelining, mut dripping, mut uploading] = [(); 3].map(|()| parked());
    thread::sleep(PARKED_AFTER);
    pipelining.send(GET.repeat(3).as_bytes());
    assert!((0..3).all(|_| pipelining.response().status == 200));
    for byte in GET.as_bytes() {
        dripping.send([*byte]);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(dripping.response().status, 200);
    let body = "x".repeat(100_000);
    uploading.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n{body}"));
    assert_eq!(uploading.response().json()["body_length"], 100_000);
}

/// Half of a record wakes a connection, which must neither be taken for a request nor keep it from its end.
#[test]
fn half_a_record_does_not_keep_an_idle_connection_open() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nkeep_alive_timeout = '2s'");
    let mut client = stage.connect(HOST);
    assert_eq!(client.send(GET).response().status, 200);
    thread::sleep(PARKED_AFTER);
    client.sender().write_all(b"\x17\x03\x03\x01\x00half").unwrap();
    assert!(client.closed_by_peer());
    assert_eq!(stage.app.requests().len(), 1);
}

#[test]
fn a_connection_ends_with_a_farewell_that_cannot_be_forged() {
    let stage = TlsFixture::configured(App::echo(), "[listen]\nkeep_alive_timeout = '1s'");
    let mut idle = stage.connect(HOST);
    assert_eq!(idle.send(GET).response().status, 200);
    let mut told = stage.connect(HOST);
    told.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_eq!(told.response().status, 200);
    // TLS tells the end of a connection from a connection that was cut off, and rustls passes it on.
    for client in [&mut told, &mut idle] {
        assert_eq!(client.wire().read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn bodies_of_any_size_go_both_ways_over_either_protocol() {
    let stage = TlsFixture::configured(App::small_or_large("/large", LARGE), "");
    let mut client = stage.connect(HOST);
    let response = client.send(GET.replace("/p", "/large")).response();
    assert!(response.complete && response.body.len() == LARGE);
    let body = vec![b'x'; 8 << 20];
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", body.len())).send(&body);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(stage.app.last().body.len(), body.len());

    let mut client = H2Client::connect_tls(stage.usher.https(), &stage.ca.trust(), HOST);
    let (head, body) = client.get(HOST, "/large").unwrap();
    assert_eq!((head.status().as_u16(), body.len()), (200, LARGE));
    let streams: Vec<_> = (0..50).map(|_| client.ask(h2_get(HOST, "/")).unwrap()).collect();
    for stream in streams {
        assert_eq!(client.answer(stream).unwrap().1, b"ok");
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let app = App::small_or_large("/large", LARGE);
    let stage = TlsFixture::configured(app, "[listen]\nwrite_timeout = '1s'");
    let mut client = stage.connect(HOST);
    client.send(GET.replace("/p", "/large"));
    let limits = || stage.usher.metric("usher_limits_total", &["limit=\"write_timeout\""]);
    eventually("the client is cut off", || (limits() == 1.0).then_some(()));
    assert!(client.closed_by_peer());
    assert_eq!(stage.usher.access_log(1)[0]["outcome"], "limited");
}

/// What TLS holds back on its way to the socket does not make a client slow that takes it steadily.
#[test]
fn a_client_that_takes_its_time_is_not_cut_off() {
    let app = App::small_or_large("/large", 1 << 20);
    let stage = TlsFixture::configured(app, "[listen]\nwrite_timeout = '1s'");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&stage.usher.https().into()).unwrap();
    let mut client = Client::over_tls(socket.into(), &stage.ca.trust(), HOST).unwrap();
    client.send(GET.replace("/p", "/large"));
    let (mut buffer, mut taken) = ([0; 16 * 1024], 0);
    while taken < 1 << 20 {
        taken += client.wire().read(&mut buffer).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_websocket_opens_under_tls_and_is_counted() {
    let agree = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let app = App::scripted(move |mut conversation: Conversation| {
        if conversation.head().is_some() {
            conversation.write(agree).unwrap();
            let mut stream = conversation.sender();
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    let stage = TlsFixture::configured(app, "");
    let mut client = stage.connect(HOST);
    let head = client
        .send(GET.replace(
            "\r\n\r\n",
            "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ))
        .head();
    assert!(head.line.contains(" 101 "), "{}", head.line);
    client.send(b"\x81\x85\0\0\0\0hello");
    let mut echoed = [0; 11];
    let mut read = 0;
    while read < echoed.len() {
        read += client.wire().read(&mut echoed[read..]).unwrap();
    }
    assert_eq!(&echoed, b"\x81\x85\0\0\0\0hello");
    assert_eq!(stage.usher.metric("usher_tunnels", &[]), 1.0);
}

#[test]
fn a_certificate_that_is_replaced_is_shown_to_new_connections() {
    let stage = TlsFixture::new();
    let mut old = stage.connect(HOST);
    let shown = |client: &mut Client| client.wire().session().peer_certificates().unwrap()[0].to_vec();
    let before = shown(&mut old);
    stage.ca.issue(&[HOST]).write(stage.folder.path(), "custom");
    eventually("the new certificate is shown", || (shown(&mut stage.connect(HOST)) != before).then_some(()));
    assert_eq!(old.send(GET).response().status, 200, "an open connection goes on");

    // What cannot be used changes nothing.
    let [certificate, key] = Pair::paths(stage.folder.path(), "custom");
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let failed = || stage.usher.metric("usher_tls_certificate_reload_failures_total", &[]);
    eventually("the damage is noticed", || (failed() == 1.0).then_some(()));
    fs::remove_file(&key).unwrap();
    eventually("the loss is noticed", || (failed() == 2.0).then_some(()));
    stage.connect(HOST);
    assert!(stage.usher.log().contains("is still shown"), "{}", stage.usher.log());
    assert!(stage.usher.metric("usher_tls_certificate_earliest_expiry_seconds", &[]) > 1.7e9);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_traffic_comes() {
    let stage = Fixture::new();
    let folder = tempfile::TempDir::new().unwrap();
    let (ca, other) = (Ca::new(), Ca::new());
    let wrong = Pair { key: other.issue(&[HOST]).key, ..ca.issue(&[HOST]) };
    let item = wrong.write(folder.path(), "wrong");
    let config = format!(
        "[listen]\nhttps = ['127.0.0.1:0']\n[tls]\ncertificates = [{{ {item} }}, {{ certificate = '/nonexistent.pem', key = '/k' }}]"
    );
    let binary = Binary::over(&stage.tables).apps(&[&stage.app]).config(&config);
    let checked = binary.run(&["check"]);
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    for part in ["wrong.key", "cannot be used together", "/nonexistent.pem"] {
        assert!(checked.stderr.contains(part), "{part}: {}", checked.stderr);
    }
    let served = binary.run(&["serve"]);
    assert_eq!(served.code, 1, "{}", served.stderr);
    assert!(served.stderr.contains("cannot be used together"), "{}", served.stderr);
    assert!(!served.stderr.contains("PRIVATE KEY") && !checked.stderr.contains("PRIVATE KEY"));
}

#[test]
fn an_idle_connection_takes_less_than_nginx_gives_one() {
    let count = connections_possible(2_000);
    let stage = TlsFixture::configured(App::echo(), "[listen]\nconnections_per_client_max = 10000");
    let ask = |client: &mut Client| assert_eq!(client.send(GET).response().status, 200);
    let trust = stage.ca.trust();
    let connect = || Client::connect_tls(stage.usher.https(), &trust, HOST).unwrap();
    (0..100).for_each(|_| ask(&mut connect()));
    let before = stage.usher.memory();
    let mut clients: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = connect();
            ask(&mut client);
            client
        })
        .collect();
    // 0.8 of the 16 KB that nginx takes.
    eventually("idle connections are parked", || {
        let each = stage.usher.memory().saturating_sub(before) / count as u64;
        (each < 12_800).then_some(())
    });
    ask(&mut clients[count / 2]);
}

/// A body that ends without its last bytes is never taken for a whole one.
#[test]
fn an_upload_that_is_cut_off_never_looks_whole() {
    let stage = TlsFixture::configured(App::echo(), "[upstreams.default]\nbuffer_request = '0B'");
    let mut client = stage.connect(HOST);
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nhalf"));
    eventually("the app has seen the request", || (stage.app.connections() == 1).then_some(()));
    client.reset();
    eventually("the request has ended", || (stage.usher.access_log_so_far().lines().count() == 1).then_some(()));
    assert_ne!(stage.usher.access_log(1)[0]["status"], 200);
}
