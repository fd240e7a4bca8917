//! A client that sends exactly the bytes it is given.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::{Framing, Head, Wire, tls::Trust, wire::Link};

/// One connection to usher.
pub(crate) struct Client {
    wire: Wire,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body ended as its framing said.
    pub(crate) complete: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        Self { wire: Wire::new(stream) }
    }

    /// Under TLS, once the handshake is over; an error where it fails.
    pub(crate) fn connect_tls(address: SocketAddr, trust: &Trust, name: &str) -> io::Result<Self> {
        Self::over_tls(TcpStream::connect(address)?, trust, name)
    }

    /// The same on a connection that is open already.
    pub(crate) fn over_tls(stream: TcpStream, trust: &Trust, name: &str) -> io::Result<Self> {
        let link = Link::Tls(Box::new(trust.shake_hands(stream, name)?));
        Ok(Self { wire: Wire::over(link) })
    }

    /// Sends exactly these bytes; a peer that refuses them has answered already, which [`Self::response`] will show.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.wire.write(bytes);
        self
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.wire.stream().shutdown(Shutdown::Write).unwrap();
        self
    }

    pub(crate) fn response(&mut self) -> Response {
        self.try_response().unwrap().expect("an answer, not the end of the connection")
    }

    /// The next answer; `None` where the connection ends instead.
    pub(crate) fn try_response(&mut self) -> io::Result<Option<Response>> {
        self.answer(Framing::UntilClose)
    }

    /// The answer to a HEAD request, which has no body whatever its fields say.
    pub(crate) fn response_to_head(&mut self) -> Response {
        let head = self.head();
        Response { status: status(&head), head, body: Vec::new(), trailers: Vec::new(), complete: true }
    }

    /// Only the head of the next answer; the body is left to be read from [`Self::wire`].
    pub(crate) fn head(&mut self) -> Head {
        self.wire.head().unwrap().expect("the head of an answer, not the end of the connection")
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

    /// Goes away without a word (RST).
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.wire.stream()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    fn answer(&mut self, otherwise: Framing) -> io::Result<Option<Response>> {
        let Some(head) = self.wire.head()? else { return Ok(None) };
        let status = status(&head);
        let framing = if matches!(status, 100..200 | 204 | 304) { Framing::Empty } else { head.framing(otherwise) };
        let mut body = Vec::new();
        let ended = self.wire.stream_body(framing, |part| body.extend_from_slice(part));
        let complete = ended.is_ok();
        Ok(Some(Response { status, head, body, trailers: ended.unwrap_or_default(), complete }))
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }
}

fn status(head: &Head) -> u16 {
    let code = head.line.strip_prefix("HTTP/1.1 ").or_else(|| head.line.strip_prefix("HTTP/1.0 "));
    code.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or_else(|| panic!("a status line {:?}", head.line))
}
