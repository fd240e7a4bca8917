//! The chunked coding (RFC 9112 §7.1), read strictly: what another reader could take for the end of a chunk is an error.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{content::Next, inlet::take};
use crate::upstream::AnswerError;

/// Bytes of the line in front of a chunk. Extensions are hardly ever used, and are dropped.
const LINE_MAX: usize = 4 * 1024;

/// Bytes of all extensions of a body: they cost time, and nobody reads them.
const EXTENSIONS_MAX: usize = 16 * 1024;

/// Bytes of the fields behind a body, as many as most servers take for a head.
const TRAILERS_MAX: usize = 16 * 1024;

/// Fields behind a body.
const TRAILERS_MAX_COUNT: usize = 100;

/// Where the reader is.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In front of the size of a chunk.
    #[default]
    Size,
    /// In front of so many bytes of a chunk.
    Data(u64),
    /// In front of the line end of a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    Ended,
}

impl Chunks {
    /// Whether the end was found.
    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes the next piece out of `bytes`, and the framing behind it as far as it has come: the end should be seen with the
    /// last piece.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Next, AnswerError> {
        self.skip_framing(bytes)?;
        match self.state {
            State::Data(left) if !bytes.is_empty() => {
                let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let piece = take(bytes, length);
                self.state = match left - length as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                // What is wrong there is found again when it is asked for.
                let _ = self.skip_framing(bytes);
                Ok(Next::Data(piece))
            }
            State::Trailers => self.trailers(bytes),
            State::Ended => Ok(Next::End),
            State::Data(_) | State::Size | State::DataEnd => Ok(Next::Missing),
        }
    }

    /// Goes on to the next content, as far as the bytes reach.
    fn skip_framing(&mut self, bytes: &mut BytesMut) -> Result<(), AnswerError> {
        loop {
            let is_behind = match self.state {
                State::Size => self.skip_size(bytes)?,
                State::DataEnd => self.skip_line_end(bytes, State::Size)?,
                State::Trailers if bytes.first() == Some(&b'\r') => self.skip_line_end(bytes, State::Ended)?,
                State::Data(_) | State::Trailers | State::Ended => false,
            };
            if !is_behind {
                return Ok(());
            }
        }
    }

    fn skip_size(&mut self, bytes: &mut BytesMut) -> Result<bool, AnswerError> {
        let Some(end) = bytes.iter().take(LINE_MAX).position(|&byte| byte == b'\n') else {
            return if bytes.len() < LINE_MAX { Ok(false) } else { Err(bad("size of a chunk has no end")) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or(bad("size of a chunk ends with a bare line feed"))?;
        let (size, extension) = read_size(line)?;
        self.extensions += extension.len();
        if self.extensions > EXTENSIONS_MAX {
            return Err(bad("extensions of chunks are too long"));
        }
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        bytes.advance(end + 1);
        Ok(true)
    }

    fn skip_line_end(&mut self, bytes: &mut BytesMut, next: State) -> Result<bool, AnswerError> {
        if b"\r\n".starts_with(&bytes[..bytes.len().min(2)]) && bytes.len() < 2 {
            return Ok(false);
        }
        if !bytes.starts_with(b"\r\n") {
            return Err(bad("chunk does not end where it says"));
        }
        bytes.advance(2);
        self.state = next;
        Ok(true)
    }

    fn trailers(&mut self, bytes: &mut BytesMut) -> Result<Next, AnswerError> {
        let Some(end) = bytes.windows(4).take(TRAILERS_MAX).position(|window| window == b"\r\n\r\n") else {
            return if bytes.len() < TRAILERS_MAX { Ok(Next::Missing) } else { Err(bad("trailers are too long")) };
        };
        let trailers = read_trailers(&bytes[..end + 4])?;
        bytes.advance(end + 4);
        self.state = State::Ended;
        Ok(Next::Trailers(trailers))
    }
}

/// The size in front of `line`, and what stands behind it.
fn read_size(line: &[u8]) -> Result<(u64, &[u8]), AnswerError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let size = digits.iter().try_fold(0_u64, |size, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(u64::from(digit))
    });
    let size = size.filter(|_| !digits.is_empty()).ok_or(bad("size of a chunk is no number"))?;
    // Some servers fill the line up with spaces.
    let extension = rest.trim_ascii_start();
    if !matches!(extension.first(), None | Some(b';')) || rest.contains(&b'\r') {
        return Err(bad("something stands behind the size of a chunk"));
    }
    Ok((size, extension))
}

fn read_trailers(section: &[u8]) -> Result<HeaderMap, AnswerError> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX_COUNT];
    let has_bare_line_feed = section.split(|&byte| byte == b'\n').rev().skip(1).any(|line| !line.ends_with(b"\r"));
    let (length, fields) = match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete(read)) => read,
        Ok(httparse::Status::Partial) => return Err(bad("trailers have no end")),
        Err(error) => return Err(AnswerError::Unreadable(error)),
    };
    if has_bare_line_feed || length != section.len() {
        return Err(bad("trailers end twice"));
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad("trailer has no name"))?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| bad("trailer has no value"))?);
    }
    Ok(trailers)
}

fn bad(why: &'static str) -> AnswerError {
    AnswerError::BadCoding(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of `coded`, its trailers, and what is left behind it; read in parts of `step` bytes.
    fn read(coded: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize, usize)>, AnswerError> {
        let (mut chunks, mut bytes, mut content, mut trailers) = (Chunks::default(), BytesMut::new(), Vec::new(), 0);
        let mut parts = coded.chunks(step);
        loop {
            match chunks.next(&mut bytes)? {
                Next::Data(piece) => content.extend_from_slice(&piece),
                Next::Trailers(fields) => trailers += fields.len(),
                Next::End => return Ok(Some((content, trailers, bytes.len() + parts.map(<[u8]>::len).sum::<usize>()))),
                Next::Missing => match parts.next() {
                    Some(part) => bytes.extend_from_slice(part),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_arrive() {
        let coded = b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n2  \r\nde\r\n0\r\nx-sum: 7\r\nx: y\r\n\r\nrest";
        for step in 1..=coded.len() {
            let (content, trailers, rest) = read(coded, step).unwrap().unwrap();
            assert_eq!((content.as_slice(), trailers, rest), (&b"abc0123456789de"[..], 2, 4), "{step}");
        }
    }

    #[test]
    fn the_end_is_seen_with_the_last_piece() {
        let (mut chunks, mut bytes) = (Chunks::default(), BytesMut::from(&b"3\r\nabc\r\n0\r\n\r\n"[..]));
        assert!(matches!(chunks.next(&mut bytes), Ok(Next::Data(_))));
        assert!(chunks.is_ended());
    }

    #[test]
    fn what_has_no_end_is_not_taken_for_one() {
        for half in ["", "3", "3\r", "3\r\n", "3\r\nab", "3\r\nabc", "3\r\nabc\r", "3\r\nabc\r\n", "0\r\n", "0\r\n\r"] {
            assert!(matches!(read(half.as_bytes(), 1), Ok(None)), "{half:?}");
        }
        assert!(matches!(read(b"0\r\nx: y\r\n", 3), Ok(None)));
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        for wrong in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\n",
            "0x1\r\n",
            "1 2\r\n",
            "1,\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc\r\r\n",
            "3;a\nb\r\n",
            "3;a\rb\r\n",
            "10000000000000000\r\n",
            "0\r\nx: y\n\r\n\r\n",
            "0\r\nx: y\n\n\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\n\rx",
        ] {
            for step in [1, wrong.len()] {
                assert!(read(wrong.as_bytes(), step).is_err(), "{wrong:?} {step}");
            }
        }
    }

    #[test]
    fn framing_has_limits() {
        let repeated = |text: &str, times: usize, end: &str| read((text.repeat(times) + end).as_bytes(), 1000);
        assert!(repeated("3;", 1, &"x".repeat(LINE_MAX)).is_err());
        assert!(repeated(&format!("1;{}\r\na\r\n", "x".repeat(1000)), 20, "0\r\n\r\n").is_err());
        assert!(repeated("0\r\n", 1, &"x: y\r\n".repeat(TRAILERS_MAX)).is_err());
        assert!(repeated("0\r\n", 1, &("x: y\r\n".repeat(TRAILERS_MAX_COUNT + 1) + "\r\n")).is_err());
        assert!(repeated("0\r\n", 1, &("x: y\r\n".repeat(TRAILERS_MAX_COUNT) + "\r\n")).is_ok());
    }
}
