//! A client's connection as HTTP sees it: what it hears is noted in the [`Pulse`](super::pulse::Pulse), small pieces are written
//! in one, and the end of HTTP is not yet the end of the connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{connection::Client, transport::Transport};

/// Head and body of a small answer come in two parts. Up to this many bytes joining them on the stack and calling send(2)
/// is cheaper than writev(2); beyond it the copy costs more than the kernel's look at the list.
const JOINED_MAX: usize = 2048;

/// How long a connection that ends is still listened to while nothing comes: a round trip and the client's look at the answer.
const LINGER: Duration = Duration::from_secs(1);

/// The same for a client that goes on sending. Many send all of an upload before they look whether there is an answer.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// Bytes of what nobody wants that are read at once.
const LOST: usize = 16 * 1024;

/// The connection.
pub(super) struct ClientStream {
    transport: Transport,
    /// Bytes that were read already and come first.
    ahead: Bytes,
    /// The client has said all it had to say.
    ended: bool,
    /// The status of an answer that was held back, see [`ClientStream::hold_back`].
    held_back: Option<StatusCode>,
    is_http1: bool,
    /// The client has said something.
    was_heard: bool,
}

impl ClientStream {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, ahead: Bytes::new(), ended: false, held_back: None, is_http1: false, was_heard: false }
    }

    /// The socket, for waiting and for looking ahead.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.transport.socket().tcp()
    }

    fn client(&self) -> &Client {
        &self.transport.socket().client
    }

    /// Puts `bytes` in front of what will be read. None of them are not kept: they may hold on to a buffer of kilobytes.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.ahead = if bytes.is_empty() { Bytes::new() } else { bytes };
    }

    /// Whether bytes wait to be read that the socket does not know of any more.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether the client has said anything at all.
    pub(super) fn was_heard(&self) -> bool {
        self.was_heard || self.has_ahead()
    }

    /// From now on HTTP/1.1 is spoken.
    ///
    /// hyper answers a head that it cannot read by itself, with an empty page. What it writes while no exchange has anything
    /// to say is held back, so that such a request gets an answer of ours.
    pub(super) fn speak_http1(&mut self) {
        self.is_http1 = true;
    }

    /// From now on something is spoken that is not looked at.
    pub(super) fn speak_freely(&mut self) {
        self.is_http1 = false;
    }

    /// The status of the answer that was held back.
    pub(super) fn take_held_back(&mut self) -> Option<StatusCode> {
        self.held_back.take()
    }

    fn hold_back(&mut self, parts: &[IoSlice<'_>]) -> Option<usize> {
        if !self.is_http1 || !self.client().pulse.is_silent() {
            return None;
        }
        let status = parts.iter().find_map(|part| status_of(part));
        self.held_back = self.held_back.or(status);
        Some(parts.iter().map(|part| part.len()).sum())
    }

    /// Ends a connection on which nothing is being said. Under TLS the client is told, so that it need not fear that something
    /// was cut off (RFC 8446 §6.1).
    pub(super) async fn leave(mut self) {
        if let Transport::Tls(stream) = &mut self.transport {
            let _given_up = timeout(LINGER, stream.shutdown()).await;
        }
    }

    /// Ends the connection. A client that is still sending is listened to for a while: a reset would otherwise overtake the
    /// answer and take it away from the client (RFC 9112 §9.6).
    pub(super) async fn close(self) {
        let _given_up = timeout(LINGER_MAX, self.say_goodbye()).await;
    }

    async fn say_goodbye(mut self) {
        if !matches!(timeout(LINGER, self.transport.shutdown()).await, Ok(Ok(()))) || self.ended {
            return;
        }
        let mut nowhere = vec![0; LOST];
        while matches!(timeout(LINGER, self.transport.read(&mut nowhere)).await, Ok(Ok(1..))) {}
    }
}

/// The status in the first line of an answer.
fn status_of(head: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()
}

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
        if self.has_ahead() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.was_heard = true;
            let client = self.client();
            client.pulse.heard(client.worker.clock.now_ms());
        } else {
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(held_back) = self.hold_back(&[IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(held_back));
        }
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(held_back) = self.hold_back(parts) {
            return Poll::Ready(Ok(held_back));
        }
        let mut space = [0; JOINED_MAX];
        let transport = Pin::new(&mut self.transport);
        match join(parts, &mut space) {
            Some(joined) => transport.poll_write(context, joined),
            None => transport.poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.transport.socket();
        socket.client.pulse.look(|| socket.has_hung_up());
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        self.client().pulse.flushed();
        Poll::Ready(Ok(()))
    }

    /// The end of HTTP/1.1 is not the end of the connection, which [`ClientStream::close`] is.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_http1 { Poll::Ready(Ok(())) } else { Pin::new(&mut self.transport).poll_shutdown(context) }
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

    #[test]
    fn the_status_of_an_answer_stands_in_its_first_line() {
        assert_eq!(
            status_of(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
        assert_eq!(status_of(b"HTTP/1.1 4"), None);
        assert_eq!(status_of(b"content"), None);
    }
}
