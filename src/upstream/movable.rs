//! A TCP connection that goes to another runtime together with what is spoken on it: a session of TLS holds its socket, and cannot be
//! taken apart.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The connection. It belongs to one runtime, or is on its way to another one.
#[derive(Debug)]
pub(super) enum Movable {
    Here(TcpStream),
    Away(std::net::TcpStream),
    /// The system has not let it go.
    Lost,
}

impl Movable {
    /// Leaves its runtime.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        if let Self::Here(stream) = std::mem::replace(self, Self::Lost) {
            *self = Self::Away(stream.into_std()?);
        }
        Ok(())
    }

    /// Arrives at the runtime of who calls this.
    pub(super) fn arrive(&mut self) -> io::Result<()> {
        if let Self::Away(socket) = std::mem::replace(self, Self::Lost) {
            *self = Self::Here(TcpStream::from_std(socket)?);
        }
        Ok(())
    }

    /// The connection, unless it is on its way.
    pub(super) fn here(&self) -> Option<&TcpStream> {
        match self {
            Self::Here(stream) => Some(stream),
            Self::Away(_) | Self::Lost => None,
        }
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match self.get_mut() {
            Self::Here(stream) => Ok(Pin::new(stream)),
            Self::Away(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Movable {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Movable {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
