//! Which endpoints may be chosen for a request.

use std::sync::Arc;

use fastrand::Rng;

use crate::upstream::{Endpoint, moment::Moment};

/// The endpoints that a request has been tried at, by position. Allocates nothing until something failed.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);

impl Tried {
    /// Never choose this endpoint again for the same request.
    pub fn add(&mut self, position: usize) {
        self.0.push(position);
    }

    pub(in crate::upstream) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is never to be chosen again.
    pub fn contains(&self, position: usize) -> bool {
        self.0.contains(&position)
    }
}

/// Which of the endpoints are good enough. The next tier is for where the one before it is empty: when all are bad, all are tried
/// rather than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Healthy ones that have not just failed.
    Trusted,
    /// Healthy ones.
    Healthy,
    /// Any that does not drain.
    Any,
}

impl Tier {
    /// From the best one on.
    pub(super) const ALL: [Self; 3] = [Self::Trusted, Self::Healthy, Self::Any];

    fn admits(self, endpoint: &Endpoint, now: Moment) -> bool {
        let health = endpoint.health();
        match self {
            Self::Trusted => health.is_healthy() && !health.is_suspect(now),
            Self::Healthy => health.is_healthy(),
            Self::Any => !health.is_draining(),
        }
    }
}

/// How often one is drawn before all are weighed: with a quarter of the weight on average, three of four times one is found.
const DRAWS: usize = 5;

/// The endpoints of an upstream as one request sees them.
pub(super) struct Candidates<'a> {
    pub(super) endpoints: &'a [Arc<Endpoint>],
    pub(super) tried: &'a Tried,
    pub(super) tier: Tier,
    /// Of those with this priority alone; `None`: of all.
    pub(super) priority: Option<u16>,
    pub(super) now: Moment,
}

impl Candidates<'_> {
    pub(super) fn contains(&self, position: usize) -> bool {
        self.endpoints[position].has_room() && self.admits(position)
    }

    /// Whether some are good enough; asked where none of them has room.
    pub(super) fn are_full(&self) -> bool {
        (0..self.endpoints.len()).any(|position| self.admits(position))
    }

    fn admits(&self, position: usize) -> bool {
        let endpoint = &self.endpoints[position];
        let has_rank = self.priority.is_none_or(|priority| endpoint.priority() == priority);
        has_rank && !self.tried.contains(position) && self.tier.admits(endpoint, self.now)
    }

    /// Their positions and endpoints.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let all = self.endpoints.iter().map(|endpoint| &**endpoint).enumerate();
        all.filter(|(position, _)| self.contains(*position))
    }

    /// One of them by chance, but not the one at `except`: each with the odds that its weight at the moment gives it, which is
    /// `weight_max` at most.
    pub(super) fn any(&self, except: Option<usize>, weight_max: f32, rng: &mut Rng) -> Option<usize> {
        if self.endpoints.is_empty() {
            return None;
        }
        // Mostly all are candidates and weigh the same, and need not be weighed together.
        for _ in 0..DRAWS {
            let drawn = rng.usize(..self.endpoints.len());
            let weight = self.endpoints[drawn].weight_at(self.now);
            let is_taken = weight >= weight_max || rng.f32() * weight_max < weight;
            if is_taken && Some(drawn) != except && self.contains(drawn) {
                return Some(drawn);
            }
        }
        self.any_of_all(except, rng)
    }

    /// The same, with all of them weighed together.
    pub(super) fn any_of_all(&self, except: Option<usize>, rng: &mut Rng) -> Option<usize> {
        let fitting = || self.iter().filter(|(position, _)| Some(*position) != except);
        let weights = || fitting().map(|(position, endpoint)| (position, endpoint.weight_at(self.now)));
        let mut left = rng.f32() * weights().map(|(_, weight)| weight).sum::<f32>();
        let chosen = weights().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a crumb at the end.
        chosen.or_else(|| weights().last()).map(|(position, _)| position)
    }
}

#[cfg(test)]
impl<'a> Candidates<'a> {
    /// All that were not tried, a second after the start.
    pub(super) fn example(endpoints: &'a [Arc<Endpoint>], tried: &'a Tried) -> Self {
        Self { endpoints, tried, tier: Tier::Any, priority: None, now: Moment(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_fair_among_those_that_are_left() {
        let endpoints: Vec<_> = (1..=5).map(|port| Endpoint::example(port, 1)).collect();
        let mut tried = Tried::default();
        tried.add(3);
        let candidates = Candidates::example(&endpoints, &tried);
        let (mut counts, mut rng) = ([0_u32; 5], Rng::with_seed(1));
        (0..3000).for_each(|_| counts[candidates.any(Some(0), 1.0, &mut rng).unwrap()] += 1);
        assert_eq!((counts[0], counts[3]), (0, 0));
        assert!([1, 2, 4].iter().all(|place| (900..1100).contains(&counts[*place])), "{counts:?}");
    }

    #[test]
    fn where_nobody_is_left_there_is_no_choice() {
        let endpoints = [Endpoint::example(1, 1)];
        let mut rng = Rng::with_seed(1);
        let tried = Tried::default();
        assert_eq!(Candidates::example(&[], &tried).any(None, 1.0, &mut rng), None);
        let one = Candidates::example(&endpoints, &tried);
        assert_eq!((one.any(None, 1.0, &mut rng), one.any(Some(0), 1.0, &mut rng)), (Some(0), None));
    }

    #[test]
    fn the_odds_are_those_of_the_weights() {
        let endpoints: Vec<_> = [(1, 6), (2, 3), (3, 1)].map(|(port, weight)| Endpoint::example(port, weight)).into();
        let (tried, mut rng) = (Tried::default(), Rng::with_seed(1));
        let candidates = Candidates::example(&endpoints, &tried);
        for draw in [
            |c: &Candidates<'_>, r: &mut Rng| c.any(None, 6.0, r),
            |c: &Candidates<'_>, r: &mut Rng| c.any_of_all(None, r),
        ] {
            let mut counts = [0_u32; 3];
            (0..10_000).for_each(|_| counts[draw(&candidates, &mut rng).unwrap()] += 1);
            let expected = [6000, 3000, 1000];
            assert!((0..3).all(|place| counts[place].abs_diff(expected[place]) < 200), "{counts:?}");
        }
    }
}
