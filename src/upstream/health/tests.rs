//! What becomes of endpoints, failure by failure, over invented time.

use std::sync::Arc;

use super::*;

const SECOND: u64 = 1000;

fn one_of(endpoints: usize) -> Health {
    Health::new(HealthRules::default(), Arc::new(Allowance::new(endpoints, 50)), Moment(0))
}

fn fail(health: &Health, times: usize, at: u64) -> Option<EndpointState> {
    (0..times).filter_map(|_| health.failed(Moment(at))).last()
}

#[test]
fn failures_in_a_row_eject_and_an_answer_between_them_counts_anew() {
    let health = one_of(2);
    assert_eq!(fail(&health, 4, 0), None);
    health.answered(Moment(0));
    assert_eq!(fail(&health, 4, 0), None);
    assert_eq!(fail(&health, 1, 0), Some(EndpointState::Ejected));
    assert!(!health.is_healthy());
}

#[test]
fn a_share_of_failures_within_a_window_ejects() {
    let alternating = |health: &Health, requests: u64, from: u64| {
        (0..requests).find_map(|number| {
            let now = Moment(from + number * 100);
            if number % 2 == 0 { health.failed(now) } else { health.answered(now) }
        })
    };
    assert_eq!(alternating(&one_of(2), 18, 0), None, "too few to say");
    assert_eq!(alternating(&one_of(2), 21, 0), Some(EndpointState::Ejected));
    let health = one_of(2);
    for window in 0..5 {
        assert_eq!(alternating(&health, 10, window * 11 * SECOND), None, "each window counts for itself");
    }
}

#[test]
fn a_few_failures_among_many_answers_eject_nobody() {
    let health = one_of(2);
    for number in 0..1000 {
        let now = Moment(number * 5);
        let standing = if number % 4 == 0 { health.failed(now) } else { health.answered(now) };
        assert_eq!(standing, None);
    }
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let health = one_of(1);
    assert_eq!(fail(&health, 100, 0), None);
    assert!(health.is_healthy());
}

#[test]
fn an_ejected_one_is_tried_when_its_time_is_over_and_is_back_with_an_answer() {
    let health = one_of(2);
    fail(&health, 5, 0);
    assert!(!health.claim_trial(true, Moment(1999)));
    health.answered(Moment(1999));
    assert!(!health.is_healthy(), "an answer from before tells nothing");
    assert!(health.claim_trial(true, Moment(2000)) && !health.claim_trial(true, Moment(2001)), "one at a time");
    assert_eq!(health.answered(Moment(2010)), Some(EndpointState::Healthy));
    assert!(health.is_healthy() && !health.claim_trial(true, Moment(99_000)));
}

#[test]
fn it_is_ejected_for_twice_as_long_each_time_until_it_was_well_for_long() {
    let (health, mut now) = (one_of(2), 0);
    for seconds in [2, 4, 8, 16, 32, 60, 60] {
        fail(&health, 5, now);
        assert!(!health.claim_trial(true, Moment(now + seconds * SECOND - 1)), "{seconds}");
        now += seconds * SECOND;
        assert!(health.claim_trial(true, Moment(now)), "{seconds}");
    }
    health.answered(Moment(now));
    now += 61 * SECOND;
    fail(&health, 5, now);
    assert!(health.claim_trial(true, Moment(now + 2 * SECOND)));
}

#[test]
fn a_trial_that_tells_nothing_is_followed_by_another() {
    let health = one_of(2);
    fail(&health, 5, 0);
    assert!(health.claim_trial(true, Moment(2000)));
    assert!(!health.claim_trial(true, Moment(6999)) && health.claim_trial(true, Moment(7000)));
}

#[test]
fn requests_that_cannot_be_repeated_are_let_through_only_where_no_other_comes() {
    let health = one_of(2);
    fail(&health, 5, 0);
    assert!(!health.claim_trial(false, Moment(6999)) && health.claim_trial(false, Moment(7000)));
}

#[test]
fn a_single_failure_makes_suspect_for_a_moment() {
    let health = one_of(2);
    assert!(!health.is_suspect(Moment(0)));
    fail(&health, 1, 0);
    assert!(health.is_suspect(Moment(999)) && !health.is_suspect(Moment(1000)));
    health.answered(Moment(0));
    assert!(!health.is_suspect(Moment(0)));
}

#[test]
fn one_that_drains_gets_nothing_until_it_may_go_on() {
    for failures in [0, 5] {
        let allowance = Arc::new(Allowance::new(2, 50));
        let health = Health::new(HealthRules::default(), Arc::clone(&allowance), Moment(0));
        fail(&health, failures, 0);
        assert_eq!(health.drain(true, Moment(1)), Some(EndpointState::Draining));
        assert!(allowance.is_unused() && health.is_draining() && !health.claim_trial(true, Moment(99_000)));
        health.answered(Moment(2));
        fail(&health, 9, 3);
        assert_eq!(health.probed(true, Moment(4)), None);
        assert_eq!(health.drain(false, Moment(5)), Some(EndpointState::Healthy));
        assert!(health.is_healthy() && health.share(Moment(6)) < 0.2);
    }
}

#[test]
fn where_there_are_probes_they_say_who_is_back() {
    let rules = HealthRules { is_probed: true, ..HealthRules::default() };
    let health = Health::new(rules, Arc::new(Allowance::new(2, 50)), Moment(0));
    fail(&health, 5, 0);
    assert!(!health.claim_trial(true, Moment(99_000)));
    assert_eq!(health.probed(true, Moment(1999)), None, "probes pass, and requests have failed");
    assert_eq!(health.probed(true, Moment(2000)), Some(EndpointState::Healthy));
    assert_eq!(health.probed(false, Moment(3000)), Some(EndpointState::Ejected));
    assert_eq!(health.probed(false, Moment(4000)), None);
    assert_eq!(health.probed(true, Moment(4001)), Some(EndpointState::Healthy));
}

#[test]
fn probes_of_all_take_out_no_more_than_the_share() {
    let allowance = Arc::new(Allowance::new(3, 50));
    let all: Vec<_> = (0..3).map(|_| Health::new(HealthRules::default(), Arc::clone(&allowance), Moment(0))).collect();
    all.iter().for_each(|health| _ = health.probed(false, Moment(0)));
    assert_eq!(all.iter().filter(|health| health.is_healthy()).count(), 2);
}

#[test]
fn one_that_is_back_gets_its_share_little_by_little() {
    let health = one_of(2);
    assert!((health.share(Moment(5)) - 1.0).abs() < f32::EPSILON);
    fail(&health, 5, 0);
    health.claim_trial(true, Moment(2000));
    health.answered(Moment(2000));
    let shares = [2000, 7000, 12_000, 99_000].map(|now| health.share(Moment(now)));
    assert_eq!(shares, [0.1, 0.5, 1.0, 1.0]);
}

#[test]
fn who_drains_for_dns_is_back_with_its_name_and_who_drains_by_order_is_not() {
    let health = one_of(2);
    assert_eq!(health.list(true, Moment(0)), None);
    assert_eq!(health.list(false, Moment(1)), Some(EndpointState::Draining));
    assert_eq!(health.reason(), Some(EndpointReason::Unlisted));
    assert_eq!(health.list(true, Moment(2)), Some(EndpointState::Healthy));
    health.drain(true, Moment(3));
    assert_eq!((health.list(false, Moment(4)), health.list(true, Moment(5))), (None, None));
    assert_eq!(health.reason(), Some(EndpointReason::Order));
    health.drain(false, Moment(6));
    health.list(false, Moment(7));
    health.drain(true, Moment(8));
    assert_eq!(health.list(true, Moment(9)), None, "an order outlasts what DNS says");
    health.list(false, Moment(10));
    assert_eq!(health.drain(false, Moment(11)), None, "nor does an order bring back what is gone");
    assert_eq!((health.standing(), health.reason()), (EndpointState::Draining, Some(EndpointReason::Unlisted)));
    assert_eq!(health.list(true, Moment(12)), Some(EndpointState::Healthy));
}

#[test]
fn who_comes_while_others_are_there_gets_its_share_little_by_little() {
    let since = |since| {
        Health::new(HealthRules::default(), Arc::new(Allowance::new(2, 50)), Moment(since)).share(Moment(5_000))
    };
    assert_eq!([since(5_000), since(0)], [0.1, 1.0]);
}
