//! A connection on which HTTP has ended, since the app server has agreed to speak something else.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use crate::upstream::{
    ConnectionPermit,
    overlay::{Overlay, Reading},
    stream::Stream,
};

/// The connection, from the first byte behind the answer.
pub type Switched = Overlay<First>;

/// What was read together with the answer.
#[derive(Debug)]
pub struct First {
    bytes: Bytes,
    /// The connection counts for as long as it is open.
    _permit: ConnectionPermit,
}

impl Switched {
    pub(super) fn of(stream: Stream, bytes: Bytes, permit: ConnectionPermit) -> Self {
        Self::new(stream, First { bytes, _permit: permit })
    }
}

impl Reading for First {
    fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let length = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..length]);
        self.bytes.advance(length);
        Poll::Ready(Ok(()))
    }
}
