//! TLS towards clients: which certificate belongs to a name, and the handshake that shows it.
//!
//! What always holds: nothing is signed before whoever asks has been told the name and agreed, and a certificate that was once
//! good is shown until a better one is there. No private key is ever printed.

mod acceptor;
mod acme;
mod certificate;
mod certificates;
mod files;
mod keyring;
mod tickets;
mod vault;

use std::{path::PathBuf, sync::Arc};

pub use acceptor::{Acceptor, Agreed, Hello, SetUpError, Stream};
pub use acme::{
    Acme, Arrivals, Astray, AuthoritySettings, Binding, BoxFuture, Challenge, HookSettings, Issuer, Limits, Names,
    NamesError, Page, Quota, Reason, Settings as AcmeSettings, StandingCounts, account_uri,
};
pub use certificate::{Certificate, CertificateError};
pub use certificates::{Certificates, Counts};
pub use files::{FileError, Files};
pub use keyring::{Keyring, KeyringError, SealError, Sealed};
pub use tickets::Tickets;
pub use vault::{Archive, ArchiveError, Entry, NotLoaded, Rekeyed, State, Vault};

use crate::telemetry::outcome::TlsVersion;

/// What `[tls]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificates in files, in order of preference.
    pub certificates: Vec<CertificateFiles>,
    /// What private keys in the database are sealed by; without it no certificates are looked for there.
    pub keys: Option<Arc<Keyring>>,
    /// The file of those from the database that were shown, for a start without it.
    pub snapshot: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those that lead from it to its CA, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Whether it is shown to those for whose name there is no other.
    pub is_default: bool,
}
