//! The head of a request as it is written. Its framing says what the body is, whatever stood in its fields.

use std::io::Write;

use http::{HeaderName, header, request::Parts, uri::PathAndQuery};
use http_body::SizeHint;

/// How the end of a body is told.
#[derive(Debug)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// By chunks, and behind them such fields of the trailers as were announced.
    Chunked(Vec<HeaderName>),
}

impl Framing {
    /// For a body of which `size` is known, `None` where there is none.
    pub(super) fn of(head: &Parts, size: Option<&SizeHint>) -> Self {
        match size.map(SizeHint::exact) {
            None => Self::Empty,
            Some(Some(length)) if !head.headers.contains_key(header::TRANSFER_ENCODING) => Self::Length(length),
            Some(_) => Self::Chunked(announced(head)),
        }
    }

    fn write(&self, head: &Parts, text: &mut Vec<u8>) {
        let length = match self {
            Self::Empty if !head.headers.contains_key(header::CONTENT_LENGTH) => return,
            Self::Chunked(_) => return text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Self::Empty => 0,
            Self::Length(length) => *length,
        };
        text.extend_from_slice(b"content-length: ");
        text.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

/// The fields that may stand behind the body.
fn announced(head: &Parts) -> Vec<HeaderName> {
    let lists = head.headers.get_all(header::TRAILER).iter();
    let names = lists.flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// Adds `head` to `text`.
pub(super) fn write_head(head: &Parts, framing: &Framing, text: &mut Vec<u8>) {
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(head.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
    text.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            write_field(name, value.as_bytes(), text);
        }
    }
    framing.write(head, text);
    text.extend_from_slice(b"\r\n");
}

pub(super) fn write_field(name: &HeaderName, value: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// Adds the line in front of a chunk of `length` bytes.
pub(super) fn write_chunk_size(length: usize, text: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = write!(text, "{length:x}\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn written(fields: &[(&'static str, &'static str)], size: Option<SizeHint>) -> String {
        let builder = Request::post("/a%2Fb?q").header("host", "shop.example");
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let mut text = Vec::new();
        write_head(&head, &Framing::of(&head, size.as_ref()), &mut text);
        let text = String::from_utf8(text).unwrap();
        let fields = text.strip_prefix("POST /a%2Fb?q HTTP/1.1\r\nhost: shop.example\r\n").unwrap();
        fields.strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn fields_are_written_as_they_are() {
        let fields = [("x-a", "1"), ("cookie", "a=b"), ("x-a", "2")];
        let text = written(&fields, None);
        assert!(
            text.contains("cookie: a=b\r\n") && text.contains("x-a: 1\r\n") && text.contains("x-a: 2\r\n"),
            "{text}"
        );
        assert!(text.find("x-a: 1") < text.find("x-a: 2"));
    }

    #[test]
    fn the_framing_is_that_of_the_body() {
        let known = || Some(SizeHint::with_exact(3));
        let unknown = || Some(SizeHint::default());
        for fields in [&[("content-length", "3")][..], &[("content-length", "7")], &[]] {
            assert_eq!(written(fields, known()), "content-length: 3\r\n");
        }
        let chunked = "transfer-encoding: chunked\r\n";
        let coding = [("transfer-encoding", "gzip, chunked"), ("content-length", "3")];
        assert_eq!((written(&coding, known()).as_str(), written(&coding, unknown()).as_str()), (chunked, chunked));
        assert_eq!(written(&[], unknown()), chunked);
    }

    #[test]
    fn without_a_body_no_length_but_none_is_said() {
        assert_eq!(written(&[], None), "");
        assert_eq!(written(&[("transfer-encoding", "chunked")], None), "");
        for length in ["0", "00", "5"] {
            assert_eq!(written(&[("content-length", length)], None), "content-length: 0\r\n");
        }
    }
}
