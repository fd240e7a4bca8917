//! What Debian's `pebble` lacks, put in front of it: profiles, the times of renewal that a CA suggests (RFC 9773), limits, and an end of
//! every question.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ca, Pebble, Trust};

/// The path below which times of renewal are asked for.
const RENEWAL: &str = "/renewal-info";

/// Where orders are made.
const NEW_ORDER: &str = "/order-plz";

/// A CA with profiles, that says when to renew.
pub(crate) struct ModernCa {
    folder: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    behind: SocketAddr,
    trust: Trust,
    /// Asked one thing after the other: pebble locks itself up for good where an order for a further name meets somebody who looks at an
    /// authorisation. Each holds what the other waits for.
    turn: Mutex<()>,
    /// When to renew, as JSON.
    window: Mutex<Value>,
    /// The payloads of new orders.
    orders: Mutex<Vec<Value>>,
    /// Certificates whose time was asked for.
    asked: Mutex<Vec<String>>,
    /// Below which path answers are held back, and how many are.
    held: Mutex<(Option<&'static str>, usize)>,
    /// Below which path nonces are not known, and of how many requests to come.
    refused: Mutex<(&'static str, usize)>,
    /// How many new orders to come are too many, and for how many seconds it wants to be left alone then.
    limited: Mutex<(usize, u64)>,
    /// Since it has last refused one of these: the second of every request, that one first.
    heard: Mutex<Vec<u64>>,
}

impl ModernCa {
    /// In front of `pebble`, with a profile called `short`; at first it suggests no time of renewal.
    pub(crate) fn before(pebble: &Pebble) -> Self {
        let (own, folder) = (Ca::new(), TempDir::with_prefix("usher-modern-ca-").unwrap());
        std::fs::write(folder.path().join("root.pem"), own.pem()).unwrap();
        let pair = own.issue(&["127.0.0.1"]);
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            behind: pebble.address(),
            trust: pebble.own_trust(),
            turn: Mutex::default(),
            window: Mutex::new(Value::Null),
            orders: Mutex::default(),
            asked: Mutex::default(),
            held: Mutex::default(),
            refused: Mutex::default(),
            limited: Mutex::default(),
            heard: Mutex::default(),
        });
        let (config, serving) = (Arc::new(config), Arc::clone(&shared));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&serving));
                thread::spawn(move || {
                    let session = ServerConnection::new(config).unwrap();
                    let mut stream = StreamOwned::new(session, client);
                    while let Some(request) = Message::read(&mut stream) {
                        let path = request.path().to_owned();
                        let answer = shared.answer(request);
                        shared.hold(&path);
                        if stream.write_all(&answer.bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { folder, shared }
    }

    /// The keys of `[acme]` that name it instead of the CA behind it.
    pub(crate) fn config(&self) -> String {
        let root = self.folder.path().join("root.pem");
        format!("[acme]\ndirectory = 'https://{}/dir'\nroot_file = {root:?}\n", self.shared.address)
    }

    /// Suggests to renew between these times (RFC 3339).
    pub(crate) fn suggest(&self, start: &str, end: &str) {
        *self.shared.window.lock().unwrap() = json!({"suggestedWindow": {"start": start, "end": end}});
    }

    /// Does not know the nonces of the next `times` requests below `path`.
    pub(crate) fn refuse_nonces(&self, path: &'static str, times: usize) {
        *self.shared.refused.lock().unwrap() = (path, times);
    }

    /// Finds the next `times` new orders too many, and wants to be left alone for so many seconds after each.
    pub(crate) fn limit_orders(&self, times: usize, seconds: u64) {
        *self.shared.limited.lock().unwrap() = (times, seconds);
    }

    /// In which second since the Unix epoch it was asked anything since there was one order too many, that one first.
    pub(crate) fn heard(&self) -> Vec<u64> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// Does what is asked below `path`, and does not say so until [`ModernCa::release`].
    pub(crate) fn hold(&self, path: &'static str) {
        *self.shared.held.lock().unwrap() = (Some(path), 0);
    }

    /// Whether somebody waits for an answer that is held back.
    pub(crate) fn is_holding(&self) -> bool {
        self.shared.held.lock().unwrap().1 > 0
    }

    /// Answers again.
    pub(crate) fn release(&self) {
        *self.shared.held.lock().unwrap() = (None, 0);
    }

    /// The payloads of new orders so far.
    pub(crate) fn orders(&self) -> Vec<Value> {
        self.shared.orders.lock().unwrap().clone()
    }

    /// The certificates whose time was asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    /// Waits while answers below `path` are held back.
    fn hold(&self, path: &str) {
        let is_held = |held: &(Option<&str>, usize)| held.0.is_some_and(|below| path.starts_with(below));
        let mut is_first = true;
        loop {
            let mut held = self.held.lock().unwrap();
            if !is_held(&held) {
                return;
            }
            held.1 += usize::from(is_first);
            drop(held);
            is_first = false;
            thread::sleep(super::A_MOMENT);
        }
    }

    /// Whether the nonce of a request for `path` is to be refused.
    fn refuses(&self, path: &str) -> bool {
        let mut refused = self.refused.lock().unwrap();
        let is_refused = refused.1 > 0 && path.starts_with(refused.0);
        refused.1 -= usize::from(is_refused);
        is_refused
    }

    /// Notes a request for `path`; for how many seconds to be left alone after it, where it is one order too many.
    fn hear(&self, path: &str) -> Option<u64> {
        let (mut limited, mut heard) = (self.limited.lock().unwrap(), self.heard.lock().unwrap());
        let is_too_many = limited.0 > 0 && path == NEW_ORDER;
        if is_too_many {
            limited.0 -= 1;
            heard.clear();
        }
        heard.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
        is_too_many.then_some(limited.1)
    }

    fn answer(&self, request: Message) -> Message {
        let path = request.path().to_owned();
        if let Some(seconds) = self.hear(&path) {
            let kind = "urn:ietf:params:acme:error:rateLimited";
            let problem = json!({"type": kind, "detail": "too many new orders", "status": 429}).to_string();
            let head = format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\n");
            return Message::new(&head, problem.into_bytes());
        }
        if self.refuses(&path) {
            let problem = json!({"type": "urn:ietf:params:acme:error:badNonce", "status": 400}).to_string();
            return Message::new("HTTP/1.1 400 Bad Request\r\n", problem.into_bytes());
        }
        if let Some(identifier) = path.strip_prefix(RENEWAL) {
            self.asked.lock().unwrap().push(identifier.trim_start_matches('/').to_owned());
            return match self.window.lock().unwrap().clone() {
                Value::Null => Message::new("HTTP/1.1 404 Not Found\r\n", b"{}".to_vec()),
                window => Message::new("HTTP/1.1 200 OK\r\nRetry-After: 21600\r\n", window.to_string().into_bytes()),
            };
        }
        let payload = request.payload();
        let mut answer = self.ask_behind(&request);
        match path.as_str() {
            "/dir" => answer.change(|directory| {
                directory["renewalInfo"] = format!("https://{}{RENEWAL}", self.address).into();
                directory["meta"]["profiles"] = json!({"short": "six days"});
            }),
            NEW_ORDER => {
                answer.change(|order| {
                    for field in ["replaces", "profile"] {
                        if let Some(value) = payload.get(field) {
                            order[field] = value.clone();
                        }
                    }
                });
                self.orders.lock().unwrap().push(payload);
            }
            _ => {}
        }
        answer
    }

    fn ask_behind(&self, request: &Message) -> Message {
        let _turn = self.turn.lock().unwrap();
        let mut stream = self.trust.shake_hands(TcpStream::connect(self.behind).unwrap(), "localhost").unwrap();
        // Of HTTP/1.0, so that the answer ends with the connection and not with a last chunk.
        let head = request.head.replacen("HTTP/1.1", "HTTP/1.0", 1);
        stream.write_all(&Message { head, body: request.body.clone() }.bytes()).unwrap();
        Message::read(&mut stream).unwrap()
    }
}

/// A request or an answer: its head without the length, and its body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn new(head: &str, body: Vec<u8>) -> Self {
        Self { head: head.to_owned(), body }
    }

    /// The next one on `stream`; nothing at its end.
    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let mut body = Vec::new();
        match length {
            Some(length) if !head.starts_with("HTTP/") => {
                body.resize(length, 0);
                stream.read_exact(&mut body).ok()?;
            }
            // Whatever an answer says of its length, one to HEAD has nothing.
            _ if head.starts_with("HTTP/") => drop(stream.read_to_end(&mut body)),
            _ => {}
        }
        let kept =
            head.lines().filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length"));
        Some(Self { head: kept.map(|line| format!("{line}\r\n")).collect(), body })
    }

    /// What a request is for.
    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        let head = format!("{}Content-Length: {}\r\n\r\n", self.head, self.body.len());
        [head.as_bytes(), &self.body].concat()
    }

    /// What a signed request says (RFC 7515).
    fn payload(&self) -> Value {
        let signed: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let payload = signed["payload"].as_str().unwrap_or_default();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap_or_default()
    }

    /// Changes what it says, if that is no complaint.
    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        if self.head.starts_with("HTTP/1.0 2") {
            let mut value = serde_json::from_slice(&self.body).unwrap();
            change(&mut value);
            self.body = value.to_string().into_bytes();
        }
    }
}
