//! The handshake in two halves: what the client says, and, once somebody has agreed to it, the rest.

use std::{io, sync::Arc};

use rustls::{
    CommonState, HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{Acceptor as FirstHalf, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::{Certificate, Certificates, Issuer, Tickets, Vault};
use crate::{
    routing::Hostname,
    telemetry::outcome::{HandshakeFailure, TlsVersion},
};

/// In order of preference. Both are what the client may say; anything else ends the handshake (RFC 7301 §3.2), so that what was
/// meant for another protocol is not taken for HTTP.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

/// What a CA speaks that wants to know whose a name is (RFC 8737 §4); never beside anything else.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// A fatal alert, as it stands on the wire before anything is encrypted (RFC 8446 §5.1, §6): `unrecognized_name` (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The same for `no_application_protocol` (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// A connection under TLS.
pub type Stream<IO> = tokio_rustls::server::TlsStream<IO>;

/// Shakes hands with clients; a cheap clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// What all handshakes share, the keys of sessions above all: else a session could be resumed only where it began.
    config: Arc<ServerConfig>,
    /// For those who only want to see a proof: without sessions.
    proving: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    vault: Option<Vault>,
    issuer: Option<Issuer>,
}

impl Acceptor {
    /// An acceptor that shows `certificates`, and those in `vault`.
    pub fn new(
        minimum: TlsVersion,
        certificates: Arc<Certificates>,
        vault: Option<Vault>,
        tickets: Option<Arc<Tickets>>,
        issuer: Option<Issuer>,
    ) -> Result<Self, SetUpError> {
        let mut config = pattern(minimum)?;
        let mut proving = config.clone();
        proving.alpn_protocols = vec![ACME_TLS.to_vec()];
        proving.session_storage = Arc::new(NoServerSessionStorage {});
        proving.send_tls13_tickets = 0;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Sessions are kept by the clients: a store here would be one lock for all workers. Their first data is never taken before
        // the handshake is over, since it could be sent twice (RFC 8446 §8).
        config.ticketer = match tickets {
            Some(shared) => shared,
            None => Ticketer::new().map_err(SetUpError)?,
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), proving: Arc::new(proving), certificates, vault, issuer })
    }

    /// What can be shown at once.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// What can be shown after a look into the database.
    pub fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }

    /// Who asks for certificates that are missing.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_ref()
    }

    /// Whether there is a certificate for `name`, as far as that can be known without waiting. The default does not count.
    pub fn has(&self, name: &Hostname<'_>) -> bool {
        self.certificates.has(name) || self.vault.as_ref().is_some_and(|vault| vault.has(name))
    }

    /// Reads what the client says first.
    pub async fn hello<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Result<Hello<IO>, HandshakeFailure> {
        let start = LazyConfigAcceptor::new(FirstHalf::default(), io).await.map_err(|error| failure(&error))?;
        Ok(Hello { start, config: Arc::clone(&self.config), proving: Arc::clone(&self.proving) })
    }
}

fn pattern(minimum: TlsVersion) -> Result<ServerConfig, SetUpError> {
    Ok(ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(minimum))
        .map_err(SetUpError)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Chosen(None))))
}

/// The system gives no random numbers, or the provider lacks what is needed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SetUpError(rustls::Error);

static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match minimum {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => &ONLY_TLS13,
    }
}

/// What a client has said first. Nothing has been signed.
pub struct Hello<IO> {
    start: StartHandshake<IO>,
    config: Arc<ServerConfig>,
    proving: Arc<ServerConfig>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Hello<IO> {
    /// The name it asks for. An address is no name (RFC 6066 §3) and passes for none.
    pub fn name(&self) -> Option<String> {
        self.start.client_hello().server_name().map(str::to_owned)
    }

    /// Whether a CA asks, and nothing but a proof is wanted.
    pub fn wants_proof(&self) -> bool {
        let hello = self.start.client_hello();
        hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
    }

    /// Goes on with `certificate`.
    pub async fn accept(self, certificate: &Certificate) -> Result<Stream<IO>, HandshakeFailure> {
        let config = showing(&self.config, certificate.key());
        self.start.into_stream(config).await.map_err(|error| failure(&error))
    }

    /// Shows what a CA wants to see and ends the connection (RFC 8737 §3); refuses where `issuer` has nothing to show. What was not asked
    /// for is in no memory, and costs neither a query nor a signature.
    pub async fn prove(self, issuer: Option<&Issuer>) -> Result<(), HandshakeFailure> {
        let name = self.name().map(|name| name.to_ascii_lowercase());
        let proof = match issuer.zip(name) {
            Some((issuer, name)) => issuer.proof(&name).await,
            None => None,
        };
        let Some(proof) = proof else {
            self.alert(NO_APPLICATION_PROTOCOL).await;
            return Err(HandshakeFailure::Incompatible);
        };
        let config = showing(&self.proving, &proof);
        let mut stream = self.start.into_stream(config).await.map_err(|error| failure(&error))?;
        let _gone = stream.shutdown().await;
        Ok(())
    }

    /// Tells the client that nobody here has that name. It may be gone already.
    pub async fn refuse(self) {
        self.alert(UNRECOGNIZED_NAME).await;
    }

    async fn alert(self, alert: [u8; 7]) {
        let mut io = self.start.io;
        let _gone = io.write_all(&alert).await;
        let _gone = io.shutdown().await;
    }
}

fn showing(pattern: &ServerConfig, key: &Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(pattern);
    config.cert_resolver = Arc::new(Chosen(Some(Arc::clone(key))));
    Arc::new(config)
}

/// The certificate that was chosen before, whatever rustls asks.
#[derive(Debug)]
struct Chosen(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Chosen {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version of TLS.
    pub version: TlsVersion,
    /// Whether an earlier session goes on.
    pub is_resumed: bool,
    /// Whether HTTP/2 is spoken on it; else HTTP/1.1.
    pub is_http2: bool,
}

impl Agreed {
    /// What was agreed on for `stream`.
    pub fn on<IO>(stream: &Stream<IO>) -> Self {
        Self::of(stream.get_ref().1)
    }

    fn of(session: &CommonState) -> Self {
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            is_http2: session.alpn_protocol() == Some(HTTP2),
        }
    }
}

/// How a handshake failed, as far as the operator can do something about it.
fn failure(error: &io::Error) -> HandshakeFailure {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(_) => HandshakeFailure::Malformed,
        None => HandshakeFailure::CutOff,
    }
}
