//! What `[acme]` means.

use std::{fmt, path::PathBuf, time::Duration};

use crate::routing::Hostname;

/// How certificates are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The CAs, the preferred one first; at least one.
    pub authorities: Vec<AuthoritySettings>,
    /// How a CA is shown whose a name is, the preferred way first; at least one.
    pub challenges: Vec<Challenge>,
    /// How much is asked of a CA.
    pub limits: Limits,
    /// What puts records into the DNS of the platform domains; `None`: no certificates are asked for their subdomains.
    pub hook: Option<HookSettings>,
}

/// A CA, and who usher is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// Its directory, by which it is known in the database too.
    pub directory: String,
    /// Whom it may write to: `mailto:…`.
    pub contacts: Vec<String>,
    /// The root certificate of a private CA's own server.
    pub root: Option<PathBuf>,
    /// Which of its kinds of certificate; `None`: the one that it gives to those who do not ask.
    pub profile: Option<String>,
    /// The customer that usher is to it already (RFC 8555 §7.3.4).
    pub binding: Option<Binding>,
}

/// Shows a CA which of its customers makes an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// The key's name at the CA.
    pub key_id: String,
    /// The key of an HMAC.
    pub key: Vec<u8>,
}

impl fmt::Debug for Binding {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A way to show that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By an answer over HTTP at port 80 (RFC 8555 §8.3).
    Http01,
    /// By a certificate of our own at port 443 (RFC 8737).
    TlsAlpn01,
}

/// How much is asked of a CA: less than it allows, since what it refuses counts as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Orders of the account.
    pub orders: Quota,
    /// Certificates for names below one registrable domain. Renewals do not count, as CAs have it.
    pub domain_orders: Quota,
    /// Failed validations of one name.
    pub failures: Quota,
}

/// So many in a window of time; those that are used come back evenly over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// At once, and in each window.
    pub max: u32,
    /// The window.
    pub window: Duration,
}

/// A command that puts records into the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// The program, and what comes in front of `add` or `remove`, the record's name and its value.
    pub command: Vec<String>,
    /// For one run of it; then it is ended.
    pub timeout: Duration,
    /// How long the DNS takes until all of its servers have a new record.
    pub wait: Duration,
    /// The domains that get a certificate for themselves and one label in front of them.
    pub domains: Vec<Hostname<'static>>,
}

impl HookSettings {
    /// What [`HookSettings::time`] may come to: the rest of the three minutes that an order has is the CA's.
    pub const TIME_MAX: Duration = Duration::from_secs(150);

    /// How long it takes until a CA may look: a record for the domain itself, one for those below it, and the wait for both.
    pub fn time(&self) -> Duration {
        self.timeout.saturating_mul(2).saturating_add(self.wait)
    }
}
