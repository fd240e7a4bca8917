//! From the file to each module's `Settings`.

use crate::{admin, database, directory, proxy, routing, telemetry, upstream};

/// What a configuration means: one `Settings` per module, always valid.
#[derive(Clone)]
pub struct Config {
    /// `[listen]`.
    pub proxy: proxy::Settings,
    /// `[admin]`.
    pub admin: admin::Settings,
    /// `[routing]`.
    pub routing: routing::Settings,
    /// `[directory]`: look-ups.
    pub directory: directory::Settings,
    /// `[directory]`: where the rows are.
    pub database: Database,
    /// `[upstreams.*]`; `default` exists always.
    pub upstreams: Vec<upstream::Settings>,
    /// Index into `upstreams` for admin requests.
    pub admin_upstream: usize,
    /// Index into `upstreams` for the homepage.
    pub homepage_upstream: usize,
    /// Index into `upstreams` for tenants (`default`).
    pub tenant_upstream: usize,
    /// `[log]`.
    pub log: telemetry::logging::Settings,
    /// `[log]`: the access log.
    pub access_log: telemetry::access_log::Settings,
    /// `[domains]`: what customers are told to set.
    pub domains: Domains,
}

/// Where the rows are.
#[derive(Clone)]
pub enum Database {
    /// A PostgreSQL server.
    Postgres(database::postgres::Settings),
    /// An SQLite file.
    Sqlite(std::path::PathBuf),
}

/// `[domains]`: the DNS records that customers are told to set.
#[derive(Clone, Debug)]
pub struct Domains {
    /// Prefix of the TXT record's name: `_orion-verify`.
    pub verification_prefix: String,
    /// Addresses of this edge, for A and AAAA records.
    pub addresses: Vec<std::net::IpAddr>,
    /// A name of this edge, for CNAME records.
    pub cname: Option<routing::Hostname<'static>>,
}
