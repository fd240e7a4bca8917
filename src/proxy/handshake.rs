//! TLS on a new connection: whether anybody has the name is asked before anything is signed.
//!
//! The order: the syntax of what the client says, a CA's question, a certificate that is at hand, the directory, a certificate in the
//! database, the signature. A name that nobody has is refused by an alert; one that could not be looked up gets its handshake, and its request a
//! 503; where nobody is asked at the moment only with a certificate that is held.

use std::sync::Arc;

use super::{chooser::Chooser, connection::Client, idle::unless_displaced, preface::Protocol, socket::Socket};
use crate::{
    routing::{Host, Hostname},
    telemetry::outcome::{HandshakeFailure, TlsVersion},
    tls::{Acceptor, Agreed, Certificate, Hello, Stream},
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

/// Shakes hands on `socket`; says what is spoken on the stream, if anything: a CA wants to see a proof and nothing else, and a silent
/// client may have to stand back.
pub(super) async fn secure(
    client: &Client,
    acceptor: &Acceptor,
    socket: Socket,
) -> Result<Option<(Box<Stream<Socket>>, Protocol, Secured)>, HandshakeFailure> {
    // What usher itself takes in between is no silence of the client's.
    let Some(hello) = unless_displaced(client, acceptor.hello(socket)).await.transpose()? else { return Ok(None) };
    if hello.wants_proof() {
        return hello.prove(acceptor.issuer()).await.map(|()| None);
    }
    let (shown, hello) = agree(client, acceptor, hello).await?;
    let accepted = unless_displaced(client, hello.accept(&shown.certificate)).await.transpose()?;
    let Some(stream) = accepted.map(Box::new) else { return Ok(None) };
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
    match chooser(client, acceptor).find(&name).await {
        Ok(certificate) => {
            // Whoever has a default wants to answer every host, a CDN that asks for the origin's own name above all.
            let is_default = default.is_some_and(|default| Arc::ptr_eq(&default.certificate, &certificate));
            Ok(Shown { certificate, asked: (!is_default).then(|| name.into_owned()) })
        }
        Err(failure) => default.ok_or(failure),
    }
}

fn chooser<'a>(client: &'a Client, acceptor: &'a Acceptor) -> Chooser<'a> {
    Chooser {
        certificates: acceptor.certificates(),
        vault: acceptor.vault(),
        issuer: acceptor.issuer(),
        rules: &client.worker.rules,
        directory: &client.worker.directory,
        peer_is_loopback: client.peer_is_loopback,
    }
}
