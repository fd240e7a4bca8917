//! The states of an endpoint, a function for what becomes of each.

use super::HealthRules;
use crate::{
    telemetry::outcome::{EndpointReason, EndpointState},
    upstream::{
        allowance::Allowance,
        moment::{Moment, millis},
    },
};

/// How long failures are counted together, from the first one on, and answers with them.
const WINDOW_MS: u64 = 10_000;

/// Requests in a window before a share of them says anything.
const WINDOW_REQUESTS_MIN: u32 = 20;

/// What happens to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
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
    /// Nothing new is to be sent there.
    Drain(Why),
    /// An operator wants it to go on.
    Resume,
    /// Its name leads to it, perhaps again.
    Listed,
}

/// Why an endpoint drains; for one of the two at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Why {
    /// An operator has said so.
    pub(super) ordered: bool,
    /// Its name does not lead to it any more.
    pub(super) unlisted: bool,
}

impl Why {
    pub(super) const ORDER: Self = Self { ordered: true, unlisted: false };
    pub(super) const UNLISTED: Self = Self { ordered: false, unlisted: true };

    /// For the reasons of both.
    fn and(self, other: Self) -> Self {
        Self { ordered: self.ordered || other.ordered, unlisted: self.unlisted || other.unlisted }
    }
}

/// In which state an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Healthy(Healthy),
    Ejected { ejections: u32, until: Moment, reason: EndpointReason },
    Probing { ejections: u32 },
    Draining(Why),
}

/// What is known of a healthy one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Healthy {
    /// Since when.
    pub(super) since: Moment,
    /// How often in a row it was ejected before.
    ejections: u32,
    window: Option<Window>,
}

/// Failures that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    began: Moment,
    failures: u32,
    /// How many answers were counted before.
    answered_before: u32,
}

impl State {
    /// What `event` makes of it.
    pub(super) fn after(self, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> Self {
        match self {
            Self::Healthy(healthy) => healthy.after(event, now, rules, allowance),
            Self::Ejected { ejections, until, .. } => ejected(self, (ejections, until), event, now, allowance),
            Self::Probing { ejections } => probing(ejections, event, now, rules, allowance),
            Self::Draining(why) => draining(why, event, now),
        }
    }

    /// Why it is out of use, where it is.
    pub(super) fn reason(&self) -> Option<EndpointReason> {
        match self {
            Self::Healthy(_) => None,
            Self::Ejected { reason, .. } => Some(*reason),
            Self::Probing { .. } => Some(EndpointReason::Trial),
            Self::Draining(why) if why.ordered => Some(EndpointReason::Order),
            Self::Draining(_) => Some(EndpointReason::Unlisted),
        }
    }

    /// Its name.
    pub(super) fn standing(&self) -> EndpointState {
        match self {
            Self::Healthy(_) => EndpointState::Healthy,
            Self::Ejected { .. } => EndpointState::Ejected,
            Self::Probing { .. } => EndpointState::Probing,
            Self::Draining(_) => EndpointState::Draining,
        }
    }
}

impl Healthy {
    /// One of which nothing else is known.
    pub(super) fn since(since: Moment) -> Self {
        Self { since, ..Self::default() }
    }

    /// What becomes of a healthy endpoint.
    fn after(mut self, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
        let (in_a_row, answered) = match event {
            Event::Failed { in_a_row, answered } => (in_a_row, answered),
            Event::Drain(why) => return State::Draining(why),
            Event::ProbesFail if allowance.take() => {
                let ejections = self.ejections_that_count(now, rules);
                return State::Ejected { ejections, until: now, reason: EndpointReason::FailedProbes };
            }
            _ => return State::Healthy(self),
        };
        let window = self.window.take().filter(|window| now.0.saturating_sub(window.began.0) < WINDOW_MS);
        let window = window.unwrap_or(Window { began: now, failures: 0, answered_before: answered }).with_failure();
        let in_a_row_max = rules.eject_after;
        let too_many = in_a_row_max > 0 && in_a_row as usize >= in_a_row_max;
        let reason = match window.is_too_bad(answered, rules.eject_percent) {
            _ if too_many => Some(EndpointReason::FailuresInARow),
            true => Some(EndpointReason::ShareOfFailures),
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
        Event::Drain(why) => drain(why, allowance),
        _ => state,
    }
}

/// What becomes of a probing one.
fn probing(ejections: u32, event: Event, now: Moment, rules: &HealthRules, allowance: &Allowance) -> State {
    match event {
        Event::Failed { .. } => eject(ejections, EndpointReason::FailedTrial, now, rules),
        Event::Answered => back(ejections, now, allowance),
        Event::Drain(why) => drain(why, allowance),
        _ => State::Probing { ejections },
    }
}

/// What becomes of a draining one. It drains until nothing is left of the reasons: an operator does not bring back what DNS has
/// dropped, nor the other way round. When it is to go on it is as new: it was probably replaced meanwhile.
fn draining(why: Why, event: Event, now: Moment) -> State {
    let left = match event {
        Event::Drain(further) => why.and(further),
        Event::Resume => Why { ordered: false, ..why },
        Event::Listed => Why { unlisted: false, ..why },
        _ => why,
    };
    if left.ordered || left.unlisted { State::Draining(left) } else { State::Healthy(Healthy::since(now)) }
}

fn back(ejections: u32, now: Moment, allowance: &Allowance) -> State {
    allowance.give_back();
    State::Healthy(Healthy { since: now, ejections, window: None })
}

/// Who drains is out by an order, and takes nobody else's place.
fn drain(why: Why, allowance: &Allowance) -> State {
    allowance.give_back();
    State::Draining(why)
}

fn eject(ejections: u32, reason: EndpointReason, now: Moment, rules: &HealthRules) -> State {
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
