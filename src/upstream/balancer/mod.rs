//! The choice among the endpoints of an upstream: functions of what is known of them, the time and chance.
//!
//! What always holds: an endpoint that a request was tried at is not chosen for it again, and as long as there is another
//! one, one is chosen. A choice allocates nothing and waits for nobody.

mod affinity;
mod candidates;
mod least_loaded;
mod round_robin;
#[cfg(test)]
mod simulation;

use std::sync::Arc;

use fastrand::Rng;

use self::{affinity::Affinity, round_robin::RoundRobin};
use super::{Endpoint, moment::Moment};
use crate::routing::TenantId;
use candidates::Candidates;
pub use candidates::Tried;

/// How an upstream chooses among its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded one of two that chance has picked.
    LeastLoaded,
    /// One after the other.
    RoundRobin,
    /// The same one for the same store, as long as it is not overloaded.
    StoreAffinity,
}

/// For whom an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking<'a> {
    /// The store, where the request is for one.
    pub tenant: Option<&'a TenantId>,
}

/// The way in which one upstream chooses; made once, for endpoints in this order.
#[derive(Debug)]
pub(super) struct Balancer(Way);

#[derive(Debug)]
enum Way {
    LeastLoaded,
    RoundRobin(RoundRobin),
    StoreAffinity(Affinity),
}

impl Balancer {
    pub(super) fn new(balance: Balance, endpoints: &[Arc<Endpoint>]) -> Self {
        Self(match balance {
            Balance::LeastLoaded => Way::LeastLoaded,
            Balance::RoundRobin => Way::RoundRobin(RoundRobin::new(endpoints)),
            Balance::StoreAffinity => Way::StoreAffinity(Affinity::new(endpoints)),
        })
    }

    /// The position of the endpoint to try next; `None` once all were tried.
    pub(super) fn choose(
        &self,
        endpoints: &[Arc<Endpoint>],
        asking: &Asking<'_>,
        tried: &Tried,
        now: Moment,
        rng: &mut Rng,
    ) -> Option<usize> {
        let candidates = Candidates { endpoints, tried };
        match (&self.0, asking.tenant) {
            (Way::RoundRobin(round_robin), _) => round_robin.choose(&candidates, rng),
            (Way::StoreAffinity(affinity), Some(tenant)) => affinity.choose(&candidates, tenant),
            (Way::StoreAffinity(_), None) | (Way::LeastLoaded, _) => least_loaded::choose(&candidates, now, rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::InFlight;

    fn balance() -> impl Strategy<Value = Balance> {
        prop_oneof![Just(Balance::LeastLoaded), Just(Balance::RoundRobin), Just(Balance::StoreAffinity)]
    }

    proptest! {
        #[test]
        fn every_endpoint_is_chosen_once_and_then_none(
            balance in balance(),
            weights in proptest::collection::vec(1_usize..=100, 0..12),
            busy in proptest::collection::vec(0_usize..12, 0..40),
            tenant in proptest::option::of("[a-z0-9]{1,12}"),
            seed: u64,
        ) {
            let endpoints: Vec<_> = weights.iter().zip(1..).map(|(weight, port)| Endpoint::example(port, *weight)).collect();
            let _running: Vec<_> = busy.iter().filter_map(|place| endpoints.get(*place)).map(InFlight::begin).collect();
            let tenant = tenant.map(|text| TenantId::parse(&text).unwrap());
            let (asking, balancer) = (Asking { tenant: tenant.as_ref() }, Balancer::new(balance, &endpoints));
            let (mut tried, mut rng) = (Tried::default(), fastrand::Rng::with_seed(seed));
            let mut chosen = Vec::new();
            while let Some(position) = balancer.choose(&endpoints, &asking, &tried, Moment(7), &mut rng) {
                prop_assert!(position < endpoints.len() && !chosen.contains(&position));
                chosen.push(position);
                tried.add(position);
            }
            prop_assert_eq!(chosen.len(), endpoints.len());
        }
    }
}
