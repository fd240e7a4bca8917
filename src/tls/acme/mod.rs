//! Certificates that usher asks CAs for (RFC 8555), for names that somebody has shown to be theirs.
//!
//! What always holds: one instance at a time works for a name, under a lease whose number fences everything it writes; what it has begun
//! is in the database, so that another can go on with it; nobody is asked for a name that does not lead here; and a name that fails is
//! tried again ever more rarely.

mod ari;
mod arrival;
mod authority;
mod beside;
mod budget;
mod challenges;
mod client;
mod clock;
mod counts;
mod demand;
mod failure;
mod hook;
mod issuer;
mod lease;
mod names;
mod order;
mod order_key;
mod proof;
mod queue;
mod renewal;
mod rest;
mod service;
mod settings;
mod shared;
#[cfg(test)]
mod simulation;
mod standing;
mod store;
mod work;

pub use arrival::{Arrivals, Astray};
pub use authority::account_uri;
pub use failure::Reason;
pub use issuer::Issuer;
pub use names::{Names, NamesError, Page};
pub(super) use order_key::CONTEXT as ORDER_KEY;
pub use service::Acme;
pub use settings::{AuthoritySettings, Binding, Challenge, HookSettings, Limits, Quota, Settings};
pub(super) use standing::LET_GO;
pub use standing::StandingCounts;

use crate::database::session::Dialect;

/// A future of a trait that is used as an object.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A table of usher's own.
pub(super) fn table(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("usher.{name}"),
        Dialect::Sqlite => format!("usher_{name}"),
    }
}
