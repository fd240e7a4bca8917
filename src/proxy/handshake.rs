//! TLS on a new connection: whether anybody has the name is asked before anything is signed.
//!
//! The order: the syntax of what the client says, a certificate that could be shown, the directory, the signature. A name that
//! nobody has is told so by an alert; one that could not be looked up gets its handshake, and its request a 503.

use std::{sync::Arc, time::Instant};

use super::{connection::Client, look_up::look_up, preface::Protocol, socket::Socket};
use crate::{
    routing::{Decision, Host, Hostname, Path, RequestFacts, decide},
    telemetry::outcome::{HandshakeFailure, TlsVersion},
    tls::{Acceptor, Agreed, Certificate, Hello, Stream},
};

/// What all requests of a connection under TLS have in common.
pub(super) struct Secured {
    pub(super) version: TlsVersion,
    shown: Shown,
}

/// What the client was shown.
enum Shown {
    /// A certificate for the name it asked for.
    Named(Hostname<'static>, Arc<Certificate>),
    /// The default, whatever it asked for.
    Default,
}

impl Secured {
    /// Whether a request for `host` belongs on this connection (RFC 9110 §7.4): browsers send what is for another name on a
    /// connection whose certificate covers that too. Who was shown the default was promised nothing.
    pub(super) fn is_for(&self, host: &Host<'_>) -> bool {
        match (&self.shown, host) {
            (Shown::Default, _) => true,
            (Shown::Named(asked, _), Host::Name(name)) if asked == name => true,
            (Shown::Named(_, certificate), host) => certificate.covers(host),
        }
    }
}

/// Shakes hands on `socket`; says what is spoken on the stream.
pub(super) async fn secure(
    client: &Client,
    acceptor: &Acceptor,
    socket: Socket,
) -> Result<(Box<Stream<Socket>>, Protocol, Secured), HandshakeFailure> {
    let hello = acceptor.hello(socket).await?;
    let (shown, hello) = agree(client, acceptor, hello).await?;
    let stream = Box::new(hello.accept().await?);
    let Agreed { version, is_resumed, is_http2 } = Agreed::on(&stream);
    client.worker.metrics.handshake(version, is_resumed);
    Ok((stream, if is_http2 { Protocol::Http2 } else { Protocol::Http1 }, Secured { version, shown }))
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
    let certificates = acceptor.certificates();
    let default = certificates.default().map(|_certificate| Shown::Default);
    let Some(name) = name else { return default.ok_or(HandshakeFailure::NoName) };
    let Ok(name) = Hostname::parse(name) else { return default.ok_or(HandshakeFailure::UnknownName) };
    match certificates.find(&name) {
        None => default.ok_or(HandshakeFailure::NoCertificate),
        // Whoever has a default wants to answer every host.
        Some(found) if default.is_some() || is_served(client, &name).await => {
            Ok(Shown::Named(name.into_owned(), found))
        }
        Some(_) => Err(HandshakeFailure::UnknownName),
    }
}

/// Whether a request for `name` would be anything but a 404.
async fn is_served(client: &Client, name: &Hostname<'_>) -> bool {
    let worker = &client.worker;
    let (host, path) = (Host::Name(name.clone()), Path::read("/"));
    let facts = RequestFacts { host: &host, path: &path, peer_is_loopback: client.peer_is_loopback };
    let Ok(route) = worker.rules.route(&facts) else { return true };
    let Ok(subject) = look_up(&worker.directory, route, Instant::now()).await else { return true };
    !matches!(decide(&worker.rules, subject), Decision::Refuse(_))
}
