//! What all endpoints of an upstream have in common.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Endpoint, HealthRules, Protocol, ProxyProtocol, Server, Settings, TlsError,
    allowance::Allowance,
    endpoint::{Limit, Limits},
    health::Health,
    members::Members,
    moment::Moment,
    origin::Origin,
    queue::Queue,
    tls::{Handshake, Tls},
};

/// How long names may take to lead somewhere for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Makes endpoints.
#[derive(Debug)]
pub(super) struct Maker {
    rules: HealthRules,
    allowance: Arc<Allowance>,
    limits: Limits,
    tls: Option<Tls>,
    /// When the upstream was made.
    start: Instant,
}

impl Maker {
    pub(super) fn new(settings: &Settings, queue: &Arc<Queue>) -> Result<Self, TlsError> {
        let rules = HealthRules { is_probed: settings.probe.is_some(), ..settings.health };
        Ok(Self {
            rules,
            allowance: Arc::new(Allowance::new(0, rules.ejected_max_percent)),
            limits: limits(settings, queue),
            tls: settings.tls.as_ref().map(|tls| Tls::load(tls, settings.protocol)).transpose()?,
            start: Instant::now(),
        })
    }

    /// The handshake of TLS with what is at `server`, where it speaks TLS.
    pub(super) fn handshake(&self, server: &Server) -> Result<Option<Handshake>, TlsError> {
        self.tls.as_ref().zip(server.address.host()).map(|(tls, host)| tls.handshake(host)).transpose()
    }

    /// Reads the files of TLS again if they are others than before; what handshakes are to be like from now on then.
    pub(super) fn reload_tls(&self) -> Result<Option<&Tls>, TlsError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        Ok(tls.reload()?.then_some(tls))
    }

    /// An endpoint at `server` that comes from `origin`; `since` when, where others were there before.
    pub(super) fn endpoint(&self, server: Server, origin: &Origin, since: Option<Instant>) -> Arc<Endpoint> {
        let since = since.map_or(Moment::default(), |since| Moment::of(self.start, since));
        let health = Health::new(self.rules, Arc::clone(&self.allowance), since);
        let (name, handshake) = (Arc::clone(&origin.name), origin.handshake.clone());
        Arc::new(Endpoint::new(server, name, handshake, health, self.limits.clone(), self.start))
    }

    /// Whether the upstream has been there for a while at `now`: what comes then comes to others that are busy.
    pub(super) fn has_run_until(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.start) >= FIRST_LOOK
    }

    /// What `origins` lead to, each address once: two names may have one in common.
    pub(super) fn members(&self, origins: &[Origin], settings: &Settings) -> Members {
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for endpoint in origins.iter().flat_map(Origin::endpoints) {
            let is_there = |other: &Arc<Endpoint>| other.address() == endpoint.address() && other.is_listed();
            if !endpoints.iter().any(is_there) {
                endpoints.push(Arc::clone(endpoint));
            }
        }
        Members::new(endpoints, settings.balance, &self.allowance, self.start)
    }
}

/// Where there may be no more connections, requests wait before they have chosen a server: where connections are not shared each needs
/// one of its own, else one of the streams on them.
fn limits(settings: &Settings, queue: &Arc<Queue>) -> Limits {
    let connections_max = settings.connections_max;
    let shares = settings.protocol == Protocol::Http2 && settings.proxy_protocol == ProxyProtocol::Off;
    // How many streams that makes is known to those who have the connections.
    let connected = connections_max.map(|max| if shares { usize::MAX } else { max });
    let requests = [settings.requests_max, connected].into_iter().flatten().min();
    Limits {
        requests: requests.map(|max| Limit { max, queue: Arc::clone(queue) }),
        connections_max,
        shared: shares.then_some(settings.idle_timeout),
    }
}
