//! Where a custom domain stands on its way from a row to its visitors. Pure: time and evidence come as arguments.
//!
//! A failed question is no evidence: nothing is taken from a customer because a name server was away.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// Whoever changes name servers or lets a record lapse by mistake gets a long weekend to put it right.
const DRIFT_MIN: Duration = Duration::from_hours(72);

/// Looks that have found nothing, one after another, before a domain counts as lost.
const DRIFT_LOOKS: u32 = 6;

/// The way of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A row, not proved yet.
    Pending,
    /// Proved; its address records lead elsewhere, or nowhere.
    Verified,
    /// Proved, and visitors come here.
    Live,
    /// Was proved; neither the proof nor the way here is to be found any more.
    Drifting,
    /// Has drifted for so long that somebody else may own it now.
    Lost,
}

impl State {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Verified, Self::Live, Self::Drifting, Self::Lost];

    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Live => "live",
            Self::Drifting => "drifting",
            Self::Lost => "lost",
        }
    }

    /// Reads what [`State::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the claim counts as proved. A drifting domain is still its customer's.
    pub const fn is_proved(self) -> bool {
        matches!(self, Self::Verified | Self::Live | Self::Drifting)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the token was found in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It stands where the customer was told to put it.
    Present,
    /// The zone's own servers say that it does not.
    Absent,
    /// Nobody who knows could be asked.
    Unknown,
}

/// Where visitors of the name arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Here: a request to the name has come back to us, whatever lies in between.
    Here,
    /// Elsewhere, or the name has no address.
    Elsewhere,
    /// At somebody who sends all to https at the same name: whether that is here is not to be seen.
    Hidden,
    /// The question has failed.
    Unknown,
}

/// What one look at a domain has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Of ownership.
    pub proof: Proof,
    /// Of the way here.
    pub reach: Reach,
}

impl Evidence {
    /// Neither of the two is to be found, and both answers are certain.
    fn is_gone(self) -> bool {
        self.proof == Proof::Absent && self.reach == Reach::Elsewhere
    }

    /// One of the questions has failed.
    pub(super) fn is_partial(self) -> bool {
        self.proof == Proof::Unknown || self.reach == Reach::Unknown
    }
}

/// The state of one claim, which is a domain together with its token, and how it came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// Looks in this state.
    pub looks: u32,
}

impl Standing {
    /// A claim that was first seen `now`.
    pub const fn new(now: SystemTime) -> Self {
        Self { state: State::Pending, since: now, looks: 0 }
    }

    /// The standing where the row says otherwise: people may vouch for a name, and who takes their word back wants it proved anew.
    #[must_use]
    pub fn as_told(self, is_verified: bool, now: SystemTime) -> Self {
        match (self.state, is_verified) {
            (State::Pending, true) => Self { state: State::Verified, since: now, looks: 0 },
            (State::Verified | State::Live | State::Drifting, false) => Self::new(now),
            _ => self,
        }
    }

    /// The standing after a look.
    #[must_use]
    pub fn after(self, evidence: Evidence, now: SystemTime) -> Self {
        let next = match self.state {
            State::Pending => pending(evidence),
            State::Verified => verified(evidence),
            State::Live => live(evidence),
            State::Drifting => drifting(self, evidence, now),
            State::Lost => lost(evidence),
        };
        if next == self.state {
            Self { looks: self.counted(evidence), ..self }
        } else {
            Self { state: next, since: now, looks: 0 }
        }
    }

    /// What `is_verified` is to be after a look that has led here from `before`; nothing where it may stay as it `is`. It is taken
    /// back at most once: who vouches for a lost name knows something that the DNS does not.
    pub fn is_verified(&self, before: &Self, is: bool, unverify_lost: bool) -> Option<bool> {
        let is_lost_now = self.state == State::Lost && before.state != State::Lost;
        match is {
            false if self.state.is_proved() => Some(true),
            true if is_lost_now && unverify_lost => Some(false),
            _ => None,
        }
    }

    /// How long it has been in its state; nothing where the clock was set back.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.since).unwrap_or_default()
    }

    /// While a domain drifts only certain answers count.
    fn counted(self, evidence: Evidence) -> u32 {
        match self.state {
            State::Drifting if !evidence.is_gone() => self.looks,
            _ => self.looks.saturating_add(1),
        }
    }
}

fn pending(evidence: Evidence) -> State {
    match evidence.proof {
        Proof::Present => proved(evidence),
        Proof::Absent | Proof::Unknown => State::Pending,
    }
}

fn proved(evidence: Evidence) -> State {
    match evidence.reach {
        Reach::Here => State::Live,
        Reach::Elsewhere | Reach::Hidden | Reach::Unknown => State::Verified,
    }
}

fn verified(evidence: Evidence) -> State {
    match evidence.reach {
        Reach::Here => State::Live,
        _ if evidence.is_gone() => State::Drifting,
        Reach::Elsewhere | Reach::Hidden | Reach::Unknown => State::Verified,
    }
}

/// Customers tidy up their zones: while visitors still come here, a proof that is gone means nothing.
fn live(evidence: Evidence) -> State {
    match (evidence.proof, evidence.reach) {
        (_, Reach::Here | Reach::Hidden | Reach::Unknown) | (Proof::Unknown, Reach::Elsewhere) => State::Live,
        (Proof::Present, Reach::Elsewhere) => State::Verified,
        (Proof::Absent, Reach::Elsewhere) => State::Drifting,
    }
}

fn drifting(standing: Standing, evidence: Evidence, now: SystemTime) -> State {
    match evidence {
        Evidence { reach: Reach::Here, .. } => State::Live,
        Evidence { proof: Proof::Present, .. } => State::Verified,
        gone if gone.is_gone() && standing.looks + 1 >= DRIFT_LOOKS && standing.age(now) >= DRIFT_MIN => State::Lost,
        _ => State::Drifting,
    }
}

/// The way here alone proves nothing any more: the new owner may have pointed the name at us.
fn lost(evidence: Evidence) -> State {
    match evidence.proof {
        Proof::Present => proved(evidence),
        Proof::Absent | Proof::Unknown => State::Lost,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn seen(proof: Proof, reach: Reach) -> Evidence {
        Evidence { proof, reach }
    }

    fn standing(state: State) -> Standing {
        Standing { state, since: START, looks: 0 }
    }

    #[test]
    fn a_row_is_proved_by_its_token_alone() {
        let pending = Standing::new(START);
        for reach in [Reach::Here, Reach::Elsewhere, Reach::Unknown] {
            for proof in [Proof::Absent, Proof::Unknown] {
                assert_eq!(pending.after(seen(proof, reach), START).state, State::Pending);
            }
        }
        assert_eq!(pending.after(seen(Proof::Present, Reach::Elsewhere), START).state, State::Verified);
        assert_eq!(pending.after(seen(Proof::Present, Reach::Here), START).state, State::Live);
    }

    #[test]
    fn a_live_domain_whose_token_was_tidied_away_stays_live() {
        assert_eq!(standing(State::Live).after(seen(Proof::Absent, Reach::Here), START).state, State::Live);
    }

    #[test]
    fn a_live_domain_behind_a_cdn_that_forces_https_stays_live_and_is_looked_at_as_often_as_before() {
        let hidden = seen(Proof::Absent, Reach::Hidden);
        assert_eq!(standing(State::Live).after(hidden, START).state, State::Live);
        assert_eq!(standing(State::Verified).after(hidden, START).state, State::Verified);
        assert!(!hidden.is_partial());
    }

    #[test]
    fn a_proved_domain_that_moves_away_drifts_only_when_its_proof_is_gone_too() {
        assert_eq!(standing(State::Live).after(seen(Proof::Present, Reach::Elsewhere), START).state, State::Verified);
        assert_eq!(standing(State::Live).after(seen(Proof::Absent, Reach::Elsewhere), START).state, State::Drifting);
        assert_eq!(
            standing(State::Verified).after(seen(Proof::Absent, Reach::Elsewhere), START).state,
            State::Drifting
        );
    }

    #[test]
    fn a_domain_is_lost_after_repeated_and_certain_answers_over_days() {
        let gone = seen(Proof::Absent, Reach::Elsewhere);
        let mut drifting = standing(State::Drifting);
        for look in 1..DRIFT_LOOKS {
            drifting = drifting.after(gone, START + DRIFT_MIN);
            assert_eq!((drifting.state, drifting.looks), (State::Drifting, look));
        }
        assert_eq!(drifting.after(gone, START + DRIFT_MIN / 2).state, State::Drifting);
        assert_eq!(drifting.after(seen(Proof::Unknown, Reach::Elsewhere), START + DRIFT_MIN).looks, drifting.looks);
        assert_eq!(drifting.after(gone, START + DRIFT_MIN).state, State::Lost);
    }

    #[test]
    fn a_lost_domain_comes_back_by_its_token_and_not_by_its_address() {
        assert_eq!(standing(State::Lost).after(seen(Proof::Absent, Reach::Here), START).state, State::Lost);
        assert_eq!(standing(State::Lost).after(seen(Proof::Present, Reach::Here), START).state, State::Live);
    }

    #[test]
    fn the_word_of_people_counts_until_they_take_it_back() {
        let later = START + DRIFT_MIN;
        assert_eq!(Standing::new(START).as_told(true, later).state, State::Verified);
        for state in [State::Verified, State::Live, State::Drifting] {
            assert_eq!(standing(state).as_told(true, later), standing(state));
            assert_eq!(standing(state).as_told(false, later), Standing::new(later));
        }
        for is_verified in [false, true] {
            assert_eq!(standing(State::Lost).as_told(is_verified, later), standing(State::Lost));
        }
    }

    #[test]
    fn a_row_is_verified_when_it_is_proved_and_taken_back_once_if_at_all() {
        let to = |before, after, is, unverify| standing(after).is_verified(&standing(before), is, unverify);
        assert_eq!(to(State::Pending, State::Verified, false, false), Some(true));
        assert_eq!(to(State::Lost, State::Live, false, false), Some(true));
        assert_eq!(to(State::Pending, State::Pending, false, true), None);
        assert_eq!(to(State::Live, State::Live, true, true), None);
        assert_eq!(to(State::Drifting, State::Lost, true, false), None);
        assert_eq!(to(State::Drifting, State::Lost, true, true), Some(false));
        assert_eq!(to(State::Lost, State::Lost, true, true), None);
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("Live"), None);
    }

    fn evidence() -> impl Strategy<Value = Evidence> {
        let proof = prop_oneof![Just(Proof::Present), Just(Proof::Absent), Just(Proof::Unknown)];
        let reach = prop_oneof![Just(Reach::Here), Just(Reach::Elsewhere), Just(Reach::Hidden), Just(Reach::Unknown)];
        (proof, reach).prop_map(|(proof, reach)| Evidence { proof, reach })
    }

    proptest! {
        #[test]
        fn nothing_is_ever_taken_or_given_without_certain_answers(looks in prop::collection::vec((evidence(), 0_u64..100), 0..60)) {
            let (mut standing, mut now) = (Standing::new(START), START);
            for (evidence, hours) in looks {
                now += Duration::from_hours(hours);
                let before = standing;
                standing = standing.after(evidence, now);
                if !before.state.is_proved() && standing.state.is_proved() {
                    prop_assert_eq!(evidence.proof, Proof::Present);
                }
                if before.state.is_proved() && !standing.state.is_proved() {
                    prop_assert!(evidence.is_gone() && before.age(now) >= DRIFT_MIN && before.looks + 1 >= DRIFT_LOOKS);
                }
            }
        }
    }
}
