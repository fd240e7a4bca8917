//! Whether an endpoint is fit for requests, judged by what becomes of them: healthy, ejected or probing, a function for each.
//!
//! Who fails too often is ejected, for longer each time. When that time is over a request is let through now and then, and it
//! is probing: an answer brings it back, a failure ejects it again. Who is back gets its share of the requests little by little.

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
        }
    }
}

/// In which state an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// It gets its share of the requests.
    Healthy,
    /// It has failed too often and gets none.
    Ejected,
    /// It was ejected for long enough and gets one now and then.
    Probing,
}

impl Condition {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy(Healthy),
    Ejected { ejections: u32, until: Moment },
    Probing { ejections: u32 },
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
    condition: AtomicU8,
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
            condition: AtomicU8::new(Condition::Healthy as u8),
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
        self.condition.load(Relaxed) == Condition::Healthy as u8
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
        if self.is_healthy() || now.0 < due.saturating_add(wait) {
            return false;
        }
        let claimed = self.due.compare_exchange(due, now.0 + TRIAL_INTERVAL_MS, Relaxed, Relaxed).is_ok();
        if claimed {
            self.apply(Event::Tried, now);
        }
        claimed
    }

    /// A request was answered; the new condition, where it is another one.
    pub(super) fn answered(&self, now: Moment) -> Option<Condition> {
        self.answered.fetch_add(1, Relaxed);
        if self.failures_in_a_row.load(Relaxed) > 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
        if self.is_healthy() { None } else { self.apply(Event::Answered, now) }
    }

    /// A request failed; the new condition, where it is another one.
    pub(super) fn failed(&self, now: Moment) -> Option<Condition> {
        let in_a_row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        self.failed_at.store(now.0, Relaxed);
        self.apply(Event::Failed { in_a_row, answered: self.answered.load(Relaxed) }, now)
    }

    fn apply(&self, event: Event, now: Moment) -> Option<Condition> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.condition();
        *state = match *state {
            State::Healthy(healthy) => healthy.after(event, now, &self.rules, &self.allowance),
            State::Ejected { ejections, until } => ejected(ejections, until, event),
            State::Probing { ejections } => probing(ejections, event, now, &self.rules, &self.allowance),
        };
        self.publish(&state);
        Some(state.condition()).filter(|condition| *condition != before)
    }

    fn publish(&self, state: &State) {
        match state {
            State::Healthy(healthy) => self.back_since.store(healthy.since.0, Relaxed),
            State::Ejected { until, .. } => self.due.store(until.0, Relaxed),
            State::Probing { .. } => {}
        }
        self.condition.store(state.condition() as u8, Relaxed);
    }
}

impl State {
    fn condition(&self) -> Condition {
        match self {
            Self::Healthy(_) => Condition::Healthy,
            Self::Ejected { .. } => Condition::Ejected,
            Self::Probing { .. } => Condition::Probing,
        }
    }
}

impl Healthy {
    /// What becomes of a healthy endpoint.
    fn after(mut self, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
        let Event::Failed { in_a_row, answered } = event else { return State::Healthy(self) };
        let window = self.window.take().filter(|window| now.0.saturating_sub(window.began.0) < WINDOW_MS);
        let window = window.unwrap_or(Window { began: now, failures: 0, answered_before: answered }).with_failure();
        let in_a_row_max = rules.eject_after;
        let too_many = in_a_row_max > 0 && in_a_row as usize >= in_a_row_max;
        if (too_many || window.is_too_bad(answered, rules.eject_percent)) && allowance.take() {
            return eject(self.ejections_that_count(now, rules), now, rules);
        }
        State::Healthy(Self { window: Some(window), ..self })
    }

    fn ejections_that_count(&self, now: Moment, rules: &HealthRules) -> u32 {
        let was_well_for = now.0.saturating_sub(self.since.0);
        if was_well_for < millis(rules.eject_time_max) { self.ejections } else { 0 }
    }
}

/// What becomes of an ejected one. Requests that it had before tell nothing of what it would do with the next one.
fn ejected(ejections: u32, until: Moment, event: Event) -> State {
    match event {
        Event::Tried => State::Probing { ejections },
        Event::Answered | Event::Failed { .. } => State::Ejected { ejections, until },
    }
}

/// What becomes of a probing one.
fn probing(ejections: u32, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
    match event {
        Event::Tried => State::Probing { ejections },
        Event::Failed { .. } => eject(ejections, now, rules),
        Event::Answered => {
            allowance.give_back();
            State::Healthy(Healthy { since: now, ejections, window: None })
        }
    }
}

fn eject(ejections: u32, now: Moment, rules: &HealthRules) -> State {
    let factor = 1_u32.checked_shl(ejections).unwrap_or(u32::MAX);
    let time = rules.eject_time.saturating_mul(factor).min(rules.eject_time_max);
    State::Ejected { ejections: ejections.saturating_add(1), until: Moment(now.0 + millis(time)) }
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

    fn fail(health: &Health, times: usize, at: u64) -> Option<Condition> {
        (0..times).filter_map(|_| health.failed(Moment(at))).last()
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_between_them_counts_anew() {
        let health = one_of(2);
        assert_eq!(fail(&health, 4, 0), None);
        health.answered(Moment(0));
        assert_eq!(fail(&health, 4, 0), None);
        assert_eq!(fail(&health, 1, 0), Some(Condition::Ejected));
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
        assert_eq!(alternating(&one_of(2), 21, 0), Some(Condition::Ejected));
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
            let condition = if number % 4 == 0 { health.failed(now) } else { health.answered(now) };
            assert_eq!(condition, None);
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
        assert_eq!(health.answered(Moment(2010)), Some(Condition::Healthy));
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
