//! Listening sockets: one per address and worker, so that the kernel spreads connections and no worker waits for another.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::Scheme;

/// Connections that the kernel completes ahead of `accept`; capped by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes for a client beyond what it can send at once. Without a limit it takes megabytes for everybody who
/// reads slowly: a thousand of them bring the whole machine under memory pressure of TCP, where each connection waits. What is to
/// be read ahead of a client is `buffer_response`, which is counted. What is on its way is not limited, so nobody gets less speed.
const UNSENT_MAX: u32 = 128 * 1024;

/// Silence after which the system asks whether the client is still there, and how often it asks then: with the nine questions of Linux
/// one that is gone is noticed after some three minutes. Who listens to events on HTTP/1.1 has no other limit. Idle connections end before.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(75)).with_interval(Duration::from_secs(15));

/// The bound sockets of all workers.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<(SocketAddr, Scheme)>,
    per_worker: Vec<Vec<ListeningSocket>>,
}

/// One worker's socket for one address.
#[derive(Debug)]
pub struct ListeningSocket {
    /// The socket.
    pub socket: TcpListener,
    /// What is spoken on its connections: HTTP as it is, or under TLS.
    pub scheme: Scheme,
}

impl Listeners {
    /// Binds every address once per worker. A port 0 becomes the same free port for all workers.
    pub fn bind(addresses: impl IntoIterator<Item = (SocketAddr, Scheme)>, workers: usize) -> Result<Self, BindError> {
        let mut listeners =
            Self { addresses: Vec::new(), per_worker: (0..workers.max(1)).map(|_| Vec::new()).collect() };
        for (address, scheme) in addresses {
            listeners.add(address, scheme).map_err(|cause| BindError { address, cause })?;
        }
        Ok(listeners)
    }

    fn add(&mut self, address: SocketAddr, scheme: Scheme) -> io::Result<()> {
        refuse_taken(address)?;
        let mut bound = address;
        for sockets in &mut self.per_worker {
            let socket = listen(bound)?;
            bound = socket.local_addr()?;
            sockets.push(ListeningSocket { socket, scheme });
        }
        self.addresses.push((bound, scheme));
        Ok(())
    }

    /// The addresses really bound for `scheme`, in the order asked for.
    pub fn addresses(&self, scheme: Scheme) -> Vec<SocketAddr> {
        self.addresses.iter().filter(|(_, own)| *own == scheme).map(|(address, _)| *address).collect()
    }

    /// The sockets, worker by worker.
    pub fn into_workers(self) -> Vec<Vec<ListeningSocket>> {
        self.per_worker
    }
}

/// `SO_REUSEPORT` would let a second process share the port in silence; binding once without it finds that out.
fn refuse_taken(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Connections have it from the socket that accepts them.
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> (SocketAddr, Scheme) {
        ("127.0.0.1:0".parse().unwrap(), Scheme::Http)
    }

    #[test]
    fn a_client_that_is_gone_is_noticed_whatever_it_waits_for() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(75));
    }

    #[test]
    fn port_0_becomes_one_free_port_for_all_workers() {
        let listeners = Listeners::bind([any()], 3).unwrap();
        let address = listeners.addresses(Scheme::Http)[0];
        assert_ne!(address.port(), 0);
        for sockets in listeners.into_workers() {
            assert_eq!(sockets[0].socket.local_addr().unwrap(), address);
        }
    }

    #[test]
    fn an_address_that_somebody_shares_already_is_refused() {
        let first = Listeners::bind([any()], 1).unwrap();
        let taken = first.addresses(Scheme::Http)[0];
        let error = Listeners::bind([(taken, Scheme::Https)], 1).unwrap_err();
        assert_eq!((error.address, error.cause.kind()), (taken, io::ErrorKind::AddrInUse));
    }
}
