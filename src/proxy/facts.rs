//! One look at a request: the host it is for. What is ambiguous is refused here, and nobody parses again.

use http::{HeaderMap, HeaderValue, Request, Uri, header};

use super::{Scheme, connection::Client, error::Failure, https::CHALLENGES, requester::Requester};
use crate::routing::{Authority, Path, RequestFacts};

/// What was read from a request; borrows from it.
pub(super) struct Facts<'a> {
    /// `Host` as the client sent it.
    pub(super) written: &'a HeaderValue,
    /// The same, understood.
    pub(super) authority: Authority<'a>,
    /// The scheme the client used.
    pub(super) scheme: Scheme,
    path: Path<'a>,
    peer_is_loopback: bool,
}

impl<'a> Facts<'a> {
    /// Reads the one host that header and target agree on.
    pub(super) fn read<B>(request: &'a Request<B>, client: &Client, requester: &Requester) -> Result<Self, Failure> {
        let written = only_host(request.headers())?;
        let text = written.to_str().map_err(|_not_ascii| Failure::HostNotAscii)?;
        let authority = Authority::parse(text).map_err(Failure::BadHost)?;
        refuse_disagreement(request.uri(), &authority)?;
        if client.secured().is_some_and(|secured| !secured.is_for(&authority.host)) {
            return Err(Failure::Misdirected);
        }
        Ok(Self {
            written,
            authority,
            scheme: requester.scheme,
            path: Path::read(request.uri().path()),
            // A proxy of ours may be on this machine while the client is not.
            peer_is_loopback: client.peer_is_loopback && requester.address.is_loopback(),
        })
    }

    /// What of it goes on to the app.
    pub(super) fn forwarded(&self) -> ForwardedHost {
        ForwardedHost { value: self.written.clone(), port: self.authority.port }
    }

    /// The token, where it may be a CA's question (RFC 8555 §8.3).
    pub(super) fn challenge(&self) -> Option<&'a str> {
        self.path.raw().strip_prefix(CHALLENGES)
    }

    /// The same for the decision.
    pub(super) fn routing(&'a self) -> RequestFacts<'a> {
        RequestFacts { host: &self.authority.host, path: &self.path, peer_is_loopback: self.peer_is_loopback }
    }
}

/// The host as the app is told of it, detached from the request.
#[derive(Clone, Debug)]
pub struct ForwardedHost {
    /// `Host` as the client sent it.
    pub value: HeaderValue,
    /// The port the client spoke to, as far as `Host` tells.
    pub port: Option<u16>,
}

/// A request carries exactly one `Host` (RFC 9112 §3.2); one of HTTP/1.0 too, since it could not be routed without.
fn only_host(headers: &HeaderMap) -> Result<&HeaderValue, Failure> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Ok(host),
        (None, _) => Err(Failure::NoHost),
        (Some(_), Some(_)) => Err(Failure::SeveralHosts),
    }
}

/// RFC 9112 §3.2.2 lets the absolute form win over `Host`; an app behind us may do it the other way round.
fn refuse_disagreement(target: &Uri, host: &Authority<'_>) -> Result<(), Failure> {
    let Some(authority) = target.authority() else { return Ok(()) };
    let in_target = Authority::parse(authority.as_str()).map_err(Failure::BadHost)?;
    if in_target == *host { Ok(()) } else { Err(Failure::HostsDisagree) }
}
