//! TLS to app servers: the name and the CA are checked, sessions are resumed, and failures are told as such.

use std::{io::Write, net::TcpListener};

use tempfile::TempDir;

use crate::support::{App, Backend, Binary, Ca, Client, Front, H2App, Output, Speech, Tables, Usher, eventually};

/// A CA, a folder for its files, and the rows.
struct Stage {
    ca: Ca,
    folder: TempDir,
    tables: Tables,
}

impl Stage {
    fn new() -> Self {
        let (ca, folder) = (Ca::new(), TempDir::new().unwrap());
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { ca, folder, tables: Tables::example(Backend::Sqlite) }
    }

    /// For this server, with the CA known, and these keys of the upstream.
    fn binary(&self, server: &str, keys: &str) -> Binary {
        let ca = self.folder.path().join("ca.pem");
        let config = format!("[upstreams.default]\nservers = ['{server}']\nca_file = '{}'\n{keys}", ca.display());
        Binary::over(&self.tables).config("[listen]\nworkers = 1").config(&config)
    }

    fn usher(&self, server: &str, keys: &str) -> Usher {
        self.binary(server, keys).start()
    }

    fn check(&self, server: &str, keys: &str) -> Output {
        self.binary(server, keys).run(&["check"])
    }
}

/// TLS for `names` in front of `app`.
fn front(stage: &Stage, names: &[&str], app: &App) -> (Front, String) {
    let front = Front::tls(Speech::of(&stage.ca.issue(names)).protocols(&["http/1.1"]), app.address());
    let url = format!("https://{}", front.address());
    (front, url)
}

fn post(client: &mut Client, length: usize) -> u16 {
    client.send(format!("POST /p HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {length}\r\n\r\n"));
    client.send(vec![b'x'; length]);
    client.response().status
}

#[test]
fn requests_of_any_size_go_over_one_connection() {
    let (stage, app) = (Stage::new(), App::echo());
    let (front, url) = front(&stage, &["127.0.0.1"], &app);
    let usher = stage.usher(&url, "");
    let mut client = usher.connect();
    for length in [0, 3, 3_000_000, 70_000] {
        assert_eq!(post(&mut client, length), 200, "{length}");
        assert_eq!(app.last().body.len(), length);
    }
    let met = front.met();
    assert_eq!((met.len(), met[0].protocol.as_deref(), met[0].name.as_deref()), (1, Some("http/1.1"), None));
    let output = stage.check(&url, "");
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains(&format!("{url} accepts connections")), "{}", output.stdout);
}

#[test]
fn large_answers_and_websockets_go_through() {
    let stage = Stage::new();
    let app = App::small_or_large("/large", 3_000_000);
    let (_front, url) = front(&stage, &["127.0.0.1"], &app);
    let usher = stage.usher(&url, "");
    assert_eq!(usher.get("customdomain1.com", "/large").body.len(), 3_000_000);
    let agreeing = App::scripted(|mut conversation| {
        conversation.head();
        let agree = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
        conversation.write(agree).unwrap();
        let mut stream = conversation.sender();
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    });
    let (_front, url) = front(&stage, &["127.0.0.1"], &agreeing);
    let usher = stage.usher(&url, "");
    let mut client = usher.connect();
    client.send(
        "GET /live HTTP/1.1\r\nHost: customdomain1.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(client.head().line.contains(" 101 "));
    client.send("hello");
    let mut heard = Vec::new();
    while heard.len() < 10 {
        let mut piece = [0; 16];
        let read = client.wire().read(&mut piece).unwrap();
        assert!(read > 0, "the tunnel ended after {heard:?}");
        heard.extend_from_slice(&piece[..read]);
    }
    assert_eq!(heard, b"earlyhello");
}

#[test]
fn sessions_are_resumed() {
    let stage = Stage::new();
    let app = App::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let (front, url) = front(&stage, &["127.0.0.1"], &app);
    let usher = stage.usher(&url, "");
    for _ in 0..3 {
        assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    }
    let resumed: Vec<_> = front.met().iter().map(|met| met.resumed).collect();
    assert_eq!(resumed, [false, true, true]);
}

#[test]
fn files_that_change_are_read_again() {
    let stage = Stage::new();
    let app = App::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let (_front, url) = front(&stage, &["127.0.0.1"], &app);
    let authority = stage.folder.path().join("ca.pem");
    std::fs::write(&authority, Ca::new().pem()).unwrap();
    let usher = stage.usher(&url, "eject_after = 0\neject_percent = 0");
    let status = || usher.get("customdomain1.com", "/").status;
    assert_eq!(status(), 502, "its CA is not known");
    std::fs::write(&authority, stage.ca.pem()).unwrap();
    eventually("the CA is known", || (status() == 200).then_some(()));
    std::fs::write(&authority, "no certificate").unwrap();
    let told = "TLS towards app servers goes on with the files of before";
    eventually("it is told", || usher.log().contains(told).then_some(()));
    assert_eq!(status(), 200);
}

#[test]
fn a_connection_that_the_app_has_closed_is_not_used_again() {
    let stage = Stage::new();
    let app = App::scripted(|mut conversation| {
        conversation.request();
        let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let (front, url) = front(&stage, &["127.0.0.1"], &app);
    let usher = stage.usher(&url, "");
    let mut client = usher.connect();
    for number in 1..=30 {
        assert_eq!(post(&mut client, 3), 200, "request {number}");
        // Before usher can know it, an order may be lost.
        eventually("the end has come", || (front.ended() == number).then_some(()));
    }
    assert_eq!(front.met().len(), 30);
}

#[test]
fn a_name_can_be_given_where_the_address_is_none() {
    let (stage, app) = (Stage::new(), App::echo());
    let (front, url) = front(&stage, &["app.internal"], &app);
    let usher = stage.usher(&url, "server_name = 'app.internal'");
    assert_eq!(usher.get("customdomain1.com", "/").status, 200);
    assert_eq!(front.met()[0].name.as_deref(), Some("app.internal"));
}

fn refused(usher: &Usher) -> String {
    let response = usher.get("customdomain1.com", "/");
    assert_eq!(response.status, 502);
    assert!(!response.text().to_lowercase().contains("certificate"), "{}", response.text());
    let line = &usher.access_log(1)[0];
    assert_eq!(line["outcome"], "tls_failed", "{line}");
    line["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_certificate_for_another_name_or_from_another_ca_is_a_502_of_its_own() {
    let (stage, app) = (Stage::new(), App::echo());
    let (_other_name, url) = front(&stage, &["app.internal"], &app);
    let reason = refused(&stage.usher(&url, ""));
    assert!(reason.contains("not valid for name"), "{reason}");
    let output = stage.check(&url, "");
    assert!(output.code == 1 && output.stderr.contains("TLS with the app server failed"), "{output:?}");

    let other_ca = Stage::new();
    let (_front, url) = front(&other_ca, &["127.0.0.1"], &app);
    let reason = refused(&stage.usher(&url, ""));
    assert!(reason.contains("invalid peer certificate"), "{reason}");
    assert!(app.requests().is_empty());
}

#[test]
fn a_server_without_tls_is_told_as_such() {
    let app = App::scripted(|mut conversation| {
        let _ = conversation.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    refused(&Stage::new().usher(&format!("https://{}", app.address()), ""));
}

#[test]
fn a_handshake_that_does_not_come_ends_with_the_connect_deadline() {
    let stage = Stage::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let usher = stage.usher(&format!("https://{}", silent.local_addr().unwrap()), "connect_timeout = '200ms'");
    assert_eq!(usher.get("customdomain1.com", "/").status, 504);
    assert_eq!(usher.access_log(1)[0]["outcome"], "tls_timeout");
}

#[test]
fn usher_shows_its_own_certificate_where_it_has_one() {
    let (stage, app) = (Stage::new(), App::echo());
    let speech = || Speech::demanding(&stage.ca.issue(&["127.0.0.1"]), &stage.ca).protocols(&["http/1.1"]);
    let front = Front::tls(speech(), app.address());
    let url = format!("https://{}", front.address());
    assert_eq!(stage.usher(&url, "").get("customdomain1.com", "/").status, 502);
    let pair = stage.ca.issue(&["usher.internal"]);
    let [certificate, key] = ["usher.pem", "usher.key"].map(|name| stage.folder.path().join(name));
    std::fs::write(&certificate, pair.certificate).unwrap();
    std::fs::write(&key, pair.key).unwrap();
    let keys = format!("client_certificate = '{}'\nclient_key = '{}'", certificate.display(), key.display());
    assert_eq!(stage.usher(&url, &keys).get("customdomain1.com", "/").status, 200);
    assert!(front.met().last().unwrap().certified);
}

#[test]
fn files_that_cannot_be_used_keep_usher_from_starting() {
    let stage = Stage::new();
    std::fs::File::create(stage.folder.path().join("ca.pem")).unwrap().write_all(b"nothing").unwrap();
    let output = stage.binary("https://127.0.0.1:9", "").run(&["serve"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("ca.pem"), "{}", output.stderr);
    assert!(stage.check("https://127.0.0.1:9", "").stderr.contains("ca.pem"));
}

#[test]
fn http2_is_agreed_on_and_demanded() {
    let (stage, app) = (Stage::new(), H2App::echo());
    let speech = |protocols| Speech::of(&stage.ca.issue(&["127.0.0.1"])).protocols(protocols);
    let front = Front::tls(speech(&["h2", "http/1.1"]), app.address());
    let usher = stage.usher(&format!("h2://{}", front.address()), "");
    for _ in 0..3 {
        assert_eq!(usher.get("customdomain1.com", "/p").status, 200);
    }
    let met = front.met();
    assert_eq!((met.len(), met[0].protocol.as_deref()), (1, Some("h2")));
    assert_eq!(app.last().head.uri, "https://customdomain1.com/p");
    let without = Front::tls(speech(&[]), app.address());
    let reason = refused(&stage.usher(&format!("h2://{}", without.address()), ""));
    assert!(reason.contains("does not offer HTTP/2"), "{reason}");
}

#[test]
fn probes_speak_tls_as_well() {
    let stage = Stage::new();
    let app = App::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (_front, url) = front(&stage, &["127.0.0.1"], &app);
    let _usher = stage.usher(&url, "probe_path = '/health'\nprobe_interval = '100ms'");
    let probe = eventually("a probe", || app.requests().into_iter().next());
    assert_eq!(probe.target(), "/health");
}
