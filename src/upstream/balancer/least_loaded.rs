//! The less loaded one of two that chance has picked: as good as the best of all, and many that choose at the same moment
//! do not all fall upon the same one.
//!
//! Load is what a further request would have to wait for: the requests that are there times the time that each takes.

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

pub(super) fn choose(candidates: &Candidates<'_>, rng: &mut Rng) -> Option<usize> {
    let first = candidates.any(None, rng)?;
    let Some(second) = candidates.any(Some(first), rng) else { return Some(first) };
    let [one, other] = [first, second].map(|position| Load::of(&candidates.endpoints[position], candidates.now));
    Some(if other.is_below(&one) { second } else { first })
}

struct Load {
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
            latency_us: expected_us.max(silent_us) + NOISE_US,
            requests: (in_flight as f32 + 1.0) / endpoint.weight_at(now),
        }
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

    /// How many of a thousand choices each of these endpoints gets.
    fn spread(endpoints: &[Arc<Endpoint>]) -> Vec<usize> {
        let (mut counts, mut rng) = (vec![0; endpoints.len()], Rng::with_seed(7));
        let tried = Tried::default();
        let candidates = Candidates::example(endpoints, &tried);
        (0..1000).for_each(|_| counts[choose(&candidates, &mut rng).unwrap()] += 1);
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
        assert!(counts[0] > 400 && counts[1] > 400, "6/3 is 2/1: {counts:?}");
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
