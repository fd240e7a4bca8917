//! From http to https: a request for a host that has a certificate comes again under TLS, and browsers are told to stay there
//! (RFC 6797).
//!
//! Only a certificate for the host itself counts. The default one may be trusted by a CDN alone, and would greet people with a
//! warning. What came by https, here or at a proxy that is trusted, is never sent anywhere by this, so that nothing goes round.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::{Scheme, connection::Client, facts::Facts, worker::Worker};
use crate::{
    routing::{Decision, Destination, Host, Hostname, Match, RedirectTarget, Subject},
    tls::Acceptor,
};

/// Below this a CA asks for its tokens (RFC 8555 §8.3).
pub(super) const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// What of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsPolicy {
    /// Whether requests by http come again by https.
    pub redirect: bool,
    /// How long browsers stay with https on platform domains and below; zero: as they like.
    pub hsts_platform: Duration,
    /// The same for hosts of customers.
    pub hsts_custom: Duration,
}

/// TLS as a worker has it.
#[derive(Clone, Debug)]
pub struct Https {
    pub(super) acceptor: Acceptor,
    redirect: bool,
    port: u16,
    hsts_platform: Option<HeaderValue>,
    hsts_custom: Option<HeaderValue>,
}

impl Https {
    /// `port` is where clients reach it that name a port at all.
    pub fn new(acceptor: Acceptor, policy: HttpsPolicy, port: u16) -> Self {
        let [hsts_platform, hsts_custom] = [policy.hsts_platform, policy.hsts_custom].map(hsts);
        Self { acceptor, redirect: policy.redirect, port, hsts_platform, hsts_custom }
    }

    /// `is_known` says that the host is somebody's: for invented ones the database is not asked.
    fn is_preferred(&self, scheme: Scheme, host: &str, is_known: bool) -> bool {
        let has_certificate = |name| match is_known {
            true => self.acceptor.has(&name),
            false => self.acceptor.certificates().has(&name),
        };
        self.redirect && scheme == Scheme::Http && Hostname::parse(host).is_ok_and(has_certificate)
    }

    /// The port beside a host, where a client that came by http wrote `port`.
    fn port_beside(&self, port: Option<u16>) -> Option<u16> {
        port_beside(self.port, port)
    }

    fn hsts(&self, host: HostOwner) -> Option<&HeaderValue> {
        match host {
            HostOwner::Customer => self.hsts_custom.as_ref(),
            HostOwner::Platform => self.hsts_platform.as_ref(),
        }
    }
}

/// The same, where TLS is reached at port `own`.
pub(super) fn port_beside(own: u16, port: Option<u16>) -> Option<u16> {
    match port {
        None | Some(80) => None,
        Some(_) => Some(own).filter(|port| *port != 443),
    }
}

/// Whose a host is, whatever is shown there: browsers remember what they are told for the host, not for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostOwner {
    Platform,
    Customer,
}

impl HostOwner {
    pub(super) fn of(destination: &Destination) -> Self {
        if destination.is_foreign_host { Self::Customer } else { Self::Platform }
    }
}

fn hsts(stay: Duration) -> Option<HeaderValue> {
    // Digits are a header value.
    HeaderValue::try_from(format!("max-age={}", stay.as_secs())).ok().filter(|_| !stay.is_zero())
}

/// Where usher itself has shaken hands, nobody is sent to a primary domain that has no certificate yet. With a default certificate
/// some CDN has those that count.
pub(super) fn stay<'a>(client: &Client, mut subject: Subject<'a>) -> Subject<'a> {
    if let Some(https) = &client.worker.https
        && let Some(primary) = subject.primary()
        && client.secured().is_some()
        && https.acceptor.certificates().default().is_none()
        && !Hostname::parse(primary).is_ok_and(|name| https.acceptor.has(&name))
    {
        subject.serve_here();
    }
    subject
}

/// What would be forwarded comes again under TLS; but not the questions of a CA, which begin without.
pub(super) fn prefer<'a>(worker: &Worker, facts: &'a Facts<'_>, decision: Decision<'a>) -> Decision<'a> {
    match (&worker.https, &decision, &facts.authority.host) {
        (Some(https), Decision::Forward(to), Host::Name(name))
            if facts.challenge().is_none() && https.is_preferred(facts.scheme, name.as_str(), is_known(to)) =>
        {
            Decision::Redirect(RedirectTarget::Host(name.as_str().into()))
        }
        _ => decision,
    }
}

/// Whether the host is somebody's, and not one that is shown the homepage since nobody has it.
pub(super) fn is_known(to: &Destination) -> bool {
    !(to.matched == Match::Homepage && to.is_foreign_host)
}

/// Where the same page is on `host`: by https where that is preferred, else by scheme and port of the request.
pub(super) fn origin(worker: &Worker, facts: &Facts<'_>, host: &str) -> String {
    let port = facts.authority.port;
    let (scheme, port) = match &worker.https {
        Some(https) if https.is_preferred(facts.scheme, host, true) => (Scheme::Https, https.port_beside(port)),
        _ => (facts.scheme, port),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", scheme.as_str())
}

/// Tells the browser to stay, unless the app has told it something; to be said under TLS only (RFC 6797 §7.2).
pub(super) fn keep(worker: &Worker, host: Option<HostOwner>, headers: &mut HeaderMap) {
    let wanted = worker.https.as_ref().zip(host).and_then(|(https, host)| https.hsts(host));
    if let Some(value) = wanted.filter(|_| !headers.contains_key(header::STRICT_TRANSPORT_SECURITY)) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
    }
}
