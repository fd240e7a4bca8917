//! From http to https: a request for a host that has a certificate comes again under TLS, and browsers are told to stay there
//! (RFC 6797).
//!
//! Only a certificate for the host itself counts. The default one may be trusted by a CDN alone, and would greet people with a
//! warning. What came by https, here or at a proxy that is trusted, is never sent anywhere by this, so that nothing goes round.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::{Scheme, facts::Facts, worker::Worker};
use crate::{
    routing::{Decision, Destination, Host, Hostname, Match, Place, RedirectTarget},
    tls::Acceptor,
};

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
        match port {
            None | Some(80) => None,
            Some(_) => Some(self.port).filter(|port| *port != 443),
        }
    }

    fn hsts(&self, matched: Match) -> Option<&HeaderValue> {
        match matched {
            Match::CustomDomain => self.hsts_custom.as_ref(),
            Match::Subdomain | Match::Path | Match::Admin | Match::Homepage => self.hsts_platform.as_ref(),
        }
    }
}

fn hsts(stay: Duration) -> Option<HeaderValue> {
    // Digits are a header value.
    HeaderValue::try_from(format!("max-age={}", stay.as_secs())).ok().filter(|_| !stay.is_zero())
}

/// What would be forwarded comes again under TLS; but not the questions of a CA, which begin without.
pub(super) fn prefer<'a>(worker: &Worker, facts: &'a Facts<'_>, decision: Decision<'a>) -> Decision<'a> {
    match (&worker.https, &decision, &facts.authority.host) {
        (Some(https), Decision::Forward(to), Host::Name(name))
            if facts.challenge().is_none()
                && https.is_preferred(facts.scheme, name.as_str(), is_known(worker, facts, to)) =>
        {
            Decision::Redirect(RedirectTarget::Host(name.as_str().into()))
        }
        _ => decision,
    }
}

/// Whether the host is somebody's, and not one that is shown the homepage since nobody has it.
fn is_known(worker: &Worker, facts: &Facts<'_>, to: &Destination) -> bool {
    let stands_outside = || matches!(worker.rules.place(&facts.routing()), Place::CustomDomain(_) | Place::Nowhere(_));
    to.matched != Match::Homepage || !stands_outside()
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
pub(super) fn keep(worker: &Worker, matched: Option<Match>, headers: &mut HeaderMap) {
    let wanted = worker.https.as_ref().zip(matched).and_then(|(https, matched)| https.hsts(matched));
    if let Some(value) = wanted.filter(|_| !headers.contains_key(header::STRICT_TRANSPORT_SECURITY)) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
    }
}
