//! From the facts of a request to the key of its tenant, in the documented order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    AmbiguousPath, Host, Hostname, KeyRef, Match, Path, PathHosts, PathPrefix, Place, PlatformId, RequestFacts, Route,
    Settings, UnknownHost, UnroutableReason, WwwPolicy, hostname::check_label,
};

/// The decision order, ready to be applied; applying it allocates nothing.
#[derive(Clone, Debug)]
pub struct Rules {
    settings: Settings,
    /// Longest first, so that the first that fits is the nearest.
    platforms: Vec<(PlatformId, Box<str>)>,
    /// Slashes in a path up to the one that ends the label of the path prefix.
    slashes_before_rest: usize,
}

impl Rules {
    /// Prepares `settings` for the request path.
    pub fn new(mut settings: Settings) -> Self {
        settings.reserved_labels.sort_unstable();
        settings.admin_hosts.sort_unstable();
        let names = settings.platform_domains.iter().map(|name| Box::from(name.as_str()));
        let mut platforms: Vec<_> = (0..=u16::MAX).map(PlatformId).zip(names).collect();
        platforms.sort_by_key(|(_, name): &(_, Box<str>)| std::cmp::Reverse(name.len()));
        let slashes_before_rest = settings.path_prefix.matches('/').count() + 1;
        Self { settings, platforms, slashes_before_rest }
    }

    /// What the rules were made of, `reserved_labels` and `admin_hosts` in alphabetical order.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What `facts` ask for: admin, then path prefix, then platform domain, then subdomain, then custom domain.
    ///
    /// The two readings of the path have to agree only about what counts on that host: admin paths on every host that is
    /// or may become known, the path prefix on path hosts.
    pub fn route<'a>(&self, facts: &RequestFacts<'a>) -> Result<Route<'a>, AmbiguousPath> {
        match self.place(facts) {
            Place::AdminHost => Ok(Route::Admin),
            Place::Nowhere(reason) => Ok(Route::Unroutable(self.nowhere(reason, facts.path))),
            Place::CustomDomain(name) => Ok(self.custom_domain(name, self.is_admin(facts.path)?)),
            _ if self.is_admin(facts.path)? => Ok(Route::Admin),
            Place::PathHost { platform } => self.path_host(platform, facts.path),
            Place::Platform(_) => Ok(Route::Homepage),
            Place::Subdomain { platform, label } => Ok(self.subdomain(platform, label)),
        }
    }

    /// Where the host stands: the first half of [`Rules::route`], for those who want to see the steps.
    pub fn place<'a>(&self, facts: &RequestFacts<'a>) -> Place<'a> {
        let zone = match facts.host {
            Host::Name(name)
                if self.settings.admin_hosts.binary_search_by(|host| host.as_str().cmp(name.as_str())).is_ok() =>
            {
                return Place::AdminHost;
            }
            Host::Name(name) => self.zone(name.as_str()),
            Host::Ip(_) => None,
        };
        if self.is_path_host(facts) {
            return Place::PathHost { platform: zone.map(|(platform, _)| platform) };
        }
        match (facts.host, zone) {
            (_, Some((platform, labels))) => place_in_zone(platform, labels),
            (Host::Name(name), None) => self.place_outside(name.as_str()),
            (Host::Ip(_), None) => Place::Nowhere(UnroutableReason::IpLiteral),
        }
    }

    /// The nearest platform domain that `name` is or stands under, and the labels in front of it.
    fn zone<'a>(&self, name: &'a str) -> Option<(PlatformId, &'a str)> {
        self.platforms.iter().find_map(|(platform, domain)| {
            let front = name.strip_suffix(&**domain)?;
            let labels = if front.is_empty() { front } else { front.strip_suffix('.')? };
            Some((*platform, labels))
        })
    }

    fn place_outside<'a>(&self, name: &'a str) -> Place<'a> {
        if self.looks_like_admin(name) {
            Place::Nowhere(UnroutableReason::AdminLookalike)
        } else {
            Place::CustomDomain(name)
        }
    }

    fn looks_like_admin(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.settings.admin_labels.iter().any(|label| label == first)
    }

    fn is_path_host(&self, facts: &RequestFacts<'_>) -> bool {
        match &self.settings.path_hosts {
            PathHosts::Loopback => facts.peer_is_loopback && is_loopback(facts.host),
            PathHosts::Listed(hosts) => hosts.iter().any(|host| host == facts.host),
        }
    }

    fn is_admin(&self, path: &Path<'_>) -> Result<bool, AmbiguousPath> {
        path.agreed(|reading| self.is_admin_path(reading))
    }

    fn is_admin_path(&self, reading: &[u8]) -> bool {
        self.settings
            .admin_paths
            .iter()
            .any(|admin| reading.strip_prefix(admin.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..])))
    }

    fn nowhere(&self, reason: UnroutableReason, path: &Path<'_>) -> UnroutableReason {
        let shown_homepage = self.settings.unknown_host == UnknownHost::Homepage;
        if shown_homepage && self.is_admin(path) != Ok(false) { UnroutableReason::AdminPath } else { reason }
    }

    fn custom_domain<'a>(&self, name: &'a str, admin_path: bool) -> Route<'a> {
        let without_www = name
            .strip_prefix("www.")
            .filter(|rest| self.settings.www != WwwPolicy::Off && rest.contains('.') && !self.looks_like_admin(rest))
            .map(KeyRef::CustomDomain);
        let key = KeyRef::CustomDomain(name);
        Route::Tenant { key, matched: Match::CustomDomain, prefix: None, admin_path, without_www }
    }

    fn subdomain<'a>(&self, platform: PlatformId, label: &'a str) -> Route<'a> {
        if self.is_reserved(label) {
            return Route::Unroutable(UnroutableReason::ReservedLabel);
        }
        let key = KeyRef::Label { platform: Some(platform), label };
        Route::Tenant { key, matched: Match::Subdomain, prefix: None, admin_path: false, without_www: None }
    }

    fn path_host<'a>(&self, platform: Option<PlatformId>, path: &'a Path<'a>) -> Result<Route<'a>, AmbiguousPath> {
        let label = match path.agreed(|reading| self.path_label(reading))? {
            PathLabel::None => return Ok(Route::Homepage),
            PathLabel::Unusable => return Ok(Route::Unroutable(UnroutableReason::BadPathLabel)),
            PathLabel::Some(label) if self.is_reserved(label) => {
                return Ok(Route::Unroutable(UnroutableReason::ReservedPathLabel));
            }
            PathLabel::Some(label) => label,
        };
        let key = KeyRef::Label { platform, label };
        let prefix = Some(self.measure_prefix(path.raw()));
        Ok(Route::Tenant { key, matched: Match::Path, prefix, admin_path: false, without_www: None })
    }

    fn path_label<'p>(&self, reading: &'p [u8]) -> PathLabel<'p> {
        let below = reading.strip_prefix(self.settings.path_prefix.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
        let Some(below) = below else { return PathLabel::None };
        let label = below.split(|octet| *octet == b'/').next().unwrap_or_default();
        match str::from_utf8(label) {
            Ok(text) if check_label(label).is_ok() && !label.iter().any(u8::is_ascii_uppercase) => {
                PathLabel::Some(text)
            }
            _ => PathLabel::Unusable,
        }
    }

    /// Only unreserved octets are decoded in the reading that named the label, and a slash is none of them: slashes
    /// therefore stand in the same order in the raw path.
    fn measure_prefix(&self, raw: &str) -> PathPrefix {
        let end = raw.match_indices('/').nth(self.slashes_before_rest).map(|(at, _)| at);
        PathPrefix { length: end.unwrap_or(raw.len()) }
    }

    /// Whether a host of this name is looked up as somebody's own.
    pub(super) fn is_custom_domain(&self, name: &str) -> bool {
        let Ok(host) = Hostname::parse(name).map(Host::Name) else { return false };
        let facts = RequestFacts { host: &host, path: &Path::read("/"), peer_is_loopback: false };
        matches!(self.place(&facts), Place::CustomDomain(_))
    }

    fn is_reserved(&self, label: &str) -> bool {
        self.settings.reserved_labels.binary_search_by(|reserved| reserved.as_str().cmp(label)).is_ok()
    }
}

/// What a reading of the path says about a tenant.
#[derive(PartialEq)]
enum PathLabel<'p> {
    /// Nothing: it does not start with the prefix and a slash.
    None,
    /// The prefix, and then no label.
    Unusable,
    /// This label.
    Some(&'p str),
}

fn place_in_zone(platform: PlatformId, labels: &str) -> Place<'_> {
    match labels {
        "" | "www" => Place::Platform(platform),
        deep if deep.contains('.') => Place::Nowhere(UnroutableReason::DeepSubdomain),
        label => Place::Subdomain { platform, label },
    }
}

fn is_loopback(host: &Host<'_>) -> bool {
    match host {
        Host::Name(name) => name.as_str() == "localhost",
        Host::Ip(address) => *address == IpAddr::V4(Ipv4Addr::LOCALHOST) || *address == IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}
