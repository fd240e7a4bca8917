//! A request on its way into a connection: head and small pieces of the body together, larger pieces from where they are.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, request::Parts};
use http_body::{Body, Frame};

use super::head::{Framing, write_chunk_size, write_field, write_head};
use crate::upstream::{AnswerError, stream::WriteHalf};

/// Up to this many bytes of text and body are joined: copying them is cheaper than a list of parts is for the kernel.
const JOINED_MAX: usize = 2048;

/// Memory for text that is kept for the next request on the connection; a usual head has half.
const TEXT_KEPT_MAX: usize = 4096;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";
const LINE_END_AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// The writing side of a connection, and what is to be written.
#[derive(Debug)]
pub(super) struct Outgoing<B> {
    half: WriteHalf,
    waiting: Waiting,
    /// What has not been asked for yet.
    body: Option<B>,
    /// Whether that was all.
    ended: bool,
    framing: Framing,
    progress: Progress,
    /// The pieces of the body that were joined to the text, until something is written.
    joined: Vec<Bytes>,
    /// Whether nothing lies between here and the socket.
    flushed: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing was written, and what was read of the body is at hand.
    Whole,
    /// Nothing was written, and the body broke or came to an end that cannot be read again.
    Unwritten,
    Begun,
}

impl<B> Outgoing<B> {
    pub(super) fn new(half: WriteHalf) -> Self {
        Self {
            half,
            waiting: Waiting::default(),
            body: None,
            ended: true,
            framing: Framing::Empty,
            progress: Progress::Whole,
            joined: Vec::new(),
            flushed: true,
        }
    }

    /// Whether all was written.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.flushed && self.waiting.is_empty()
    }

    /// Whether something was written.
    pub(super) fn has_begun(&self) -> bool {
        self.progress == Progress::Begun
    }

    /// The body and what was read of it, if none of the request has gone anywhere.
    pub(super) fn take_unsent(&mut self) -> Option<(B, Vec<Bytes>)> {
        let body = self.body.take().filter(|_| self.progress == Progress::Whole)?;
        let mut read = std::mem::take(&mut self.joined);
        read.extend(Some(std::mem::take(&mut self.waiting.piece)).filter(|piece| !piece.is_empty()));
        Some((body, read))
    }

    pub(super) fn into_half(self) -> WriteHalf {
        self.half
    }
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins a request; nothing is written yet.
    pub(super) fn begin(&mut self, head: &Parts, body: B) {
        let size = (!body.is_end_stream()).then(|| body.size_hint());
        self.framing = Framing::of(head, size.as_ref());
        self.waiting = Waiting { text: std::mem::take(&mut self.waiting.text), ..Waiting::default() };
        self.waiting.text.clear();
        write_head(head, &self.framing, &mut self.waiting.text);
        self.body = Some(body);
        self.ended = false;
        self.progress = Progress::Whole;
        self.joined.clear();
    }

    /// Goes on, and is ready once all was written.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnswerError>> {
        while !self.is_done() {
            self.gather(context)?;
            if self.waiting.is_empty() && !self.ended {
                return Poll::Pending;
            }
            ready!(self.write(context)).map_err(AnswerError::Broken)?;
        }
        self.body = None;
        Poll::Ready(Ok(()))
    }

    /// Asks the body for more until there is enough to be written.
    fn gather(&mut self, context: &mut Context<'_>) -> Result<(), AnswerError> {
        while self.waiting.has_room()
            && !self.ended
            && let Some(body) = &mut self.body
        {
            if body.is_end_stream() {
                self.end(None)?;
                continue;
            }
            let added = match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.end(None),
                Poll::Ready(Some(Ok(frame))) => self.add(frame),
                Poll::Ready(Some(Err(error))) => Err(AnswerError::Upload(error.into())),
            };
            if added.is_err() {
                self.spoil();
            }
            added?;
        }
        Ok(())
    }

    /// The body cannot be read again.
    fn spoil(&mut self) {
        if self.progress == Progress::Whole {
            self.progress = Progress::Unwritten;
        }
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), AnswerError> {
        let piece = match frame.into_data() {
            Ok(piece) if piece.is_empty() => return Ok(()),
            Ok(piece) => piece,
            Err(frame) => {
                self.spoil();
                return self.end(frame.into_trailers().ok());
            }
        };
        match &mut self.framing {
            Framing::Chunked(_) => {
                write_chunk_size(piece.len(), &mut self.waiting.text);
                let is_last = self.body.as_ref().is_some_and(Body::is_end_stream);
                self.wait(piece, if is_last { LINE_END_AND_LAST_CHUNK } else { LINE_END });
                self.ended = is_last;
            }
            Framing::Length(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or_else(|| upload("body is longer than it said"))?;
                self.wait(piece, b"");
            }
            Framing::Empty => return Err(upload("there was to be no body")),
        }
        Ok(())
    }

    /// A piece waits to be written; with what has to be known of it if that cannot be done.
    fn wait(&mut self, piece: Bytes, after: &'static [u8]) {
        let joined = self.waiting.add(piece, after);
        if self.progress == Progress::Whole {
            self.joined.extend(joined);
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), AnswerError> {
        self.ended = true;
        match &self.framing {
            Framing::Length(1..) => return Err(upload("body is shorter than it said")),
            Framing::Length(0) | Framing::Empty => {}
            Framing::Chunked(announced) => {
                let mut trailers = trailers.unwrap_or_default();
                let (last, end) = LAST_CHUNK.split_at(3);
                self.waiting.text.extend_from_slice(last);
                for name in announced {
                    if let http::header::Entry::Occupied(field) = trailers.entry(name) {
                        let (name, values) = field.remove_entry_mult();
                        values.for_each(|value| write_field(&name, value.as_bytes(), &mut self.waiting.text));
                    }
                }
                self.waiting.text.extend_from_slice(end);
            }
        }
        Ok(())
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(self.waiting.poll_write(&mut self.half, context))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if self.progress != Progress::Begun {
                self.progress = Progress::Begun;
                self.joined.clear();
            }
            self.flushed = false;
            self.waiting.advance(written);
        }
        ready!(self.half.poll_flush(context))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }
}

fn upload(what: &'static str) -> AnswerError {
    AnswerError::Upload(what.into())
}

/// Bytes to be written, in this order.
#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// How many bytes of the text were written.
    written: usize,
    piece: Bytes,
    after: &'static [u8],
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.written == self.text.len() && self.piece.is_empty() && self.after.is_empty()
    }

    fn has_room(&self) -> bool {
        self.piece.is_empty() && self.after.is_empty()
    }

    /// The piece comes back where it was copied.
    fn add(&mut self, piece: Bytes, after: &'static [u8]) -> Option<Bytes> {
        if self.text.len() + piece.len() + after.len() <= JOINED_MAX {
            self.text.extend_from_slice(&piece);
            self.text.extend_from_slice(after);
            return Some(piece);
        }
        self.piece = piece;
        self.after = after;
        None
    }

    fn poll_write(&self, half: &mut WriteHalf, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let text = &self.text[self.written..];
        if self.piece.is_empty() && self.after.is_empty() {
            return half.poll_write(context, &[IoSlice::new(text)]);
        }
        half.poll_write(context, &[text, &self.piece, self.after].map(IoSlice::new))
    }

    fn advance(&mut self, written: usize) {
        let of_text = written.min(self.text.len() - self.written);
        let of_piece = (written - of_text).min(self.piece.len());
        self.written += of_text;
        self.piece.advance(of_piece);
        self.after = &self.after[written - of_text - of_piece..];
        if self.written == self.text.len() {
            self.written = 0;
            self.text.clear();
            self.text.shrink_to(TEXT_KEPT_MAX);
        }
    }
}
