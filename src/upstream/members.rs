//! The endpoints of an upstream as they are for a while. Their positions mean something within it, and nothing in the next one.

use std::{sync::Arc, time::Instant};

use fastrand::Rng;

use super::{Asking, Balance, Endpoint, Tried, allowance::Allowance, balancer::Balancer, moment::Moment};

/// The endpoints, and the choice among them.
#[derive(Debug)]
pub struct Members {
    endpoints: Vec<Arc<Endpoint>>,
    balancer: Balancer,
    allowance: Arc<Allowance>,
    /// When the upstream was made.
    start: Instant,
}

impl Members {
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        balance: Balance,
        allowance: &Arc<Allowance>,
        start: Instant,
    ) -> Self {
        let balancer = Balancer::new(balance, &endpoints);
        let listed = || endpoints.iter().filter(|endpoint| endpoint.is_listed());
        let priorities = || listed().map(|endpoint| endpoint.priority());
        let (best, worst) = (priorities().min().unwrap_or_default(), priorities().max().unwrap_or_default());
        allowance.resize(listed().count(), priorities().filter(|priority| *priority < worst).count());
        endpoints.iter().for_each(|endpoint| endpoint.stand_by(endpoint.priority() > best));
        Self { endpoints, balancer, allowance: Arc::clone(allowance), start }
    }

    /// The endpoints, in the order of the configuration.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The position of the endpoint to try next; `None` once all were tried.
    pub fn choose(&self, asking: &Asking<'_>, tried: &Tried, now: Instant, rng: &mut Rng) -> Option<usize> {
        let now = Moment::of(self.start, now);
        self.due_for_trial(asking, tried, now)
            .or_else(|| self.balancer.choose(&self.endpoints, asking, tried, now, rng))
    }

    /// The endpoint that was out for long enough, if there is one: it gets this request, to show whether it is back.
    fn due_for_trial(&self, asking: &Asking<'_>, tried: &Tried, now: Moment) -> Option<usize> {
        // What has failed once must not be what shows whether somebody else is well.
        if self.allowance.is_unused() || !tried.is_empty() {
            return None;
        }
        self.endpoints.iter().position(|endpoint| endpoint.health().claim_trial(asking.is_repeatable, now))
    }

    /// Whether a place at some endpoint that was not tried is worth waiting for: all of them are taken.
    pub fn is_full(&self, tried: &Tried) -> bool {
        self.untried(tried).any(|endpoint| !endpoint.has_room())
    }

    /// Whether some endpoint was not tried.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        self.untried(tried).next().is_some()
    }

    fn untried(&self, tried: &Tried) -> impl Iterator<Item = &Arc<Endpoint>> {
        let untried = self.endpoints.iter().enumerate().filter(|(position, _)| !tried.contains(*position));
        untried.map(|(_, endpoint)| endpoint).filter(|endpoint| !endpoint.is_draining())
    }
}
