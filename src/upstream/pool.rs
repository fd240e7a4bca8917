//! A worker's unused HTTP/1.1 connections to one endpoint, last in, first out: the ones used most stay warm, the rest grow old.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    connections::{Lender, Lent},
    http1::Line,
};

/// The unused connections to one endpoint. The lock is the worker's own and not contended, but where another worker has to have one
/// of them since there may be no more.
pub(super) struct Pool<B> {
    idle: Mutex<Vec<Idle<B>>>,
    idle_timeout: Duration,
    idle_max: usize,
}

struct Idle<B> {
    line: Box<Line<B>>,
    since: Instant,
}

fn is_young(since: Instant, idle_timeout: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) < idle_timeout
}

impl<B> Pool<B> {
    pub(super) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_timeout, idle_max }
    }

    /// The connection that was used last, if it is still open and young enough; dead ones on top of it are let go.
    ///
    /// For a request that is not `repeatable` the system is asked whether the connection is open, which costs a third of a microsecond
    /// or two. One that is goes on at once where its connection proves closed.
    pub(super) fn take(&self, now: Instant, repeatable: bool) -> Option<Box<Line<B>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { mut line, since }) = idle.pop() {
            let is_young = is_young(since, self.idle_timeout, now);
            let is_ready = is_young && if repeatable { line.is_ready() } else { line.is_ready_now() };
            if is_ready && !line.life().is_over(now) {
                return Some(line);
            }
        }
        None
    }

    /// Keeps a connection that is ready for another request; above the limit, or at the end of its life, it is closed instead.
    pub(super) fn put(&self, line: Box<Line<B>>, now: Instant) {
        if line.life().is_over(now) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            line.life().rest();
            idle.push(Idle { line, since: now });
        }
    }

    /// Closes what has been unused for too long or was closed by the app.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|kept| {
            is_young(kept.since, self.idle_timeout, now) && kept.line.is_ready() && !kept.line.life().is_over(now)
        });
    }
}

impl<B: Send> Lender for Pool<B> {
    /// The one that was unused for longest.
    fn lend(&self) -> Lent {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() {
            return Lent::Nothing;
        }
        let Idle { mut line, since } = idle.remove(0);
        drop(idle);
        let now = Instant::now();
        if !is_young(since, self.idle_timeout, now) || !line.is_ready_now() || line.life().is_over(now) {
            return Lent::Closed;
        }
        match line.into_parts().and_then(|(stream, life)| Some((stream.park().ok()?, life))) {
            Some((socket, life)) => Lent::Connection(socket, life),
            None => Lent::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::Empty;
    use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::upstream::{life::Life, movable::Movable, stream::Stream};

    const LONG: Duration = Duration::from_secs(4);

    type Connections = Pool<Empty<Bytes>>;

    /// A pool with one connection, and the app server's end of it.
    async fn pool(idle_timeout: Duration) -> (Connections, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (pool, app) = (Pool::new(idle_timeout, 1), listener.accept().await.unwrap().0);
        pool.put(Line::new(Stream::Tcp(stream), Life::example()), Instant::now());
        (pool, app)
    }

    /// The runtime has not heard of it yet when the connection is taken.
    #[tokio::test]
    async fn what_could_not_be_repeated_gets_no_connection_that_was_closed_a_moment_ago() {
        for (repeatable, is_found) in [(false, false), (true, true)] {
            let (pool, app) = pool(LONG).await;
            drop(app);
            assert_eq!(pool.take(Instant::now(), repeatable).is_some(), is_found, "repeatable: {repeatable}");
        }
        let (pool, _app) = pool(LONG).await;
        assert!(pool.take(Instant::now(), false).is_some());
    }

    /// The same where TLS is spoken: `close_notify` and the end lie in the socket, and the runtime has not heard of them.
    #[tokio::test]
    async fn nor_one_of_tls_that_was() {
        let (stream, mut app) = secured().await;
        let pool = Connections::new(LONG, 1);
        pool.put(Line::new(stream, Life::example()), Instant::now());
        let line = pool.take(Instant::now(), false).unwrap();
        pool.put(line, Instant::now());
        // By the system's own call: the runtime is not asked meanwhile.
        app.get_mut().1.send_close_notify();
        let (socket, session) = app.get_mut();
        let mut notice = Vec::new();
        session.write_tls(&mut notice).unwrap();
        assert_eq!(socket.try_write(&notice).unwrap(), notice.len());
        drop(app);
        assert!(pool.take(Instant::now(), false).is_none());
    }

    /// A connection with TLS, and the app server's end of it.
    async fn secured() -> (Stream, tokio_rustls::server::TlsStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let app = listener.accept().await.unwrap().0;
        let (connector, acceptor) = tls_pair();
        let name = "app.internal".try_into().unwrap();
        let (stream, app) = tokio::join!(connector.connect(name, Movable::Here(stream)), acceptor.accept(app));
        (Stream::Tls(Box::new(stream.unwrap())), app.unwrap())
    }

    /// What makes such a connection at both its ends. There are no tickets for sessions, which would come behind the handshake.
    fn tls_pair() -> (TlsConnector, TlsAcceptor) {
        let made = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der().try_into().unwrap());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
        let mut server = server.unwrap();
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        (Arc::new(client).into(), Arc::new(server).into())
    }

    #[tokio::test]
    async fn only_what_is_open_young_and_alive_is_lent() {
        let (open, _app) = pool(LONG).await;
        assert!(matches!(open.lend(), Lent::Connection(..)) && matches!(open.lend(), Lent::Nothing));
        let (closed, app) = pool(LONG).await;
        drop(app);
        assert!(matches!(closed.lend(), Lent::Closed));
        let (old, _app) = pool(Duration::ZERO).await;
        assert!(matches!(old.lend(), Lent::Closed));
    }
}
