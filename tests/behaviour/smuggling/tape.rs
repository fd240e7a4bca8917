//! The app server of these tests: it records the bytes it receives, and reads them as strictly as the grammar allows.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use crate::support::{App, Conversation};

/// What every connection to the app has brought, byte for byte.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<Vec<Track>>>);

/// One connection to the app.
#[derive(Default)]
struct Track {
    bytes: Vec<u8>,
    /// So many of them belong to requests that [`Tape::take`] has returned.
    taken: usize,
}

/// Names in lower case, and values.
pub(super) type Fields = Vec<(String, String)>;

/// A request that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) line: String,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Fields,
}

/// What arrived since the last look.
#[derive(Debug, Default)]
pub(super) struct Take {
    pub(super) requests: Vec<Arrived>,
    /// Beginnings of requests that never became whole.
    pub(super) unfinished: usize,
}

impl Tape {
    /// An app that answers every whole request with an empty 200.
    pub(super) fn app(&self) -> App {
        let tape = self.clone();
        App::scripted(move |conversation| tape.record(&conversation))
    }

    fn record(&self, conversation: &Conversation) {
        let mut stream = conversation.sender();
        let track = {
            let mut tracks = self.0.lock().unwrap();
            tracks.push(Track::default());
            tracks.len() - 1
        };
        let mut answered = 0;
        while let Some(part) = receive(&mut stream) {
            let whole = {
                let mut tracks = self.0.lock().unwrap();
                tracks[track].bytes.extend_from_slice(&part);
                read_all(&tracks[track].bytes).requests.len()
            };
            for _ in answered..whole {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
            answered = whole;
        }
    }

    /// What arrived since the last time; bytes that are no beginning of a request are a failure of the test.
    pub(super) fn take(&self) -> Take {
        let mut take = Take::default();
        for track in self.0.lock().unwrap().iter_mut() {
            let reading = read_all(&track.bytes[track.taken..]);
            let left = &track.bytes[track.taken + reading.length..];
            assert!(reading.fault.is_none(), "{:?} in {:?}", reading.fault, String::from_utf8_lossy(left));
            take.unfinished += usize::from(!left.is_empty());
            take.requests.extend(reading.requests);
            track.taken = track.bytes.len();
        }
        take
    }
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut part = vec![0; 64 * 1024];
    match stream.read(&mut part) {
        Ok(length @ 1..) => Some(part[..length].to_vec()),
        _ => None,
    }
}

/// What a run of bytes says.
struct Reading {
    requests: Vec<Arrived>,
    /// Bytes of the requests.
    length: usize,
    /// Why what follows them is not even the beginning of a request.
    fault: Option<String>,
}

/// Why there is no request.
enum Missing {
    /// More bytes may make it one.
    Bytes,
    /// Nothing can.
    Sense(String),
}

fn read_all(bytes: &[u8]) -> Reading {
    let mut reading = Reading { requests: Vec::new(), length: 0, fault: None };
    while reading.length < bytes.len() {
        let mut rest = &bytes[reading.length..];
        match request(&mut rest) {
            Ok(arrived) => reading.requests.push(arrived),
            Err(Missing::Bytes) => break,
            Err(Missing::Sense(fault)) => {
                reading.fault = Some(fault);
                break;
            }
        }
        reading.length = bytes.len() - rest.len();
    }
    reading
}

fn request(rest: &mut &[u8]) -> Result<Arrived, Missing> {
    let line = line(rest)?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return nonsense("a request line", &line) };
    if !is_token(method) || !target.starts_with('/') {
        return nonsense("a request line", &line);
    }
    let fields = fields(rest)?;
    let all = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    if all("host").len() != 1 {
        return nonsense("hosts", &format!("{:?}", all("host")));
    }
    let (body, trailers) = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => (Vec::new(), Vec::new()),
        ([length], []) => (exactly(rest, decimal(length)?)?, Vec::new()),
        ([], ["chunked"]) => chunks(rest)?,
        framing => return nonsense("a framing", &format!("{framing:?}")),
    };
    Ok(Arrived { line, fields, body, trailers })
}

/// A line that ends with CR LF and contains neither, nor any other control octet but HTAB.
fn line(rest: &mut &[u8]) -> Result<String, Missing> {
    let end = rest.iter().position(|octet| *octet == b'\n').ok_or(Missing::Bytes)?;
    let (line, after) = rest.split_at(end + 1);
    let text = String::from_utf8_lossy(line).into_owned();
    match text.strip_suffix("\r\n") {
        Some(text) if !text.chars().any(|c| c.is_ascii_control() && c != '\t') => {
            *rest = after;
            Ok(text.to_owned())
        }
        _ => nonsense("a line", &text),
    }
}

fn fields(rest: &mut &[u8]) -> Result<Fields, Missing> {
    let mut fields = Vec::new();
    loop {
        let line = line(rest)?;
        if line.is_empty() {
            return Ok(fields);
        }
        match line.split_once(':') {
            Some((name, value)) if is_token(name) => {
                fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
            }
            _ => return nonsense("a field", &line),
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet))
}

/// The one way to write a number that nobody reads differently: no sign, no space, no zero in front (of another zero
/// it does no harm).
fn decimal(text: &str) -> Result<usize, Missing> {
    match text.parse::<usize>() {
        Ok(0) if text.bytes().all(|digit| digit == b'0') => Ok(0),
        Ok(number) if number.to_string() == text => Ok(number),
        _ => nonsense("a length", text),
    }
}

fn exactly(rest: &mut &[u8], length: usize) -> Result<Vec<u8>, Missing> {
    let (body, after) = rest.split_at_checked(length).ok_or(Missing::Bytes)?;
    *rest = after;
    Ok(body.to_vec())
}

fn chunks(rest: &mut &[u8]) -> Result<(Vec<u8>, Fields), Missing> {
    let mut body = Vec::new();
    loop {
        let size = line(rest)?;
        let length = match usize::from_str_radix(&size, 16) {
            Ok(length) if format!("{length:x}").eq_ignore_ascii_case(&size) => length,
            _ => return nonsense("a chunk size", &size),
        };
        if length == 0 {
            return Ok((body, fields(rest)?));
        }
        body.extend(exactly(rest, length)?);
        let end = line(rest)?;
        if !end.is_empty() {
            return nonsense("the end of a chunk", &end);
        }
    }
}

fn nonsense<T>(what: &str, text: &str) -> Result<T, Missing> {
    Err(Missing::Sense(format!("no {what}: {text:?}")))
}
