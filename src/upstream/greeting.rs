//! A connection that tells when the other side has said something: an HTTP/2 server begins with its SETTINGS (RFC 9113 §3.4), and
//! hyper does not tell.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::oneshot,
};

use super::{
    overlay::{Overlay, Reading},
    stream::Stream,
};

/// The connection.
pub(super) type Greeted = Overlay<Greeting>;

/// Waits for the first byte.
pub(super) struct Greeting(Option<oneshot::Sender<()>>);

impl Greeted {
    /// The connection, and what ends with its first byte, or with an error where it is dropped before.
    pub(super) fn of(stream: Stream) -> (Self, oneshot::Receiver<()>) {
        let (sender, greeting) = oneshot::channel();
        (Self::new(stream, Greeting(Some(sender))), greeting)
    }
}

impl Reading for Greeting {
    fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before
            && let Some(greeting) = self.0.take()
        {
            // Whoever waited may have given up.
            let _told = greeting.send(());
        }
        Poll::Ready(Ok(()))
    }
}
