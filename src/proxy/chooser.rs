//! Which certificate a handshake shows: for handshakes themselves, and for those who ask what would come of one.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::look_up::look_up;
use crate::{
    directory::{CouldNotAsk, Reader},
    routing::{Decision, Host, Hostname, Match, Path, RequestFacts, Route, Rules, decide},
    telemetry::outcome::HandshakeFailure,
    tls::{Certificate, Certificates, Issuer, NotLoaded, Vault},
};

/// What the choice is made from.
pub(super) struct Chooser<'a> {
    /// From files.
    pub(super) certificates: &'a Certificates,
    /// In the database.
    pub(super) vault: Option<&'a Vault>,
    /// Who may be asked for one that is missing.
    pub(super) issuer: Option<&'a Issuer>,
    pub(super) rules: &'a Rules,
    /// Whom it asks whether anybody has a name.
    pub(super) directory: &'a Reader,
    pub(super) peer_is_loopback: bool,
}

impl Chooser<'_> {
    /// The certificate for `name`. With a default every name that has one in a file gets it; else only names that somebody has.
    pub(super) async fn find(&self, name: &Hostname<'_>) -> Result<Arc<Certificate>, HandshakeFailure> {
        match (self.certificates.find(name), self.vault) {
            (Some(found), _) if self.has_default() => Ok(self.unless_ended(found, name).await),
            (None, None) => Err(HandshakeFailure::NoCertificate),
            (found, vault) => match (self.standing(name).await, found, vault) {
                (Standing::Unknown, ..) => Err(HandshakeFailure::UnknownName),
                (_, Some(found), _) => Ok(self.unless_ended(found, name).await),
                // Invented names cost no query of their own.
                (Standing::Strangers, ..) => Err(HandshakeFailure::NoCertificate),
                (Standing::NotAsked, None, Some(vault)) => vault.shown(name).ok_or(HandshakeFailure::NotLoaded),
                (standing, None, Some(vault)) => self.load(vault, name, standing).await,
                (_, None, None) => Err(HandshakeFailure::NoCertificate),
            },
        }
    }

    fn has_default(&self) -> bool {
        self.certificates.default().is_some()
    }

    /// What stands in a file, unless that has ended and the database has one that has not.
    async fn unless_ended(&self, found: Arc<Certificate>, name: &Hostname<'_>) -> Arc<Certificate> {
        let now = SystemTime::now();
        let Some(vault) = self.vault.filter(|_| found.has_ended(now)) else { return found };
        let loaded = vault.find(name).await.ok().flatten();
        loaded.filter(|loaded| !loaded.has_ended(now)).unwrap_or(found)
    }

    /// The certificate in the database, or one that is asked for now, where the name is a customer's. With a default nobody waits for
    /// that.
    async fn load(
        &self,
        vault: &Vault,
        name: &Hostname<'_>,
        standing: Standing,
    ) -> Result<Arc<Certificate>, HandshakeFailure> {
        let issuer = self.issuer.filter(|_issuer| standing == Standing::Customers);
        let found = match (vault.find(name).await, issuer) {
            (Ok(None), Some(issuer)) if self.has_default() => {
                issuer.ask(name);
                Ok(None)
            }
            (Ok(None), Some(issuer)) => issuer.obtain(name, vault).await,
            (found, _) => found,
        };
        match found {
            Ok(found) => found.ok_or(HandshakeFailure::NoCertificate),
            Err(NotLoaded) => Err(HandshakeFailure::NotLoaded),
        }
    }

    async fn standing(&self, name: &Hostname<'_>) -> Standing {
        let (host, path) = (Host::Name(name.clone()), Path::read("/"));
        let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: self.peer_is_loopback };
        let Ok(route) = self.rules.route(&facts) else { return Standing::Known };
        let looked_up = look_up(self.rules, self.directory, route, Instant::now()).await;
        let subject = match looked_up {
            Ok(subject) => subject,
            Err(CouldNotAsk::Overloaded | CouldNotAsk::Away) => return Standing::NotAsked,
            Err(CouldNotAsk::Timeout | CouldNotAsk::Source(_)) => return Standing::Known,
        };
        let (is_known, is_found) = (subject.refusal().is_none(), subject.tenant.is_some());
        let is_custom = matches!(subject.route, Route::Tenant { matched: Match::CustomDomain, .. });
        match decide(self.rules, subject) {
            Decision::Refuse(_) => Standing::Unknown,
            // Its visitors are told so, and that needs a handshake too.
            Decision::Close(_) => Standing::Known,
            _ if !is_known => Standing::Strangers,
            Decision::Forward(_) if is_custom && is_found => Standing::Customers,
            // It stands back for another, or is `www.` in front of it: who comes by https has to be told so.
            Decision::Redirect(_) if is_custom => Standing::Customers,
            Decision::Forward(_) | Decision::Redirect(_) => Standing::Known,
        }
    }
}

/// What a request for a name would come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A 404.
    Unknown,
    /// What unknown hosts are answered.
    Strangers,
    /// A 503, to anybody at the moment.
    NotAsked,
    /// An answer, or a 503.
    Known,
    /// A customer's own store, under a name that is verified and active, or that belongs to one.
    Customers,
}
