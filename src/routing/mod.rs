//! Pure decisions: which tenant a request speaks of, and what becomes of it.
//!
//! In reading order: a [`Host`] and a [`Path`] are read once from the wire; [`Rules::route`] turns them into a [`Route`];
//! the directory says who is behind the route's key ([`Inquiry`]); [`decide`] turns both into a [`Decision`].
//!
//! Nothing here touches a socket, a clock or a log, so that every rule can be tested as a table.

mod decide;
mod host;
mod hostname;
mod inquiry;
mod key;
mod path;
mod route;
mod rules;
mod settings;
mod tenant;
mod upstream_name;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;

pub use decide::{Decision, Destination, RedirectTarget, Refusal, Subject, decide};
pub use host::{Authority, Host};
pub use hostname::{Hostname, HostnameError, Label};
pub use inquiry::Inquiry;
pub use key::{KeyRef, Match, PlatformId, TenantKey};
pub use path::{AmbiguousPath, Path};
pub use route::{PathPrefix, Place, RequestFacts, Route, UnroutableReason};
pub use rules::Rules;
pub use settings::{Closed, InactiveStore, PathHosts, Redirects, Settings, UnknownHost, WwwPolicy};
pub use tenant::{Status, Tenant, TenantId, TenantIdError};
pub use upstream_name::UpstreamName;
