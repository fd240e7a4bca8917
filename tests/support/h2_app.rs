//! App servers that speak HTTP/2 without TLS: one that follows a script per request, and one that is told every frame.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server};
use http::{HeaderMap, Request, Response, request::Parts};
use tokio::sync::oneshot;

use super::SOON;

type Script = dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A server on a port of its own, which ends with the value.
pub(crate) struct H2App {
    address: SocketAddr,
    seen: Arc<Seen>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    calls: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

/// A request as the app server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: Parts,
    /// How many connections came before the one it came on.
    pub(crate) connection: usize,
}

/// One request, handed to the script.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: RecvStream,
    pub(crate) answer: server::SendResponse<Bytes>,
    /// How many requests of all connections came before this one.
    pub(crate) number: usize,
}

impl H2App {
    /// Answers every request with 200 and what it sent, trailers included.
    pub(crate) fn echo() -> Self {
        Self::scripted(|mut call| async move {
            let (body, trailers) = call.read().await;
            let mut stream = call.head_of(200);
            stream.send_data(body, trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers).unwrap();
            }
        })
    }

    /// Every request is `script`'s own; it is reset when the script drops it unanswered.
    pub(crate) fn scripted<F>(script: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::limited(100, script)
    }

    /// The same, with so many requests at once on a connection.
    pub(crate) fn limited<F>(streams_max: u32, script: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Arc<Script> = Arc::new(move |call| Box::pin(script(call)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let serving = accept(listener, streams_max, Arc::clone(&seen), script);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        });
        Self { address, seen, _stop: stop }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// Every request received so far, in order.
    pub(crate) fn calls(&self) -> Vec<Received> {
        self.seen.calls.lock().unwrap().clone()
    }

    /// The last request received.
    pub(crate) fn last(&self) -> Received {
        self.calls().pop().expect("a request at the app")
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, streams_max: u32, seen: Arc<Seen>, script: Arc<Script>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream, streams_max, Arc::clone(&seen), Arc::clone(&script)));
    }
}

async fn serve(stream: tokio::net::TcpStream, streams_max: u32, seen: Arc<Seen>, script: Arc<Script>) {
    let connection_number = seen.connections.fetch_add(1, Ordering::SeqCst);
    seen.open.fetch_add(1, Ordering::SeqCst);
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(streams_max);
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
        while let Some(Ok((request, answer))) = connection.accept().await {
            let (head, body) = request.into_parts();
            let number = {
                let mut calls = seen.calls.lock().unwrap();
                calls.push(Received { head: head.clone(), connection: connection_number });
                calls.len() - 1
            };
            tokio::spawn(script(Call { head, body, answer, number }));
        }
    }
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

impl Call {
    /// The whole body, and its trailers.
    pub(crate) async fn read(&mut self) -> (Bytes, Option<HeaderMap>) {
        let mut whole = Vec::new();
        while let Some(part) = self.body.data().await {
            let Ok(part) = part else { return (whole.into(), None) };
            self.body.flow_control().release_capacity(part.len()).unwrap();
            whole.extend_from_slice(&part);
        }
        (whole.into(), self.body.trailers().await.ok().flatten())
    }

    /// Begins an answer.
    pub(crate) fn head_of(&mut self, status: u16) -> SendStream<Bytes> {
        self.answer.send_response(Response::builder().status(status).body(()).unwrap(), false).unwrap()
    }

    /// Answers with this, whole.
    pub(crate) fn finish(&mut self, status: u16, body: impl Into<Bytes>) {
        self.head_of(status).send_data(body.into(), true).unwrap();
    }

    /// What the other side reset the answer with; waits for it.
    pub(crate) async fn reset(stream: &mut SendStream<Bytes>) -> h2::Reason {
        std::future::poll_fn(|context| stream.poll_reset(context)).await.unwrap()
    }
}

/// A server that writes and reads frames as they are.
pub(crate) struct FrameApp {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

/// One connection of it, after the exchange of settings.
pub(crate) struct Frames {
    stream: TcpStream,
    /// How many connections came before this one.
    pub(crate) number: usize,
}

/// A frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// Flags (RFC 9113 §6.1, §6.2).
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client says first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `:status: 200` (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

impl FrameApp {
    /// Every connection is `script`'s own; it is closed when the script returns.
    pub(crate) fn scripted(script: impl Fn(Frames) + Send + Sync + 'static) -> Self {
        Self::saying(&[], script)
    }

    /// The same, with this in its settings (RFC 9113 §6.5.1).
    pub(crate) fn saying(settings: &'static [u8], script: impl Fn(Frames) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end, script) = (Arc::clone(&connections), Arc::clone(&stopped), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                let stream = stream.unwrap();
                thread::spawn(move || Frames::greet(stream, number, settings).map(|frames| script(frames)));
            }
        });
        Self { address, connections, stopped }
    }

    pub(crate) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FrameApp {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Frames {
    /// The other end: a client's connection with prior knowledge, of which the settings have been sent.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream, number: 0 };
        frames.send(PREFACE);
        frames.write(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Sends exactly these bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// The same; whether the connection is still there.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    fn greet(mut stream: TcpStream, number: usize, settings: &[u8]) -> Option<Self> {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).ok()?;
        assert_eq!(preface, *PREFACE);
        let mut frames = Self { stream, number };
        frames.write(SETTINGS, 0, 0, settings);
        Some(frames)
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind.
    pub(crate) fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind)
    }

    pub(crate) fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _ = self.stream.write_all(&frame);
    }

    /// 200, and a body to come.
    pub(crate) fn head(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, &[STATUS_200]);
    }

    /// 200 and no body.
    pub(crate) fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200]);
    }

    /// Nothing behind `last` was processed.
    pub(crate) fn go_away(&mut self, last: u32) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    }
}
