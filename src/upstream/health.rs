//! Whether an endpoint is fit for requests, judged by what becomes of them and by probes: healthy, ejected, probing or draining,
//! a function for each.
//!
//! Who fails too often is ejected, for longer each time. When that time is over a request is let through now and then, and it
//! is probing: an answer brings it back, a failure ejects it again. Where the upstream has probes they say when it is back, and
//! no request has to find out. Who is back gets its share of the requests little by little. Draining is an order, and ends by
//! one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    allowance::Allowance,
    moment::{Moment, millis},
};
use crate::telemetry::outcome::EndpointState;

/// How long failures are counted together, from the first one on, and answers with them.
const WINDOW_MS: u64 = 10_000;

/// Requests in a window before a share of them says anything.
const WINDOW_REQUESTS_MIN: u32 = 20;

/// How long after a failure no request is sent that could not be repeated, as long as there is another endpoint.
const SUSPECT_MS: u64 = 1_000;

/// Until another request is let through to an ejected endpoint where the last one told nothing: its client went away.
const TRIAL_INTERVAL_MS: u64 = 5_000;

/// How long a request is waited for that could be repeated if it fails. Then any other is let through.
const TRIAL_OVERDUE_MS: u64 = 5_000;

/// The share of its requests that an endpoint gets at once when it comes back: what has no traffic at all never warms up.
const SHARE_MIN: f32 = 0.1;

/// When an endpoint is taken out of use, for how long, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// Ejected after so many failures in a row; 0: never.
    pub eject_after: usize,
    /// Ejected when so many of a hundred requests have failed lately; 0: never.
    pub eject_percent: usize,
    /// For how long the first time. It is twice as long each further time.
    pub eject_time: Duration,
    /// The longest of these times; one that was well for so long is ejected for the first time again.
    pub eject_time_max: Duration,
    /// How many of a hundred endpoints may be out at once.
    pub ejected_max_percent: usize,
    /// In which time an endpoint that is back gets its full share.
    pub slow_start: Duration,
    /// Whether probes say when it is back.
    pub is_probed: bool,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            eject_after: 5,
            eject_percent: 50,
            eject_time: Duration::from_secs(2),
            eject_time_max: Duration::from_secs(60),
            ejected_max_percent: 50,
            slow_start: Duration::from_secs(10),
            is_probed: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Answered,
    /// The last one of so many failures in a row; so many answers were ever counted.
    Failed {
        in_a_row: u32,
        answered: u32,
    },
    /// A request is let through to see whether it is back.
    Tried,
    /// Enough probes in a row were answered well.
    ProbesPass,
    /// Enough of them were not.
    ProbesFail,
    Drain,
    Resume,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy(Healthy),
    Ejected { ejections: u32, until: Moment, reason: Reason },
    Probing { ejections: u32 },
    Draining,
}

/// Why an endpoint is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    InARow,
    Share,
    Trial,
    Probes,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::InARow => "failures in a row",
            Self::Share => "share of failures",
            Self::Trial => "failed again when it was tried",
            Self::Probes => "failed probes",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Healthy {
    since: Moment,
    /// How often in a row it was ejected before.
    ejections: u32,
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    began: Moment,
    failures: u32,
    /// How many answers were counted before.
    answered_before: u32,
}

/// What the requests of an endpoint tell of it. Every choice looks at the atomics; the state is locked when something fails.
#[derive(Debug)]
pub(super) struct Health {
    standing: AtomicU8,
    failures_in_a_row: AtomicU32,
    answered: AtomicU32,
    failed_at: AtomicU64,
    /// When the next request may be let through to one that is out.
    due: AtomicU64,
    /// When it came back; 0 where it was never out.
    back_since: AtomicU64,
    state: Mutex<State>,
    rules: HealthRules,
    allowance: Arc<Allowance>,
}

impl Health {
    pub(super) fn new(rules: HealthRules, allowance: Arc<Allowance>) -> Self {
        Self {
            standing: AtomicU8::new(EndpointState::Healthy as u8),
            failures_in_a_row: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            failed_at: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            back_since: AtomicU64::new(0),
            state: Mutex::new(State::Healthy(Healthy::default())),
            rules,
            allowance,
        }
    }

    /// Whether it gets its share of the requests.
    pub(super) fn is_healthy(&self) -> bool {
        self.standing.load(Relaxed) == EndpointState::Healthy as u8
    }

    /// Whether nothing new may be sent to it.
    pub(super) fn is_draining(&self) -> bool {
        self.standing.load(Relaxed) == EndpointState::Draining as u8
    }

    /// In which state it is.
    pub(super) fn standing(&self) -> EndpointState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing()
    }

    /// Why it is out of use, where it is.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Healthy(_) => None,
            State::Ejected { reason, .. } => Some(reason.as_str()),
            State::Probing { .. } => Some("is being tried"),
            State::Draining => Some("by order"),
        }
    }

    /// Whether its last answer was none, a moment ago.
    pub(super) fn is_suspect(&self, now: Moment) -> bool {
        self.failures_in_a_row.load(Relaxed) > 0 && now.0.saturating_sub(self.failed_at.load(Relaxed)) < SUSPECT_MS
    }

    /// Which share of its requests it gets.
    pub(super) fn share(&self, now: Moment) -> f32 {
        match self.back_since.load(Relaxed) {
            0 => 1.0,
            since => {
                let elapsed_ms = now.0.saturating_sub(since) as f32;
                (elapsed_ms / millis(self.rules.slow_start).max(1) as f32).clamp(SHARE_MIN, 1.0)
            }
        }
    }

    /// Whether a request is let through to see whether it is back. One at a time is.
    pub(super) fn claim_trial(&self, repeatable: bool, now: Moment) -> bool {
        let due = self.due.load(Relaxed);
        let wait = if repeatable { 0 } else { TRIAL_OVERDUE_MS };
        if self.rules.is_probed || self.is_healthy() || self.is_draining() || now.0 < due.saturating_add(wait) {
            return false;
        }
        let claimed = self.due.compare_exchange(due, now.0 + TRIAL_INTERVAL_MS, Relaxed, Relaxed).is_ok();
        if claimed {
            self.apply(Event::Tried, now);
        }
        claimed
    }

    /// A request was answered; the new standing, where it is another one.
    pub(super) fn answered(&self, now: Moment) -> Option<EndpointState> {
        self.answered.fetch_add(1, Relaxed);
        if self.failures_in_a_row.load(Relaxed) > 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
        if self.is_healthy() { None } else { self.apply(Event::Answered, now) }
    }

    /// A request failed; the new standing, where it is another one.
    pub(super) fn failed(&self, now: Moment) -> Option<EndpointState> {
        let in_a_row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        self.failed_at.store(now.0, Relaxed);
        self.apply(Event::Failed { in_a_row, answered: self.answered.load(Relaxed) }, now)
    }

    /// As many probes in a row as the upstream asks for were answered well, or were not.
    pub(super) fn probed(&self, pass: bool, now: Moment) -> Option<EndpointState> {
        self.apply(if pass { Event::ProbesPass } else { Event::ProbesFail }, now)
    }

    /// From now on it gets nothing new, or its share again.
    pub(super) fn drain(&self, drain: bool, now: Moment) -> Option<EndpointState> {
        self.apply(if drain { Event::Drain } else { Event::Resume }, now)
    }

    fn apply(&self, event: Event, now: Moment) -> Option<EndpointState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.standing();
        *state = match *state {
            State::Healthy(healthy) => healthy.after(event, now, &self.rules, &self.allowance),
            State::Ejected { ejections, until, .. } => ejected(*state, (ejections, until), event, now, &self.allowance),
            State::Probing { ejections } => probing(ejections, event, now, &self.rules, &self.allowance),
            State::Draining => draining(event, now),
        };
        self.publish(&state);
        let changed = Some(state.standing()).filter(|standing| *standing != before);
        if changed == Some(EndpointState::Healthy) {
            self.failures_in_a_row.store(0, Relaxed);
        }
        changed
    }

    fn publish(&self, state: &State) {
        match state {
            State::Healthy(healthy) => self.back_since.store(healthy.since.0, Relaxed),
            State::Ejected { until, .. } => self.due.store(until.0, Relaxed),
            State::Probing { .. } | State::Draining => {}
        }
        self.standing.store(state.standing() as u8, Relaxed);
    }
}

impl State {
    fn standing(&self) -> EndpointState {
        match self {
            Self::Healthy(_) => EndpointState::Healthy,
            Self::Ejected { .. } => EndpointState::Ejected,
            Self::Probing { .. } => EndpointState::Probing,
            Self::Draining => EndpointState::Draining,
        }
    }
}

impl Healthy {
    /// What becomes of a healthy endpoint.
    fn after(mut self, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
        let (in_a_row, answered) = match event {
            Event::Failed { in_a_row, answered } => (in_a_row, answered),
            Event::Drain => return State::Draining,
            Event::ProbesFail if allowance.take() => {
                let ejections = self.ejections_that_count(now, rules);
                return State::Ejected { ejections, until: now, reason: Reason::Probes };
            }
            _ => return State::Healthy(self),
        };
        let window = self.window.take().filter(|window| now.0.saturating_sub(window.began.0) < WINDOW_MS);
        let window = window.unwrap_or(Window { began: now, failures: 0, answered_before: answered }).with_failure();
        let in_a_row_max = rules.eject_after;
        let too_many = in_a_row_max > 0 && in_a_row as usize >= in_a_row_max;
        let reason = match window.is_too_bad(answered, rules.eject_percent) {
            _ if too_many => Some(Reason::InARow),
            true => Some(Reason::Share),
            false => None,
        };
        match reason.filter(|_| allowance.take()) {
            Some(reason) => eject(self.ejections_that_count(now, rules), reason, now, rules),
            None => State::Healthy(Self { window: Some(window), ..self }),
        }
    }

    fn ejections_that_count(&self, now: Moment, rules: &HealthRules) -> u32 {
        let was_well_for = now.0.saturating_sub(self.since.0);
        if was_well_for < millis(rules.eject_time_max) { self.ejections } else { 0 }
    }
}

/// What becomes of an ejected one. Requests that it had before tell nothing of what it would do with the next one.
fn ejected(state: State, (ejections, until): (u32, Moment), event: Event, now: Moment, allowance: &Allowance) -> State {
    match event {
        Event::Tried => State::Probing { ejections },
        Event::ProbesPass if now >= until => back(ejections, now, allowance),
        Event::Drain => drain(allowance),
        _ => state,
    }
}

/// What becomes of a probing one.
fn probing(ejections: u32, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
    match event {
        Event::Failed { .. } => eject(ejections, Reason::Trial, now, rules),
        Event::Answered => back(ejections, now, allowance),
        Event::Drain => drain(allowance),
        _ => State::Probing { ejections },
    }
}

/// What becomes of a draining one. When it is to go on it is as new: it was probably replaced meanwhile.
fn draining(event: Event, now: Moment) -> State {
    match event {
        Event::Resume => State::Healthy(Healthy { since: now, ..Healthy::default() }),
        _ => State::Draining,
    }
}

fn back(ejections: u32, now: Moment, allowance: &Allowance) -> State {
    allowance.give_back();
    State::Healthy(Healthy { since: now, ejections, window: None })
}

/// Who drains is out by an order, and takes nobody else's place.
fn drain(allowance: &Allowance) -> State {
    allowance.give_back();
    State::Draining
}

fn eject(ejections: u32, reason: Reason, now: Moment, rules: &HealthRules) -> State {
    let factor = 1_u32.checked_shl(ejections).unwrap_or(u32::MAX);
    let time = rules.eject_time.saturating_mul(factor).min(rules.eject_time_max);
    State::Ejected { ejections: ejections.saturating_add(1), until: Moment(now.0 + millis(time)), reason }
}

impl Window {
    fn with_failure(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }

    fn is_too_bad(&self, answered: u32, percent_max: usize) -> bool {
        let requests = self.failures + answered.wrapping_sub(self.answered_before);
        let is_known = percent_max > 0 && requests >= WINDOW_REQUESTS_MIN;
        is_known && u64::from(self.failures) * 100 >= u64::from(requests) * percent_max as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    fn one_of(endpoints: usize) -> Health {
        Health::new(HealthRules::default(), Arc::new(Allowance::new(endpoints, 50)))
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
            let health = Health::new(HealthRules::default(), Arc::clone(&allowance));
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
        let health = Health::new(rules, Arc::new(Allowance::new(2, 50)));
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
        let all: Vec<_> = (0..3).map(|_| Health::new(HealthRules::default(), Arc::clone(&allowance))).collect();
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
}
