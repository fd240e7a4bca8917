//! The choice among the endpoints of an upstream: the one with the least in flight that was not tried yet.

use std::sync::Arc;

use super::Endpoint;

/// The endpoints that a request has been tried at, by position. Allocates nothing until something failed.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);

impl Tried {
    /// Never choose this endpoint again for the same request.
    pub fn add(&mut self, position: usize) {
        self.0.push(position);
    }

    fn contains(&self, position: usize) -> bool {
        self.0.contains(&position)
    }
}

/// The position of the least loaded endpoint that was not tried. Among equals the first one from `start` on, so that
/// a counting `start` makes idle endpoints take turns.
pub(super) fn least_in_flight(endpoints: &[Arc<Endpoint>], tried: &Tried, start: usize) -> Option<usize> {
    let count = endpoints.len();
    (0..count)
        .map(|offset| (start % count + offset) % count)
        .filter(|&position| !tried.contains(position))
        .min_by_key(|&position| endpoints[position].in_flight())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{InFlight, ServerAddress};

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count).map(|port| Arc::new(Endpoint::new(ServerAddress { host: "app".into(), port }))).collect()
    }

    #[test]
    fn idle_endpoints_take_turns() {
        let endpoints = endpoints(3);
        let chosen: Vec<_> = (0..6).map(|turn| least_in_flight(&endpoints, &Tried::default(), turn)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2].map(Some));
    }

    #[test]
    fn the_least_loaded_endpoint_is_chosen_whatever_the_turn() {
        let endpoints = endpoints(3);
        let _busy = [InFlight::begin(&endpoints[0]), InFlight::begin(&endpoints[2])];
        for turn in 0..5 {
            assert_eq!(least_in_flight(&endpoints, &Tried::default(), turn), Some(1));
        }
    }

    #[test]
    fn an_endpoint_that_was_tried_is_not_chosen_again_and_the_choice_ends() {
        let endpoints = endpoints(2);
        let mut tried = Tried::default();
        tried.add(0);
        assert_eq!(least_in_flight(&endpoints, &tried, 0), Some(1));
        tried.add(1);
        assert_eq!(least_in_flight(&endpoints, &tried, 0), None);
    }

    #[test]
    fn without_endpoints_there_is_no_choice() {
        assert_eq!(least_in_flight(&[], &Tried::default(), 7), None);
    }
}
