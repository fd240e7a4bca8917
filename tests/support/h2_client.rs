//! A client that speaks HTTP/2 with prior knowledge, well or badly as the test wants.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
    ext::Protocol,
};
use http::{Method, Request, Response, Version};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{SOON, Trust, eventually};

/// One connection to usher, driven in the background.
pub(crate) struct H2Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A request on its way.
pub(crate) struct Stream {
    pub(crate) answer: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

impl H2Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &Builder::new())
    }

    /// With settings of its own.
    pub(crate) fn with(address: SocketAddr, builder: &Builder) -> Self {
        Self::over(builder, async move { TcpStream::connect(address).await.unwrap() })
    }

    fn over<S>(builder: &Builder, stream: impl Future<Output = S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, connection) = runtime.block_on(async { builder.handshake(stream.await).await.unwrap() });
        let driver = runtime.spawn(async move {
            let _ended = connection.await;
        });
        Self { runtime, sender, driver }
    }

    /// Begins a request, whose body follows.
    pub(crate) fn start(&mut self, request: Request<()>) -> Result<Stream, h2::Error> {
        self.send(request, false)
    }

    /// Begins a request without a body.
    pub(crate) fn ask(&mut self, request: Request<()>) -> Result<Stream, h2::Error> {
        self.send(request, true)
    }

    /// Asks for a tunnel (RFC 8441 §4), once usher's settings allow to.
    pub(crate) fn ask_for_tunnel(&mut self, protocol: &'static str, host: &str, target: &str) -> Stream {
        let sender = self.sender.clone();
        eventually("the settings of usher", || sender.is_extended_connect_protocol_enabled().then_some(()));
        let request = Request::builder().method(Method::CONNECT).version(Version::HTTP_2);
        let request = request.uri(format!("http://{host}{target}")).header("sec-websocket-version", "13");
        self.start(request.extension(Protocol::from_static(protocol)).body(()).unwrap()).unwrap()
    }

    /// Under TLS.
    pub(crate) fn connect_tls(address: SocketAddr, trust: &Trust, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(trust.clone().protocols(&["h2"]).config());
        Self::over(&Builder::new(), async move {
            connector.connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap()
        })
    }

    fn send(&mut self, request: Request<()>, is_whole: bool) -> Result<Stream, h2::Error> {
        let mut sender = self.wait(self.sender.clone().ready())?;
        let (answer, body) = sender.send_request(request, is_whole)?;
        Ok(Stream { answer, body })
    }

    /// The answer to a GET, with its body.
    pub(crate) fn get(&mut self, host: &str, target: &str) -> Result<(Response<()>, Vec<u8>), h2::Error> {
        let stream = self.ask(get(host, target))?;
        self.answer(stream)
    }

    /// The answer, with its body.
    pub(crate) fn answer(&self, stream: Stream) -> Result<(Response<()>, Vec<u8>), h2::Error> {
        let (head, mut body) = self.wait(stream.answer)?.into_parts();
        Ok((Response::from_parts(head, ()), self.read(&mut body)?))
    }

    /// The rest of a body.
    pub(crate) fn read(&self, body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
        let mut whole = Vec::new();
        while let Some(part) = self.wait(body.data()) {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }

    /// Waits for `future`, and fails the test where it takes too long.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async { timeout(SOON, future).await.expect("in time") })
    }

    /// Waits for the end of the connection; false where it is still there after [`SOON`].
    pub(crate) fn closed_by_peer(&mut self) -> bool {
        let driver = &mut self.driver;
        self.runtime.block_on(async { timeout(SOON, driver).await.is_ok() })
    }
}

/// A GET for `target` at `host`.
pub(crate) fn get(host: &str, target: &str) -> Request<()> {
    Request::get(format!("http://{host}{target}")).body(()).unwrap()
}
