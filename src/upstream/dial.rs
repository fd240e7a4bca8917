//! The way to an app server: TCP or a socket in the file system, and TLS where it is spoken there.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};

use super::{ConnectError, Endpoint, ServerAddress, stream::Stream};

/// Silence after which the system asks whether the other machine is still there, and how often it asks then. With the
/// nine questions of Linux a machine that is gone is noticed after two minutes, by streams that have no other limit too.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// A connection to `endpoint` by `deadline`. `first` stands ahead of everything else on it, of TLS too.
pub(super) async fn dial(endpoint: &Endpoint, first: &[u8], deadline: Instant) -> Result<Stream, ConnectError> {
    let connected = timeout_at(deadline, connect(endpoint.address(), first)).await;
    let stream = connected.map_err(|_elapsed| ConnectError::Timeout)?.map_err(ConnectError::Refused)?;
    match (endpoint.handshake(), stream) {
        (Some(handshake), Stream::Tcp(stream)) => {
            let secured = timeout_at(deadline, handshake.with(stream)).await;
            secured.map_err(|_elapsed| ConnectError::TlsTimeout)?.map_err(ConnectError::Tls).map(Stream::Tls)
        }
        (_, stream) => Ok(stream),
    }
}

async fn connect(address: &ServerAddress, first: &[u8]) -> std::io::Result<Stream> {
    match address {
        ServerAddress::Tcp { host, port } => {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
            say(&mut stream, first).await?;
            Ok(Stream::Tcp(stream))
        }
        // An endpoint has an address; names lead to some.
        ServerAddress::Service(_) => Err(std::io::ErrorKind::AddrNotAvailable.into()),
        ServerAddress::Unix(path) => {
            let mut stream = UnixStream::connect(path).await?;
            say(&mut stream, first).await?;
            Ok(Stream::Unix(stream))
        }
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), first: &[u8]) -> std::io::Result<()> {
    if first.is_empty() { Ok(()) } else { stream.write_all(first).await }
}

/// Whether `endpoint` takes connections: connects, shakes hands where it speaks TLS, and closes.
pub async fn reach(endpoint: &Endpoint, deadline: Instant) -> Result<(), ConnectError> {
    dial(endpoint, b"", deadline).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_machine_that_is_gone_is_noticed_whatever_is_spoken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let stream = connect(&address, b"").await.unwrap();
        let Stream::Tcp(tcp) = &stream else { unreachable!() };
        let socket = SockRef::from(tcp);
        assert!(socket.keepalive().unwrap() && tcp.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
    }
}
