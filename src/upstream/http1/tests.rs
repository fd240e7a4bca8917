//! A line against a scripted app server, over real sockets.

use std::{collections::VecDeque, convert::Infallible, future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, response::Parts};
use http_body::{Frame, SizeHint};
use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A body of pieces that are there, and of such that come later.
#[derive(Default)]
struct Pieces(VecDeque<&'static str>, Option<mpsc::Receiver<&'static str>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match (self.0.pop_front(), &mut self.1) {
            (None, Some(later)) => ready!(later.poll_recv(context)),
            (piece, _) => piece,
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty() && self.1.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.1 {
            None => SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum()),
            Some(_) => SizeHint::default(),
        }
    }
}

/// A line, and the app server's end of it.
async fn line() -> (Box<Line<Pieces>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Line::new(Stream::Tcp(stream), Life::example()), listener.accept().await.unwrap().0)
}

fn request(method: &str, body: Pieces) -> Request<Pieces> {
    Request::builder().method(method).uri("/p").header("host", "shop.example").body(body).unwrap()
}

fn get() -> Request<Pieces> {
    request("GET", Pieces::default())
}

async fn head(line: &mut Line<Pieces>) -> Result<Parts, Unanswered<Pieces>> {
    poll_fn(|context| line.poll_head(context, &mut |_interim| {})).await
}

async fn content(line: &mut Line<Pieces>) -> Result<String, AnswerError> {
    let mut content = Vec::new();
    while let Some(frame) = poll_fn(|context| line.poll_frame(context)).await.transpose()? {
        content.extend_from_slice(&frame.into_data().unwrap());
    }
    Ok(String::from_utf8(content).unwrap())
}

/// Reads until `end` has arrived.
async fn heard(app: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut part = [0; 1024];
        let length = app.read(&mut part).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn exchanges_follow_one_another_on_a_line() {
    let (mut line, mut app) = line().await;
    for (body, expected) in [
        (Pieces::default(), "POST /p HTTP/1.1\r\nhost: shop.example\r\n\r\n"),
        (Pieces(["ab", "c"].into(), None), "POST /p HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 3\r\n\r\nabc"),
    ] {
        assert!(line.is_ready());
        line.begin(request("POST", body), false);
        app.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(head(&mut line).await.unwrap().status, StatusCode::OK);
        assert_eq!(content(&mut line).await.unwrap(), "ok");
        assert_eq!(heard(&mut app, expected).await, expected);
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_in_chunks_as_it_comes() {
    let ((mut line, mut app), (sender, later)) = (line().await, mpsc::channel(1));
    line.begin(request("POST", Pieces(["one"].into(), Some(later))), false);
    let answer = tokio::spawn(async move { (head(&mut line).await.unwrap().status, content(&mut line).await, line) });
    assert!(heard(&mut app, "3\r\none\r\n").await.contains("\r\ntransfer-encoding: chunked\r\n\r\n"));
    sender.send("seventeen letters").await.unwrap();
    assert_eq!(heard(&mut app, "s\r\n").await, "11\r\nseventeen letters\r\n");
    drop(sender);
    assert_eq!(heard(&mut app, "0\r\n\r\n").await, "0\r\n\r\n");
    app.write_all(OK.as_bytes()).await.unwrap();
    let (status, content, mut line) = answer.await.unwrap();
    assert_eq!((status, content.unwrap().as_str(), line.is_ready()), (StatusCode::OK, "ok", true));
}

/// The client may read nothing before it has sent all: the rest must not wait for it.
#[tokio::test]
async fn an_upload_goes_on_while_nobody_takes_its_answer() {
    let ((mut line, mut app), (sender, later)) = (line().await, mpsc::channel(1));
    line.begin(request("POST", Pieces(["one"].into(), Some(later))), false);
    app.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(head(&mut line).await.unwrap().status, StatusCode::OK);
    heard(&mut app, "3\r\none\r\n").await;
    sender.send("two").await.unwrap();
    drop(sender);
    assert_eq!(heard(&mut app, "0\r\n\r\n").await, "3\r\ntwo\r\n0\r\n\r\n");
    assert!(line.is_sending() && !line.is_ready());
    line.settle().await;
    assert!(!line.is_sending() && !line.is_ready());
    assert_eq!(content(&mut line).await.unwrap(), "ok");
    assert!(line.is_ready());
}

#[tokio::test]
async fn an_upload_ends_with_its_line() {
    let ((mut line, mut app), (sender, later)) = (line().await, mpsc::channel(1));
    line.begin(request("POST", Pieces(VecDeque::new(), Some(later))), false);
    app.write_all(OK.as_bytes()).await.unwrap();
    assert!(head(&mut line).await.is_ok());
    drop(line);
    sender.closed().await;
    app.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_line_that_was_closed_or_spoke_unasked_is_not_used() {
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (mut line, mut app) = line().await;
        assert!(line.is_ready());
        app.write_all(unasked.as_bytes()).await.unwrap();
        drop(app);
        while line.is_ready() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_end_the_line() {
    let (mut line, mut app) = line().await;
    line.begin(get(), false);
    app.write_all(format!("{OK}HTTP/1.1 200 OK\r\n").as_bytes()).await.unwrap();
    assert!(head(&mut line).await.is_ok());
    assert_eq!(content(&mut line).await.unwrap(), "ok");
    assert!(!line.is_ready());
}

/// A line to an app server that has reset it.
async fn broken_line() -> Box<Line<Pieces>> {
    let (mut line, app) = line().await;
    app.set_zero_linger().unwrap();
    drop(app);
    while line.is_ready() {
        tokio::task::yield_now().await;
    }
    line
}

/// Longer than what is joined with the head.
const LONG: &str = {
    const BYTES: [u8; 3000] = [b'x'; 3000];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

#[tokio::test]
async fn a_request_of_which_nothing_was_written_comes_back_whole() {
    for pieces in [&[][..], &["abc"], &["ab", "c", "de"], &["ab", LONG, "c"], &[LONG, LONG]] {
        let mut line = broken_line().await;
        line.begin(request("POST", Pieces(pieces.iter().copied().collect(), None)), false);
        let Unsent { request, read } = *head(&mut line).await.unwrap_err().unsent.unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/p"));
        assert_eq!(request.headers()["host"], "shop.example");
        let read = read.iter().map(|piece| std::str::from_utf8(piece).unwrap());
        let whole: Vec<_> = read.chain(request.body().0.iter().copied()).collect();
        assert_eq!(whole, pieces);
    }
}

#[tokio::test]
async fn a_request_whose_body_is_still_coming_comes_back_with_what_has_come() {
    let (mut line, (_sender, later)) = (broken_line().await, mpsc::channel(1));
    line.begin(request("POST", Pieces(["one"].into(), Some(later))), false);
    let Unsent { request, read } = *head(&mut line).await.unwrap_err().unsent.unwrap();
    assert_eq!((read, request.body().1.is_some()), (vec![Bytes::from_static(b"one")], true));
}

#[tokio::test]
async fn a_request_that_was_written_is_known_where_it_may_be_repeated() {
    for (repeatable, answer) in [(true, ""), (true, "HTTP/1.1 200"), (false, "")] {
        let (mut line, mut app) = line().await;
        line.begin(get(), repeatable);
        let answered = tokio::spawn(async move { (head(&mut line).await.unwrap_err(), line) });
        heard(&mut app, "\r\n\r\n").await;
        app.write_all(answer.as_bytes()).await.unwrap();
        drop(app);
        let (unanswered, mut line) = answered.await.unwrap();
        assert!(matches!(unanswered.error, AnswerError::Closed) && unanswered.unsent.is_none());
        let again = line.written(Pieces::default());
        assert_eq!(again.map(|request| request.uri().path().to_owned()), repeatable.then(|| "/p".to_owned()));
    }
}

/// Many app servers refuse an upload, and close without reading it.
#[tokio::test]
async fn an_answer_counts_though_the_request_could_not_be_written() {
    let ((mut line, mut app), (sender, later)) = (line().await, mpsc::channel(1));
    line.begin(request("POST", Pieces(["one"].into(), Some(later))), false);
    let answered = tokio::spawn(async move { (head(&mut line).await, line) });
    heard(&mut app, "one\r\n").await;
    app.write_all("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n".as_bytes()).await.unwrap();
    drop(app);
    let (answer, mut line) = answered.await.unwrap();
    assert_eq!(answer.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    let more = async { while sender.send("more").await.is_ok() {} };
    tokio::select! {
        () = line.settle() => {}
        () = more => {}
    }
    assert!(!line.is_ready());
}

#[tokio::test]
async fn interim_answers_are_heard_and_only_the_final_one_counts() {
    let (mut line, mut app) = line().await;
    line.begin(get(), false);
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    app.write_all(format!("{interim}{OK}").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let parts = poll_fn(|context| line.poll_head(context, &mut |status| heard.push(status.as_u16()))).await.unwrap();
    assert_eq!((parts.status, heard.as_slice()), (StatusCode::OK, &[100, 103][..]));
}

#[tokio::test]
async fn an_answer_that_switches_protocols_hands_the_connection_over() {
    let (mut line, mut app) = line().await;
    line.begin(get(), false);
    app.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nhello").await.unwrap();
    assert_eq!(head(&mut line).await.unwrap().status, StatusCode::SWITCHING_PROTOCOLS);
    let mut switched = line.switch().unwrap();
    switched.write_all(b"and back").await.unwrap();
    assert!(heard(&mut app, "and back").await.starts_with("GET"));
    app.shutdown().await.unwrap();
    let mut text = String::new();
    switched.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

/// `content` in chunks of `sizes`, and what is left over in one.
fn chunked(mut content: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for &size in sizes.iter().chain(&[content.len()]) {
        let (chunk, rest) = content.split_at(size.min(content.len()));
        if !chunk.is_empty() {
            coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(&[chunk, b"\r\n"].concat());
        }
        content = rest;
    }
    [coded, b"0\r\n\r\n".to_vec()].concat()
}

/// The content of an answer that arrives in parts of `step` bytes, and how many bytes are left behind it.
fn read(answer: &[u8], step: usize) -> (Vec<u8>, usize) {
    let (mut bytes, mut parts, mut found) = (BytesMut::new(), answer.chunks(step), Vec::new());
    let mut head = loop {
        match read_head(&mut bytes, false).unwrap() {
            Reading::Final(head) => break head,
            _ => bytes.extend_from_slice(parts.next().unwrap()),
        }
    };
    loop {
        match head.content.next(&mut bytes).unwrap() {
            Next::Data(piece) => found.extend_from_slice(&piece),
            Next::Missing => bytes.extend_from_slice(parts.next().unwrap()),
            Next::End => return (found, bytes.len() + parts.map(<[u8]>::len).sum::<usize>()),
            Next::Trailers(_) => unreachable!("there are none"),
        }
    }
}

proptest! {
    #[test]
    fn content_arrives_whatever_its_chunks_and_however_they_are_chopped(
        content in vec(any::<u8>(), 0..2000), sizes in vec(1_usize..700, 0..8), step in 1_usize..900, behind in 0_usize..20,
    ) {
        let answer = [chunked(&content, &sizes), vec![b'x'; behind]].concat();
        prop_assert_eq!(read(&answer, step), (content, behind));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(start in "HTTP/1\\.[01] [12345]0[0-4]", rest in "(\r\n|[ -~]|chunked|Content-Length: [0-9]){0,60}") {
        let mut bytes = BytesMut::from(format!("{start}{rest}").as_bytes());
        if let Ok(Reading::Final(mut head)) = read_head(&mut bytes, false) {
            while let Ok(Next::Data(_) | Next::Trailers(_)) = head.content.next(&mut bytes) {}
        }
    }
}
