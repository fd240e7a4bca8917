//! From what the directory said to what becomes of the request.

use super::{KeyRef, Match, PathPrefix, Route, Rules, Status, Tenant, TenantId, UnroutableReason};

/// A route together with what the directory said of it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What the request asked for.
    pub route: Route<'a>,
    /// What the directory knows of the route's key; `None`: absent, or nothing was to be asked.
    pub tenant: Option<Tenant>,
    /// What the directory knows of `without_www`, asked only where the key itself was absent.
    pub apex: Option<Tenant>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// To the app servers.
    Forward {
        /// Goes out as `X-Store-Match`.
        matched: Match,
        /// Goes out as `X-Store-Id`; admin and homepage have none.
        tenant: Option<TenantId>,
        /// Cut from the path and sent as `X-Forwarded-Prefix`.
        prefix: Option<PathPrefix>,
    },
    /// 308 to the same path and query on another host; scheme and port stay.
    RedirectToHost(&'a str),
    /// 308 to a fixed URL (`routing.unknown_host`).
    RedirectToUrl(http::HeaderValue),
    /// 404: unknown to the public; the reason is for the log.
    Refuse(Refusal),
}

/// Why a host is answered as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No look-up was possible.
    Unroutable(UnroutableReason),
    /// The directory does not know the key.
    Absent,
    /// The directory knows it, and it may not be served.
    Inactive(Status),
}

/// Applies the rules to what is known.
pub fn decide<'a>(rules: &Rules, subject: Subject<'a>) -> Decision<'a> {
    let _: (&Rules, Option<KeyRef<'a>>) = (rules, None);
    let _ = subject;
    todo!()
}
