//! What was written: every key of the file, each optional, with the place where it stood. What it means is decided by the
//! modules beside this one. The comments of the fields are the descriptions of the JSON schema.

mod acme;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::{
    secrets::Secret,
    units::{Count, Size, Timespan},
    written::{List, Section, Written},
};

pub(super) use acme::{Acme, Authority};
pub(super) use upstream::{Balance, ProxyProtocol, Server, Upstream};

/// The configuration of usher.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// Where usher listens, and what one client may take of it.
    pub(super) listen: Section<Listen>,
    /// Certificates, and how TLS is spoken.
    pub(super) tls: Section<Tls>,
    /// The CAs that usher asks for certificates.
    pub(super) acme: Section<Acme>,
    /// The listener for health and metrics.
    pub(super) admin: Section<Admin>,
    /// Which request belongs to whom.
    pub(super) routing: Section<Routing>,
    /// Where the tenants are looked up, and how long an answer is believed.
    pub(super) directory: Section<Directory>,
    /// Named groups of app servers; `default` must exist.
    #[schemars(with = "BTreeMap<String, Upstream>")]
    pub(super) upstreams: BTreeMap<Spanned<String>, Section<Upstream>>,
    /// The process's own log and the access log.
    pub(super) log: Section<Log>,
    /// What customers are told to set in their DNS.
    pub(super) domains: Section<Domains>,
}

/// `[listen]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    /// Addresses for plain HTTP; port 0 lets the system choose.
    pub(super) http: Written<List<String>>,
    /// Addresses for TLS, with HTTP/2 and HTTP/1.1; needs a certificate in `[tls]`.
    pub(super) https: Written<List<String>>,
    /// Worker threads; 0: one per core.
    pub(super) workers: Written<Count<0, 1024>>,
    /// Client connections at once in the whole process; further ones wait until one ends.
    pub(super) connections_max: Written<Count<1, 1_000_000>>,
    /// Connections at once of one client address (IPv6: of one /64); further ones are closed at once.
    pub(super) connections_per_client_max: Written<Count<1, 1_000_000>>,
    /// Requests at once of one client address, whatever its connections and proxies; beyond it 429.
    pub(super) requests_per_client_max: Written<Count<1, 1_000_000>>,
    /// Requests on one connection; the last one closes it.
    pub(super) connection_requests_max: Written<Count<1, 1_000_000_000>>,
    /// How long a connection takes new requests.
    pub(super) connection_lifetime: Written<Timespan<1000>>,
    /// Memory for bodies that are held while one side is slower than the other; beyond it they are passed on as they come.
    pub(super) buffers_max: Written<Size<0, 1_099_511_627_776>>,
    /// How long an idle connection is kept.
    pub(super) keep_alive_timeout: Written<Timespan<1>>,
    /// How long a connection of HTTP/1.1 is quiet before it is parked, which gives most of its memory back.
    pub(super) park_after: Written<Timespan<1>>,
    /// For a complete request head; then 408, or nothing where no head had begun.
    pub(super) header_timeout: Written<Timespan<1>>,
    /// Between two pieces of a request body; then 408.
    pub(super) body_timeout: Written<Timespan<1>>,
    /// How long a client may take nothing of what is sent to it; then it is cut off.
    pub(super) write_timeout: Written<Timespan<1>>,
    /// Bytes a second that a client must send or take while it is waited for; 0B: any.
    pub(super) rate_min: Written<Size<0, 1_048_576>>,
    /// Bytes of a request's target; beyond it 414.
    pub(super) target_max_bytes: Written<Size<256, 65_534>>,
    /// Streams at once on a connection of HTTP/2.
    pub(super) http2_streams_max: Written<Count<1, 10_000>>,
    /// How long a tunnel, such as a WebSocket, may be silent.
    pub(super) tunnel_idle_timeout: Written<Timespan<1000>>,
    /// Bytes of a request head; beyond it 431.
    pub(super) header_max_bytes: Written<Size<8192, 1_048_576>>,
    /// Fields of a request head; beyond it 431.
    pub(super) header_max_count: Written<Count<16, 1000>>,
    /// How long running requests may finish after SIGTERM; then they are cut off.
    pub(super) drain_timeout: Written<Timespan<0>>,
    /// Further header names that clients may never send to the app.
    pub(super) owned_headers: Written<List<String>>,
    /// Whether header names with underscores are dropped, which some app servers read as hyphens.
    pub(super) drop_underscores: Written<bool>,
    /// Proxies in front whose word about clients is believed: networks, addresses, `cloudflare`, `private`, `loopback`.
    pub(super) trusted_proxies: Written<List<String>>,
    /// Peers that begin every connection with a PROXY header (version 1 or 2); the same kind of list.
    pub(super) proxy_protocol: Written<List<String>>,
    /// Whether the app is sent `Forwarded` (RFC 7239) beside `X-Forwarded-For`.
    pub(super) forwarded: Written<bool>,
}

/// `[tls]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    /// Certificates in PEM files; of two for the same name the first is shown.
    pub(super) certificates: Written<List<Section<CertificateFiles>>>,
    /// A file with the keys by which private keys in the database are sealed, each line an id, a colon and 32 bytes in base64.
    pub(super) encryption_keys_file: Written<String>,
    /// The name of an environment variable that holds the same.
    pub(super) encryption_keys_env: Written<String>,
    /// A file that is kept with the certificates of the database that were shown, their private keys sealed, so that a start without
    /// the database shows them; unset: in `$STATE_DIRECTORY`, where there is one; empty: none.
    pub(super) snapshot: Written<String>,
    /// The oldest version of TLS that is spoken.
    pub(super) minimum_version: Written<MinimumVersion>,
    /// Whether requests by http for hosts with a certificate of their own are sent to https (308).
    pub(super) redirect: Written<bool>,
    /// How long browsers stay with https on platform domains and below (`Strict-Transport-Security`); 0s: nothing is said.
    pub(super) hsts_platform: Written<Timespan<0>>,
    /// The same for custom domains.
    pub(super) hsts_custom: Written<Timespan<0>>,
}

/// An item of `tls.certificates`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CertificateFiles {
    /// The file with the certificate and those between it and its CA. Required.
    pub(super) certificate: Written<String>,
    /// The file with its private key, unencrypted. Required.
    pub(super) key: Written<String>,
    /// Whether it is shown to clients for whose name there is no other; one at most.
    pub(super) default: Written<bool>,
}

/// `tls.minimum_version`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) enum MinimumVersion {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[admin]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// Address of the admin listener; port 0 lets the system choose.
    pub(super) listen: Written<String>,
    /// Networks that may read the metrics and `/ask`; everybody else gets 403.
    pub(super) allow: Written<List<String>>,
    /// A file that holds the token of the API.
    pub(super) token_file: Written<String>,
}

/// `[routing]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Routing {
    /// Domains of the SaaS itself; their first-level subdomains are tenants. Required.
    pub(super) platform_domains: Written<List<String>>,
    /// Hosts of the administration; in `admin.*` the star stands for the platform domains.
    pub(super) admin_hosts: Written<List<String>>,
    /// Paths of the administration, each with everything below it.
    pub(super) admin_paths: Written<List<String>>,
    /// Labels that are never a tenant's subdomain.
    pub(super) reserved_labels: Written<List<String>>,
    /// What becomes of `www.d` without a row of its own where `d` is known.
    pub(super) www: Written<Www>,
    /// The path under which a label names a tenant.
    pub(super) path_prefix: Written<String>,
    /// The only hosts on which the path prefix counts; unset: localhost, for peers on the loopback interface.
    pub(super) path_hosts: Written<List<String>>,
    /// What a host that nobody knows is answered.
    pub(super) unknown_host: Written<UnknownHost>,
    /// What the hosts of a store that is switched off are answered.
    pub(super) inactive_store: Written<InactiveStore>,
    /// Whether a store's other custom domains are served, or stand back for its primary one.
    pub(super) secondary_domains: Written<StandBack>,
    /// The same for its label under the platform domains.
    pub(super) subdomains: Written<StandBack>,
    /// The upstream that serves the administration.
    pub(super) admin_upstream: Written<String>,
    /// The upstream that serves the homepage.
    pub(super) homepage_upstream: Written<String>,
    /// Who serves a store whose row names an upstream that does not exist.
    pub(super) unknown_upstream: Written<UnknownUpstream>,
}

/// `routing.unknown_upstream`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum UnknownUpstream {
    /// The default one.
    Default,
    /// Nobody: 503.
    Unavailable,
}

/// `routing.www`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Www {
    /// 308 to the name without `www.`.
    Redirect,
    /// Served as the name without `www.`.
    Serve,
    /// Unknown.
    Off,
}

/// `routing.secondary_domains` and `routing.subdomains`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum StandBack {
    /// As any other host of the store.
    Serve,
    /// 308 to the primary domain, where the store has one that is served.
    Redirect,
}

/// `routing.inactive_store`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum InactiveStore {
    /// As an unknown host.
    NotFound,
    /// 410.
    Gone,
    /// 503.
    Unavailable,
}

/// `routing.unknown_host`.
#[derive(Clone, Debug)]
pub(super) enum UnknownHost {
    /// 404.
    NotFound,
    /// The homepage.
    Homepage,
    /// A redirect to this URL; `None` where the table has none.
    Redirect(Option<Spanned<String>>),
}

/// `[directory]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Directory {
    /// The database: `postgres://…` or `sqlite://…`; exactly one of `url`, `url_env` and `url_file`.
    pub(super) url: Written<Secret>,
    /// The name of an environment variable that holds the URL.
    pub(super) url_env: Written<String>,
    /// A file that holds the URL.
    pub(super) url_file: Written<String>,
    /// How edits become known.
    pub(super) follow: Written<Follow>,
    /// Between two looks for edits, with `follow = "poll"`.
    pub(super) poll_every: Written<Timespan<100>>,
    /// Where edits are listened for, if elsewhere: the server itself behind a pooler, the primary of replicas.
    pub(super) listen_url: Written<Secret>,
    /// The name of an environment variable that holds `listen_url`.
    pub(super) listen_url_env: Written<String>,
    /// A file that holds `listen_url`.
    pub(super) listen_url_file: Written<String>,
    /// SQL in place of that for the tables `stores` and `store_domains`.
    pub(super) queries: Written<Section<OwnQueries>>,
    /// The tables that these queries read, whose edits are told.
    pub(super) watch: Written<List<Section<Watch>>>,
    /// Connections to PostgreSQL; further queries wait for `wait_timeout`.
    pub(super) connections_max: Written<Count<1, 1000>>,
    /// For a connection to PostgreSQL to be opened, TLS and authentication included.
    pub(super) connect_timeout: Written<Timespan<1>>,
    /// For a free connection to PostgreSQL.
    pub(super) wait_timeout: Written<Timespan<1>>,
    /// For one query.
    pub(super) query_timeout: Written<Timespan<1>>,
    /// Tenant keys remembered as found; beyond it the least used are forgotten.
    pub(super) found_max: Written<Count<1, 100_000_000>>,
    /// Names of the tables remembered, ten bytes each, so that no other costs a query; with more of them none are.
    pub(super) names_max: Written<Count<0, 100_000_000>>,
    /// Tenant keys remembered as absent; beyond it the least used are forgotten.
    pub(super) absent_max: Written<Count<1, 100_000_000>>,
    /// How long a found key is served without asking again, as long as nobody tells of changes.
    pub(super) fresh_for: Written<Timespan<1>>,
    /// The same while the database tells of changes.
    pub(super) fresh_for_followed: Written<Timespan<1>>,
    /// How long a found key is served at all while the database cannot be asked.
    pub(super) usable_for: Written<Timespan<1>>,
    /// A file that is kept with what was found, so that a start without the database serves it; unset: in `$STATE_DIRECTORY`, where
    /// there is one; empty: none.
    pub(super) snapshot: Written<String>,
    /// How long an absence is believed.
    pub(super) absent_for: Written<Timespan<0>>,
    /// How long a request for a host that is not remembered waits for its look-up; then 503.
    pub(super) lookup_timeout: Written<Timespan<1>>,
    /// Look-ups in the database at once for hosts of which nothing is known; beyond it they get 503.
    pub(super) loads_max: Written<Count<1, 100_000>>,
    /// The same in a second.
    pub(super) loads_per_second: Written<Count<1, 1_000_000>>,
    /// The same for hosts that were found before; strangers take nothing of it.
    pub(super) known_loads_max: Written<Count<1, 1_000_000>>,
}

/// `[directory.queries]`. Their rows have `store_id`, and perhaps `is_active`, `is_verified`, `upstream` and `primary_domain`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OwnQueries {
    /// Takes a custom domain as `$1`. Unset: nobody has one.
    pub(super) custom_domain: Option<String>,
    /// Takes a label as `$1`, and its platform domain as `$2`. Unset: nobody has one.
    pub(super) label: Option<String>,
}

/// `[[directory.watch]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Watch {
    /// The table, as SQL names it. Required.
    pub(super) table: Written<String>,
    /// The columns that the queries read; an edit of others is not told.
    pub(super) columns: Vec<String>,
    /// The column with a custom domain.
    pub(super) domain: Option<String>,
    /// The column with a label.
    pub(super) label: Option<String>,
    /// The column with a store's id. Where none of the three is set, an edit concerns everything.
    pub(super) tenant: Option<String>,
}

/// `directory.follow`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Follow {
    /// Triggers tell of them at once.
    Listen,
    /// Triggers keep them in `usher.changes`, and usher asks.
    Poll,
    /// They show when what is held is no longer fresh.
    Off,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module, `info,usher::directory=debug`.
    pub(super) filter: Written<String>,
    /// Lines for people or for machines.
    pub(super) format: Written<LogFormat>,
    /// Where the access log goes: `stdout`, `off`, or the path of a file.
    pub(super) access: Written<String>,
    /// Memory for access lines that wait to be written; beyond it lines are dropped and counted.
    pub(super) access_buffer: Written<Size<4096, 1_073_741_824>>,
    /// How long an access line waits at most before it is written.
    pub(super) access_flush: Written<Timespan<1>>,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON lines.
    Json,
}

/// `[domains]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Domains {
    /// Who decides whether a domain is its customer's.
    pub(super) verification: Written<Verification>,
    /// The label in front of a customer's domain under which the TXT record with the token is looked for.
    pub(super) verification_prefix: Written<String>,
    /// Further labels under which it counts as well, while customers still have the records that they were told earlier.
    pub(super) former_prefixes: Written<List<String>>,
    /// Whether the token counts as well where the domain's web server shows it.
    pub(super) http_token: Written<bool>,
    /// Addresses of this edge, for the customers' A and AAAA records.
    pub(super) addresses: Written<List<String>>,
    /// A name of this edge, for the customers' CNAME records.
    pub(super) cname: Written<String>,
    /// Domains looked at at once by this instance; the others wait.
    pub(super) checks_max: Written<Count<1, 1000>>,
    /// For a look at one domain, all questions together; then nothing was learned.
    pub(super) check_timeout: Written<Timespan<100>>,
    /// Whether `is_verified` is taken back from a domain that is lost.
    pub(super) unverify_lost: Written<bool>,
    /// Resolvers to ask, each with its port; empty: those of the system.
    pub(super) resolvers: Written<List<String>>,
    /// Where the DNS servers of customers' zones listen.
    pub(super) authority_port: Written<Count<1, 65535>>,
    /// Where visitors reach `listen.http`, for the self-check.
    pub(super) self_check_port: Written<Count<1, 65535>>,
    /// Whether customers' names and the DNS servers of their zones may be at addresses that are not public.
    pub(super) allow_private: Written<bool>,
}

/// `domains.verification`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Verification {
    /// The app.
    App,
    /// usher, by the customers' TXT records.
    Usher,
}
