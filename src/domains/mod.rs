//! Who owns a custom domain, and whether it leads here.
//!
//! A row of `store_domains` is a claim. The customer proves it with a TXT record that holds the row's token; the name is then
//! watched for as long as the row exists, since whoever stops paying for a domain loses it to somebody else.

pub mod dns;
mod schedule;
mod standing;

pub use schedule::next_check;
pub use standing::{Evidence, Proof, Reach, Standing, State};
