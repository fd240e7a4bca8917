//! When to look at a domain again. Pure: chance comes as an argument.

use std::time::{Duration, SystemTime};

use super::{Evidence, Standing, State};

/// Somebody sits before a DNS panel and waits: with the one at once, ten looks in the first twenty minutes.
const IMPATIENT: [u64; 9] = [20, 30, 60, 90, 120, 150, 180, 210, 240];

/// After them the pause doubles from here …
const PATIENT_FIRST: Duration = Duration::from_mins(10);

/// … to here.
const PATIENT_MAX: Duration = Duration::from_hours(4);

/// How long a customer is believed to be still at it.
const PATIENCE: Duration = Duration::from_hours(7 * 24);

/// For what has been settled for long, one way or the other.
const DAILY: Duration = Duration::from_hours(24);

/// While a domain drifts its owner may be repairing it, and nothing is decided on a single answer.
const DRIFTING: Duration = Duration::from_hours(6);

/// After a question that failed: whoever could not answer is asked again soon, unless the next look is due even sooner.
const AFTER_FAILURE: Duration = Duration::from_mins(15);

/// The pause after a look. `chance` is from 0 to 1 and spreads the looks by a tenth to either side, so that rows which
/// were imported together are not looked at together for ever.
pub fn next_check(standing: &Standing, last: Evidence, now: SystemTime, chance: f64) -> Duration {
    let regular = regular(standing, now);
    let pause = if last.is_partial() { regular.min(AFTER_FAILURE) } else { regular };
    pause.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
}

fn regular(standing: &Standing, now: SystemTime) -> Duration {
    match standing.state {
        // Both wait for the customer's next click: the first for the proof, the second for the address.
        State::Pending | State::Verified if standing.age(now) < PATIENCE => awaited(standing.looks),
        State::Drifting => DRIFTING,
        State::Pending | State::Verified | State::Live | State::Lost => DAILY,
    }
}

fn awaited(looks: u32) -> Duration {
    // The one that it comes after is counted, unless it has changed the state.
    let looks = (looks as usize).saturating_sub(1);
    if let Some(seconds) = IMPATIENT.get(looks) {
        return Duration::from_secs(*seconds);
    }
    let doublings = u32::try_from(looks - IMPATIENT.len()).unwrap_or(u32::MAX).min(16);
    (PATIENT_FIRST * 2_u32.pow(doublings)).min(PATIENT_MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Proof, Reach},
        *,
    };

    const START: SystemTime = SystemTime::UNIX_EPOCH;
    const NOTHING: Evidence = Evidence { proof: Proof::Absent, reach: Reach::Elsewhere };

    /// When the looks at a domain take place of which nothing is ever found.
    fn looks(until: Duration) -> Vec<Duration> {
        let (mut standing, mut now, mut at) = (Standing::new(START), START, Vec::new());
        while now < START + until {
            at.push(now.duration_since(START).unwrap());
            standing = standing.after(NOTHING, now);
            now += next_check(&standing, NOTHING, now, 0.5);
        }
        at
    }

    #[test]
    fn ten_looks_fall_into_the_first_twenty_minutes() {
        let looks = looks(Duration::from_hours(1));
        let first = looks.iter().filter(|at| **at <= Duration::from_mins(20)).count();
        assert_eq!(first, 10);
    }

    #[test]
    fn looks_become_rarer_to_four_hours_for_a_week_and_to_a_day_after_it() {
        let looks = looks(Duration::from_hours(14 * 24));
        let pauses: Vec<_> = looks.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
        assert!(pauses.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{pauses:?}");
        let longest = |from: Duration, to: Duration| {
            pauses.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, pause)| *pause).max().unwrap()
        };
        assert_eq!(longest(Duration::ZERO, PATIENCE), PATIENT_MAX);
        assert_eq!(longest(PATIENCE, PATIENCE * 2), DAILY);
    }

    #[test]
    fn a_question_that_failed_is_asked_again_soon() {
        let live = Standing { state: State::Live, since: START, looks: 9 };
        let failed = Evidence { proof: Proof::Unknown, reach: Reach::Here };
        assert_eq!(next_check(&live, NOTHING, START, 0.5), DAILY);
        assert_eq!(next_check(&live, failed, START, 0.5), AFTER_FAILURE);
        let new = Standing::new(START);
        assert_eq!(next_check(&new, failed, START, 0.5), Duration::from_secs(20));
    }

    #[test]
    fn chance_spreads_the_looks_by_a_tenth() {
        let new = Standing::new(START);
        assert_eq!(next_check(&new, NOTHING, START, 0.0), Duration::from_secs(18));
        assert_eq!(next_check(&new, NOTHING, START, 1.0), Duration::from_secs(22));
    }
}
