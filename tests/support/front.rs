//! Something in front of an app server of a test: TLS, or a socket in the file system. It passes on whatever comes.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use rustls::{
    HandshakeKind, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, UnixListener},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

use super::{Ca, Pair};

/// The front, which ends with the value.
pub(crate) struct Front {
    address: Option<SocketAddr>,
    met: Arc<Mutex<Vec<Met>>>,
    ended: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

/// A handshake as the front saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    /// The name that was asked for.
    pub(crate) name: Option<String>,
    /// What was agreed on.
    pub(crate) protocol: Option<String>,
    pub(crate) resumed: bool,
    /// Whether the client showed a certificate.
    pub(crate) certified: bool,
}

/// How a front speaks TLS.
pub(crate) struct Speech {
    config: ServerConfig,
}

impl Speech {
    /// With this certificate.
    pub(crate) fn of(pair: &Pair) -> Self {
        Self::from(pair, None)
    }

    /// With this certificate, for clients alone whose own is from `ca`.
    pub(crate) fn demanding(pair: &Pair, ca: &Ca) -> Self {
        Self::from(pair, Some(ca))
    }

    fn from(pair: &Pair, clients: Option<&Ca>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(ca.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        Self { config: builder.with_single_cert(chain, key).unwrap() }
    }

    /// With these protocols.
    pub(crate) fn protocols(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }
}

impl Front {
    /// TLS in front of the server at `to`.
    pub(crate) fn tls(speech: Speech, to: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, acceptor) = (listener.local_addr().unwrap(), TlsAcceptor::from(Arc::new(speech.config)));
        let (met, ended) = (Arc::<Mutex<Vec<Met>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, over) = (Arc::clone(&met), Arc::clone(&ended));
        let stop = run(move || async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, over) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&over));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let session = stream.get_ref().1;
                    seen.lock().unwrap().push(Met {
                        name: session.server_name().map(str::to_owned),
                        protocol: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
                        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
                        certified: session.peer_certificates().is_some(),
                    });
                    pass_on(stream, to, over).await;
                });
            }
        });
        Self { address: Some(address), met, ended, _stop: stop }
    }

    /// A socket at `path` in front of the server at `to`.
    pub(crate) fn unix(path: &Path, to: SocketAddr) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let ended = Arc::<AtomicUsize>::default();
        let over = Arc::clone(&ended);
        let stop = run(move || async move {
            listener.set_nonblocking(true).unwrap();
            let listener = UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, to, Arc::clone(&over)));
            }
        });
        Self { address: None, met: Arc::default(), ended, _stop: stop }
    }

    /// Where TLS is spoken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a front that speaks TLS")
    }

    /// How many connections the app has ended, which the client has been told.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(SeqCst)
    }

    /// The handshakes so far.
    pub(crate) fn met(&self) -> Vec<Met> {
        self.met.lock().unwrap().clone()
    }
}

async fn pass_on(client: impl AsyncRead + AsyncWrite + Unpin, to: SocketAddr, ended: Arc<AtomicUsize>) {
    let Ok(mut app) = TcpStream::connect(to).await else { return };
    let (mut from_app, mut to_app) = app.split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let requests = async {
        copy(&mut from_client, &mut to_app).await?;
        to_app.shutdown().await
    };
    let answers = async {
        copy(&mut from_app, &mut to_client).await?;
        to_client.shutdown().await?;
        ended.fetch_add(1, SeqCst);
        Ok(())
    };
    // Either side may break off, and the other is closed with it.
    let _ = tokio::try_join!(requests, answers);
}

/// Runs what `serve` makes on a thread of its own until the value is dropped.
fn run<F: Future<Output = ()>>(serve: impl FnOnce() -> F + Send + 'static) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = serve() => {}
                _ = stopped => {}
            }
        });
    });
    stop
}
