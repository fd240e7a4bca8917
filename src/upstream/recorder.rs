//! The bytes that a connection writes, remembered from a mark on: what a request looked like, should it have to be sent
//! again. hyper gives a request back only as long as nothing of it was written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Larger heads are not remembered whole, and such requests are not repeated. Twice what most servers take.
const REMEMBERED_MAX: usize = 16 * 1024;

/// Header fields of a head that is read back; more than the ones usher takes from a client by default and its own.
const HEADERS_MAX: usize = 256;

/// What was written since the last mark. Locked by one worker's tasks only, and never for longer than a copy.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    recording: bool,
    written: Vec<u8>,
}

impl Record {
    /// Forgets what was written, and remembers what follows if `recording`.
    pub(super) fn mark(&self, recording: bool) {
        let mut state = self.state();
        state.recording = recording;
        state.written.clear();
    }

    /// The request that was written since the mark, with `body`, if its head was written whole.
    pub(super) fn request<B>(&self, body: B) -> Option<Request<B>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let state = self.state();
        let mut head = httparse::Request::new(&mut headers);
        head.parse(&state.written).ok().filter(httparse::Status::is_complete)?;
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
        *request.uri_mut() = Uri::try_from(head.path?).ok()?;
        for line in head.headers {
            request
                .headers_mut()
                .append(HeaderName::from_bytes(line.name.as_bytes()).ok()?, HeaderValue::from_bytes(line.value).ok()?);
        }
        Some(request)
    }

    fn add(&self, written: &[u8]) {
        let mut state = self.state();
        if !state.recording {
            return;
        }
        let room = REMEMBERED_MAX - state.written.len();
        state.written.extend_from_slice(&written[..written.len().min(room)]);
        state.recording = written.len() < room;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP connection whose writes are recorded.
pub(super) struct Recorder {
    stream: TcpStream,
    record: Record,
}

impl Recorder {
    pub(super) fn new(stream: TcpStream) -> (Self, Record) {
        let record = Record::default();
        (Self { stream, record: record.clone() }, record)
    }

    fn record(&self, parts: &[IoSlice<'_>], mut written: usize) {
        for part in parts {
            let length = part.len().min(written);
            self.record.add(&part[..length]);
            written -= length;
        }
    }
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.record(&[IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A request without a body is one part, and send(2) costs the kernel less than writev(2) with one.
        if let [part] = parts {
            return self.poll_write(context, part);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        self.record(parts, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"PUT /a%2Fb?q HTTP/1.1\r\nhost: shop.example\r\nx: a:b\xff\r\nx: 2\r\n\r\n";

    fn recorded(writes: &[&[u8]]) -> Option<Request<()>> {
        let record = Record::default();
        record.add(b"of an earlier request");
        record.mark(true);
        writes.iter().for_each(|bytes| record.add(bytes));
        record.request(())
    }

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let (start, end) = HEAD.split_at(20);
        let request = recorded(&[start, end]).unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::PUT, "/a%2Fb?q".to_owned()));
        let values: Vec<_> = request.headers().get_all("x").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"a:b\xff"[..], b"2"]);
        assert_eq!(request.headers()["host"], "shop.example");
    }

    #[test]
    fn what_is_not_a_whole_head_is_no_request() {
        assert!(recorded(&[]).is_none());
        assert!(recorded(&[&HEAD[..HEAD.len() - 1]]).is_none());
        assert!(recorded(&[&[b'a'; REMEMBERED_MAX], HEAD]).is_none());
    }

    #[test]
    fn a_body_of_any_length_may_follow_the_head() {
        let body = [b'x'; REMEMBERED_MAX];
        for writes in [[HEAD, &body], [&[HEAD, &body].concat(), b""]] {
            assert_eq!(recorded(&writes).unwrap().method(), &Method::PUT);
        }
    }

    #[test]
    fn nothing_is_kept_that_was_not_asked_for() {
        let record = Record::default();
        record.mark(false);
        record.add(HEAD);
        assert!(record.request(()).is_none());
    }
}
