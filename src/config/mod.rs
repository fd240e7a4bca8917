//! From the file to each module's `Settings`, in two layers: what was written (`file`), and what it means (this module and
//! one module per section). Everything that is wrong is reported in one run, with place, value, what is accepted and what
//! to do.

mod acme;
mod admin;
mod convert;
mod database;
mod directory;
mod domains;
mod file;
mod listen;
mod log;
mod probes;
mod problems;
mod queries;
mod read;
mod resolve;
mod routing;
mod schema;
mod secrets;
mod suggest;
mod tls;
mod units;
mod upstream_tls;
mod upstreams;
mod written;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use problems::{Problem, Problems};
pub use schema::schema;

use crate::{proxy, telemetry, upstream};

/// What a configuration means: one `Settings` per module, always valid. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[listen]`.
    pub proxy: proxy::Settings,
    /// `[tls]`.
    pub tls: crate::tls::Settings,
    /// `[acme]`; `None`: no certificates are asked for.
    pub acme: Option<crate::tls::AcmeSettings>,
    /// `[acme]`: whether names are looked at before anything is ordered for them.
    pub acme_self_check: bool,
    /// `[tls]`: what those are told who come without.
    pub https: proxy::HttpsPolicy,
    /// `[admin]`.
    pub admin: crate::admin::Settings,
    /// `[routing]`.
    pub routing: crate::routing::Settings,
    /// `[directory]`: look-ups.
    pub directory: crate::directory::Settings,
    /// `[directory]`: the file of what is held, for a start without the database.
    pub snapshot: Option<std::path::PathBuf>,
    /// `[directory]`: where the rows are.
    pub database: Database,
    /// Who named the database: `directory.url`, `USHER_DATABASE_URL`, `directory.url_file /run/secrets/db`, …
    pub database_origin: String,
    /// `[directory]`: where edits are listened for, if elsewhere than where the rows are read.
    pub listen: Option<crate::database::postgres::Settings>,
    /// `[directory]`: what is asked of the database.
    pub queries: crate::directory::Queries,
    /// `[directory.queries]`: the same as it was written, where it was.
    pub own_queries: Option<crate::directory::OwnQueries>,
    /// `[directory]`: what `usher migrate` sees to.
    pub plan: crate::database::migrations::Plan,
    /// `[directory]`: how edits become known.
    pub follow: crate::directory::feed::Follow,
    /// `[upstreams.*]`; `default` exists always.
    pub upstreams: Vec<upstream::Settings>,
    /// Index into `upstreams` for admin requests.
    pub admin_upstream: usize,
    /// Index into `upstreams` for the homepage.
    pub homepage_upstream: usize,
    /// Index into `upstreams` for tenants whose row names none (`default`).
    pub tenant_upstream: usize,
    /// Who serves a tenant whose row names an upstream that does not exist.
    pub unknown_upstream: proxy::UnknownUpstream,
    /// `[log]`.
    pub log: telemetry::logging::Settings,
    /// `[log]`: the access log.
    pub access_log: telemetry::access_log::Settings,
    /// `[domains]`: what customers are told to set, and who looks at it.
    pub domains: Domains,
    /// What is accepted and hardly meant.
    pub warnings: Vec<Problem>,
}

/// The variables of the environment, by name.
type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Where the rows are.
#[expect(clippy::large_enum_variant, reason = "there is one per process")]
#[derive(Clone, Debug)]
pub enum Database {
    /// A PostgreSQL server.
    Postgres(crate::database::postgres::Settings),
    /// An SQLite file; a relative path starts at the working directory.
    Sqlite(std::path::PathBuf),
}

/// `[domains]`: the DNS records that customers are told to set, and who looks at them.
#[derive(Clone, Debug)]
pub struct Domains {
    /// Whether usher decides who owns a domain; else the app does.
    pub are_verified: bool,
    /// How a domain is looked at; the first of the prefixes is the one that customers are told.
    pub checks: crate::domains::Settings,
    /// Addresses of this edge, for A and AAAA records.
    pub addresses: Vec<std::net::IpAddr>,
    /// A name of this edge, for CNAME records.
    pub cname: Option<crate::routing::Hostname<'static>>,
}

impl Config {
    /// Which of the upstreams serves whom.
    pub fn roles(&self) -> proxy::Roles {
        proxy::Roles {
            tenant: self.tenant_upstream,
            admin: self.admin_upstream,
            homepage: self.homepage_upstream,
            unknown: self.unknown_upstream,
        }
    }

    /// Reads the file at `path`, with the variables of the process.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| problems::unreadable(&origin, &error))?;
        // Lossy: a variable that is no UTF-8 is refused as a wrong value and does not pass for unset.
        Self::parse(&text, &origin, &|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Reads `text`. `origin` is its name in the problems, `env` the variables of the environment.
    pub fn parse(text: &str, origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut report = problems::Report::new(origin, text);
        let config = read::read(text, &mut report).and_then(|file| resolve::resolve(file, env, &mut report));
        report.finish(config)
    }
}

/// The commented file that shows every key at its default.
pub fn default_text() -> &'static str {
    include_str!("../../config/usher.toml")
}
