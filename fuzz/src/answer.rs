//! Answers of app servers: read alike however they are chopped, never beyond their end, and never into more than was sent.

use bytes::BytesMut;
use usher::upstream::http1::{Content, Next, Reading, read_head};

/// What came of the bytes of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Somebody was lied to.
    Refused,
    /// It is not whole.
    Cut,
    /// It is whole.
    Whole(Answer),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    /// Bytes that were read and belong to nobody.
    left: usize,
    is_kept: bool,
}

/// The first byte says what the request was and how the rest, the answer, is chopped.
pub fn check(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let (to_head, step) = (how & 1 == 1, usize::from(how >> 1) + 1);
    let whole = read(bytes, to_head, bytes.len().max(1));
    let mut chopped = read(bytes, to_head, step);
    if let (Outcome::Whole(whole), Outcome::Whole(chopped)) = (&whole, &mut chopped) {
        assert!(chopped.left <= whole.left, "{chopped:?} of {whole:?}");
        chopped.left = whole.left;
        check_answer(whole, bytes, to_head);
    }
    assert_eq!(whole, chopped, "{step} bytes at once of {:?}", String::from_utf8_lossy(bytes));
}

fn check_answer(answer: &Answer, bytes: &[u8], to_head: bool) {
    let named = |name: &'static str| answer.fields.iter().filter(move |(found, _)| found == name);
    let (lengths, codings) = (named("content-length").count(), named("transfer-encoding").count());
    assert!(lengths + codings <= 1, "two ends: {answer:?}");
    if to_head || matches!(answer.status, 101 | 204 | 304) {
        assert!(answer.content.is_empty());
    } else if let Some((_, length)) = named("content-length").next() {
        let length: usize = String::from_utf8_lossy(length).parse().unwrap_or(usize::MAX);
        assert_eq!(answer.content.len(), length);
    } else if codings == 0 {
        assert!(!answer.is_kept && answer.left == 0, "only its connection ends it: {answer:?}");
    }
    assert!(answer.content.len() + answer.left <= bytes.len());
}

/// Reads an answer that arrives in parts of `step` bytes, and then the end of the connection.
fn read(bytes: &[u8], to_head: bool, step: usize) -> Outcome {
    let (mut buffer, mut parts) = (BytesMut::new(), bytes.chunks(step));
    let head = loop {
        match read_head(&mut buffer, to_head) {
            Ok(Reading::Final(head)) => break head,
            Ok(Reading::Interim(status)) => assert!(status.is_informational() && status != 101),
            Ok(Reading::Missing) => match parts.next() {
                Some(part) => buffer.extend_from_slice(part),
                None => return Outcome::Cut,
            },
            Err(_) => return Outcome::Refused,
        }
    };
    let mut answer = Answer {
        status: head.parts.status.as_u16(),
        fields: fields(&head.parts.headers),
        is_kept: head.is_kept,
        ..Answer::default()
    };
    match read_body(head.content, &mut buffer, &mut parts, &mut answer) {
        Outcome::Whole(_) => Outcome::Whole(Answer { left: buffer.len(), ..answer }),
        other => other,
    }
}

fn read_body<'a>(
    mut content: Content,
    buffer: &mut BytesMut,
    parts: &mut impl Iterator<Item = &'a [u8]>,
    answer: &mut Answer,
) -> Outcome {
    loop {
        match content.next(buffer) {
            Ok(Next::Data(piece)) => {
                assert!(!piece.is_empty() && answer.trailers.is_empty());
                answer.content.extend_from_slice(&piece);
            }
            Ok(Next::Trailers(trailers)) => answer.trailers = fields(&trailers),
            Ok(Next::End) => return Outcome::Whole(Answer::default()),
            Ok(Next::Missing) => match parts.next() {
                Some(part) => buffer.extend_from_slice(part),
                None if content.close().is_err() => return Outcome::Cut,
                None => assert!(content.is_ended()),
            },
            Err(_) => return Outcome::Refused,
        }
    }
}

fn fields(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}
