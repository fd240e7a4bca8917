//! Whether an endpoint is fit for requests, judged by what becomes of them and by probes: healthy, ejected, probing or draining,
//! a function for each.
//!
//! Who fails too often is ejected, for longer each time. When that time is over a request is let through now and then, and it
//! is probing: an answer brings it back, a failure ejects it again. Where the upstream has probes they say when it is back, and
//! no request has to find out. Who is back gets its share of the requests little by little. Draining is an order and ends by
//! one, or comes and goes with an address in DNS.

mod rules;
mod states;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

pub use rules::HealthRules;
use states::{Event, Healthy, State, Why};

use super::{
    allowance::Allowance,
    moment::{Moment, millis},
};
use crate::telemetry::outcome::{EndpointReason, EndpointState};

/// How long after a failure no request is sent that could not be repeated, as long as there is another endpoint.
const SUSPECT_MS: u64 = 1_000;

/// Until another request is let through to an ejected endpoint where the last one told nothing: its client went away.
const TRIAL_INTERVAL_MS: u64 = 5_000;

/// How long a request is waited for that could be repeated if it fails. Then any other is let through.
const TRIAL_OVERDUE_MS: u64 = 5_000;

/// The share of its requests that an endpoint gets at once when it comes back: what has no traffic at all never warms up.
const SHARE_MIN: f32 = 0.1;

/// What the requests of an endpoint tell of it. Every choice looks at the atomics; the state is locked when something fails.
#[derive(Debug)]
pub(super) struct Health {
    standing: AtomicU8,
    failures_in_a_row: AtomicU32,
    answered: AtomicU32,
    failed_at: AtomicU64,
    /// When the next request may be let through to one that is out.
    due: AtomicU64,
    /// When it came, or came back; 0 where it was always there.
    back_since: AtomicU64,
    state: Mutex<State>,
    rules: HealthRules,
    allowance: Arc<Allowance>,
}

impl Health {
    /// A healthy one. Who has come while others were there, since a moment after the start, gets its share little by little.
    pub(super) fn new(rules: HealthRules, allowance: Arc<Allowance>, since: Moment) -> Self {
        Self {
            standing: AtomicU8::new(EndpointState::Healthy as u8),
            failures_in_a_row: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            failed_at: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            back_since: AtomicU64::new(since.0),
            state: Mutex::new(State::Healthy(Healthy::since(since))),
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

    /// Whether an operator has said so.
    pub(super) fn is_ordered_to_drain(&self) -> bool {
        matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Draining(why) if why.ordered)
    }

    /// In which state it is.
    pub(super) fn standing(&self) -> EndpointState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing()
    }

    /// Why it is out of use, where it is.
    pub(super) fn reason(&self) -> Option<EndpointReason> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reason()
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

    /// From now on it gets nothing new by order, or its share again.
    pub(super) fn drain(&self, drain: bool, now: Moment) -> Option<EndpointState> {
        self.apply(if drain { Event::Drain(Why::ORDER) } else { Event::Resume }, now)
    }

    /// Its name leads to it, or does not any more.
    pub(super) fn list(&self, listed: bool, now: Moment) -> Option<EndpointState> {
        self.apply(if listed { Event::Listed } else { Event::Drain(Why::UNLISTED) }, now)
    }

    fn apply(&self, event: Event, now: Moment) -> Option<EndpointState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.standing();
        *state = state.after(event, now, &self.rules, &self.allowance);
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
            State::Probing { .. } | State::Draining(_) => {}
        }
        self.standing.store(state.standing() as u8, Relaxed);
    }
}
