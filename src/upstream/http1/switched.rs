//! A connection on which HTTP has ended, since the app server has agreed to speak something else.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use crate::upstream::{
    overlay::{Overlay, Reading},
    stream::Stream,
};

/// The connection, from the first byte behind the answer.
pub type Switched = Overlay<First>;

/// What was read together with the answer.
#[derive(Debug)]
pub struct First(Bytes);

impl Switched {
    pub(super) fn of(stream: Stream, first: Bytes) -> Self {
        Self::new(stream, First(first))
    }
}

impl Reading for First {
    fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let length = self.0.len().min(buffer.remaining());
        buffer.put_slice(&self.0[..length]);
        self.0.advance(length);
        Poll::Ready(Ok(()))
    }
}
