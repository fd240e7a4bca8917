//! curl, in every face of HTTP that it has: what it makes of an answer is what most programs make of it.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::{
    program::{program, ran},
    support::{App, Conversation, Fixture},
};

/// How the answer came, and the answer.
struct Answer {
    version: String,
    status: String,
    body: String,
}

/// curl at the one tenant's host, with these arguments.
fn curl(stage: &Fixture, target: &str, arguments: &[&str]) -> Answer {
    let address = stage.usher.http();
    let said = ran(program("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_version} %{http_code}"])
        .args(["--connect-to", &format!("customdomain1.com:80:{address}")])
        .args(arguments)
        .arg(format!("http://customdomain1.com{target}")));
    let (body, told) = said.rsplit_once('\n').unwrap();
    let (version, status) = told.split_once(' ').unwrap();
    Answer { version: version.to_owned(), status: status.to_owned(), body: body.to_owned() }
}

const FACES: [(&[&str], &str); 4] = [
    (&["--http1.0"], "1"),
    (&["--http1.1"], "1.1"),
    // Offers h2c in an upgrade, and takes no for an answer.
    (&["--http2"], "1.1"),
    (&["--http2-prior-knowledge"], "2"),
];

#[test]
fn every_version_is_served_with_and_without_a_body() {
    let stage = Fixture::new();
    for (face, version) in FACES {
        for more in
            [&[][..], &["--data", "body"], &["--request", "DELETE"], &["--request", "PROPFIND", "--data", "body"]]
        {
            let answer = curl(&stage, "/p?q", &[face, more].concat());
            assert_eq!((answer.version.as_str(), answer.status.as_str()), (version, "200"), "{face:?} {more:?}");
            let request = stage.app.last();
            assert_eq!(request.target(), "/p?q");
            assert_eq!(request.folded("x-store-id"), ["1"]);
            assert_eq!(request.folded("host"), ["customdomain1.com"]);
            assert_eq!(request.body.as_slice(), if more.contains(&"--data") { b"body".as_slice() } else { b"" });
            for gone in ["upgrade", "connection", "http2-settings"] {
                assert_eq!(request.folded(gone), [""; 0], "{face:?}");
            }
        }
    }
}

#[test]
fn an_upload_arrives_whole_chunked_or_not_waiting_or_not() {
    let stage = Fixture::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("upload");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&file, &bytes).unwrap();
    for (face, _) in &FACES[1..] {
        for more in [
            ["--header", "Expect: 100-continue"].as_slice(),
            &["--header", "Expect:"],
            &["--header", "Transfer-Encoding: chunked"],
            &["--header", "Transfer-Encoding: chunked", "--header", "Expect: 100-continue"],
        ] {
            let answer = curl(&stage, "/up", &[face, more, &["--upload-file", path(&file)]].concat());
            assert_eq!(answer.status, "200", "{face:?} {more:?}");
            assert!(stage.app.last().body == bytes, "{face:?} {more:?}: {} bytes", stage.app.last().body.len());
        }
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        while conversation.head().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").unwrap();
        }
    }));
    for (face, version) in FACES {
        let answer = curl(&stage, "/", &[face, &["--head"]].concat());
        assert_eq!((answer.version.as_str(), answer.status.as_str()), (version, "200"));
        assert!(answer.body.to_lowercase().contains("content-length: 1234"), "{}", answer.body);
    }
}

#[test]
fn a_range_is_the_apps_business() {
    let stage = Fixture::with_app(App::scripted(ranged));
    for (face, _) in FACES {
        let answer = curl(&stage, "/", &[face, &["--range", "2-5", "--include"]].concat());
        assert_eq!(answer.status, "206", "{face:?}");
        assert!(answer.body.to_lowercase().contains("content-range: bytes 2-5/10"), "{}", answer.body);
        assert!(answer.body.ends_with("2345"), "{}", answer.body);
        assert_eq!(curl(&stage, "/", face).body, "0123456789");
    }
}

fn ranged(mut conversation: Conversation) {
    while let Some(request) = conversation.request() {
        let answer = match request.folded("range")[..] {
            ["bytes=2-5"] => {
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n2345"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        };
        conversation.write(answer).unwrap();
    }
}

#[test]
fn an_answer_without_a_body_is_not_waited_for() {
    for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"] {
        let stage = Fixture::with_app(App::answering(answer));
        for (face, version) in FACES {
            let got = curl(&stage, "/", face);
            assert_eq!((got.version.as_str(), got.body.as_str()), (version, ""), "{answer} over {face:?}");
            assert!(answer.contains(&got.status));
        }
    }
}

#[test]
fn chunks_and_trailers_of_the_app_make_one_body() {
    let stage = Fixture::with_app(App::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
    ));
    for (face, _) in FACES {
        assert_eq!(curl(&stage, "/", face).body, "abcde", "{face:?}");
    }
}

#[test]
fn many_requests_share_one_connection() {
    let stage = Fixture::new();
    let address = stage.usher.http();
    let said = ran(program("curl")
        .args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{num_connects} %{http_code}\n"])
        .args(["--header", "Host: customdomain1.com", &format!("http://{address}/[1-20]")]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, [&["1 200"][..], &["0 200"; 19]].concat());
}

#[test]
fn what_is_refused_is_explained() {
    let stage = Fixture::new();
    for (face, version) in &FACES[1..] {
        for (more, status) in [
            (["--request", "TRACE"].as_slice(), "405"),
            (&["--header", "Host: nobody.example"], "404"),
            (&["--header", "Host: a,b"], "400"),
        ] {
            let answer = curl(&stage, "/", &[face, more].concat());
            assert_eq!((answer.version.as_str(), answer.status.as_str()), (*version, status), "{face:?} {more:?}");
            assert!(answer.body.contains("request_id"), "{face:?} {more:?}: {}", answer.body);
        }
    }
}
