//! TLS as clients meet it: a CA of the test's own, certificates made on the spot, and clients that trust it.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use super::{App, Backend, Binary, Client, SOON, Tables, Usher};

/// A certificate authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// One that has ended.
    pub(crate) fn issue_ended(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its own certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// It alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// What a client goes by that trusts it alone.
    pub(crate) fn trust(&self) -> Trust {
        Trust { roots: self.roots(), provider: aws_lc_rs::default_provider(), ..Trust::default() }
    }
}

impl Pair {
    /// Writes both into `folder`; the item of `tls.certificates` that names them.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> String {
        let [certificate, key] = Self::paths(folder, name);
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        format!("certificate = {certificate:?}, key = {key:?}")
    }

    pub(crate) fn paths(folder: &Path, name: &str) -> [PathBuf; 2] {
        ["pem", "key"].map(|extension| folder.join(format!("{name}.{extension}")))
    }
}

/// How a client shakes hands.
#[derive(Clone)]
pub(crate) struct Trust {
    roots: RootCertStore,
    provider: CryptoProvider,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<Vec<u8>>,
    names_itself: bool,
    /// Made once, since sessions are remembered in it.
    config: Option<Arc<ClientConfig>>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            roots: RootCertStore::empty(),
            provider: aws_lc_rs::default_provider(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            protocols: vec![b"http/1.1".to_vec()],
            names_itself: true,
            config: None,
        }
    }
}

impl Trust {
    /// Trusting this root alone, as PEM.
    pub(crate) fn of(root: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        Self { roots, ..Self::default() }
    }

    /// With these versions only.
    pub(crate) fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// With these protocols offered, or none.
    pub(crate) fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// With these key exchanges only.
    pub(crate) fn exchanges(mut self, groups: &[&'static dyn rustls::crypto::SupportedKxGroup]) -> Self {
        self.provider.kx_groups = groups.to_vec();
        self
    }

    /// Without telling the name that is asked for.
    pub(crate) fn nameless(mut self) -> Self {
        self.names_itself = false;
        self
    }

    /// With one memory for all sessions.
    pub(crate) fn remembering(mut self) -> Self {
        self.config = Some(self.config());
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        if let Some(config) = &self.config {
            return Arc::clone(config);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()));
        let mut config = builder
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.protocols);
        config.enable_sni = self.names_itself;
        Arc::new(config)
    }

    /// A connection whose handshake is over.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        self.shake_hands(TcpStream::connect(address)?, name)
    }

    /// The same on a connection that is open already.
    pub(crate) fn shake_hands(
        &self,
        mut socket: TcpStream,
        name: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        socket.set_read_timeout(Some(SOON))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(self.config(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }

    /// The alert or error with which the handshake for `name` ends.
    pub(crate) fn refusal(&self, address: SocketAddr, name: &str) -> String {
        match self.connect(address, name) {
            Ok(_) => panic!("a handshake for {name} succeeded"),
            Err(error) => error.to_string(),
        }
    }
}

/// The usual stage with TLS: the example rows, one app, and a router with certificates.
pub(crate) struct TlsFixture {
    pub(crate) usher: Usher,
    pub(crate) app: App,
    pub(crate) tables: Tables,
    pub(crate) ca: Ca,
    pub(crate) folder: TempDir,
}

/// What the usual certificates are good for.
const PLATFORM: &[&str] = &["platform.com", "*.platform.com"];
const CUSTOM: &[&str] = &["customdomain1.com", "shop.alpha.com", "nobody.example"];

impl TlsFixture {
    pub(crate) fn new() -> Self {
        Self::configured(App::echo(), "")
    }

    /// With these keys laid over the configuration.
    pub(crate) fn configured(app: App, config: &str) -> Self {
        Self::with(app, config, &[("platform", PLATFORM, ""), ("custom", CUSTOM, "")])
    }

    /// With certificates of these names: each has a file name, names, and what more stands in its item.
    pub(crate) fn with(app: App, config: &str, certificates: &[(&str, &[&str], &str)]) -> Self {
        let (ca, folder, tables) =
            (Ca::new(), TempDir::with_prefix("usher-tls-").unwrap(), Tables::example(Backend::Sqlite));
        let items: Vec<_> = certificates
            .iter()
            .map(|(file, names, more)| format!("{{ {}{more} }}", ca.issue(names).write(folder.path(), file)))
            .collect();
        let tls = format!("[listen]\nhttps = [\"127.0.0.1:0\"]\n[tls]\ncertificates = [{}]", items.join(", "));
        let usher = Binary::over(&tables).apps(&[&app]).config(&tls).config(config).start();
        Self { usher, app, tables, ca, folder }
    }

    /// A connection on which HTTP/1.1 is spoken.
    pub(crate) fn connect(&self, name: &str) -> Client {
        Client::connect_tls(self.usher.https(), &self.ca.trust(), name)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}
