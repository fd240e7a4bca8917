//! TLS towards app servers: the name and the CA are checked, and sessions are resumed.
//!
//! The files are read at start, and again when they change. Each app server has a memory for sessions of its own: those of another one
//! are of no use there.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, pem, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Protocol, movable::Movable, tls_files::Stamps};

/// Names under which an app server has sessions: there is one.
const SESSIONS: usize = 1;

/// What `https://` and `h2://` servers of an upstream are met with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whose certificates are accepted (PEM); `None`: those of the CAs that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What usher shows of itself: a certificate with those that lead to its CA, and its key (PEM).
    pub client: Option<ClientFiles>,
    /// The name that certificates have to be for; `None`: the host in the address.
    pub server_name: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// `client_certificate`.
    pub certificate: PathBuf,
    /// `client_key`.
    pub key: PathBuf,
}

/// Why TLS towards app servers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or is no PEM.
    #[error("{path} cannot be read as PEM", path = .0.display())]
    File(PathBuf, #[source] pem::Error),
    /// A file of certificates has none that can be used.
    #[error("{path} has no certificate that can be used", path = .0.display())]
    Empty(PathBuf),
    /// Certificate and key do not fit, or are of no use.
    #[error("certificate and key of the client cannot be used")]
    Client(#[source] rustls::Error),
    /// The provider lacks the protocol versions.
    #[error("TLS cannot be set up")]
    Versions(#[source] rustls::Error),
    /// A name that no certificate can be for.
    #[error("no certificate can be for {0}")]
    Name(String, #[source] InvalidDnsNameError),
}

impl TlsSettings {
    /// All that is read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let client = self.client.iter().flat_map(|files| [&files.certificate, &files.key]);
        self.ca_file.iter().chain(client).cloned().collect()
    }
}

/// The pattern for the handshakes with all servers of an upstream.
#[derive(Debug)]
pub(super) struct Tls {
    config: ArcSwap<ClientConfig>,
    settings: TlsSettings,
    protocol: Protocol,
    /// Of the files when they were last tried.
    tried: Mutex<Stamps>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(settings: &TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        // Before they are read: a file that changes meanwhile is read again.
        let tried = Mutex::new(Stamps::of(&settings.files()));
        let config = ArcSwap::from_pointee(Self::read(settings, protocol)?);
        Ok(Self { config, settings: settings.clone(), protocol, tried })
    }

    /// Reads the files again if they are others than before; whether that is so.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let now = Stamps::of(&self.settings.files());
        let before = std::mem::replace(&mut *self.tried.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        if now == before {
            return Ok(false);
        }
        self.config.store(Arc::new(Self::read(&self.settings, self.protocol)?));
        Ok(true)
    }

    /// ALPN offers what the servers are configured to speak, and nothing else.
    fn read(settings: &TlsSettings, protocol: Protocol) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Versions)?
            .with_root_certificates(roots(settings.ca_file.as_deref())?);
        let mut config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let key = PrivateKeyDer::from_pem_file(&files.key)
                    .map_err(|error| TlsError::File(files.key.clone(), error))?;
                builder.with_client_auth_cert(certificates(&files.certificate)?, key).map_err(TlsError::Client)?
            }
        };
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        Ok(config)
    }

    /// The handshake with the server at `host`.
    pub(super) fn handshake(&self, host: &str) -> Result<Handshake, TlsError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let server_name = match name.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => ServerName::try_from(name.to_owned()).map_err(|error| TlsError::Name(name.to_owned(), error))?,
        };
        let config = Arc::new(ArcSwap::new(self.config()));
        Ok(Handshake { config, server_name, speaks_http2: self.protocol == Protocol::Http2 })
    }

    /// What the files say, with a memory for sessions.
    fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config.load());
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::new(config)
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let (usable, _) = roots.add_parsable_certificates(certificates(path)?);
            if usable == 0 {
                return Err(TlsError::Empty(path.to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                // A bare container has none, and is served by Mozilla's.
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error| TlsError::File(path.to_owned(), error);
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(certificates) }
}

/// The handshake with one app server.
#[derive(Clone)]
pub(super) struct Handshake {
    /// Shared by all copies of it.
    config: Arc<ArcSwap<ClientConfig>>,
    server_name: ServerName<'static>,
    speaks_http2: bool,
}

impl Handshake {
    /// From now on it is as `tls` is.
    pub(super) fn renew(&self, tls: &Tls) {
        self.config.store(tls.config());
    }

    /// Secures `stream`. Where HTTP/2 was offered it has to be taken (RFC 9113 §3.2).
    pub(super) async fn with(&self, stream: TcpStream) -> io::Result<Box<TlsStream<Movable>>> {
        let connector = TlsConnector::from(self.config.load_full());
        let stream = connector.connect(self.server_name.clone(), Movable::Here(stream)).await?;
        if self.speaks_http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the app server does not offer HTTP/2 (ALPN h2)"));
        }
        Ok(Box::new(stream))
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}
