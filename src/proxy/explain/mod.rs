//! Where a request would go, and why, step by step: by the rules, look-ups and certificates by which requests are served.

mod question;
mod secure;

use std::{sync::Arc, time::Instant};

use serde::Serialize;

use super::{
    Roles, Scheme, UnknownUpstream,
    https::{CHALLENGES, is_known},
};
use crate::{
    directory::{CouldNotAsk, Reader},
    routing::{
        Closed, Decision, Destination, Host, Hostname, Inquiry, KeyRef, Match, Path, Place, PlatformId, RedirectTarget,
        RequestFacts, Rules, Subject, Tenant, UpstreamName, decide,
    },
    telemetry::outcome::HandshakeFailure,
    upstream,
};
pub use question::Question;
pub use secure::TlsOutlook;
use secure::{Shown, cause};

/// Explains what becomes of requests.
pub struct Explainer {
    /// The decision order.
    pub rules: Arc<Rules>,
    /// Whom it asks.
    pub directory: Arc<Reader>,
    /// Whether that asks by SQL of the user's own.
    pub has_own_queries: bool,
    /// All upstreams, in the order of the configuration.
    pub upstreams: Vec<upstream::Settings>,
    /// Who is served by which of them.
    pub roles: Roles,
    /// Where TLS is spoken.
    pub tls: Option<TlsOutlook>,
}

/// What became of a request, and how it came to that.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// The host, canonical.
    pub host: String,
    /// The path as a browser would send it.
    pub path: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// In their order.
    pub steps: Vec<Step>,
    /// `forward`, `redirect` or `refuse`.
    pub decision: &'static str,
    /// What usher itself answers; none for an answer of the app, and where not even a handshake succeeds.
    pub status: Option<u16>,
    /// The value of `X-Store-Match`.
    #[serde(rename = "match")]
    pub matched: Option<&'static str>,
    /// The value of `X-Store-Id`.
    pub store_id: Option<String>,
    /// The whole URL of a redirect.
    pub location: Option<String>,
    /// The name of the upstream.
    pub upstream: Option<String>,
    /// Its servers.
    pub servers: Vec<String>,
}

/// One step of it.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `host`, `tls`, `route`, `look-up`, `decision` or `upstream`.
    pub step: &'static str,
    /// What came of it.
    pub result: String,
}

impl Explanation {
    /// For people: a line for each step.
    pub fn text(&self) -> String {
        let head = format!("{}{}\n", self.host, self.path);
        self.steps.iter().fold(head, |text, Step { step, result }| format!("{text}  {step:8}  {result}\n"))
    }

    fn of(question: &Question, scheme: Scheme) -> Self {
        Self {
            host: question.host.to_string(),
            path: question.path.clone(),
            scheme: scheme.as_str(),
            ..Self::default()
        }
    }

    fn step(&mut self, step: &'static str, result: impl ToString) {
        self.steps.push(Step { step, result: result.to_string() });
    }

    fn refuse(&mut self, status: u16, shown: impl std::fmt::Display) {
        (self.decision, self.status) = ("refuse", Some(status));
        self.step("decision", format!("{status}: {shown}"));
    }

    fn redirect(&mut self, location: String, shown: &str) {
        (self.decision, self.status) = ("redirect", Some(308));
        self.step("decision", format!("308: {shown}, Location: {location}"));
        self.location = Some(location);
    }
}

impl Explainer {
    /// Goes through all that a request would. An error means that the database could not be asked.
    pub async fn explain(&self, question: &Question) -> Result<Explanation, CouldNotAsk> {
        let handshake = self.handshake(question).await;
        let scheme = question.scheme.unwrap_or_else(|| usual_scheme(handshake));
        let mut told = Explanation::of(question, scheme);
        let path = Path::read(&question.path);
        let facts = RequestFacts { host: &question.host, path: &path, peer_is_loopback: question.is_of_this_machine() };
        told.step("host", self.standing(self.rules.place(&facts)));
        match handshake.filter(|_| scheme == Scheme::Https) {
            Some(Err(failure)) => return self.without_handshake(&facts, failure, told).await,
            Some(Ok(shown)) => told.step("tls", shown.as_str()),
            None => {}
        }
        let route = match self.rules.route(&facts) {
            Ok(route) => route,
            Err(ambiguous) => {
                told.refuse(400, ambiguous);
                return Ok(told);
            }
        };
        told.step("route", &route);
        let subject = self.look_up(Inquiry::new(&self.rules, route), &mut told).await?;
        let subject = self.stay(scheme, subject).await;
        let decision = self.prefer(question, scheme, decide(&self.rules, subject)).await;
        self.conclude(question, scheme, decision, &mut told).await;
        Ok(told)
    }

    /// Where the host stands, with platform domains by their names.
    fn standing(&self, place: Place<'_>) -> String {
        let name = |PlatformId(position)| {
            self.rules.settings().platform_domains.get(usize::from(position)).map_or("", Hostname::as_str)
        };
        match place {
            Place::Platform(platform) => format!("platform domain {} itself", name(platform)),
            Place::Subdomain { platform, label } => format!("subdomain {label} of platform domain {}", name(platform)),
            other => other.to_string(),
        }
    }

    /// What a handshake comes to; nothing for a plain connection, and where TLS is not spoken here.
    async fn handshake(&self, question: &Question) -> Option<Result<Shown, HandshakeFailure>> {
        let tls = self.tls.as_ref().filter(|_| question.scheme != Some(Scheme::Http))?;
        let asked = (&*self.rules, &*self.directory);
        Some(tls.handshake(&question.host, asked, question.is_of_this_machine()).await)
    }

    /// Nothing can be sent. Who has the host is asked even so where the database had no certificate to give: it may be away.
    async fn without_handshake(
        &self,
        facts: &RequestFacts<'_>,
        failure: HandshakeFailure,
        mut told: Explanation,
    ) -> Result<Explanation, CouldNotAsk> {
        told.decision = "refuse";
        told.step("tls", format!("{}: the handshake fails", cause(failure)));
        if let (HandshakeFailure::NotLoaded, Ok(route)) = (failure, self.rules.route(facts)) {
            self.look_up(Inquiry::new(&self.rules, route), &mut told).await?;
        }
        Ok(told)
    }

    /// Asks as a request does.
    async fn look_up<'a>(&self, mut inquiry: Inquiry<'a>, told: &mut Explanation) -> Result<Subject<'a>, CouldNotAsk> {
        while let Some(key) = inquiry.question() {
            let asked = self.asked(key);
            let answer = self.directory.lookup(key, Instant::now()).await;
            let shown = answer.as_ref().map(|tenant| found(tenant.as_deref()));
            told.step("look-up", format!("{asked}: {}", shown.unwrap_or_else(|error| error.to_string())));
            inquiry.answer(answer)?;
        }
        Ok(inquiry.subject())
    }

    /// What the database is asked: the usual tables, or the queries in their place.
    fn asked(&self, key: KeyRef<'_>) -> String {
        match (key, self.has_own_queries) {
            (KeyRef::CustomDomain(domain), true) => format!("directory.queries.custom_domain with '{domain}'"),
            (KeyRef::CustomDomain(domain), false) => format!("store_domains.domain = '{domain}'"),
            (KeyRef::Label { label, .. }, true) => format!("directory.queries.label with '{label}'"),
            (KeyRef::Label { label, .. }, false) => format!("stores.subdomain = '{label}'"),
        }
    }

    /// Under usher's own TLS nobody is sent to a primary domain without a certificate.
    async fn stay<'a>(&self, scheme: Scheme, mut subject: Subject<'a>) -> Subject<'a> {
        if let (Scheme::Https, Some(tls)) = (scheme, &self.tls)
            && let Some(primary) = subject.primary()
            && !tls.has_default()
        {
            let is_shown = match Hostname::parse(primary) {
                Ok(name) => tls.has(&name).await,
                Err(_) => false,
            };
            if !is_shown {
                subject.serve_here();
            }
        }
        subject
    }

    /// What would be forwarded comes again by https where that is preferred.
    async fn prefer<'a>(&self, question: &Question, scheme: Scheme, decision: Decision<'a>) -> Decision<'a> {
        if let (Some(tls), Decision::Forward(to), Host::Name(name)) = (&self.tls, &decision, &question.host)
            && !question.path.starts_with(CHALLENGES)
            && tls.is_preferred(scheme, name.as_str(), is_known(to)).await
        {
            return Decision::Redirect(RedirectTarget::Host(name.as_str().to_owned().into()));
        }
        decision
    }

    async fn conclude(&self, question: &Question, scheme: Scheme, decision: Decision<'_>, told: &mut Explanation) {
        let shown = decision.to_string();
        match decision {
            Decision::Forward(to) => self.forward(&to, &shown, told),
            Decision::Redirect(RedirectTarget::Host(host)) => {
                let origin = self.origin(question, scheme, &host).await;
                told.redirect(origin + &question.target(), &shown);
            }
            Decision::Redirect(RedirectTarget::Url(url)) => {
                told.redirect(String::from_utf8_lossy(url.as_bytes()).into_owned(), "an unknown host is sent on");
            }
            Decision::Close(Closed::Gone) => told.refuse(410, shown),
            Decision::Close(Closed::Unavailable) => told.refuse(503, shown),
            Decision::Refuse(_) => told.refuse(404, shown),
        }
    }

    /// Where the same page is on `host`.
    async fn origin(&self, question: &Question, scheme: Scheme, host: &str) -> String {
        let (scheme, port) = match &self.tls {
            Some(tls) if tls.is_preferred(scheme, host, true).await => (Scheme::Https, tls.port_beside(question.port)),
            _ => (scheme, question.port),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}", scheme.as_str())
    }

    fn forward(&self, to: &Destination, shown: &str, told: &mut Explanation) {
        told.decision = "forward";
        told.matched = Some(to.matched.as_str());
        told.store_id = to.store_id().map(|id| id.as_str().to_owned());
        let stripped = to.prefix.as_ref().and_then(|prefix| prefix.split(&told.path)).map(|(prefix, rest)| {
            format!(", the app sees {} and X-Forwarded-Prefix: {prefix}", if rest.is_empty() { "/" } else { rest })
        });
        told.step("decision", format!("{shown}{}", stripped.unwrap_or_default()));
        self.choose_upstream(to.matched, to.upstream(), told);
    }

    fn choose_upstream(&self, matched: Match, named: Option<&UpstreamName>, told: &mut Explanation) {
        let (mut index, mut note) = (self.roles.upstream_for(matched), String::new());
        if let Some(name) = named {
            match self.upstreams.iter().position(|upstream| upstream.name == name.as_str()) {
                Some(position) => index = position,
                None if self.roles.unknown == UnknownUpstream::Unavailable => {
                    return told.refuse(503, format!("there is no upstream {name}"));
                }
                None => note = format!(", since there is no upstream {name}"),
            }
        }
        if let Some(upstream) = self.upstreams.get(index) {
            told.servers = upstream.servers.iter().map(|server| upstream.url(&server.address)).collect();
            told.step("upstream", format!("{}: {}{note}", upstream.name, told.servers.join(", ")));
            told.upstream = Some(upstream.name.clone());
        }
    }
}

/// The scheme that is meant where none was written: https, if that can be had or should be.
fn usual_scheme(handshake: Option<Result<Shown, HandshakeFailure>>) -> Scheme {
    match handshake {
        Some(Ok(_) | Err(HandshakeFailure::NotLoaded)) => Scheme::Https,
        Some(Err(_)) | None => Scheme::Http,
    }
}

fn found(tenant: Option<&Tenant>) -> String {
    let Some(Tenant { id, status, upstream, primary }) = tenant else { return "no row".to_owned() };
    let upstream = upstream.as_ref().map(|name| format!(", upstream {name}")).unwrap_or_default();
    let primary = primary.as_ref().map(|host| format!(", primary domain {host}")).unwrap_or_default();
    format!("store {id}, {status}{upstream}{primary}")
}
