//! Answers of the app arrive as RFC 9110 and RFC 9112 mean them; what can be read in two ways arrives as no answer.

use crate::support::{App, Fixture, H2Client, Response, eventually, h2_get};

const GET: &str = "GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n";

fn one_worker(answer: impl Into<Vec<u8>>) -> Fixture {
    Fixture::configured(App::answering(answer), "[listen]\nworkers = 1")
}

fn head(stage: &Fixture) -> Response {
    stage.usher.connect().send(GET.replace("GET", "HEAD")).response_to_head()
}

/// RFC 9112 §6.3: the message might be an attempt to smuggle a response.
#[test]
fn an_ambiguous_end_is_a_502_and_its_connection_never_used_again() {
    for ambiguous in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 13\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "Content-Length: 3, 4\r\n\r\nabc",
        "Content-Length: +3\r\n\r\nabc",
        "Content-Length: 0x3\r\n\r\nabc",
        "Content-Length:\r\n\r\nabc",
        "Content-Length: 99999999999999999999999\r\n\r\nabc",
        "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, gzip\r\n\r\nabc",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\nabc",
        "Transfer-Encoding: xchunked\r\n\r\nabc",
        "Transfer-Encoding : chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let stage = one_worker(format!("HTTP/1.1 200 OK\r\n{ambiguous}"));
        for round in 1..=2 {
            assert_eq!(stage.get("customdomain1.com", "/").status, 502, "{ambiguous:?}");
            assert_eq!(stage.app.connections(), round, "{ambiguous:?}");
        }
    }
}

#[test]
fn an_ambiguous_end_counts_as_a_broken_head() {
    let stage = one_worker("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(stage.get("customdomain1.com", "/").status, 502);
    let line = &stage.usher.access_log(1)[0];
    assert_eq!(
        (&line["outcome"], &line["reason"]),
        (&"head_broken".into(), &"app server's answer has an ambiguous end".into())
    );
}

#[test]
fn the_head_of_a_head_request_is_checked_as_strictly() {
    for ambiguous in ["Content-Length: 3\r\nContent-Length: 4", "Content-Length: 3\r\nTransfer-Encoding: chunked"] {
        let stage = one_worker(format!("HTTP/1.1 200 OK\r\n{ambiguous}\r\n\r\n"));
        assert_eq!(head(&stage).status, 502, "{ambiguous}");
    }
}

#[test]
fn an_equal_length_is_told_to_the_client_once() {
    for repeated in ["Content-Length: 3\r\nContent-Length: 3", "Content-Length: 3, 3"] {
        let stage = one_worker(format!("HTTP/1.1 200 OK\r\n{repeated}\r\n\r\nabc"));
        let response = stage.get("customdomain1.com", "/");
        assert_eq!((response.text().as_str(), response.head.all("content-length")), ("abc", vec!["3"]));
    }
}

#[test]
fn a_head_request_is_told_the_length_that_a_get_would_have() {
    let stage = one_worker("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n");
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        let response = client.send(GET.replace("GET", "HEAD")).response_to_head();
        assert_eq!((response.status, response.header("content-length")), (200, Some("1234")));
        assert_eq!(response.header("etag"), Some("\"x\""));
    }
    assert_eq!(stage.app.connections(), 1);
}

#[test]
fn a_head_request_to_a_chunked_page_is_told_no_length() {
    let stage = one_worker("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let response = head(&stage);
    assert_eq!((response.status, response.header("content-length")), (200, None));
}

#[test]
fn no_content_and_not_modified_have_no_body_and_keep_their_fields() {
    for status in ["204 No Content", "304 Not Modified"] {
        let stage = one_worker(format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\nVary: accept\r\n\r\n"));
        let mut client = stage.usher.connect();
        for _ in 0..3 {
            let response = client.send(GET).response();
            assert_eq!(response.status.to_string(), status[..3]);
            assert_eq!((response.header("etag"), response.header("vary")), (Some("\"x\""), Some("accept")));
            assert!(response.header("transfer-encoding").is_none());
        }
        assert_eq!(stage.app.connections(), 1, "{status}");
    }
}

/// RFC 9110 §8.6: a 204 has no `Content-Length`.
#[test]
fn a_204_is_told_without_the_length_that_its_app_gave_it() {
    for (field, connections) in [("Content-Length: 0", 1), ("Content-Length: 5", 2), ("Transfer-Encoding: chunked", 2)]
    {
        let stage = one_worker(format!("HTTP/1.1 204 No Content\r\n{field}\r\n\r\n"));
        for _ in 0..2 {
            let response = stage.get("customdomain1.com", "/");
            assert_eq!((response.status, response.header("content-length")), (204, None), "{field}");
            assert_eq!(response.header("transfer-encoding"), None, "{field}");
        }
        assert_eq!(stage.app.connections(), connections, "{field}");
        let (head, body) = H2Client::connect(stage.usher.http()).get("customdomain1.com", "/").unwrap();
        assert_eq!(
            (head.status().as_u16(), head.headers().get("content-length"), body.len()),
            (204, None, 0),
            "{field}"
        );
    }
}

/// What would be the body stands where the next answer would begin.
#[test]
fn bytes_behind_an_answer_end_the_connection_they_came_on() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (request, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ] {
        let stage = one_worker(format!("{answer}{poison}"));
        let request = GET.replace("GET", request);
        for round in 1..=5 {
            let mut client = stage.usher.connect();
            client.send(&request);
            let response = if request.starts_with("HEAD") { client.response_to_head() } else { client.response() };
            assert!(!response.text().contains("poison"), "{answer:?}");
            assert_eq!(stage.app.connections(), round, "{answer:?}");
        }
    }
}

#[test]
fn ranges_arrive_as_they_are() {
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-7/100\r\nContent-Length: 3\r\n\r\nabc";
    let stage = one_worker(part);
    let response = stage.usher.get_with("customdomain1.com", "/", "Range: bytes=5-7\r\nIf-Range: \"x\"\r\n");
    assert_eq!((response.status, response.text().as_str()), (206, "abc"));
    assert_eq!(response.header("content-range"), Some("bytes 5-7/100"));
    let seen = stage.app.last();
    assert_eq!((seen.head.one("range"), seen.head.one("if-range")), (Some("bytes=5-7"), Some("\"x\"")));

    let stage =
        one_worker("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */100\r\nContent-Length: 0\r\n\r\n");
    let response = stage.get("customdomain1.com", "/");
    assert_eq!((response.status, response.header("content-range")), (416, Some("bytes */100")));
}

/// RFC 9110 §6.5.1: trailers are for those who said that they take them.
#[test]
fn trailers_arrive_at_a_client_that_takes_them_and_at_no_other() {
    let stage = one_worker(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    );
    let takes = stage.usher.get_with("customdomain1.com", "/", "TE: trailers\r\nConnection: te\r\n");
    assert_eq!((takes.text().as_str(), takes.trailers), ("abc", vec![("x-sum".to_owned(), "6".to_owned())]));
    let other = stage.get("customdomain1.com", "/");
    assert_eq!((other.text().as_str(), other.trailers), ("abc", vec![]));
    assert_eq!(stage.app.connections(), 1);
    assert!(stage.usher.access_log(2).iter().all(|line| line["outcome"] == "ok"));
}

/// RFC 9113 §8.2.2: what concerns one hop only would end the stream of a client of HTTP/2.
#[test]
fn trailers_that_concern_one_hop_go_no_further() {
    let stage = one_worker(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Sum: 6\r\n\r\n",
    );
    let mut client = H2Client::connect(stage.usher.http());
    let stream = client.ask(h2_get("customdomain1.com", "/")).unwrap();
    let mut body = client.wait(stream.answer).unwrap().into_body();
    assert_eq!(client.read(&mut body).unwrap(), b"abc");
    let trailers = client.wait(std::future::poll_fn(|context| body.poll_trailers(context))).unwrap().unwrap();
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("6")));
}

#[test]
fn a_body_of_an_http_1_0_app_ends_with_its_connection() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        conversation.request();
        conversation.write("HTTP/1.0 200 OK\r\n\r\nuntil the end").unwrap();
    }));
    let response = stage.get("customdomain1.com", "/");
    assert_eq!((response.text().as_str(), response.complete), ("until the end", true));
    eventually("the exchange is over", || (stage.usher.access_log_so_far().lines().count() == 1).then_some(()));
}

#[test]
fn an_http_1_0_app_that_says_chunked_is_not_believed() {
    let stage = one_worker("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(stage.get("customdomain1.com", "/").status, 502);
}
