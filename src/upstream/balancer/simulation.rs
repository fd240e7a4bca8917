//! Traffic over invented time: what customers wait for when app servers differ. Every run has the seed that it prints when it
//! fails.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use fastrand::Rng;

use super::{Asking, Balance, Balancer, Tried};
use crate::{
    routing::TenantId,
    upstream::{Endpoint, InFlight, moment::Moment},
};

/// So long that what is not known at the start weighs nothing.
const REQUESTS: u64 = 20_000;

/// App servers that each work on `AT_ONCE` requests, times their weight, and let the others wait, as uvicorn or Puma do.
const AT_ONCE: usize = 4;

struct Simulation {
    endpoints: Vec<Arc<Endpoint>>,
    /// What a request takes at each.
    work_us: Vec<u64>,
    /// When each one's workers are free again.
    free_us: Vec<Vec<u64>>,
    running: BinaryHeap<Reverse<(u64, u64)>>,
    guards: std::collections::HashMap<u64, (usize, u64, InFlight)>,
    waits_us: Vec<u64>,
    served: Vec<u64>,
    rng: Rng,
    /// How many stores the requests are for; a few of them have most.
    stores: f64,
    /// Requests that met the server that most of their store's met.
    most_of_a_store: std::collections::HashMap<u32, Vec<u64>>,
}

impl Simulation {
    fn new(weights: &[usize], work_ms: &[u64], seed: u64) -> Self {
        let endpoints: Vec<_> =
            weights.iter().zip(1..).map(|(weight, port)| Endpoint::example(port, *weight)).collect();
        Self {
            work_us: work_ms.iter().map(|ms| ms * 1000).collect(),
            free_us: weights.iter().map(|weight| vec![0; AT_ONCE * weight]).collect(),
            served: vec![0; endpoints.len()],
            endpoints,
            running: BinaryHeap::new(),
            guards: std::collections::HashMap::new(),
            waits_us: Vec::new(),
            rng: Rng::with_seed(seed),
            stores: 1.0,
            most_of_a_store: std::collections::HashMap::new(),
        }
    }

    /// Requests at random moments, so many a second.
    fn run(mut self, balance: Balance, per_second: f64) -> Self {
        let balancer = Balancer::new(balance, &self.endpoints);
        let mut now_us = 0.0;
        for number in 0..REQUESTS {
            now_us += -(1.0 - self.rng.f64()).ln() * 1e6 / per_second;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole microseconds do")]
            let now = now_us as u64;
            self.end_until(now);
            let store = self.store();
            let tenant = TenantId::parse(&store.to_string()).unwrap();
            let asking = Asking { tenant: Some(&tenant), is_repeatable: true };
            let moment = Moment(now / 1000);
            let place = balancer.choose(&self.endpoints, &asking, &Tried::default(), moment, &mut self.rng).unwrap();
            let endpoints = self.endpoints.len();
            self.most_of_a_store.entry(store).or_insert_with(|| vec![0; endpoints])[place] += 1;
            self.begin(number, place, now);
            if balance == Balance::StoreAffinity {
                self.check_bound(place);
            }
        }
        self.end_until(u64::MAX);
        self
    }

    /// The first one of `n` has as many requests as the next two, and those as many as the next four.
    fn store(&mut self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let store = self.stores.powf(self.rng.f64()) as u32;
        store
    }

    fn check_bound(&self, place: usize) {
        let all: usize = self.endpoints.iter().map(|endpoint| endpoint.in_flight()).sum();
        let (weight, weights) =
            (self.endpoints[place].weight(), self.endpoints.iter().map(|endpoint| endpoint.weight()).sum::<usize>());
        let bound = (5 * all * weight).div_ceil(4 * weights).max(4);
        assert!(self.endpoints[place].in_flight() <= bound, "{} of {all}", self.endpoints[place].in_flight());
    }

    /// The share of the requests that met the server at which most of their store's were.
    fn at_home(&self) -> f64 {
        let home: u64 = self.most_of_a_store.values().filter_map(|served| served.iter().max()).sum();
        home as f64 / REQUESTS as f64
    }

    fn begin(&mut self, number: u64, place: usize, now: u64) {
        let free = self.free_us[place].iter_mut().min().unwrap();
        *free = now.max(*free) + self.work_us[place];
        self.running.push(Reverse((*free, number)));
        self.guards.insert(number, (place, now, InFlight::begin(&self.endpoints[place]).unwrap()));
        self.endpoints[place].silence().ask(Moment(now / 1000));
        self.served[place] += 1;
    }

    fn end_until(&mut self, now: u64) {
        while let Some(Reverse((end, number))) = self.running.peek().copied().filter(|Reverse((end, _))| *end <= now) {
            self.running.pop();
            let (place, began, _guard) = self.guards.remove(&number).unwrap();
            let took = Duration::from_micros(end - began);
            self.endpoints[place].latency().observe(took, Moment(end / 1000));
            self.endpoints[place].silence().hear(Moment(end / 1000));
            self.waits_us.push(end - began);
        }
    }

    fn p99_ms(&self) -> f64 {
        let mut waits = self.waits_us.clone();
        waits.sort_unstable();
        waits[waits.len() * 99 / 100] as f64 / 1000.0
    }
}

#[test]
fn one_slow_server_is_hardly_noticed() {
    for seed in 0..5 {
        let run = |work_ms: &[u64]| Simulation::new(&[1, 1, 1], work_ms, seed).run(Balance::LeastLoaded, 150.0);
        let [with, without] = [run(&[200, 20, 20]), run(&[20, 20, 20])].map(|run| run.p99_ms());
        assert!(with <= 1.5 * without, "seed {seed}: p99 {with} ms with a slow server, {without} without");
    }
}

/// As one that was frozen a moment ago does: it was quick before.
#[test]
fn one_that_says_nothing_any_more_gets_a_handful_of_requests() {
    for seed in 0..5 {
        let simulation = Simulation::new(&[1, 1, 1], &[u64::from(u32::MAX), 20, 20], seed);
        simulation.endpoints[0].latency().observe(Duration::from_millis(5), Moment(0));
        let served = simulation.run(Balance::LeastLoaded, 150.0).served[0];
        assert!(served <= 10, "seed {seed}: {served}");
    }
}

#[test]
fn servers_that_are_alike_share_the_work() {
    for (seed, balance) in [(1, Balance::LeastLoaded), (2, Balance::RoundRobin)] {
        let run = Simulation::new(&[1, 1, 1, 1], &[20; 4], seed).run(balance, 400.0);
        let share = REQUESTS / 4;
        assert!(run.served.iter().all(|served| served.abs_diff(share) < share / 10), "{balance:?}: {:?}", run.served);
    }
}

#[test]
fn under_load_heavier_servers_have_more() {
    for (seed, balance) in [(1, Balance::LeastLoaded), (2, Balance::RoundRobin)] {
        let run = Simulation::new(&[3, 1], &[20; 2], seed).run(balance, 360.0);
        let [heavy, light] = [run.served[0], run.served[1]];
        assert!((2 * light..5 * light).contains(&heavy), "{balance:?}: {:?}", run.served);
    }
}

#[test]
fn with_little_traffic_weights_are_shares_too() {
    for seed in 0..5 {
        for weights in [&[3, 1][..], &[3, 1, 1], &[1, 1, 5, 2]] {
            let work_ms = vec![5; weights.len()];
            let run = Simulation::new(weights, &work_ms, seed).run(Balance::LeastLoaded, 5.0);
            for (served, weight) in run.served.iter().zip(weights) {
                let share = REQUESTS * *weight as u64 / weights.iter().sum::<usize>() as u64;
                assert!(served.abs_diff(share) < REQUESTS / 25, "seed {seed}, {weights:?}: {:?}", run.served);
            }
        }
    }
}

/// One store of a hundred has a seventh of all requests, and the last fifty together as many.
#[test]
fn stores_stay_at_their_server_and_a_hot_one_overloads_nobody() {
    for seed in 0..5 {
        let run = |balance| {
            let simulation = Simulation { stores: 100.0, ..Simulation::new(&[1, 1, 1, 1], &[20; 4], seed) };
            simulation.run(balance, 400.0)
        };
        let [affinity, least_loaded] = [Balance::StoreAffinity, Balance::LeastLoaded].map(run);
        let (home, p99) = (affinity.at_home(), [affinity.p99_ms(), least_loaded.p99_ms()]);
        assert!(home > 0.6 && least_loaded.at_home() < 0.4, "seed {seed}: {home}, {}", least_loaded.at_home());
        assert!(p99[0] <= 3.0 * p99[1], "seed {seed}: {p99:?} ms");
    }
}
