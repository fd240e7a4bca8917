//! The less loaded one of two that chance has picked: as good as the best of all, and many that choose at the same moment
//! do not all fall upon the same one.
//!
//! Load is what a further request would have to wait for: the requests that are there times the time that each takes. Where
//! neither has any, and they are about as quick, chance is the judge, with the odds of their weights: with little traffic, and for one
//! that has just come, shares are what they are under load.

use fastrand::Rng;

use super::candidates::Candidates;
use crate::upstream::{Endpoint, moment::Moment};

/// Added to every latency: differences below it are noise of the machine and no reason to prefer anybody.
const NOISE_US: f32 = 1_000.0;

/// What an endpoint is assumed to take of which nothing is known while a first request runs there: so long that it gets no
/// second one before it has answered, as far as [`RATIO_MAX`] lets it.
const UNKNOWN_US: f32 = 3.6e9;

/// How much slower than the other one an endpoint may count. One page that takes a thousand times longer than the rest must not
/// leave all the others to a single server.
const RATIO_MAX: f32 = 16.0;

/// Between idle ones, how much slower than the other one an endpoint may be and still get its share: what a page takes differs by
/// more than that from the next one.
const COMPARABLE: f32 = 2.0;

/// The endpoints weigh `weight_max` at most.
pub(super) fn choose(candidates: &Candidates<'_>, weight_max: f32, rng: &mut Rng) -> Option<usize> {
    let first = candidates.any(None, weight_max, rng)?;
    let Some(second) = candidates.any(Some(first), weight_max, rng) else { return Some(first) };
    let [one, other] = [first, second].map(|position| Load::of(&candidates.endpoints[position], candidates.now));
    // The first one was drawn with the odds of its weight.
    Some(if !one.is_idle_like(&other) && other.is_below(&one) { second } else { first })
}

struct Load {
    is_idle: bool,
    latency_us: f32,
    /// Requests there with the one in question, per weight.
    requests: f32,
}

impl Load {
    fn of(endpoint: &Endpoint, now: Moment) -> Self {
        let in_flight = endpoint.in_flight();
        let unknown_us = if in_flight > 0 { UNKNOWN_US } else { 0.0 };
        let expected_us = endpoint.latency().expected_us(now).unwrap_or(unknown_us);
        let silent_us = endpoint.silence().lasts_ms(now) as f32 * 1_000.0;
        Self {
            is_idle: in_flight == 0,
            latency_us: expected_us.max(silent_us) + NOISE_US,
            requests: (in_flight as f32 + 1.0) / endpoint.weight_at(now),
        }
    }

    /// Whether both have nothing to do, and are about as quick.
    fn is_idle_like(&self, other: &Self) -> bool {
        let is_quick_beside = |one: &Self, other: &Self| one.latency_us <= other.latency_us * COMPARABLE;
        self.is_idle && other.is_idle && is_quick_beside(self, other) && is_quick_beside(other, self)
    }

    fn is_below(&self, other: &Self) -> bool {
        self.beside(other) < other.beside(self)
    }

    fn beside(&self, other: &Self) -> f32 {
        self.latency_us.min(other.latency_us * RATIO_MAX) * self.requests
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::upstream::{InFlight, balancer::Tried};

    const NOW: Moment = Moment(1000);
    const WEIGHT_MAX: f32 = 3.0;

    /// How many of a thousand choices each of these endpoints gets.
    fn spread(endpoints: &[Arc<Endpoint>]) -> Vec<usize> {
        let (mut counts, mut rng) = (vec![0; endpoints.len()], Rng::with_seed(7));
        let tried = Tried::default();
        let candidates = Candidates::example(endpoints, &tried);
        (0..1000).for_each(|_| counts[choose(&candidates, WEIGHT_MAX, &mut rng).unwrap()] += 1);
        counts
    }

    fn taking(port: u16, millis: u64) -> Arc<Endpoint> {
        let endpoint = Endpoint::example(port, 1);
        endpoint.latency().observe(Duration::from_millis(millis), NOW);
        endpoint
    }

    fn busy(endpoint: &Arc<Endpoint>, requests: usize) -> Vec<InFlight> {
        (0..requests).filter_map(|_| InFlight::begin(endpoint)).collect()
    }

    #[test]
    fn idle_endpoints_that_are_alike_are_chosen_alike() {
        let counts = spread(&[taking(1, 10), taking(2, 10), taking(3, 10)]);
        assert!(counts.iter().all(|count| (270..400).contains(count)), "{counts:?}");
    }

    #[test]
    fn of_two_the_less_loaded_one_is_chosen() {
        let (slow, fast, equal) = (taking(1, 200), taking(2, 20), taking(3, 20));
        assert_eq!(spread(&[Arc::clone(&slow), Arc::clone(&fast)]), [0, 1000]);
        let _requests = busy(&fast, 1);
        assert_eq!(spread(&[fast, equal]), [0, 1000]);
    }

    #[test]
    fn weights_count_like_requests() {
        let endpoints = [Endpoint::example(1, 1), Endpoint::example(2, 3)];
        let _requests = (busy(&endpoints[0], 1), busy(&endpoints[1], 4));
        assert_eq!(spread(&endpoints), [0, 1000], "5/3 is less than 2/1");
        let _one_more = busy(&endpoints[1], 1);
        let counts = spread(&endpoints);
        assert!(counts[0] > 200 && counts[1] > 200, "6/3 is 2/1: {counts:?}");
    }

    #[test]
    fn idle_ones_share_by_their_weights() {
        let counts = spread(&[Endpoint::example(1, 1), Endpoint::example(2, 3)]);
        assert!((200..300).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn one_that_is_back_gets_its_share_little_by_little() {
        let endpoints = [Endpoint::example(1, 1), Endpoint::example_back(2, Moment(2_000))];
        let tried = Tried::default();
        let shares = [2_000, 7_000, 12_000].map(|now| {
            let candidates = Candidates { now: Moment(now), ..Candidates::example(&endpoints, &tried) };
            let mut rng = Rng::with_seed(7);
            (0..1000).filter(|_| choose(&candidates, WEIGHT_MAX, &mut rng) == Some(1)).count()
        });
        assert!((60..120).contains(&shares[0]), "a tenth of the other's: {shares:?}");
        assert!((290..375).contains(&shares[1]) && (450..550).contains(&shares[2]), "{shares:?}");
    }

    #[test]
    fn an_endpoint_of_which_nothing_is_known_is_tried_with_one_request() {
        let (known, unknown) = (taking(1, 20), Endpoint::example(2, 1));
        assert_eq!(spread(&[Arc::clone(&known), Arc::clone(&unknown)]), [0, 1000]);
        let _first = busy(&unknown, 1);
        let _requests = busy(&known, 10);
        assert_eq!(spread(&[known, unknown]), [1000, 0]);
    }

    #[test]
    fn one_that_owes_an_answer_for_long_counts_as_slow_as_it_is() {
        let (silent, other) = (taking(1, 5), taking(2, 20));
        silent.silence().ask(Moment(NOW.0 - 900));
        assert_eq!(spread(&[Arc::clone(&silent), Arc::clone(&other)]), [0, 1000]);
        silent.silence().hear(NOW);
        assert_eq!(spread(&[silent, other]), [1000, 0]);
    }

    #[test]
    fn one_slow_page_does_not_leave_everything_to_the_others() {
        let (slow, fast) = (taking(1, 60_000), taking(2, 1));
        let _requests = busy(&fast, 16);
        assert_eq!(spread(&[slow, fast]), [1000, 0]);
    }
}
