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
pub use candidates::Tried;
use candidates::{Candidates, Tier};
pub(super) use round_robin::greatest_common_divisor;

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

impl Balance {
    /// The name in the configuration and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::RoundRobin => "round_robin",
            Self::StoreAffinity => "store_affinity",
        }
    }
}

/// For whom an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking<'a> {
    /// The store, where the request is for one.
    pub tenant: Option<&'a TenantId>,
    /// Whether the request may be sent to another endpoint too if it fails.
    pub is_repeatable: bool,
}

/// The way in which one upstream chooses; made once, for endpoints in this order.
#[derive(Debug)]
pub(super) struct Balancer {
    way: Way,
    /// The weight of the heaviest endpoint.
    weight_max: f32,
    /// The priorities of the endpoints, from the best one on; none where all have the same.
    priorities: Box<[u16]>,
}

#[derive(Debug)]
enum Way {
    LeastLoaded,
    RoundRobin(RoundRobin),
    StoreAffinity(Affinity),
}

impl Balancer {
    pub(super) fn new(balance: Balance, endpoints: &[Arc<Endpoint>]) -> Self {
        let priorities = priorities(endpoints);
        let way = match balance {
            Balance::LeastLoaded => Way::LeastLoaded,
            Balance::RoundRobin => Way::RoundRobin(RoundRobin::new(endpoints, &priorities)),
            Balance::StoreAffinity => Way::StoreAffinity(Affinity::new(endpoints)),
        };
        let weight_max = endpoints.iter().map(|endpoint| endpoint.weight()).max().unwrap_or_default() as f32;
        Self { way, weight_max, priorities }
    }

    /// The position of the endpoint to try next; `None` once all were tried, and where those that are good enough have no room:
    /// waiting for one of them is better than asking one that is bad.
    pub(super) fn choose(
        &self,
        endpoints: &[Arc<Endpoint>],
        asking: &Asking<'_>,
        tried: &Tried,
        now: Moment,
        rng: &mut Rng,
    ) -> Option<usize> {
        let tiers = if asking.is_repeatable { &Tier::ALL[1..] } else { &Tier::ALL };
        for tier in tiers {
            for priority in self.ranks(*tier) {
                let candidates = Candidates { endpoints, tried, tier: *tier, priority, now };
                let chosen = self.choose_among(&candidates, asking.tenant, rng);
                if chosen.is_some() || candidates.are_full() {
                    return chosen;
                }
            }
        }
        None
    }

    /// The priorities to look at, one after the other. When all are bad it does not matter who stands by.
    fn ranks(&self, tier: Tier) -> impl Iterator<Item = Option<u16>> {
        let apart = if tier == Tier::Any { &[][..] } else { &self.priorities };
        let together = apart.is_empty().then_some(None);
        apart.iter().copied().map(Some).chain(together)
    }

    fn choose_among(&self, candidates: &Candidates<'_>, tenant: Option<&TenantId>, rng: &mut Rng) -> Option<usize> {
        match (&self.way, tenant) {
            (Way::RoundRobin(round_robin), _) => round_robin.choose(candidates, rng),
            (Way::StoreAffinity(affinity), Some(tenant)) => affinity.choose(candidates, tenant),
            (Way::StoreAffinity(_), None) | (Way::LeastLoaded, _) => {
                least_loaded::choose(candidates, self.weight_max, rng)
            }
        }
    }
}

fn priorities(endpoints: &[Arc<Endpoint>]) -> Box<[u16]> {
    let mut priorities: Vec<_> = endpoints.iter().map(|endpoint| endpoint.priority()).collect();
    priorities.sort_unstable();
    priorities.dedup();
    if priorities.len() > 1 { priorities.into() } else { Box::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::InFlight;

    fn balance() -> impl Strategy<Value = Balance> {
        prop_oneof![Just(Balance::LeastLoaded), Just(Balance::RoundRobin), Just(Balance::StoreAffinity)]
    }

    #[test]
    fn those_of_a_worse_priority_stand_by_until_the_others_are_out() {
        for balance in [Balance::LeastLoaded, Balance::RoundRobin, Balance::StoreAffinity] {
            let endpoints: Vec<_> = (1..=4).map(|port| Endpoint::example(port, 1)).collect();
            endpoints.iter().zip([7, 7, 9, 8]).for_each(|(endpoint, priority)| _ = endpoint.rank(priority));
            let (balancer, mut rng) = (Balancer::new(balance, &endpoints), fastrand::Rng::with_seed(1));
            let mut chosen = |tried: &Tried| {
                let tenants = (0..100).map(|id: u32| TenantId::parse(&id.to_string()).unwrap());
                let mut chosen: Vec<_> = tenants
                    .filter_map(|tenant| {
                        let asking = Asking { tenant: Some(&tenant), is_repeatable: true };
                        balancer.choose(&endpoints, &asking, tried, Moment(1), &mut rng)
                    })
                    .collect();
                chosen.sort_unstable();
                chosen.dedup();
                chosen
            };
            let (mut tried, none) = (Tried::default(), Tried::default());
            assert_eq!(chosen(&none), [0, 1], "{balance:?}");
            tried.add(0);
            assert_eq!(chosen(&tried), [1], "{balance:?}");
            tried.add(1);
            assert_eq!(chosen(&tried), [3], "{balance:?}");
            for endpoint in &endpoints[..2] {
                (0..5).for_each(|_| _ = endpoint.health().failed(Moment(0)));
            }
            assert_eq!(chosen(&none), [3], "{balance:?}");
        }
    }

    #[test]
    fn who_is_bad_is_not_asked_while_the_good_ones_are_busy() {
        let endpoints: Vec<_> = (1..=3).map(|_| Endpoint::example_for(1)).collect();
        (0..50).for_each(|_| _ = endpoints[2].health().failed(Moment(0)));
        assert!(!endpoints[2].health().is_healthy());
        let busy: Vec<_> = endpoints[..2].iter().map(|endpoint| InFlight::begin(endpoint).unwrap()).collect();
        for balance in [Balance::LeastLoaded, Balance::RoundRobin, Balance::StoreAffinity] {
            let (balancer, mut rng) = (Balancer::new(balance, &endpoints), fastrand::Rng::with_seed(1));
            let asking = Asking { tenant: None, is_repeatable: true };
            assert_eq!(balancer.choose(&endpoints, &asking, &Tried::default(), Moment(1), &mut rng), None);
        }
        drop(busy);
    }

    #[test]
    fn requests_that_cannot_be_repeated_avoid_who_has_just_failed() {
        let endpoints: Vec<_> = (1..=3).map(|port| Endpoint::example(port, 1)).collect();
        endpoints[1].health().failed(Moment(7));
        for balance in [Balance::LeastLoaded, Balance::RoundRobin, Balance::StoreAffinity] {
            let (balancer, mut rng) = (Balancer::new(balance, &endpoints), fastrand::Rng::with_seed(1));
            let mut chosen = |is_repeatable| {
                let tenants = (0..50).map(|id: u32| TenantId::parse(&id.to_string()).unwrap());
                tenants
                    .map(|tenant| {
                        let asking = Asking { tenant: Some(&tenant), is_repeatable };
                        balancer.choose(&endpoints, &asking, &Tried::default(), Moment(8), &mut rng).unwrap()
                    })
                    .collect::<Vec<_>>()
            };
            assert!(!chosen(false).contains(&1), "{balance:?}");
            assert!(chosen(true).contains(&1), "{balance:?}");
        }
    }

    proptest! {
        #[test]
        fn every_endpoint_is_chosen_once_and_then_none(
            balance in balance(),
            weights in proptest::collection::vec(1_usize..=100, 0..12),
            busy in proptest::collection::vec(0_usize..12, 0..40),
            tenant in proptest::option::of("[a-z0-9]{1,12}"),
            failing in proptest::collection::vec((0_usize..12, 1_usize..8), 0..8),
            is_repeatable: bool,
            seed: u64,
        ) {
            let endpoints: Vec<_> = weights.iter().zip(1..).map(|(weight, port)| Endpoint::example(port, *weight)).collect();
            let _running: Vec<_> = busy.iter().filter_map(|place| endpoints.get(*place)).filter_map(InFlight::begin).collect();
            for (place, times) in failing {
                let endpoint = endpoints.get(place);
                endpoint.into_iter().for_each(|endpoint| (0..times).for_each(|_| _ = endpoint.health().failed(Moment(7))));
            }
            let tenant = tenant.map(|text| TenantId::parse(&text).unwrap());
            let (asking, balancer) = (Asking { tenant: tenant.as_ref(), is_repeatable }, Balancer::new(balance, &endpoints));
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
