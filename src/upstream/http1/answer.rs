//! The head of an answer, out of the bytes of an app server.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, response::Parts};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::{
    content::Content,
    framing::{content_of, is_kept},
    inlet::READ_MAX,
};
use crate::upstream::AnswerError;

/// Fields of a head. An app that sends more is out of order.
const FIELDS_MAX: usize = 100;

/// What stands in front of the body of an answer.
#[derive(Debug)]
pub struct Head {
    /// Status and fields.
    pub parts: Parts,
    /// What follows.
    pub content: Content,
    /// Whether the connection can serve another exchange behind that.
    pub is_kept: bool,
}

/// What the next bytes are.
#[derive(Debug)]
pub enum Reading {
    /// Further ones are needed to tell.
    Missing,
    /// A head that only announces another one (RFC 9110 §15.2).
    Interim(StatusCode),
    /// The head of the answer.
    Final(Head),
}

/// Takes a head out of `bytes`; `to_head` where the request was a HEAD.
pub fn read_head(bytes: &mut BytesMut, to_head: bool) -> Result<Reading, AnswerError> {
    let Some(mut parts) = take_parts(bytes)? else { return Ok(Reading::Missing) };
    if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Reading::Interim(parts.status));
    }
    let content = content_of(&mut parts, to_head)?;
    let is_kept = is_kept(&parts, &content);
    Ok(Reading::Final(Head { parts, content, is_kept }))
}

fn take_parts(bytes: &mut BytesMut) -> Result<Option<Parts>, AnswerError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut fields);
    let Status::Complete(length) = read.map_err(AnswerError::Unreadable)? else {
        return if bytes.len() < READ_MAX { Ok(None) } else { Err(AnswerError::HeadTooLarge) };
    };
    let parts = parts_of(&answer, &Text::new(&bytes[..length]))?;
    bytes.advance(length);
    Ok(Some(parts))
}

fn parts_of(answer: &httparse::Response<'_, '_>, text: &Text) -> Result<Parts, AnswerError> {
    let unreadable = || AnswerError::Unreadable(httparse::Error::Status);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(unreadable)?;
    parts.version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers.iter() {
        parts.headers.append(name(field)?, text.value(field)?);
    }
    // hyper says it to the client.
    if answer.reason != parts.status.canonical_reason()
        && let Some(reason) = answer.reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok())
    {
        parts.extensions.insert(reason);
    }
    Ok(parts)
}

fn name(field: &httparse::Header<'_>) -> Result<HeaderName, AnswerError> {
    HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| AnswerError::Unreadable(httparse::Error::HeaderName))
}

/// A copy of a head, which all values share: one allocation instead of one each, and nothing of the memory that was read into.
struct Text {
    bytes: Bytes,
    /// Where the original stands.
    original: usize,
}

impl Text {
    fn new(head: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(head), original: head.as_ptr().addr() }
    }

    fn value(&self, field: &httparse::Header<'_>) -> Result<HeaderValue, AnswerError> {
        let start = field.value.as_ptr().addr() - self.original;
        let value = self.bytes.slice(start..start + field.value.len());
        HeaderValue::from_maybe_shared(value).map_err(|_| AnswerError::Unreadable(httparse::Error::HeaderValue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<Reading, AnswerError>, usize) {
        let mut bytes = BytesMut::from(text.as_bytes());
        (read_head(&mut bytes, false), bytes.len())
    }

    fn head(text: &str) -> Head {
        match read(text) {
            (Ok(Reading::Final(head)), _) => head,
            (other, _) => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_head_is_read_field_by_field_and_the_body_left() {
        let text = "HTTP/1.1 418 Short and stout\r\nX-A: 1\r\nx-b:\t two \r\nx-a:3\r\nContent-Length: 4\r\n\r\nbody";
        let Head { parts, content, is_kept } = head(text);
        assert_eq!((parts.status, parts.version, is_kept), (StatusCode::IM_A_TEAPOT, Version::HTTP_11, true));
        assert_eq!(parts.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!((&parts.headers["x-b"], content.size_hint().exact()), (&HeaderValue::from_static("two"), Some(4)));
        assert_eq!(parts.extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"Short and stout");
        assert_eq!(read(text).1, "body".len());
        assert!(head("HTTP/1.1 200 OK\r\n\r\n").parts.extensions.get::<ReasonPhrase>().is_none());
    }

    #[test]
    fn an_answer_of_http_1_0_ends_its_connection() {
        let head = head("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n");
        assert_eq!((head.parts.version, head.is_kept), (Version::HTTP_10, false));
    }

    #[test]
    fn part_of_a_head_is_waited_with() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        for length in 0..text.len() {
            assert!(matches!(read(&text[..length]), (Ok(Reading::Missing), left) if left == length));
        }
    }

    #[test]
    fn interim_answers_are_taken_one_by_one() {
        let mut bytes =
            BytesMut::from(&b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 "[..]);
        assert!(matches!(read_head(&mut bytes, false), Ok(Reading::Interim(StatusCode::CONTINUE))));
        assert!(matches!(read_head(&mut bytes, false), Ok(Reading::Interim(StatusCode::EARLY_HINTS))));
        assert!(matches!(read_head(&mut bytes, false), Ok(Reading::Missing)));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for wrong in [
            "SMTP ready\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\n x: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        ] {
            assert!(matches!(read(wrong).0, Err(AnswerError::Unreadable(_))), "{wrong:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(FIELDS_MAX + 1));
        assert!(matches!(read(&many).0, Err(AnswerError::Unreadable(httparse::Error::TooManyHeaders))));
        let large = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(READ_MAX));
        assert!(matches!(read(&large).0, Err(AnswerError::HeadTooLarge)));
    }
}
