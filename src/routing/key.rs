//! From the facts of a request to the key of its tenant, in the documented order.

use std::hash::{Hash, Hasher};

use super::{Host, Hostname};

/// What the decision looks at; read from the request once, by `proxy::facts`.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// The one host the request is for.
    pub host: &'a Host<'a>,
    /// The path as sent, without the query; starts with `/`.
    pub path: &'a str,
    /// Whether the peer of the connection is on the loopback interface.
    pub peer_is_loopback: bool,
}

/// Position of a platform domain in [`Settings::platform_domains`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlatformId(pub u16);

/// What a request says about its tenant, borrowed from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyRef<'a> {
    /// A host of the customer's own: `store_domains.domain`.
    CustomDomain(&'a str),
    /// A label: `stores.subdomain`. `platform` is the platform domain it stood under, if any (path mode on localhost has none).
    Label {
        /// The platform domain the label was found under.
        platform: Option<PlatformId>,
        /// The label itself.
        label: &'a str,
    },
}

/// An owned [`KeyRef`], for maps.
#[derive(Clone, Debug)]
pub struct TenantKey {
    name: Box<str>,
    kind: KeyKind,
}

#[derive(Clone, Copy, Debug)]
enum KeyKind {
    CustomDomain,
    Label { platform: Option<PlatformId> },
}

impl TenantKey {
    /// The borrowed form, by which maps are searched.
    pub fn as_ref(&self) -> KeyRef<'_> {
        match self.kind {
            KeyKind::CustomDomain => KeyRef::CustomDomain(&self.name),
            KeyKind::Label { platform } => KeyRef::Label { platform, label: &self.name },
        }
    }
}

impl From<KeyRef<'_>> for TenantKey {
    fn from(key: KeyRef<'_>) -> Self {
        match key {
            KeyRef::CustomDomain(name) => Self { name: name.into(), kind: KeyKind::CustomDomain },
            KeyRef::Label { platform, label } => Self { name: label.into(), kind: KeyKind::Label { platform } },
        }
    }
}

impl PartialEq for TenantKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for TenantKey {}

impl Hash for TenantKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl equivalent::Equivalent<TenantKey> for KeyRef<'_> {
    fn equivalent(&self, key: &TenantKey) -> bool {
        *self == key.as_ref()
    }
}

/// How the tenant was recognised; the value of `X-Store-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A row of `store_domains`.
    CustomDomain,
    /// A first-level label of a platform domain.
    Subdomain,
    /// The path prefix.
    Path,
    /// The SaaS's own administration; no tenant.
    Admin,
    /// The SaaS's own front page; no tenant.
    Homepage,
}

/// How many bytes at the start of the raw path name the tenant (`/store/store1`); what follows is handed on byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPrefix {
    /// Length of the prefix in the raw path, in bytes, without the slash that follows.
    pub length: usize,
}

/// What a request asks for, before the directory has been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The administration, whoever the tenant may be.
    Admin,
    /// A platform domain itself, or a path host whose path names no tenant.
    Homepage,
    /// A tenant, if the directory knows the key.
    Tenant {
        /// Whom to look up.
        key: KeyRef<'a>,
        /// How it was recognised.
        matched: Match,
        /// The part of the path that named the tenant, in path mode.
        prefix: Option<PathPrefix>,
        /// The path is an admin path: where the key is found, the request belongs to the administration.
        admin_path: bool,
        /// The name without its `www.`, to be looked up where `key` is absent (see [`WwwPolicy`]); never with `WwwPolicy::Off`.
        without_www: Option<KeyRef<'a>>,
    },
    /// Nothing that could be anybody's: no look-up is made.
    Unroutable(UnroutableReason),
}

/// Why no look-up was made; for the log and for `usher resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnroutableReason {
    /// Two or more labels in front of a platform domain.
    DeepSubdomain,
    /// A reserved label.
    ReservedLabel,
    /// An address literal that is no path host.
    IpLiteral,
    /// `/store/` without a usable label.
    BadPathLabel,
}

/// The two readings of the path disagree about admin or prefix; the app might read it the other way (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in two ways")]
pub struct AmbiguousPath;

/// `routing.www`: what becomes of `www.d` without a row of its own where `d` is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WwwPolicy {
    /// 308 to `d`.
    Redirect,
    /// Served as `d`.
    Serve,
    /// Unknown.
    Off,
}

/// `routing.unknown_host`: what an unknown host is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownHost {
    /// 404.
    NotFound,
    /// The homepage.
    Homepage,
    /// A redirect to this absolute URL.
    Redirect(http::HeaderValue),
}

/// `routing.path_hosts`: where the path prefix names a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathHosts {
    /// Unset: localhost, 127.0.0.1 and [::1], and only for peers on the loopback interface.
    Loopback,
    /// Exactly these, for everybody.
    Listed(Vec<Host<'static>>),
}

/// What `[routing]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Domains of the SaaS itself.
    pub platform_domains: Vec<Hostname<'static>>,
    /// Hosts of the administration in full: `admin.*` is already expanded.
    pub admin_hosts: Vec<Hostname<'static>>,
    /// Paths of the administration, each starting with `/` and without a trailing one.
    pub admin_paths: Vec<String>,
    /// Labels that are never a tenant's, canonical.
    pub reserved_labels: Vec<String>,
    /// What becomes of `www.` names.
    pub www: WwwPolicy,
    /// The prefix of path mode: starts with `/`, does not end with one.
    pub path_prefix: String,
    /// Where the prefix counts.
    pub path_hosts: PathHosts,
    /// What an unknown host is answered.
    pub unknown_host: UnknownHost,
}

/// The decision order, ready to be applied.
#[derive(Clone, Debug)]
pub struct Rules {
    settings: Settings,
}

impl Rules {
    /// Prepares `settings` for the request path.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What `facts` ask for: admin, then path prefix, then platform domain, then subdomain, then custom domain.
    pub fn route<'a>(&self, facts: &RequestFacts<'a>) -> Result<Route<'a>, AmbiguousPath> {
        let _ = (facts, &self.settings);
        todo!()
    }
}
