//! Bodies flow through: nothing is held whole, in either direction.

use std::{io::Write, net::TcpStream, thread};

use crate::support::{App, Client, Conversation, Fixture, Framing, UNBUFFERED};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const PART: usize = 64 * 1024;

/// A stream of bytes that says where it was cut or mixed up: byte `n` depends on `n` alone.
#[derive(Default)]
struct Pattern {
    position: u64,
}

impl Pattern {
    fn fill(&mut self, part: &mut [u8]) {
        for byte in part {
            *byte = self.next();
        }
    }

    fn check(&mut self, part: &[u8]) {
        for byte in part {
            let at = self.position;
            assert_eq!(*byte, self.next(), "at byte {at}");
        }
    }

    fn next(&mut self) -> u8 {
        let byte = (self.position ^ (self.position >> 8) ^ (self.position >> 16)).to_le_bytes()[0];
        self.position += 1;
        byte
    }
}

/// Sends so many bytes of the pattern.
fn send_pattern(mut to: TcpStream, length: u64) -> std::io::Result<()> {
    let mut pattern = Pattern::default();
    let mut part = vec![0; PART];
    while pattern.position < length {
        let size = part.len().min(usize::try_from(length - pattern.position).unwrap());
        pattern.fill(&mut part[..size]);
        to.write_all(&part[..size])?;
    }
    Ok(())
}

/// Takes an upload and says how long it was, or serves the pattern.
fn large_app() -> App {
    App::scripted(|mut conversation| {
        while let Some(head) = conversation.head() {
            if head.line.starts_with("GET") {
                conversation.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n")).unwrap();
                send_pattern(conversation.sender(), GIB).unwrap();
            } else {
                let mut pattern = Pattern::default();
                conversation.wire().stream_body(head.framing(Framing::Empty), |part| pattern.check(part)).unwrap();
                let answer = pattern.position.to_string();
                conversation
                    .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()))
                    .unwrap();
            }
        }
    })
}

#[test]
fn a_gibibyte_each_way_needs_little_memory() {
    let stage = Fixture::configured(large_app(), "[upstreams.default]\nbody_max_bytes = '0B'");
    let mut client = stage.usher.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {GIB}\r\n\r\n"));
    send_pattern(client.sender(), GIB).unwrap();
    assert_eq!(client.response().text(), GIB.to_string());

    client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    let framing = client.head().framing(Framing::Empty);
    assert_eq!(framing, Framing::Length(GIB));
    let mut pattern = Pattern::default();
    client.wire().stream_body(framing, |part| pattern.check(part)).unwrap();
    assert_eq!(pattern.position, GIB);
    assert!(stage.usher.peak_memory() < 64 * MIB, "{} MiB", stage.usher.peak_memory() / MIB);
}

/// Sends back every byte as soon as it comes.
fn mirror(mut conversation: Conversation) {
    let Some(head) = conversation.head() else { return };
    let mut back = conversation.sender();
    let Framing::Length(length) = head.framing(Framing::Empty) else { panic!("a length") };
    write!(back, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
    conversation.wire().stream_body(Framing::Length(length), |part| back.write_all(part).unwrap()).unwrap();
}

#[test]
fn a_hundred_megabytes_flow_in_both_directions_at_once() {
    let length = 100 * 1_000_000;
    let stage = Fixture::with_app(App::scripted(mirror));
    let mut client = stage.usher.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {length}\r\n\r\n"));
    let sender = client.sender();
    let sending = thread::spawn(move || send_pattern(sender, length).unwrap());
    let framing = client.head().framing(Framing::Empty);
    let mut pattern = Pattern::default();
    client.wire().stream_body(framing, |part| pattern.check(part)).unwrap();
    assert_eq!(pattern.position, length);
    sending.join().unwrap();
    assert!(stage.usher.peak_memory() < 64 * MIB, "{} MiB", stage.usher.peak_memory() / MIB);
}

/// Each side waits for the other's byte before it sends its own: buffering anywhere is a deadlock.
#[test]
fn a_byte_is_passed_on_before_the_next_one_comes() {
    let rounds = 100;
    let stage = Fixture::configured(App::scripted(mirror), UNBUFFERED);
    let mut client = stage.usher.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: {rounds}\r\n\r\n"));
    let mut sender = client.sender();
    assert_eq!(client.head().framing(Framing::Empty), Framing::Length(rounds));
    for round in 0..rounds {
        sender.write_all(&[b'a' + u8::try_from(round % 26).unwrap()]).unwrap();
        let mut echoed = 0;
        client.wire().stream_body(Framing::Length(1), |part| echoed = part[0]).unwrap();
        assert_eq!(echoed, b'a' + u8::try_from(round % 26).unwrap());
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_app_back() {
    let stage = Fixture::with_app(large_app());
    let mut client = stage.usher.connect();
    client.send("GET / HTTP/1.1\r\nHost: customdomain1.com\r\n\r\n");
    client.head();
    thread::sleep(crate::support::A_MOMENT * 5);
    assert!(stage.usher.peak_memory() < 64 * MIB, "{} MiB", stage.usher.peak_memory() / MIB);
}

/// RFC 9112 §7.1.
#[test]
fn chunks_and_trailers_of_the_app_arrive() {
    let stage = Fixture::with_app(App::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
    ));
    let response = stage.usher.get_with("customdomain1.com", "/", "TE: trailers\r\n");
    assert_eq!((response.text().as_str(), response.complete), ("abcde", true));
}

/// RFC 9112 §6.3.
#[test]
fn an_answer_that_ends_with_its_connection_arrives_whole() {
    let stage = Fixture::with_app(App::scripted(|mut conversation| {
        conversation.head();
        let _ = conversation.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end");
    }));
    for _ in 0..3 {
        let response = stage.get("customdomain1.com", "/");
        assert_eq!((response.text().as_str(), response.complete), ("until the end", true));
    }
}

/// RFC 9112 §7.1.
#[test]
fn a_client_may_upload_without_knowing_the_length() {
    let stage = Fixture::with_app(large_app());
    let mut client: Client = stage.usher.connect();
    client.send("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (mut pattern, mut part) = (Pattern::default(), vec![0; 1000]);
    for _ in 0..1000 {
        pattern.fill(&mut part);
        client.send("3e8\r\n").send(&part).send("\r\n");
    }
    assert_eq!(client.send("0\r\n\r\n").response().text(), "1000000");
}
