//! TLS on a new connection: whether anybody has the name is asked before anything is signed.
//!
//! The order: the syntax of what the client says, a CA's question, a certificate that is at hand, the directory, a certificate in the
//! database, the signature. A name that nobody has is refused by an alert; one that could not be looked up gets its handshake, and its request a
//! 503.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{connection::Client, look_up::look_up, preface::Protocol, socket::Socket};
use crate::{
    routing::{Decision, Host, Hostname, Match, Path, RequestFacts, Route, decide},
    telemetry::outcome::{HandshakeFailure, TlsVersion},
    tls::{Acceptor, Agreed, Certificate, Hello, NotLoaded, Stream, Vault},
};

/// What all requests of a connection under TLS have in common.
pub(super) struct Secured {
    pub(super) version: TlsVersion,
    shown: Shown,
}

/// What the client is shown.
struct Shown {
    certificate: Arc<Certificate>,
    /// The name it asked for, where the certificate is for that; `None`: it is shown the default, whatever it asked for.
    asked: Option<Hostname<'static>>,
}

impl Secured {
    /// Whether a request for `host` belongs on this connection (RFC 9110 §7.4): browsers send what is for another name on a
    /// connection whose certificate covers that too. Who was shown the default was promised nothing.
    pub(super) fn is_for(&self, host: &Host<'_>) -> bool {
        let Some(asked) = &self.shown.asked else { return true };
        matches!(host, Host::Name(name) if name == asked) || self.shown.certificate.covers(host)
    }
}

/// Shakes hands on `socket`; says what is spoken on the stream, if anything: a CA wants to see a proof and nothing else.
pub(super) async fn secure(
    client: &Client,
    acceptor: &Acceptor,
    socket: Socket,
) -> Result<Option<(Box<Stream<Socket>>, Protocol, Secured)>, HandshakeFailure> {
    let hello = acceptor.hello(socket).await?;
    if hello.wants_proof() {
        return hello.prove(acceptor.issuer()).await.map(|()| None);
    }
    let (shown, hello) = agree(client, acceptor, hello).await?;
    let stream = Box::new(hello.accept(&shown.certificate).await?);
    let Agreed { version, is_resumed, is_http2 } = Agreed::on(&stream);
    client.worker.metrics.handshake(version, is_resumed);
    Ok(Some((stream, if is_http2 { Protocol::Http2 } else { Protocol::Http1 }, Secured { version, shown })))
}

/// What is to be shown; where it is nothing, the client is told.
async fn agree(
    client: &Client,
    acceptor: &Acceptor,
    hello: Hello<Socket>,
) -> Result<(Shown, Hello<Socket>), HandshakeFailure> {
    let name = hello.name();
    match choose(client, acceptor, name.as_deref()).await {
        Ok(shown) => Ok((shown, hello)),
        Err(failure) => {
            tracing::debug!(client = %client.address(), ?name, reason = failure.as_str(), "refused a handshake");
            hello.refuse().await;
            Err(failure)
        }
    }
}

async fn choose(client: &Client, acceptor: &Acceptor, name: Option<&str>) -> Result<Shown, HandshakeFailure> {
    let default = acceptor.certificates().default().map(|certificate| Shown { certificate, asked: None });
    let Some(name) = name else { return default.ok_or(HandshakeFailure::NoName) };
    let Ok(name) = Hostname::parse(name) else { return default.ok_or(HandshakeFailure::UnknownName) };
    match find(client, acceptor, &name, default.is_some()).await {
        Ok(certificate) => Ok(Shown { certificate, asked: Some(name.into_owned()) }),
        Err(failure) => default.ok_or(failure),
    }
}

/// The certificate for `name`. With a default every name that has one in a file gets it; else only names that somebody has.
async fn find(
    client: &Client,
    acceptor: &Acceptor,
    name: &Hostname<'_>,
    has_default: bool,
) -> Result<Arc<Certificate>, HandshakeFailure> {
    let (found, vault) = (acceptor.certificates().find(name), acceptor.vault());
    match (found, vault) {
        (Some(found), vault) if has_default => Ok(unless_ended(found, vault, name).await),
        (None, None) => Err(HandshakeFailure::NoCertificate),
        (found, vault) => {
            let standing = standing(client, name).await;
            match (standing, found, vault) {
                (Standing::Unknown, ..) => Err(HandshakeFailure::UnknownName),
                (_, Some(found), vault) => Ok(unless_ended(found, vault, name).await),
                // Invented names cost no query of their own.
                (Standing::Strangers, ..) => Err(HandshakeFailure::NoCertificate),
                (standing, None, Some(vault)) => load(acceptor, vault, name, standing, has_default).await,
                (_, None, None) => Err(HandshakeFailure::NoCertificate),
            }
        }
    }
}

/// What stands in a file, unless that has ended and the database has one that has not.
async fn unless_ended(found: Arc<Certificate>, vault: Option<&Vault>, name: &Hostname<'_>) -> Arc<Certificate> {
    let now = SystemTime::now();
    let Some(vault) = vault.filter(|_| found.has_ended(now)) else { return found };
    let loaded = vault.find(name).await.ok().flatten();
    loaded.filter(|loaded| !loaded.has_ended(now)).unwrap_or(found)
}

/// The certificate in the database, or one that is asked for now, where the name is a customer's. With a default nobody waits for that.
async fn load(
    acceptor: &Acceptor,
    vault: &Vault,
    name: &Hostname<'_>,
    standing: Standing,
    has_default: bool,
) -> Result<Arc<Certificate>, HandshakeFailure> {
    let issuer = acceptor.issuer().filter(|_issuer| standing == Standing::Customers);
    let found = match (vault.find(name).await, issuer) {
        (Ok(None), Some(issuer)) if has_default => {
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

/// What a request for a name would come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A 404.
    Unknown,
    /// What unknown hosts are answered.
    Strangers,
    /// An answer, or a 503.
    Known,
    /// A customer's own store, under a name that is verified and active, or that belongs to one.
    Customers,
}

async fn standing(client: &Client, name: &Hostname<'_>) -> Standing {
    let worker = &client.worker;
    let (host, path) = (Host::Name(name.clone()), Path::read("/"));
    let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: client.peer_is_loopback };
    let Ok(route) = worker.rules.route(&facts) else { return Standing::Known };
    let Ok(subject) = look_up(worker, route, Instant::now()).await else { return Standing::Known };
    let (is_known, is_found) = (subject.refusal().is_none(), subject.tenant.is_some());
    let is_custom = matches!(subject.route, Route::Tenant { matched: Match::CustomDomain, .. });
    match decide(&worker.rules, subject) {
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
