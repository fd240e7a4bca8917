//! App servers that follow a script, one thread per connection.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Body, Framing, Head, Wire};

/// A server on a port of its own, which ends with the value.
pub(crate) struct App {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// A request as the app server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// One connection, handed to the script.
pub(crate) struct Conversation {
    /// How many connections came before this one.
    pub(crate) number: usize,
    wire: Wire,
    seen: Arc<Seen>,
}

impl App {
    /// Answers every request with 200 and a JSON account of what it saw.
    pub(crate) fn echo() -> Self {
        Self::scripted(Conversation::echo)
    }

    /// Answers every request with exactly these bytes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::scripted(
            move |mut conversation| {
                while conversation.request().is_some() && conversation.write(&answer).is_ok() {}
            },
        )
    }

    /// Answers every request with the value of one of its header fields.
    pub(crate) fn telling(field: &'static str) -> Self {
        Self::scripted(move |mut conversation| {
            while let Some(request) = conversation.request() {
                let value = request.head.one(field).unwrap_or_default();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{value}", value.len());
                if conversation.write(answer).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers with so many bytes at `target`, and with nearly none anywhere else.
    pub(crate) fn small_or_large(target: &'static str, bytes: usize) -> Self {
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (small, large) = (answer("ok"), answer(&"x".repeat(bytes)));
        Self::scripted(move |mut conversation| {
            while let Some(request) = conversation.request() {
                let answer = if request.target() == target { &large } else { &small };
                if conversation.write(answer).is_err() {
                    return;
                }
            }
        })
    }

    /// Every connection is `script`'s own; it is closed when the script returns.
    pub(crate) fn scripted(script: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        Self::over(listen([127, 0, 0, 1], 0).unwrap(), script)
    }

    /// Servers that echo on the same port of 127.0.0.1, 127.0.0.2 and so on.
    pub(crate) fn neighbours<const COUNT: usize>() -> [Self; COUNT] {
        let listeners = super::eventually("a port is free on all of them", || {
            let first = listen([127, 0, 0, 1], 0).ok()?;
            let port = first.local_addr().ok()?.port();
            let others = (2..=COUNT).map(|number| listen([127, 0, 0, u8::try_from(number).ok()?], port).ok());
            std::iter::once(Some(first)).chain(others).collect::<Option<Vec<_>>>()
        });
        let mut listeners = listeners.into_iter();
        std::array::from_fn(|_| Self::over(listeners.next().unwrap(), Conversation::echo))
    }

    fn over(listener: TcpListener, script: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        let app = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&app.seen);
        thread::spawn(move || accept(&listener, &seen, &Arc::new(script)));
        app
    }

    /// An address on which nobody listens.
    pub(crate) fn refusing_url() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request read so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The last request read.
    pub(crate) fn last(&self) -> Request {
        self.seen.requests.lock().unwrap().last().cloned().expect("a request at the app")
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// A listener that a thousand connections may reach at once; the standard library's queue holds 128.
fn listen(ip: [u8; 4], port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn accept<S: Fn(Conversation) + Send + Sync + 'static>(listener: &TcpListener, seen: &Arc<Seen>, script: &Arc<S>) {
    for stream in listener.incoming() {
        if seen.stopped.load(Ordering::SeqCst) {
            return;
        }
        let number = seen.connections.fetch_add(1, Ordering::SeqCst);
        let conversation = Conversation { number, wire: Wire::new(stream.unwrap()), seen: Arc::clone(seen) };
        let script = Arc::clone(script);
        thread::Builder::new().stack_size(256 * 1024).spawn(move || script(conversation)).unwrap();
    }
}

impl Conversation {
    /// The head of the next request, noted at once; `None` at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let head = self.wire.head().ok().flatten()?;
        self.note(head.clone(), Body::default());
        Some(head)
    }

    /// The next request with its body; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.wire.head().ok().flatten()?;
        let body = self.wire.body(head.framing(Framing::Empty)).ok()?;
        Some(self.note(head, body))
    }

    fn note(&self, head: Head, body: Body) -> Request {
        let request = Request { head, body: body.bytes, trailers: body.trailers };
        self.seen.requests.lock().unwrap().push(request.clone());
        request
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Agrees to the WebSocket that `head` asks for (RFC 6455 §4.2.2).
    pub(crate) fn agree(&mut self, head: &Head) {
        let key = head.one("sec-websocket-key").expect("a key");
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
        self.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accepted}\r\n\r\n"
        ))
        .unwrap();
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// A second handle to the same socket, so that one thread may send while another reads.
    pub(crate) fn sender(&self) -> TcpStream {
        self.wire.stream().try_clone().unwrap()
    }

    pub(crate) fn closed_by_peer(&mut self) -> bool {
        self.wire.closed_by_peer()
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        SockRef::from(self.wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Answers every request with an account of it.
    pub(crate) fn echo(mut self) {
        while let Some(request) = self.request() {
            if self.account(&request).is_err() {
                return;
            }
        }
    }

    /// Answers with an account of `request`.
    pub(crate) fn account(&mut self, request: &Request) -> io::Result<()> {
        self.write(request.account())
    }
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    /// Path and query as they came.
    pub(crate) fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Every header whose name reads as `name` to an app that folds `-`, `_` and case (WSGI, CGI), trailers included.
    pub(crate) fn folded(&self, name: &str) -> Vec<&str> {
        let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        let fields = self.head.fields.iter().chain(&self.trailers);
        fields.filter(|(n, _)| fold(n) == fold(name)).map(|(_, value)| value.as_str()).collect()
    }

    fn account(&self) -> Vec<u8> {
        let body = serde_json::json!({
            "line": self.head.line,
            "headers": self.head.fields,
            "body_length": self.body.len(),
        })
        .to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into()
    }
}
