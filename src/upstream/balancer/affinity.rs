//! The same endpoint for the same store, so that its requests meet warm caches: rendezvous hashing. Each endpoint has a
//! score for each store, and the best one gets it. When an endpoint comes or goes, only stores of its own move.
//!
//! Load is bounded: a store that alone would overload its endpoint spills over to its next best ones.

use std::sync::Arc;

use super::candidates::Candidates;
use crate::{routing::TenantId, upstream::Endpoint};

/// How much more than its share of all requests in flight an endpoint may have.
const SPILL_RATIO: f64 = 1.25;

/// What it may have in any case: with little traffic a share is less than one page of a shop asks for at once.
const SPILL_MIN: f64 = 4.0;

/// What the endpoints add to the scores. Made of their addresses alone, so that every instance agrees.
#[derive(Debug)]
pub(super) struct Affinity {
    seeds: Box<[u64]>,
}

impl Affinity {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        Self { seeds: endpoints.iter().map(|endpoint| hash(endpoint.label().as_bytes())).collect() }
    }

    pub(super) fn choose(&self, candidates: &Candidates<'_>, tenant: &TenantId) -> Option<usize> {
        let tenant = hash(tenant.as_str().as_bytes());
        let distance = |position: usize, weight: f64| distance(mix(tenant ^ self.seeds[position]), weight);
        let bound = Bound::of(candidates);
        let weight = |endpoint: &Endpoint| f64::from(endpoint.weight_at(candidates.now));
        let nearest = |has_room: &dyn Fn(&Endpoint) -> bool| {
            let fitting = candidates.iter().filter(|(_, endpoint)| has_room(endpoint));
            let distances = fitting.map(|(position, endpoint)| (distance(position, weight(endpoint)), position));
            distances.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, position)| position)
        };
        nearest(&|endpoint| bound.has_room(endpoint, weight(endpoint))).or_else(|| nearest(&|_| true))
    }
}

/// How much an endpoint may have in flight.
struct Bound {
    /// For all endpoints together.
    requests: f64,
    weights: f64,
}

impl Bound {
    fn of(candidates: &Candidates<'_>) -> Self {
        let add = |(requests, weights): (usize, f64), (_, endpoint): (usize, &Endpoint)| {
            (requests + endpoint.in_flight(), weights + f64::from(endpoint.weight_at(candidates.now)))
        };
        let (requests, weights) = candidates.iter().fold((0, 0.0), add);
        Self { requests: SPILL_RATIO * (requests as f64 + 1.0), weights }
    }

    fn has_room(&self, endpoint: &Endpoint, weight: f64) -> bool {
        // Divided last, so that what comes out even is not rounded up.
        let bound = (self.requests * weight / self.weights).ceil().max(SPILL_MIN);
        endpoint.in_flight() as f64 + 1.0 <= bound
    }
}

/// Exponentially distributed, and the shorter the heavier: the least one of several is each one's as often as its weight says.
fn distance(hash: u64, weight: f64) -> f64 {
    // 53 bits are what a float holds; a half keeps the logarithm finite.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / weight
}

/// FNV-1a: short, and the same on every machine and in every version.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64's last step: every bit of the input reaches every bit of the output.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::{InFlight, balancer::Tried, moment::Moment};

    fn endpoints(weights: &[usize]) -> Vec<Arc<Endpoint>> {
        weights.iter().zip(1..).map(|(weight, port)| Endpoint::example(port, *weight)).collect()
    }

    fn chosen(endpoints: &[Arc<Endpoint>], tried: &Tried, tenant: &str) -> usize {
        let tenant = TenantId::parse(tenant).unwrap();
        Affinity::new(endpoints).choose(&Candidates::example(endpoints, tried), &tenant).unwrap()
    }

    #[test]
    fn stores_are_spread_as_the_weights_say() {
        let (endpoints, mut counts) = (endpoints(&[1, 2, 1]), [0; 3]);
        (0..4000).for_each(|id: u32| counts[chosen(&endpoints, &Tried::default(), &id.to_string())] += 1);
        assert!((1850..2150).contains(&counts[1]) && (850..1150).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn stores_come_to_one_that_is_back_little_by_little() {
        let (endpoints, tried) =
            ([Endpoint::example(1, 1), Endpoint::example_back(2, Moment(2_000))], Tried::default());
        let affinity = Affinity::new(&endpoints);
        let stores = [2_000, 7_000, 12_000].map(|now| {
            let candidates = Candidates { now: Moment(now), ..Candidates::example(&endpoints, &tried) };
            let ids = (0..1000_u32).map(|id| TenantId::parse(&id.to_string()).unwrap());
            ids.filter(|id| affinity.choose(&candidates, id) == Some(1)).count()
        });
        assert!((60..120).contains(&stores[0]), "a tenth of the other's: {stores:?}");
        assert!((290..375).contains(&stores[1]) && (450..550).contains(&stores[2]), "{stores:?}");
    }

    #[test]
    fn a_hot_store_spills_over_and_comes_back() {
        let endpoints = endpoints(&[1, 1, 1]);
        let choose = || chosen(&endpoints, &Tried::default(), "hot");
        let home = choose();
        let mut running = Vec::new();
        while choose() == home {
            running.extend(InFlight::begin(&endpoints[home]));
        }
        assert_eq!(running.len(), 4, "what any endpoint may have");
        running.extend((0..50).filter_map(|_| InFlight::begin(&endpoints[choose()])));
        let most = endpoints.iter().map(|endpoint| endpoint.in_flight()).max().unwrap();
        assert!(most <= 24, "{most} of 54 are more than 1.25 of a third");
        drop(running);
        assert_eq!(choose(), home);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_its_bound_while_another_one_has_room(
            weights in proptest::collection::vec(1_usize..=10, 1..8),
            busy in proptest::collection::vec(0_usize..8, 0..200),
            tenant in "[a-f0-9]{8}",
        ) {
            let endpoints = endpoints(&weights);
            let _running: Vec<_> = busy.iter().filter_map(|place| endpoints.get(*place)).filter_map(InFlight::begin).collect();
            let all: usize = endpoints.iter().map(|endpoint| endpoint.in_flight() + 1).sum::<usize>() - endpoints.len() + 1;
            let weight: usize = weights.iter().sum();
            // In whole numbers: 5/4 of its share of all, rounded up, and four in any case.
            let bound = |place: usize| (5 * all * weights[place]).div_ceil(4 * weight).max(4);
            let chosen = chosen(&endpoints, &Tried::default(), &tenant);
            let has_room = |place: &usize| endpoints[*place].in_flight() < bound(*place);
            prop_assert!(has_room(&chosen) || !(0..endpoints.len()).any(|place| has_room(&place)));
            prop_assert!(has_room(&chosen), "five quarters of all have room for all");
        }

        #[test]
        fn only_stores_of_an_endpoint_that_goes_are_moved(
            weights in proptest::collection::vec(1_usize..=10, 2..8),
            gone: proptest::sample::Index,
            tenant in "[a-f0-9]{8}",
        ) {
            let endpoints = endpoints(&weights);
            let gone = gone.index(endpoints.len());
            let mut without = Tried::default();
            without.add(gone);
            let (before, after) = (chosen(&endpoints, &Tried::default(), &tenant), chosen(&endpoints, &without, &tenant));
            prop_assert!(after != gone && (before == gone || after == before));
        }
    }
}
