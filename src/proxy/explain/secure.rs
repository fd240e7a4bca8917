//! TLS as far as it decides where a request goes.

use std::{sync::Arc, time::SystemTime};

use crate::{
    proxy::{HttpsPolicy, Scheme, https::port_beside},
    routing::{Host, Hostname},
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
    /// The scheme that is meant where none was written: https, if that can be had.
    pub(super) async fn usual_scheme(&self, host: &Host<'_>) -> Scheme {
        if self.shakes_hands_for(host).await { Scheme::Https } else { Scheme::Http }
    }

    /// Whether a handshake for `host` would have a certificate to show.
    pub(super) async fn shakes_hands_for(&self, host: &Host<'_>) -> bool {
        match host {
            _ if self.has_default() => true,
            Host::Name(name) => self.has(name).await,
            Host::Ip(_) => false,
        }
    }

    /// Whether a host without a certificate of its own would get the default one.
    pub(super) fn has_default(&self) -> bool {
        self.certificates.default().is_some()
    }

    /// Whether there is a certificate for `name`. The default does not count.
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
