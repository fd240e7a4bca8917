//! Who owns a custom domain, and whether it leads here.
//!
//! A row of `store_domains` is a claim. The customer proves it with a TXT record that holds the row's token, or with a page that
//! does, where that counts; the name is then watched for as long as the row exists, since whoever stops paying for a domain loses
//! it to somebody else.
//!
//! What always holds: a proof counts for the name and the token that it was found for, and for no others; one instance at a time
//! looks at a claim, under a lease whose number fences everything it writes; and nothing is taken from a customer because a question
//! has failed.

mod claims;
pub mod dns;
pub mod doctor;
mod edits;
mod ownership;
mod public;
pub mod register;
mod schedule;
mod self_check;
mod standing;
mod traffic;
mod verifier;

pub use edits::Edits;
pub use ownership::Ownership;
pub use schedule::next_check;
pub use self_check::{SelfCheck, SelfCheckError};
pub use standing::{Evidence, Proof, Reach, Standing, State};
pub use traffic::{Met, Traffic, Visit, Visits};
pub use verifier::{Counts, Links, Verifier};

use std::time::Duration;

/// What `[domains]` says of the looks at a domain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Labels in front of a name under which its token may stand; the first is the one that customers are told.
    pub prefixes: Vec<String>,
    /// Whether the token counts on the web server of a name as well.
    pub http_token: bool,
    /// How the DNS is asked.
    pub dns: dns::Settings,
    /// The port at which visitors reach this edge by plain HTTP.
    pub port: u16,
    /// Domains looked at at once by this instance; the others wait.
    pub checks_max: usize,
    /// For a look at one domain, all questions together; then nothing was learned. Shorter than a lease.
    pub check_timeout: Duration,
    /// Whether `is_verified` is taken back from a domain that is lost.
    pub unverify_lost: bool,
}
