//! TLS as far as it decides where a request goes.

use std::{sync::Arc, time::SystemTime};

use crate::{
    directory::Reader,
    proxy::{HttpsPolicy, Scheme, chooser::Chooser, https::port_beside},
    routing::{Host, Hostname, Rules},
    telemetry::outcome::HandshakeFailure,
    tls::{Certificates, Vault},
};

/// What TLS is spoken with, and what those are told who come without.
#[derive(Clone, Debug)]
pub struct TlsOutlook {
    /// From files.
    pub certificates: Arc<Certificates>,
    /// In the database.
    pub vault: Option<Vault>,
    /// `tls.redirect`.
    pub policy: HttpsPolicy,
    /// Where clients reach it that name a port at all.
    pub port: u16,
}

impl TlsOutlook {
    /// What a handshake for `host` comes to, with nobody asked for a certificate that is missing.
    pub(super) async fn handshake(
        &self,
        host: &Host<'_>,
        (rules, directory): (&Rules, &Reader),
        peer_is_loopback: bool,
    ) -> Result<Shown, HandshakeFailure> {
        let (certificates, vault) = (&*self.certificates, self.vault.as_ref());
        let found = match host {
            Host::Name(name) => {
                let chooser = Chooser { certificates, vault, issuer: None, rules, directory, peer_is_loopback };
                chooser.find(name).await
            }
            Host::Ip(_) => Err(HandshakeFailure::NoName),
        };
        match found {
            Ok(certificate) if certificate.has_ended(SystemTime::now()) => Ok(Shown::Ended),
            Ok(_) => Ok(Shown::Valid),
            Err(_) if self.has_default() => Ok(Shown::Default),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a host without a certificate of its own would get the default one.
    pub(super) fn has_default(&self) -> bool {
        self.certificates.default().is_some()
    }

    /// Whether there is a certificate for `name` that has not ended. The default does not count.
    pub(super) async fn has(&self, name: &Hostname<'_>) -> bool {
        if self.certificates.has(name) {
            return true;
        }
        let Some(vault) = &self.vault else { return false };
        let found = vault.find(name).await.ok().flatten();
        found.is_some_and(|certificate| !certificate.has_ended(SystemTime::now()))
    }

    /// Whether a request by `scheme` for `host` comes again by https. For hosts that nobody has the database is not asked.
    pub(super) async fn is_preferred(&self, scheme: Scheme, host: &str, is_known: bool) -> bool {
        let Ok(name) = Hostname::parse(host) else { return false };
        let is_wanted = self.policy.redirect && scheme == Scheme::Http;
        is_wanted && if is_known { self.has(&name).await } else { self.certificates.has(&name) }
    }

    /// The port beside a host, where the client wrote `port`.
    pub(super) fn port_beside(&self, port: Option<u16>) -> Option<u16> {
        port_beside(self.port, port)
    }
}

/// The certificate that a client is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// One for the host.
    Valid,
    /// One for the host, of which browsers warn.
    Ended,
    /// The default, whatever its names are.
    Default,
}

impl Shown {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "there is a certificate for this host",
            Self::Ended => "the certificate for this host has ended: browsers warn of it",
            Self::Default => "the default certificate",
        }
    }
}

/// Why the handshake for a host fails.
pub(super) fn cause(failure: HandshakeFailure) -> &'static str {
    match failure {
        HandshakeFailure::UnknownName => "nobody has this host",
        HandshakeFailure::NotLoaded => "the certificate for this host cannot be loaded from the database",
        _ => "there is no certificate for this host",
    }
}
