//! Pure decisions: which tenant a request speaks of, and what becomes of it.
//!
//! Nothing here touches a socket, a clock or a log, so that every rule can be tested as a table.

mod decide;
mod host;
mod hostname;
mod key;
mod path;
mod tenant;

pub use decide::{Decision, Refusal, Subject, decide};
pub use host::{Authority, Host};
pub use hostname::{Hostname, HostnameError, Label};
pub use key::{
    AmbiguousPath, KeyRef, Match, PathHosts, PathPrefix, PlatformId, RequestFacts, Route, Rules, Settings, TenantKey,
    UnknownHost, UnroutableReason, WwwPolicy,
};
pub use tenant::{Status, Tenant, TenantId, TenantIdError};
