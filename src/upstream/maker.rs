//! What all endpoints of an upstream have in common.

use std::{sync::Arc, time::Instant};

use super::{
    Endpoint, HealthRules, Server, Settings, TlsError,
    allowance::Allowance,
    endpoint::Limit,
    health::Health,
    members::Members,
    moment::Moment,
    origin::Origin,
    queue::Queue,
    tls::{Handshake, Tls},
};

/// Makes endpoints.
#[derive(Debug)]
pub(super) struct Maker {
    rules: HealthRules,
    allowance: Arc<Allowance>,
    limit: Option<Limit>,
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
            limit: settings.requests_max.map(|max| Limit { max, queue: Arc::clone(queue) }),
            tls: settings.tls.as_ref().map(|tls| Tls::load(tls, settings.protocol)).transpose()?,
            start: Instant::now(),
        })
    }

    /// The handshake of TLS with what is at `server`, where it speaks TLS.
    pub(super) fn handshake(&self, server: &Server) -> Result<Option<Handshake>, TlsError> {
        self.tls.as_ref().zip(server.address.host()).map(|(tls, host)| tls.handshake(host)).transpose()
    }

    /// An endpoint at `server` that comes from `origin`; `since` when, where others were there before.
    pub(super) fn endpoint(&self, server: Server, origin: &Origin, since: Option<Instant>) -> Arc<Endpoint> {
        let since = since.map_or(Moment::default(), |since| Moment::of(self.start, since));
        let health = Health::new(self.rules, Arc::clone(&self.allowance), since);
        let (name, handshake) = (Arc::clone(&origin.name), origin.handshake.clone());
        Arc::new(Endpoint::new(server, name, handshake, health, self.limit.clone(), self.start))
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
