//! A client's TCP connection as it is: how the client takes what is written to it is noted here, below TLS, since that holds some
//! of it back.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::connection::Client;

/// The socket.
pub(super) struct Socket {
    tcp: TcpStream,
    pub(super) client: Arc<Client>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, client: Arc<Client>) -> Self {
        Self { tcp, client }
    }

    /// The socket itself, for waiting and for looking ahead.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether the client has ended its direction, or the connection, even if bytes of it wait to be read in front of that end.
    pub(super) fn has_hung_up(&self) -> bool {
        let readiness = pin!(self.tcp.ready(Interest::READABLE));
        let readiness = readiness.poll(&mut Context::from_waker(Waker::noop()));
        matches!(readiness, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        let (writes, clock) = (self.client.pulse.writes(), &self.client.worker.clock);
        match written {
            Poll::Pending => writes.block(clock.now_ms()),
            Poll::Ready(Ok(bytes)) => writes.took(*bytes, || clock.now_ms()),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, parts);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
