//! HTTP/1.1 as bytes on a socket or under TLS, for both ends: nothing is corrected, nothing is hidden.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use rustls::{ClientConnection, StreamOwned};

use super::SOON;

/// One end of a connection.
pub(crate) struct Wire {
    reader: BufReader<Link>,
}

/// What carries the bytes.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A start line with its header fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Every byte up to and including the empty line, as it came.
    pub(crate) raw: Vec<u8>,
    /// The request line or status line.
    pub(crate) line: String,
    /// The fields in order, names as they were written.
    pub(crate) fields: Vec<(String, String)>,
}

/// Where a message's body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A body that was received whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    /// Its bytes, unless a sink took them.
    pub(crate) bytes: Vec<u8>,
    /// The fields after the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self::over(Link::Plain(stream))
    }

    pub(crate) fn over(link: Link) -> Self {
        let stream = link.socket();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::with_capacity(64 * 1024, link) }
    }

    /// The socket, below TLS where there is some.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref().socket()
    }

    /// The session, under TLS.
    pub(crate) fn session(&mut self) -> &mut ClientConnection {
        match self.reader.get_mut() {
            Link::Plain(_) => panic!("a plain connection has no session"),
            Link::Tls(stream) => &mut stream.conn,
        }
    }

    /// What comes next, as the system or TLS says it.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// The next head; `None` where the peer closed in front of it.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let mut head = Head::default();
        loop {
            let start = head.raw.len();
            if self.reader.read_until(b'\n', &mut head.raw)? == 0 {
                return if start == 0 { Ok(None) } else { Err(cut_off()) };
            }
            let line = String::from_utf8_lossy(&head.raw[start..]).trim_end_matches(['\r', '\n']).to_owned();
            match (line.is_empty(), head.line.is_empty()) {
                (true, true) => return Err(io::Error::new(io::ErrorKind::InvalidData, "an empty start line")),
                (true, false) => return Ok(Some(head)),
                (false, true) => head.line = line,
                (false, false) => head.fields.push(field(&line)),
            }
        }
    }

    /// A body into memory; an error where it does not end as it should.
    pub(crate) fn body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut bytes = Vec::new();
        let trailers = self.stream_body(framing, |part| bytes.extend_from_slice(part))?;
        Ok(Body { bytes, trailers })
    }

    /// A body into `sink`, as it comes; returns its trailers.
    pub(crate) fn stream_body(
        &mut self,
        framing: Framing,
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<Vec<(String, String)>> {
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => self.exactly(length, &mut sink)?,
            Framing::UntilClose => while self.some(u64::MAX, &mut sink)? > 0 {},
            Framing::Chunked => return self.chunks(&mut sink),
        }
        Ok(Vec::new())
    }

    fn chunks(&mut self, sink: &mut impl FnMut(&[u8])) -> io::Result<Vec<(String, String)>> {
        loop {
            let size = self.line()?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("a chunk size {size:?}")))?;
            if size == 0 {
                return self.trailers();
            }
            self.exactly(size, sink)?;
            assert_eq!(self.line()?, "", "a chunk longer than its size");
        }
    }

    fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(field(&line));
        }
    }

    fn exactly(&mut self, mut left: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            match self.some(left, sink)? {
                0 => return Err(cut_off()),
                read => left -= read,
            }
        }
        Ok(())
    }

    fn some(&mut self, most: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let buffered = self.reader.fill_buf()?;
        let taken = buffered.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        sink(&buffered[..taken]);
        self.reader.consume(taken);
        Ok(taken as u64)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(cut_off)
    }

    /// Waits for the peer to close, and drops what comes before; false where it is still there after [`SOON`].
    pub(crate) fn closed_by_peer(&mut self) -> bool {
        let mut dropped = [0; 16 * 1024];
        loop {
            match self.reader.read(&mut dropped) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }
}

impl Link {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Head {
    /// Every value of `name`, in order, whatever the case of its letters.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of `name`; two are a failure of the test.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} stands there several times: {values:?}");
        values.first().copied()
    }

    pub(crate) fn has_chunked_body(&self) -> bool {
        self.all("transfer-encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    /// What the fields say of the body; `otherwise` where they say nothing.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        match self.one("content-length") {
            _ if self.has_chunked_body() => Framing::Chunked,
            Some(length) => Framing::Length(length.parse().unwrap()),
            None => otherwise,
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a header field without a colon: {line:?}"));
    (name.to_owned(), value.trim().to_owned())
}

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
