//! What a request asks for, before the directory has been asked.

use std::fmt;

use super::{Host, KeyRef, Match, Path, PlatformId};

/// What the decision looks at; read from the request once, by `proxy::facts`.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// The one host the request is for.
    pub host: &'a Host<'a>,
    /// The path in its two readings.
    pub path: &'a Path<'a>,
    /// Whether the peer of the connection is on the loopback interface.
    pub peer_is_loopback: bool,
}

/// Where a host stands, whatever the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A host of the administration.
    AdminHost,
    /// A host whose paths may name tenants, and which is a homepage otherwise.
    PathHost {
        /// The platform domain it is or stands under, if any.
        platform: Option<PlatformId>,
    },
    /// A platform domain itself, or its `www.`.
    Platform(PlatformId),
    /// One label in front of a platform domain.
    Subdomain {
        /// The platform domain.
        platform: PlatformId,
        /// What stands in front of it.
        label: &'a str,
    },
    /// A host of somebody's own.
    CustomDomain(&'a str),
    /// Nobody's.
    Nowhere(UnroutableReason),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdminHost => f.write_str("a host of the administration"),
            Self::PathHost { .. } => f.write_str("a path host"),
            Self::Platform(PlatformId(position)) => write!(f, "platform domain {position} itself"),
            Self::Subdomain { platform: PlatformId(position), label } => {
                write!(f, "subdomain {label} of platform domain {position}")
            }
            Self::CustomDomain(name) => write!(f, "custom domain {name}, if anybody has it"),
            Self::Nowhere(reason) => write!(f, "nobody's: {reason}"),
        }
    }
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
        /// The name without its `www.`, to be looked up where `key` is absent (see [`WwwPolicy`](super::WwwPolicy)); never
        /// with `WwwPolicy::Off`.
        without_www: Option<KeyRef<'a>>,
    },
    /// Nothing that could be anybody's: no look-up is made.
    Unroutable(UnroutableReason),
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("administration"),
            Self::Homepage => f.write_str("homepage"),
            Self::Tenant { key, matched, admin_path: false, .. } => write!(f, "tenant by {matched}: {key}"),
            Self::Tenant { key, matched, admin_path: true, .. } => {
                write!(f, "administration, if there is a tenant by {matched}: {key}")
            }
            Self::Unroutable(reason) => write!(f, "no look-up: {reason}"),
        }
    }
}

/// How many bytes at the start of the raw path name the tenant (`/store/store1`); what follows is handed on byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPrefix {
    /// Length of the prefix in the raw path, in bytes, without the slash that follows.
    pub length: usize,
}

impl PathPrefix {
    /// The prefix and what follows it, which is empty or starts with `/`; `None` for another path than it was measured on.
    pub fn split<'p>(&self, raw: &'p str) -> Option<(&'p str, &'p str)> {
        raw.split_at_checked(self.length)
    }
}

/// Why no look-up was made; for the log and for `usher resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnroutableReason {
    /// Two or more labels in front of a platform domain.
    DeepSubdomain,
    /// A reserved label in front of a platform domain.
    ReservedLabel,
    /// An address literal that is no path host.
    IpLiteral,
    /// A host of somebody's own that looks like an administration: see [`Settings::admin_labels`].
    ///
    /// [`Settings::admin_labels`]: super::Settings::admin_labels
    AdminLookalike,
    /// An admin path (in either reading) on one of the hosts above, where unknown hosts are shown the homepage: the app
    /// would see its own `/admin`, asked for under a stranger's name.
    AdminPath,
    /// `/store/` without a usable label. Labels in a path are canonical or unusable, as paths are case-sensitive.
    BadPathLabel,
    /// `/store/` with a reserved label.
    ReservedPathLabel,
}

impl fmt::Display for UnroutableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeepSubdomain => "more than one label in front of a platform domain",
            Self::ReservedLabel => "a reserved label",
            Self::IpLiteral => "an address that is no path host",
            Self::AdminLookalike => "a custom domain that looks like an administration",
            Self::AdminPath => "an admin path on an unknown host",
            Self::BadPathLabel => "a path prefix without a usable label",
            Self::ReservedPathLabel => "a path prefix with a reserved label",
        })
    }
}
