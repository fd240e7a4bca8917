//! Where the body of an answer ends, and whether its connection can serve another one: an answer whose end two readers could
//! see in different places is none (RFC 9112 §6.3).

use http::{HeaderMap, HeaderValue, StatusCode, Version, header, response::Parts};

use super::content::Content;
use crate::upstream::{AnswerError, length::only_length};

/// The body that `head` announces, in an answer to a HEAD request or another one.
pub(super) fn content_of(head: &mut Parts, to_head: bool) -> Result<Content, AnswerError> {
    let length = only_length(&mut head.headers)?;
    let is_chunked = is_chunked(&head.headers)?;
    if is_chunked && (length.is_some() || head.version < Version::HTTP_11) {
        return Err(AnswerError::Ambiguous);
    }
    Ok(match length {
        _ if to_head || has_no_content(head.status) => Content::of_length(0),
        _ if is_chunked => Content::chunked(),
        Some(length) => Content::of_length(length),
        None => Content::until_close(),
    })
}

/// One `Transfer-Encoding` that says `chunked` and nothing else: nothing else was asked for (RFC 9112 §7.4).
fn is_chunked(headers: &HeaderMap) -> Result<bool, AnswerError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err(AnswerError::Ambiguous),
    }
}

fn has_no_content(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the connection stays open behind `content`, and what comes then is the next answer.
pub(super) fn is_kept(head: &Parts, content: &Content) -> bool {
    head.status != StatusCode::SWITCHING_PROTOCOLS
        && content.is_delimited()
        && is_persistent(head)
        && !announces_forbidden_body(head)
}

/// RFC 9112 §9.3.
fn is_persistent(head: &Parts) -> bool {
    let says = |option: &[u8]| head.headers.get_all(header::CONNECTION).iter().any(|value| names(value, option));
    !says(b"close") && (head.version >= Version::HTTP_11 || says(b"keep-alive"))
}

fn names(value: &HeaderValue, option: &[u8]) -> bool {
    value.as_bytes().split(|&byte| byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(option))
}

/// Whether a 204 says that content follows, which it cannot have (RFC 9110 §15.3.5). It is delivered, but what comes next
/// on its connection is nobody's answer.
fn announces_forbidden_body(head: &Parts) -> bool {
    head.status == StatusCode::NO_CONTENT
        && (head.headers.contains_key(header::TRANSFER_ENCODING)
            || head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0"))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Parts {
        let builder =
            fields.iter().fold(Response::builder().status(status), |b, (name, value)| b.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_answer_with_two_lengths_or_an_unknown_coding_is_ambiguous() {
        for (status, to_head) in [(200, false), (200, true), (204, false), (304, false)] {
            let refused = |fields: &[_]| content_of(&mut head(status, fields), to_head).is_err();
            assert!(refused(&[("transfer-encoding", "chunked"), ("content-length", "3")]));
            assert!(refused(&[("transfer-encoding", "gzip, chunked")]));
            assert!(refused(&[("transfer-encoding", "gzip")]) && refused(&[("transfer-encoding", "")]));
            assert!(refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
            assert!(refused(&[("content-length", "3"), ("content-length", "4")]));
            assert!(!refused(&[("transfer-encoding", "Chunked")]) && !refused(&[]));
        }
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let ends = |status, fields: &[_], to_head| {
            let content = content_of(&mut head(status, fields), to_head).unwrap();
            (content.size_hint().exact(), content.is_delimited())
        };
        let (chunked, length) = ([("transfer-encoding", "chunked")], [("content-length", "3")]);
        assert_eq!(ends(200, &length, false), (Some(3), true));
        assert_eq!(ends(200, &chunked, false), (None, true));
        assert_eq!(ends(200, &[], false), (None, false));
        for (status, to_head) in [(200, true), (204, false), (304, false), (101, false)] {
            for fields in [&chunked[..], &length, &[]] {
                assert_eq!(ends(status, fields, to_head), (Some(0), true));
            }
        }
    }

    #[test]
    fn an_http_1_0_answer_cannot_be_chunked() {
        let mut head = head(200, &[("transfer-encoding", "chunked")]);
        head.version = Version::HTTP_10;
        assert!(content_of(&mut head, false).is_err());
    }

    #[test]
    fn a_connection_is_kept_where_the_next_answer_is_found() {
        let kept = |status, fields: &[_]| {
            let mut head = head(status, fields);
            let content = content_of(&mut head, false).unwrap();
            is_kept(&head, &content)
        };
        let length = ("content-length", "0");
        assert!(
            kept(200, &[length]) && kept(204, &[]) && kept(204, &[length]) && kept(304, &[("content-length", "5")])
        );
        assert!(!kept(200, &[]) && !kept(101, &[]));
        assert!(!kept(200, &[length, ("connection", "x, Close")]));
        assert!(!kept(200, &[length, ("connection", "close"), ("connection", "keep-alive")]));
        assert!(!kept(204, &[("content-length", "5")]) && !kept(204, &[("transfer-encoding", "chunked")]));
        let mut old = head(200, &[length]);
        old.version = Version::HTTP_10;
        assert!(!is_kept(&old, &Content::of_length(0)));
        old.headers.insert("connection", "Keep-Alive".parse().unwrap());
        assert!(is_kept(&old, &Content::of_length(0)));
    }
}
