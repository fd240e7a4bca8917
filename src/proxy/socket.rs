//! A client's TCP connection as it is: how the client takes what is written to it is noted here, below TLS, since that holds some
//! of it back.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
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
