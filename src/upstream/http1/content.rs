//! The body of an answer: where it ends is known from its head (RFC 9112 §6.3), and nobody guesses.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;

use super::{chunks::Chunks, inlet::take};
use crate::upstream::AnswerError;

/// What is still to come of a body.
#[derive(Debug)]
pub struct Content(Rest);

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// What comes next of a body.
#[derive(Debug)]
pub enum Next {
    /// A piece of it.
    Data(Bytes),
    /// The fields behind it, which are the last of it.
    Trailers(HeaderMap),
    /// Nothing any more.
    End,
    /// Further bytes are needed to tell.
    Missing,
}

impl Content {
    /// So many bytes.
    pub(super) fn of_length(length: u64) -> Self {
        Self(Rest::Length(length))
    }

    /// Chunks.
    pub(super) fn chunked() -> Self {
        Self(Rest::Chunked(Chunks::default()))
    }

    /// Everything until the app server closes the connection.
    pub(super) fn until_close() -> Self {
        Self(Rest::UntilClose)
    }

    /// Whether all of it was taken.
    pub fn is_ended(&self) -> bool {
        match &self.0 {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(chunks) => chunks.is_ended(),
            Rest::UntilClose => false,
        }
    }

    /// Whether its end is seen without the end of the connection.
    pub(super) fn is_delimited(&self) -> bool {
        !matches!(self.0, Rest::UntilClose)
    }

    /// Takes the next piece out of `bytes`.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Next, AnswerError> {
        let limit = match &mut self.0 {
            Rest::Chunked(chunks) => return chunks.next(bytes),
            Rest::Length(0) => return Ok(Next::End),
            Rest::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Rest::UntilClose => usize::MAX,
        };
        if bytes.is_empty() {
            return Ok(Next::Missing);
        }
        let piece = take(bytes, bytes.len().min(limit));
        if let Rest::Length(left) = &mut self.0 {
            *left -= piece.len() as u64;
        }
        Ok(Next::Data(piece))
    }

    /// The connection was closed: that is the end of a body that has no other, and breaks any other off.
    pub fn close(&mut self) -> Result<(), AnswerError> {
        match self.0 {
            Rest::UntilClose => self.0 = Rest::Length(0),
            _ if self.is_ended() => {}
            _ => return Err(AnswerError::Closed),
        }
        Ok(())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Rest::Length(left) => SizeHint::with_exact(*left),
            Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> BytesMut {
        BytesMut::from(text.as_bytes())
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        let (mut content, mut bytes) = (Content::of_length(3), bytes("abcd"));
        assert!(matches!(content.next(&mut bytes), Ok(Next::Data(piece)) if piece == "abc"));
        assert!(content.is_ended() && matches!(content.next(&mut bytes), Ok(Next::End)));
        assert_eq!((bytes.len(), content.close().is_ok()), (1, true));
    }

    #[test]
    fn only_a_body_without_an_end_of_its_own_ends_with_its_connection() {
        for (mut content, is_whole) in
            [(Content::until_close(), true), (Content::of_length(3), false), (Content::chunked(), false)]
        {
            assert!(matches!(content.next(&mut bytes("2\r")), Ok(Next::Data(_) | Next::Missing)));
            assert_eq!((content.close().is_ok(), content.is_ended()), (is_whole, is_whole));
        }
    }
}
