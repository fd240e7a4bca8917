//! What `[routing]` means.

use super::{Host, Hostname};

/// What `[routing]` means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Domains of the SaaS itself; those beyond the 65,536th are not known.
    pub platform_domains: Vec<Hostname<'static>>,
    /// Hosts of the administration in full: `admin.*` is already expanded.
    pub admin_hosts: Vec<Hostname<'static>>,
    /// The labels X of patterns `X.*` in `admin_hosts`, canonical: no custom domain may begin with one of them, since it
    /// would look like an administration.
    pub admin_labels: Vec<String>,
    /// Paths of the administration, each starting with `/` and without a trailing one; plain (see [`Path::is_plain`]), as
    /// no request could agree with another.
    ///
    /// [`Path::is_plain`]: super::Path::is_plain
    pub admin_paths: Vec<String>,
    /// Labels that are never a tenant's, canonical.
    pub reserved_labels: Vec<String>,
    /// What becomes of `www.` names.
    pub www: WwwPolicy,
    /// The prefix of path mode: starts with `/`, does not end with one; plain, as `admin_paths`.
    pub path_prefix: String,
    /// Where the prefix counts.
    pub path_hosts: PathHosts,
    /// What an unknown host is answered.
    pub unknown_host: UnknownHost,
    /// What the hosts of a store that is switched off are answered.
    pub inactive_store: InactiveStore,
    /// Which hosts of a store stand back for its primary domain.
    pub redirects: Redirects,
}

/// Which hosts of a store are sent on to its primary custom domain (308), where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// `routing.secondary_domains`: its other custom domains.
    pub secondary: bool,
    /// `routing.subdomains`: its label under the platform domains.
    pub subdomains: bool,
}

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

/// `routing.inactive_store`: what the hosts of a store that is switched off are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactiveStore {
    /// As an unknown host.
    Unknown,
    /// A page.
    Closed(Closed),
}

/// How a store is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// For good (410).
    Gone,
    /// For a while (503).
    Unavailable,
}

/// `routing.path_hosts`: where the path prefix names a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathHosts {
    /// Unset: localhost, 127.0.0.1 and `[::1]`, and only for peers on the loopback interface.
    Loopback,
    /// Exactly these, for everybody.
    Listed(Vec<Host<'static>>),
}
