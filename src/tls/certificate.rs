//! A certificate with its key, and the names it is good for.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_cert::{
    der::{self, Decode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::routing::{Host, Hostname};

/// A certificate that can be shown.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<Hostname<'static>>,
    /// `d` for `*.d`: one label in front of `d` (RFC 6125 §6.4.3).
    wildcards: Vec<Hostname<'static>>,
    addresses: Vec<IpAddr>,
    begins: SystemTime,
    expires: SystemTime,
}

impl Certificate {
    /// Reads a certificate, with those that lead to its CA behind it, and its key, both as PEM.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(CertificateError::ChainNotPem)?;
        Self::from_der(chain, key, provider)
    }

    /// The same, of certificates that are in DER already.
    pub(super) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let parsed = x509_cert::Certificate::from_der(leaf).map_err(CertificateError::Malformed)?;
        let (names, wildcards, addresses) = subject(&parsed)?;
        let validity = parsed.tbs_certificate.validity;
        let [begins, expires] =
            [validity.not_before, validity.not_after].map(|time| UNIX_EPOCH + time.to_unix_duration());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::KeyNotPem(no_key(&error)))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Key)?;
        Ok(Self { key: Arc::new(key), names, wildcards, addresses, begins, expires })
    }

    /// Whether it is good for `host`.
    pub fn covers(&self, host: &Host<'_>) -> bool {
        match host {
            Host::Name(name) => self.names.iter().any(|own| own.as_str() == name.as_str()) || self.has_wildcard(name),
            Host::Ip(address) => self.addresses.contains(address),
        }
    }

    fn has_wildcard(&self, name: &Hostname<'_>) -> bool {
        name.as_str().split_once('.').is_some_and(|(_, parent)| self.wildcards.iter().any(|own| own.as_str() == parent))
    }

    /// The names it is good for; in front of the wildcards' `*.` has been removed.
    pub(super) fn names(&self) -> (&[Hostname<'static>], &[Hostname<'static>]) {
        (&self.names, &self.wildcards)
    }

    /// When it ends to be valid.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// What is left of its validity at `now`.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.expires.duration_since(now).unwrap_or_default()
    }

    /// Whether nothing is left of its validity at `now`.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.remaining(now).is_zero()
    }

    /// From when to when it is valid, in seconds since the Unix epoch.
    pub(super) fn validity(&self) -> (i64, i64) {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        (seconds(self.begins), seconds(self.expires))
    }

    /// The names it is good for, as people write them.
    pub(super) fn printed_names(&self) -> Vec<String> {
        let wildcards = self.wildcards.iter().map(|parent| format!("*.{parent}"));
        self.names.iter().map(ToString::to_string).chain(wildcards).collect()
    }

    /// It, and behind it those that lead to its CA.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether it is good for any host at all.
    pub(super) fn is_nameless(&self) -> bool {
        self.names.is_empty() && self.wildcards.is_empty() && self.addresses.is_empty()
    }
}

impl fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, wildcards, addresses, expires, .. } = self;
        f.debug_struct("Certificate")
            .field("names", names)
            .field("wildcards", wildcards)
            .field("addresses", addresses)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

type Subject = (Vec<Hostname<'static>>, Vec<Hostname<'static>>, Vec<IpAddr>);

/// The alternative names (RFC 5280 §4.2.1.6); no client looks at the common name any more (RFC 9525 §2). Names that no
/// client could ask for are left out.
fn subject(certificate: &x509_cert::Certificate) -> Result<Subject, CertificateError> {
    let found = certificate.tbs_certificate.get::<SubjectAltName>().map_err(CertificateError::Malformed)?;
    let (mut names, mut wildcards, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for name in found.into_iter().flat_map(|(_critical, names)| names.0) {
        match name {
            GeneralName::DnsName(name) => match name.as_str().strip_prefix("*.") {
                Some(parent) => wildcards.extend(hostname(parent)),
                None => names.extend(hostname(name.as_str())),
            },
            GeneralName::IpAddress(octets) => addresses.extend(address(octets.as_bytes())),
            _ => {}
        }
    }
    Ok((names, wildcards, addresses))
}

fn hostname(text: &str) -> Option<Hostname<'static>> {
    Hostname::parse(text).ok().map(Hostname::into_owned)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// The reader's error may repeat what stood in the file.
fn no_key(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "there is no unencrypted PRIVATE KEY in it",
        pem::Error::Io(_) => "it cannot be read",
        _ => "it is not PEM",
    }
}

/// Why a certificate cannot be shown. Never says anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text is not PEM.
    #[error("the certificate is not PEM")]
    ChainNotPem(#[source] pem::Error),
    /// No certificate stands in it.
    #[error("there is no CERTIFICATE in it")]
    Empty,
    /// The first certificate cannot be read.
    #[error("the certificate cannot be read")]
    Malformed(#[source] der::Error),
    /// No key stands in the text.
    #[error("the key cannot be used: {0}")]
    KeyNotPem(&'static str),
    /// The key is of an unknown kind, or another certificate's.
    #[error("certificate and key cannot be used together")]
    Key(#[source] rustls::Error),
    /// No client would accept it.
    #[error("the certificate is good for no host")]
    Nameless,
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &default_provider()).unwrap()
    }

    fn host(text: &str) -> Host<'static> {
        Host::parse_human(text).unwrap()
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let certificate = certificate(&["platform.com", "*.platform.com"]);
        let covered = ["platform.com", "store1.platform.com"].map(|name| certificate.covers(&host(name)));
        assert_eq!(covered, [true; 2]);
        let others = ["a.b.platform.com", "xplatform.com", "com", "other.com", "127.0.0.1"];
        assert_eq!(others.map(|name| certificate.covers(&host(name))), [false; 5]);
    }

    #[test]
    fn names_are_taken_in_any_letters_and_addresses_as_such() {
        let certificate = certificate(&["Shop.Alpha.com", "192.0.2.7", "2001:db8::7"]);
        let covered = ["shop.alpha.com", "192.0.2.7", "[2001:db8::7]"].map(|name| certificate.covers(&host(name)));
        assert_eq!(covered, [true; 3]);
    }

    #[test]
    fn another_certificates_key_is_refused() {
        let [one, two] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap());
        let (chain, key) = (one.cert.pem(), two.signing_key.serialize_pem());
        let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &default_provider()).unwrap_err();
        assert!(matches!(error, CertificateError::Key(_)), "{error:?}");
    }

    #[test]
    fn what_is_no_certificate_or_key_is_told_without_repeating_it() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &default_provider()).unwrap_err()
        };
        assert!(matches!(read(&key, &key), CertificateError::Empty));
        let error = read(&chain, "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n");
        assert!(matches!(error, CertificateError::KeyNotPem(_)), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        assert!(matches!(read(&chain, &chain), CertificateError::KeyNotPem(_)));
    }

    #[test]
    fn a_certificate_prints_without_its_key() {
        let text = format!("{:?}", certificate(&["a.example"]));
        assert!(text.contains("a.example") && !text.to_lowercase().contains("key"), "{text}");
    }
}
