//! An open connection to an app server, whatever it runs over, before anything is spoken on it.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, tcp, unix},
};
use tokio_rustls::client::TlsStream;

use super::movable::Movable;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Movable>>),
}

/// What is read from.
#[derive(Debug)]
pub(super) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
    Tls(Shared),
}

/// What is written to.
#[derive(Debug)]
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
    Tls(Shared),
}

impl Stream {
    /// Both directions, each for itself. Only those of TLS share a lock.
    pub(super) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
            Self::Tls(stream) => {
                let shared = Shared(Arc::new(Mutex::new(stream)));
                (ReadHalf::Tls(shared.clone()), WriteHalf::Tls(shared))
            }
        }
    }

    /// The connection without a runtime, to be taken over by another one; an error where that cannot be, and it is closed.
    pub(super) fn park(self) -> io::Result<Parked> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Parked::Tcp),
            Self::Unix(stream) => stream.into_std().map(Parked::Unix),
            Self::Tls(mut stream) => {
                stream.get_mut().0.leave()?;
                Ok(Parked::Tls(stream))
            }
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        let io: &mut dyn Io = match self.get_mut() {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream,
        };
        Pin::new(io)
    }
}

/// A connection on its way from one worker to another.
#[derive(Debug)]
pub(super) enum Parked {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Tls(Box<TlsStream<Movable>>),
}

impl Parked {
    /// The connection, for the worker that calls this.
    pub(super) fn unpark(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
            Self::Tls(mut stream) => {
                stream.get_mut().0.arrive()?;
                Ok(Stream::Tls(stream))
            }
        }
    }
}

/// TLS, whose directions have their state in common. Locked by one worker's tasks only, and never across a wait.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Box<TlsStream<Movable>>>>);

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Box<TlsStream<Movable>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if `other` is its other direction.
    fn reunite(self, other: Self) -> Option<Box<TlsStream<Movable>>> {
        let is_pair = Arc::ptr_eq(&self.0, &other.0);
        drop(other);
        let stream = Arc::into_inner(self.0).filter(|_| is_pair)?;
        Some(stream.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(context, buffer)
    }

    /// Whether nothing has come that was said.
    fn is_silent(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // Beneath, tickets for sessions may have come, which are nothing that was said.
        self.poll_read(&mut context, &mut ReadBuf::new(&mut [0])).is_pending()
    }

    fn has_empty_socket(&self) -> bool {
        self.stream().get_ref().0.here().is_some_and(|socket| is_empty(SockRef::from(socket)))
    }
}

/// Whether the system has nothing for who reads from `socket`: neither bytes nor the end.
fn is_empty(socket: SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl ReadHalf {
    /// Whether nothing has come: neither bytes nor the end. A system call only if something has.
    pub(super) fn is_silent(&mut self) -> bool {
        let would_block = |read: io::Result<usize>| read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        match self {
            Self::Tcp(half) => would_block(half.try_read(&mut [0])),
            Self::Unix(half) => would_block(half.try_read(&mut [0])),
            Self::Tls(shared) => shared.is_silent(),
        }
    }

    /// The same as the system sees it at this moment: what has come since the runtime last asked it counts too. A system call. Beneath
    /// TLS anything counts then that has just come, since it cannot be read yet: another connection costs less than a lost order.
    pub(super) fn is_silent_now(&mut self) -> bool {
        match self {
            Self::Tcp(half) => is_empty(SockRef::from(half.as_ref())),
            Self::Unix(half) => is_empty(SockRef::from(half.as_ref())),
            Self::Tls(shared) => shared.is_silent() && shared.has_empty_socket(),
        }
    }

    /// The connection, if `half` is its other direction.
    pub(super) fn reunite(self, half: WriteHalf) -> Option<Stream> {
        match (self, half) {
            (Self::Tcp(read), WriteHalf::Tcp(write)) => read.reunite(write).ok().map(Stream::Tcp),
            (Self::Unix(read), WriteHalf::Unix(write)) => read.reunite(write).ok().map(Stream::Unix),
            (Self::Tls(read), WriteHalf::Tls(write)) => read.reunite(write).map(Stream::Tls),
            _ => None,
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(half) => Pin::new(half).poll_read(context, buffer),
            Self::Unix(half) => Pin::new(half).poll_read(context, buffer),
            Self::Tls(shared) => shared.poll_read(context, buffer),
        }
    }
}

impl WriteHalf {
    /// Writes `parts`, as many bytes as fit.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, parts) {
            // send(2) costs the kernel less than writev(2) with one part.
            (Self::Tcp(half), [text]) => Pin::new(half).poll_write(context, text),
            (Self::Tcp(half), parts) => Pin::new(half).poll_write_vectored(context, parts),
            (Self::Unix(half), parts) => Pin::new(half).poll_write_vectored(context, parts),
            (Self::Tls(shared), parts) => Pin::new(&mut *shared.stream()).poll_write_vectored(context, parts),
        }
    }

    /// Lets nothing lie that was written: TLS may hold what the socket had no room for.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(shared) => Pin::new(&mut *shared.stream()).poll_flush(context),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(context)
    }
}
