//! Answers of app servers that speak HTTP/2 which are not what they say, or have nothing to say.

use bytes::Bytes;

use super::upstream_h2c::{GET, POST, answered, in_front_of, usher};
use crate::support::{DATA, END_HEADERS, END_STREAM, FrameApp, H2App, H2Client, HEADERS};

/// RFC 9113 §8.1: any number of heads may come before the final one.
#[test]
fn interim_answers_are_dropped() {
    let early_hints = [0x08, 3, b'1', b'0', b'3'];
    let app = FrameApp::scripted(move |mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            for _ in 0..3 {
                frames.write(HEADERS, END_HEADERS, request.stream, &early_hints);
            }
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "");
    let mut client = usher.connect();
    for _ in 0..3 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert_eq!(app.connections(), 1);
}

/// RFC 9110 §6.4.1. Clients of HTTP/2 would be free to take it for content.
#[test]
fn content_that_cannot_be_there_reaches_nobody() {
    const STATUSES: [(u16, u8); 2] = [(204, 0x89), (304, 0x8b)];
    for (status, indexed) in STATUSES {
        let app = FrameApp::scripted(move |mut frames| {
            while let Some(request) = frames.next_of(HEADERS) {
                frames.write(HEADERS, END_HEADERS, request.stream, &[indexed]);
                frames.write(DATA, END_STREAM, request.stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let usher = usher(&[app.url()], "");
        let (mut client, mut on_http_2) = (usher.connect(), H2Client::connect(usher.http()));
        for _ in 0..3 {
            assert_eq!(client.send(GET).response().status, status);
            let (head, body) = on_http_2.get("customdomain1.com", "/p").unwrap();
            assert_eq!((head.status().as_u16(), body.len()), (status, 0));
        }
        assert!(usher.access_log(6).iter().all(|line| line["outcome"] == "ok"));
        assert_eq!(app.connections(), 1);
    }
}

/// A 204 and an answer to HEAD have no content in HTTP/2 either (RFC 9110 §6.4.1, RFC 9113 §8.1.1).
#[test]
fn answers_without_content_have_none() {
    let app = H2App::scripted(|mut call| async move {
        let status: u16 = call.head.uri.path().trim_start_matches('/').parse().unwrap();
        let head = http::Response::builder().status(status).header("etag", "x");
        let head = if status == 204 { head } else { head.header("content-length", "10") };
        call.answer.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let usher = in_front_of(&app);
    for (method, target, length) in [("GET", "/204", None), ("HEAD", "/200", Some("10")), ("GET", "/304", None)] {
        let mut client = usher.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n"));
        let response = if method == "HEAD" { client.response_to_head() } else { client.response() };
        assert_eq!((format!("/{}", response.status), response.header("etag")), (target.to_owned(), Some("x")));
        assert_eq!(response.header("content-length"), length, "{target}");
        assert_eq!(client.send(GET.replace("/p", "/204")).response().status, 204, "{target}");
    }
}

/// RFC 9113 §8.1.1.
#[test]
fn an_answer_whose_length_is_a_lie_is_visibly_broken() {
    let app = H2App::scripted(|mut call| async move {
        let head = http::Response::builder().header("content-length", "10");
        let mut stream = call.answer.send_response(head.body(()).unwrap(), false).unwrap();
        let _ = stream.send_data(Bytes::from_static(b"short"), true);
    });
    let usher = in_front_of(&app);
    let response = usher.connect().send(GET).try_response().ok().flatten();
    assert!(response.is_none_or(|response| response.status == 502 || !response.complete));
}

/// RFC 9113 §8.1.
#[test]
fn a_frame_that_is_no_answer_ends_its_connection_and_the_next_request_gets_another() {
    let app = FrameApp::scripted(|mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            match frames.number {
                // Data in front of a head.
                0 => frames.write(DATA, 0, request.stream, b"x"),
                _ => frames.answer(request.stream),
            }
        }
    });
    let usher = usher(&[app.url()], "");
    assert_eq!(answered(&usher, POST).status, 502);
    assert_eq!(answered(&usher, POST).status, 200);
}
