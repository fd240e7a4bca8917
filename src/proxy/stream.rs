//! A client's TCP connection, written to in one piece where the pieces are small.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Head and body of a small answer come in two parts. Up to this many bytes joining them on the stack and calling send(2)
/// is cheaper than writev(2); beyond it the copy costs more than the kernel's look at the list.
const JOINED_MAX: usize = 2048;

/// The connection.
pub(super) struct ClientStream(pub(super) TcpStream);

/// The parts in one, if they fit into `space`.
fn join<'a>(parts: &[IoSlice<'_>], space: &'a mut [u8; JOINED_MAX]) -> Option<&'a [u8]> {
    let mut length = 0;
    for part in parts {
        space.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    Some(&space[..length])
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.get_mut().0);
        let mut space = [0; JOINED_MAX];
        match join(parts, &mut space) {
            Some(joined) => stream.poll_write(context, joined),
            None => stream.poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_order_as_long_as_they_fit() {
        let (head, body) = ([b'h'; 48], [b'b'; JOINED_MAX - 48]);
        let mut space = [0; JOINED_MAX];
        let joined = join(&[IoSlice::new(&head), IoSlice::new(&[]), IoSlice::new(&body)], &mut space).unwrap();
        assert_eq!(joined, [&head[..], &body[..]].concat());
        assert!(join(&[IoSlice::new(&head), IoSlice::new(&body), IoSlice::new(b"x")], &mut space).is_none());
    }
}
