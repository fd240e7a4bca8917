//! One after the other, each as often as its weight says, and spread evenly over the round.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use fastrand::Rng;

use super::candidates::Candidates;
use crate::upstream::Endpoint;

/// A round for those of each priority, and one for all of them.
#[derive(Debug)]
pub(super) struct RoundRobin(Box<[Round]>);

/// The order of one round, and whose turn it is.
#[derive(Debug)]
struct Round {
    /// Of whom it is made: who stands by has no turns among those who serve, as these would go to anyone.
    priority: Option<u16>,
    order: Box<[usize]>,
    turn: AtomicUsize,
}

impl RoundRobin {
    /// Of `endpoints`, which have these priorities; none where all have the same.
    pub(super) fn new(endpoints: &[Arc<Endpoint>], priorities: &[u16]) -> Self {
        let apart = priorities.iter().copied().map(Some);
        Self(apart.chain([None]).map(|priority| Round::new(endpoints, priority)).collect())
    }

    /// Whose turn it is among the candidates' priority.
    pub(super) fn choose(&self, candidates: &Candidates<'_>, rng: &mut Rng) -> Option<usize> {
        let round = self.0.iter().find(|round| round.priority == candidates.priority)?;
        round.choose(candidates, rng)
    }
}

impl Round {
    fn new(endpoints: &[Arc<Endpoint>], priority: Option<u16>) -> Self {
        let has_turns = |endpoint: &Endpoint| priority.is_none_or(|priority| endpoint.priority() == priority);
        let weight = |endpoint: &Arc<Endpoint>| if has_turns(endpoint) { endpoint.weight() } else { 0 };
        let weights: Vec<_> = endpoints.iter().map(weight).collect();
        Self { priority, order: order(&weights), turn: AtomicUsize::new(0) }
    }

    /// Whose turn it is; where that one is no candidate, or is not given this turn yet, any other. The next one in the order
    /// would get the turns of two.
    fn choose(&self, candidates: &Candidates<'_>, rng: &mut Rng) -> Option<usize> {
        if self.order.is_empty() {
            return None;
        }
        let position = self.order[self.turn.fetch_add(1, Relaxed) % self.order.len()];
        let takes_it = candidates.contains(position) && {
            let share = candidates.endpoints[position].health().share(candidates.now);
            share >= 1.0 || rng.f32() < share
        };
        if takes_it { Some(position) } else { candidates.any_of_all(None, rng) }
    }
}

/// A round in which each place stands as often as its share of the weights demands, as far apart as possible: at each turn
/// all have gained their weight, and the one with the most pays for the turn.
fn order(weights: &[usize]) -> Box<[usize]> {
    let unit = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let shares: Vec<_> = weights.iter().map(|weight| (weight / unit).cast_signed()).collect();
    let turns: isize = shares.iter().sum();
    let mut gained = vec![0; shares.len()];
    let mut take = || {
        gained.iter_mut().zip(&shares).for_each(|(gained, share)| *gained += share);
        // Among equals the first one.
        let richest = (0..gained.len()).rev().max_by_key(|place| gained[*place])?;
        gained[richest] -= turns;
        Some(richest)
    };
    (0..turns).filter_map(|_| take()).collect()
}

/// Of both; of one and 0 that one.
pub(in crate::upstream) fn greatest_common_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{balancer::Tried, moment::Moment};

    fn endpoints(weights: &[usize]) -> Vec<Arc<Endpoint>> {
        weights.iter().zip(1..).map(|(weight, port)| Endpoint::example(port, *weight)).collect()
    }

    fn chosen(endpoints: &[Arc<Endpoint>], tried: &Tried, turns: usize) -> Vec<usize> {
        let (round_robin, mut rng) = (RoundRobin::new(endpoints, &[]), Rng::with_seed(3));
        let candidates = Candidates::example(endpoints, tried);
        (0..turns).filter_map(|_| round_robin.choose(&candidates, &mut rng)).collect()
    }

    #[test]
    fn endpoints_of_one_weight_take_turns() {
        assert_eq!(chosen(&endpoints(&[7, 7, 7]), &Tried::default(), 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn who_stands_by_takes_no_turns_and_leaves_none_to_chance() {
        let (endpoints, tried) = (endpoints(&[30, 100, 10]), Tried::default());
        endpoints[1].rank(9);
        let (round_robin, mut rng) = (RoundRobin::new(&endpoints, &[0, 9]), Rng::with_seed(3));
        let mut chosen = |priority| {
            let candidates = Candidates { priority, ..Candidates::example(&endpoints, &tried) };
            [(); 8].map(|()| round_robin.choose(&candidates, &mut rng).unwrap())
        };
        assert_eq!(chosen(Some(0)), [0, 0, 2, 0, 0, 0, 2, 0]);
        assert_eq!(chosen(Some(9)), [1; 8]);
        assert!(chosen(None).contains(&1), "when all are bad all are tried");
    }

    #[test]
    fn heavier_ones_have_more_turns_spread_over_the_round() {
        assert_eq!(order(&[5, 1, 1]).as_ref(), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[20, 30]).len(), 5);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn one_that_is_back_takes_its_turns_little_by_little() {
        let (endpoints, tried) =
            ([Endpoint::example(1, 1), Endpoint::example_back(2, Moment(2_000))], Tried::default());
        let turns = [2_000, 7_000, 12_000].map(|now| {
            let (round_robin, mut rng) = (RoundRobin::new(&endpoints, &[]), Rng::with_seed(3));
            let candidates = Candidates { now: Moment(now), ..Candidates::example(&endpoints, &tried) };
            (0..1000).filter(|_| round_robin.choose(&candidates, &mut rng) == Some(1)).count()
        });
        assert!((60..120).contains(&turns[0]) && (290..375).contains(&turns[1]), "{turns:?}");
        assert_eq!(turns[2], 500);
    }

    #[test]
    fn the_turns_of_one_that_is_out_are_shared_among_the_others_by_weight() {
        let (endpoints, mut tried) = (endpoints(&[2, 1, 3]), Tried::default());
        tried.add(0);
        let mut counts = [0; 3];
        chosen(&endpoints, &tried, 6000).into_iter().for_each(|position| counts[position] += 1);
        assert_eq!(counts[0], 0);
        assert!((1400..1600).contains(&counts[1]), "a quarter is asked: {counts:?}");
    }
}
