//! Why a name has no new certificate, and when it is tried again.

use std::time::Duration;

use instant_acme::Problem;

use super::{arrival::Astray, hook::HookError, names::NamesError};
use crate::{
    database::session,
    tls::{CertificateError, SealError},
};

/// However long somebody wants to be left alone, or nothing is left: what says more is a mistake, and a name that waited for its end
/// would be without a certificate by then.
pub(super) const WAIT_MAX: Duration = Duration::from_hours(24);

/// So many failures for a bad nonce are soon tried again. Each is three nonces in a row that were refused: a CA that refuses one in twenty
/// comes to two failures in a row once in a million orders.
const NONCES_MAX: u32 = 3;

/// What a failure says about the next try; told in the database, in metrics and to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name does not lead here. Nobody was asked.
    Astray,
    /// The CA did not answer. The order goes on later.
    Unreachable,
    /// The CA wants fewer orders.
    RateLimited,
    /// As many orders as the limits allow have been made. Nobody was asked.
    Postponed,
    /// The CA says no.
    Refused,
    /// Something of our own: the database, a secret, the command for DNS records.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Astray, Self::Unreachable, Self::RateLimited, Self::Postponed, Self::Refused, Self::Internal];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Astray => "astray",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Postponed => "postponed",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }

    /// What that word stands for.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// How long to wait after so many failures in a row for this reason, the last one included.
    ///
    /// Whoever has just set a DNS record is waiting, and asking ourselves costs nobody anything: ten times in ten minutes, then ever
    /// less often, up to four hours. CAs count validations that fail, five of a name in an hour: five minutes, three times as long
    /// each time, up to a day. What is nobody's fault is tried again soon, and once an hour at least.
    pub(super) fn pause(self, failures: u32) -> Duration {
        let before = failures.saturating_sub(1);
        let grown = |first: u64, factor: u64, times: u32, most: u64| {
            Duration::from_secs(first.saturating_mul(factor.saturating_pow(times)).min(most))
        };
        match self {
            Self::Astray => grown(60, 2, before.saturating_sub(9), 4 * 3600),
            Self::Unreachable | Self::Internal => grown(60, 2, before, 3600),
            Self::RateLimited | Self::Postponed => Duration::from_hours(1),
            Self::Refused => grown(300, 3, before, 24 * 3600),
        }
    }
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("its DNS does not lead here")]
    Astray(#[from] Astray),
    #[error("all orders that the limits allow ({0}) have been made")]
    Postponed(&'static str, Duration),
    #[error("the CA did not do what was asked")]
    Ca {
        #[source]
        cause: instant_acme::Error,
        retry_after: Option<Duration>,
    },
    #[error("the CA did not accept the proof: {0}")]
    NotProven(Problem),
    #[error("the CA finds the order invalid")]
    Invalid,
    #[error("the CA offers none of the challenges that are configured")]
    NoChallenge,
    #[error("the CA has no profile {0}")]
    NoProfile(String),
    #[error("the CA did not answer in time")]
    Late,
    #[error("every CA wants to be left alone for a while")]
    Resting(Duration),
    #[error("the order that was begun is of no use any more")]
    Lost,
    #[error("another instance works for the name by now")]
    LeaseLost,
    #[error("the account at the CA is gone from the database")]
    NoAccount,
    #[error("the account at the CA cannot be read")]
    Credentials(#[source] serde_json::Error),
    #[error("the CA's server cannot be asked as configured: {0}")]
    Client(String),
    #[error("a secret cannot be sealed or opened")]
    Sealed(#[from] SealError),
    #[error("what was issued cannot be shown")]
    Certificate(#[from] CertificateError),
    #[error("a private key cannot be made")]
    Key(#[source] rcgen::Error),
    #[error("the DNS record cannot be set")]
    Hook(#[from] HookError),
    #[error("the database could not be asked")]
    Database(#[from] session::Error),
    #[error(transparent)]
    Names(#[from] NamesError),
}

impl OrderError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Astray(_) => Reason::Astray,
            Self::Postponed(..) => Reason::Postponed,
            Self::Ca { cause: instant_acme::Error::Api(problem), .. } => reason_of(problem),
            Self::NotProven(_) | Self::Invalid | Self::NoChallenge | Self::NoProfile(_) => Reason::Refused,
            Self::Ca { .. } | Self::Late | Self::Resting(_) => Reason::Unreachable,
            _ => Reason::Internal,
        }
    }

    /// How long somebody wants to be left alone, or has nothing left; [`WAIT_MAX`] at most.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = match self {
            Self::Postponed(_, wait) | Self::Resting(wait) => Some(*wait),
            // A CA that has failed and wants to be asked again at once has not thought about it.
            Self::Ca { retry_after, .. } => retry_after.filter(|wait| !wait.is_zero()),
            Self::Lost => Some(Duration::ZERO),
            _ => None,
        };
        wait.map(|wait| wait.min(WAIT_MAX))
    }

    /// How long to wait after so many failures in a row for this reason: as long as somebody asked for, or what the reason says. A CA
    /// that does not know the nonces it gives out has looked at nothing, and its next one may do; where it goes on so, it is asked no more
    /// often than others, since each new order counts.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let pause = self.reason().pause(failures);
        let pause = if self.is_bad_nonce() && failures <= NONCES_MAX { pause / 30 } else { pause };
        self.wait().unwrap_or(pause)
    }

    fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Ca { cause: instant_acme::Error::Api(problem), .. } if is_bad_nonce(problem))
    }

    /// Whether the order may go on: nothing was said about it.
    pub(super) fn keeps_order(&self) -> bool {
        let says_nothing = matches!(self.reason(), Reason::Unreachable | Reason::RateLimited | Reason::Internal);
        says_nothing && !matches!(self, Self::Lost)
    }

    /// Whether the CA has looked at the name and said no, which it counts.
    pub(super) fn is_failed_validation(&self) -> bool {
        matches!(self, Self::NotProven(_) | Self::Invalid)
    }

    /// Whether all orders of the account are concerned, and not those for `registrable` alone: the limits of CAs are of both kinds,
    /// and what tells them apart is the text (RFC 8555 §6.6 has one type for them).
    pub(super) fn concerns_all(&self, registrable: &str) -> bool {
        match self {
            _ if self.is_bad_nonce() => false,
            Self::Ca { cause: instant_acme::Error::Api(problem), .. } => {
                let detail = problem.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
                !detail.contains(registrable) && !detail.contains("exact set")
            }
            Self::Ca { .. } | Self::Late => true,
            _ => false,
        }
    }
}

fn reason_of(problem: &Problem) -> Reason {
    const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
    const INTERNAL: &str = "urn:ietf:params:acme:error:serverInternal";
    match (problem.r#type.as_deref(), problem.status) {
        (Some(RATE_LIMITED), _) | (_, Some(429)) => Reason::RateLimited,
        (Some(INTERNAL), _) | (_, Some(500..)) => Reason::Unreachable,
        _ if is_bad_nonce(problem) => Reason::Unreachable,
        _ => Reason::Refused,
    }
}

/// Several times in a row the CA has not known a nonce that it gave out (RFC 8555 §6.5). It has not looked at what was asked.
fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(reason: Reason, failures: std::ops::Range<u32>) -> Vec<u64> {
        failures.map(|failures| reason.pause(failures).as_secs() / 60).collect()
    }

    fn said(kind: &str, detail: &str, status: u16) -> OrderError {
        let problem = Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some(detail.to_owned()),
            status: Some(status),
            subproblems: Vec::new(),
        };
        OrderError::Ca { cause: problem.into(), retry_after: None }
    }

    #[test]
    fn pauses_grow_by_reason() {
        assert_eq!(minutes(Reason::Refused, 1..9), [5, 15, 45, 135, 405, 1215, 1440, 1440]);
        assert_eq!(minutes(Reason::Astray, 1..14), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8]);
        assert_eq!(minutes(Reason::Astray, 1000..1001), [240]);
        assert_eq!(minutes(Reason::Unreachable, 1..9), [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn nobody_is_left_alone_for_ever() {
        let problem = Problem { r#type: None, detail: None, status: Some(429), subproblems: Vec::new() };
        let limited = |retry_after| OrderError::Ca { cause: problem.clone().into(), retry_after: Some(retry_after) };
        assert_eq!(limited(Duration::MAX).wait(), Some(WAIT_MAX));
        assert_eq!(limited(Duration::ZERO).wait(), None, "nor asked again and again");
        assert_eq!(OrderError::Postponed("acme.orders_max", Duration::from_mins(15)).wait().unwrap().as_secs(), 900);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        assert!(Reason::ALL.into_iter().all(|reason| Reason::parse(reason.as_str()) == Some(reason)));
        assert_eq!(Reason::parse("other"), None);
    }

    #[test]
    fn what_a_ca_says_is_told_apart() {
        let [limited, away, refused] = [("rateLimited", 429), ("serverInternal", 500), ("caa", 403)]
            .map(|(kind, status)| said(kind, "", status).reason());
        assert_eq!([limited, away, refused], [Reason::RateLimited, Reason::Unreachable, Reason::Refused]);
        let nonce = said("badNonce", "JWS has an invalid anti-replay nonce", 400);
        assert_eq!((nonce.reason(), nonce.concerns_all("shop.example")), (Reason::Unreachable, false));
        assert_eq!([1, 2, 3, 4, 5, 100].map(|failures| nonce.pause(failures).as_secs()), [2, 4, 8, 480, 960, 3600]);
        assert_eq!(said("serverInternal", "", 500).pause(1).as_secs(), 60);
    }

    #[test]
    fn a_limit_on_one_domain_does_not_concern_the_others() {
        let account = said("rateLimited", "too many new orders (300) from this account in the last 3h0m0s", 429);
        let domain = said("rateLimited", "too many certificates (50) already issued for \"Shop.Example\"", 429);
        let same =
            said("rateLimited", "too many certificates (5) already issued for this exact set of identifiers", 429);
        assert_eq!([&account, &domain, &same].map(|error| error.concerns_all("shop.example")), [true, false, false]);
    }
}
