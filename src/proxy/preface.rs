//! Which HTTP a client speaks on a plain connection, told by its first bytes: HTTP/2 begins with a preface that is no request
//! of HTTP/1.1 (RFC 9113 §3.3, §3.4).

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::stream::ClientStream;

const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or 1.0, or something that hyper will refuse as such.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Waits for the first bytes, and leaves them where they are. Fails where the client leaves without any.
pub(super) async fn protocol(stream: &mut ClientStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    // A look ahead tells nearly always, and costs no copy.
    let seen = stream.tcp().peek(&mut first).await?;
    match first.get(..seen) {
        None | Some([]) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(seen) if *seen == PREFACE => Ok(Protocol::Http2),
        Some(seen) if PREFACE.starts_with(seen) => byte_wise(stream).await,
        Some(_) => Ok(Protocol::Http1),
    }
}

/// The preface comes in pieces, or `PUT` and `POST` do.
async fn byte_wise(stream: &mut ClientStream) -> io::Result<Protocol> {
    let mut read = Vec::with_capacity(PREFACE.len());
    let protocol = loop {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Protocol::Http1,
            Err(error) => return Err(error),
        }
        if !PREFACE.starts_with(&read) {
            break Protocol::Http1;
        }
        if read.len() == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    stream.put_back(Bytes::from(read));
    Ok(protocol)
}
