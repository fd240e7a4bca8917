//! From what the directory said to what becomes of the request.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    Closed, InactiveStore, KeyRef, Match, PathPrefix, Route, Rules, Status, Tenant, TenantId, UnknownHost,
    UnroutableReason, UpstreamName, WwwPolicy,
};

/// A route together with what the directory said of it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What the request asked for.
    pub route: Route<'a>,
    /// What the directory knows of the route's key; `None`: absent, or nothing was to be asked.
    pub tenant: Option<Arc<Tenant>>,
    /// What the directory knows of `without_www`, asked only where nobody is known to have the key itself.
    pub apex: Option<Arc<Tenant>>,
}

impl Subject<'_> {
    /// Whoever was found by the key, or without `www.`.
    pub(super) fn found(&self) -> Option<&Tenant> {
        self.tenant.as_deref().or(self.apex.as_deref())
    }

    /// The domain that the host might stand back for.
    pub fn primary(&self) -> Option<&str> {
        self.found()?.primary.as_deref()
    }

    /// The host does not stand back for another.
    pub fn serve_here(&mut self) {
        for found in [&mut self.tenant, &mut self.apex].into_iter().flatten() {
            Arc::make_mut(found).primary = None;
        }
    }

    /// Why the host counts as unknown, whatever unknown hosts are answered; `None` where it is known.
    ///
    /// A key that is present but not active is not replaced by its apex: its owner switched it off. One that is not verified has no
    /// owner, and was not kept where the apex is served.
    pub fn refusal(&self) -> Option<Refusal> {
        match (&self.route, self.found()) {
            (Route::Admin | Route::Homepage, _) => None,
            (Route::Unroutable(reason), _) => Some(Refusal::Unroutable(*reason)),
            (Route::Tenant { .. }, None) => Some(Refusal::Absent),
            (Route::Tenant { .. }, Some(Tenant { status: Status::Active, .. })) => None,
            (Route::Tenant { .. }, Some(Tenant { status, .. })) => Some(Refusal::Inactive(*status)),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// To the app servers.
    Forward(Destination),
    /// 308 to another place.
    Redirect(RedirectTarget<'a>),
    /// 410 or 503: the store is switched off.
    Close(Closed),
    /// 404: unknown to the public; the reason is for the log.
    Refuse(Refusal),
}

/// Whom a request is forwarded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Goes out as `X-Store-Match`.
    pub matched: Match,
    /// `None` for admin and homepage.
    pub tenant: Option<Arc<Tenant>>,
    /// Cut from the path and sent as `X-Forwarded-Prefix`.
    pub prefix: Option<PathPrefix>,
    /// The host is none of ours, whatever is shown there.
    pub is_foreign_host: bool,
}

impl Destination {
    /// Goes out as `X-Store-Id`; admin and homepage have none.
    pub fn store_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.id)
    }

    /// The upstream that the tenant's row names. Nobody has looked whether it exists.
    pub fn upstream(&self) -> Option<&UpstreamName> {
        self.tenant.as_ref()?.upstream.as_ref()
    }
}

/// Where a request is redirected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTarget<'a> {
    /// The same path and query on this host; scheme and port stay.
    Host(Cow<'a, str>),
    /// This URL (`routing.unknown_host`).
    Url(http::HeaderValue),
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(Destination { matched, tenant: Some(tenant), .. }) => {
                write!(f, "forward for store {} ({matched})", tenant.id)
            }
            Self::Forward(Destination { matched, tenant: None, .. }) => {
                write!(f, "forward without a store ({matched})")
            }
            Self::Redirect(RedirectTarget::Host(host)) => write!(f, "redirect to host {host}"),
            Self::Redirect(RedirectTarget::Url(url)) => {
                write!(f, "redirect to {}", String::from_utf8_lossy(url.as_bytes()))
            }
            Self::Close(closed) => closed.fmt(f),
            Self::Refuse(refusal) => write!(f, "unknown: {refusal}"),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "store is inactive, and said to be gone",
            Self::Unavailable => "store is inactive, and said to be closed for a while",
        })
    }
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unroutable(reason) => reason.fmt(f),
            Self::Absent => f.write_str("not in the directory"),
            Self::Inactive(status) => status.fmt(f),
        }
    }
}

/// Applies the rules to what is known.
pub fn decide<'a>(rules: &Rules, subject: Subject<'a>) -> Decision<'a> {
    match (subject.refusal(), rules.settings().inactive_store) {
        (None, _) => {}
        (Some(Refusal::Inactive(Status::StoreInactive)), InactiveStore::Closed(closed)) => {
            return Decision::Close(closed);
        }
        (Some(refusal), _) => return refuse(rules, &subject.route, refusal),
    }
    let primary = |matched| primary(rules, matched, subject.primary()).map(str::to_owned);
    match subject.route {
        Route::Admin => without_tenant(Match::Admin, false),
        Route::Homepage => without_tenant(Match::Homepage, false),
        Route::Unroutable(reason) => refuse(rules, &subject.route, Refusal::Unroutable(reason)),
        Route::Tenant { without_www: Some(KeyRef::CustomDomain(host)), .. }
            if subject.tenant.is_none() && rules.settings().www == WwwPolicy::Redirect =>
        {
            Decision::Redirect(RedirectTarget::Host(primary(Match::CustomDomain).map_or(host.into(), Cow::Owned)))
        }
        Route::Tenant { admin_path: true, matched, .. } => without_tenant(Match::Admin, matched == Match::CustomDomain),
        Route::Tenant { matched, prefix, .. } => {
            if let Some(host) = primary(matched) {
                return Decision::Redirect(RedirectTarget::Host(host.into()));
            }
            let tenant = subject.tenant.or(subject.apex);
            let is_foreign_host = matched == Match::CustomDomain;
            Decision::Forward(Destination { matched, tenant, prefix, is_foreign_host })
        }
    }
}

/// The primary domain of the store, where hosts of this kind stand back for it. One that is never looked up as a custom domain
/// would lead nowhere, or round and round.
pub(super) fn primary<'p>(rules: &Rules, matched: Match, primary: Option<&'p str>) -> Option<&'p str> {
    let redirects = rules.settings().redirects;
    let stands_back = match matched {
        Match::CustomDomain => redirects.secondary,
        Match::Subdomain => redirects.subdomains,
        Match::Path | Match::Admin | Match::Homepage => false,
    };
    primary.filter(|host| stands_back && rules.is_custom_domain(host))
}

/// What an unknown host is answered. A path that names an unknown store, or the administration of a host that is not
/// known, is never anything but 404: the app must not take it for its own.
fn refuse<'a>(rules: &Rules, route: &Route<'a>, refusal: Refusal) -> Decision<'a> {
    match &rules.settings().unknown_host {
        UnknownHost::Homepage if may_be_homepage(route) => without_tenant(Match::Homepage, is_foreign_host(route)),
        UnknownHost::Redirect(url) if !is_path_mode(route) => Decision::Redirect(RedirectTarget::Url(url.clone())),
        _ => Decision::Refuse(refusal),
    }
}

fn may_be_homepage(route: &Route<'_>) -> bool {
    let admin_path =
        matches!(route, Route::Tenant { admin_path: true, .. } | Route::Unroutable(UnroutableReason::AdminPath));
    !admin_path && !is_path_mode(route)
}

fn is_foreign_host(route: &Route<'_>) -> bool {
    use UnroutableReason::{AdminLookalike, IpLiteral};
    matches!(route, Route::Tenant { matched: Match::CustomDomain, .. } | Route::Unroutable(AdminLookalike | IpLiteral))
}

fn is_path_mode(route: &Route<'_>) -> bool {
    use UnroutableReason::{BadPathLabel, ReservedPathLabel};
    matches!(route, Route::Tenant { matched: Match::Path, .. } | Route::Unroutable(BadPathLabel | ReservedPathLabel))
}

fn without_tenant<'a>(matched: Match, is_foreign_host: bool) -> Decision<'a> {
    Decision::Forward(Destination { matched, tenant: None, prefix: None, is_foreign_host })
}
