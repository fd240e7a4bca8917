//! An HTTP/1.1 connection to an app server: one exchange at a time has it to itself.

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::AbortHandle};

use super::{
    connection::ConnectError,
    recorder::{Record, Recorder},
};

/// Bytes of an answer that are read at once, and the largest head of one. A few of these pieces wait for a client that takes
/// nothing; hyper's own limit is 400 KB, and one client may have many streams. A body of 64 KiB still fits into one read
/// with its head: with 64 KiB it takes two, and a sixth more time.
const READ_MAX: usize = 72 * 1024;

/// An open connection: the way to send on it, and what was written to it. Dropping it closes it.
pub(super) struct Line<B> {
    sender: http1::SendRequest<B>,
    record: Record,
    driver: AbortHandle,
}

impl<B> Line<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Starts HTTP/1.1 on `stream`.
    pub(super) async fn start(stream: TcpStream) -> Result<Self, ConnectError> {
        let (stream, record) = Recorder::new(stream);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
        // Its errors reach the exchange that is using it; an idle connection's end is nobody's loss.
        let driver = tokio::spawn(async move {
            let _ended = connection.with_upgrades().await;
        });
        Ok(Self { sender, record, driver: driver.abort_handle() })
    }

    /// Sends `request` and remembers what is written if it is `repeatable`.
    pub(super) fn send(
        &mut self,
        request: Request<B>,
        repeatable: bool,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        self.record.mark(repeatable);
        self.sender.try_send_request(request)
    }
}

impl<B> Line<B> {
    /// Whether another request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until another request can be sent; false where that never comes.
    pub(super) async fn becomes_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// The last request, with `body`, if it was repeatable and its head was written whole.
    pub(super) fn written(&self, body: B) -> Option<Request<B>> {
        self.record.request(body)
    }
}

/// hyper goes on with an upload whose answer was read, as long as its client sends: that must end with its exchange.
impl<B> Drop for Line<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use http_body_util::Empty;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";

    #[tokio::test]
    async fn an_answer_that_switches_protocols_hands_the_connection_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(SWITCHED).await.unwrap();
        });
        let mut line = Line::start(stream).await.unwrap();
        let request = Request::get("/").header("connection", "upgrade").header("upgrade", "echo");
        let mut response = line.send(request.body(Empty::<Bytes>::new()).unwrap(), false).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut upgraded = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        drop(line);
        let mut received = String::new();
        upgraded.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "hello");
    }
}
