//! `[upstreams.NAME]`, as it was written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{
    units::{Count, Size, Timespan},
    written::{List, Written},
};

/// `[upstreams.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// The app servers, each `http://host:port` or `unix:/path`, or each `https://`, `h2c://` (HTTP/2 without TLS) or `h2://` (with TLS); `srv+` in front: the ports are in DNS too. Required.
    pub(in crate::config) servers: Written<List<Server>>,
    /// How one of the app servers is chosen for a request.
    pub(in crate::config) balance: Written<Balance>,
    /// Whom names of app servers are asked of, each `address` or `address:port`; unset: the system's resolvers.
    pub(in crate::config) resolvers: Written<List<String>>,
    /// The CA that certificates of `https://` and `h2://` servers have to be from (PEM); unset: those that the machine trusts.
    pub(in crate::config) ca_file: Written<String>,
    /// The certificate that usher shows to them (PEM), with those that lead to its CA.
    pub(in crate::config) client_certificate: Written<String>,
    /// Its key (PEM).
    pub(in crate::config) client_key: Written<String>,
    /// The name that their certificates have to be for; unset: the host in the URL.
    pub(in crate::config) server_name: Written<String>,
    /// Whether each connection begins with the client's addresses, and serves one request.
    pub(in crate::config) proxy_protocol: Written<ProxyProtocol>,
    /// Bytes of a request body; beyond it 413. 0B: any number.
    pub(in crate::config) body_max_bytes: Written<Size<0, 1_099_511_627_776>>,
    /// Bytes of a request body that are read before an app server is chosen; 0B: none.
    pub(in crate::config) buffer_request: Written<Size<0, 16_777_216>>,
    /// Bytes of an answer that are read ahead of a client slower than the app; 0B: none.
    pub(in crate::config) buffer_response: Written<Size<0, 67_108_864>>,
    /// For a connection to one app server, TLS and with HTTP/2 its settings included; then the next one is tried.
    pub(in crate::config) connect_timeout: Written<Timespan<1>>,
    /// To the head of the response, with all waiting and connecting before; begins anew while an upload goes on coming. Then 504.
    pub(in crate::config) head_timeout: Written<Timespan<1>>,
    /// How long one app server is waited for before another one is asked, where the request may be sent twice.
    pub(in crate::config) attempt_timeout: Written<Timespan<1>>,
    /// How long an app server may be silent in the middle of an answer; then the answer ends unfinished. 0s: as long as it likes.
    pub(in crate::config) answer_timeout: Written<Timespan<0>>,
    /// The same in event streams and gRPC.
    pub(in crate::config) stream_idle_timeout: Written<Timespan<0>>,
    /// Answers that mean that the app server failed.
    pub(in crate::config) failure_status: Written<List<Count<500, 599>>>,
    /// How many of a hundred requests may be sent again that may have been processed.
    pub(in crate::config) repeat_percent: Written<Count<0, 100>>,
    /// Requests at one app server at once, in the whole process; 0: any number.
    pub(in crate::config) requests_max: Written<Count<0, 1_000_000>>,
    /// Connections to one app server, in the whole process; 0: any number.
    pub(in crate::config) connections_max: Written<Count<0, 1_000_000>>,
    /// Requests on one connection; 0: any number.
    pub(in crate::config) connection_requests_max: Written<Count<0, 1_000_000_000>>,
    /// How long a connection takes new requests, give or take a tenth; 0s: as long as it is used.
    pub(in crate::config) connection_lifetime: Written<Timespan<0>>,
    /// Requests of one store at once; beyond it 503. 0: any number.
    pub(in crate::config) store_requests_max: Written<Count<0, 1_000_000>>,
    /// Requests that wait while all app servers have so many; beyond it 503.
    pub(in crate::config) queue_max: Written<Count<0, 1_000_000>>,
    /// How long they wait; then 503.
    pub(in crate::config) queue_timeout: Written<Timespan<1>>,
    /// Failures in a row after which an app server gets no requests for a while; 0: never.
    pub(in crate::config) eject_after: Written<Count<0, 1_000_000>>,
    /// The same for failures of a hundred requests lately; 0: never.
    pub(in crate::config) eject_percent: Written<Count<0, 100>>,
    /// How long it gets none the first time; twice as long each further time.
    pub(in crate::config) eject_time: Written<Timespan<100>>,
    /// How long it gets none at most.
    pub(in crate::config) eject_time_max: Written<Timespan<100>>,
    /// How many of a hundred app servers may be without requests at once.
    pub(in crate::config) ejected_max_percent: Written<Count<0, 100>>,
    /// In which time an app server that is back gets its full share of the requests.
    pub(in crate::config) slow_start: Written<Timespan<0>>,
    /// The path that app servers are asked for to see whether they are well; unset: they are not asked.
    pub(in crate::config) probe_path: Written<String>,
    /// The `Host` of these requests; unset: that of the app server.
    pub(in crate::config) probe_host: Written<String>,
    /// Between two of them.
    pub(in crate::config) probe_interval: Written<Timespan<100>>,
    /// For an answer.
    pub(in crate::config) probe_timeout: Written<Timespan<1>>,
    /// The status of an app server that is well.
    pub(in crate::config) probe_status: Written<Count<200, 599>>,
    /// Good answers in a row that bring an app server back.
    pub(in crate::config) probe_rise: Written<Count<1, 100>>,
    /// Bad answers in a row that take it out.
    pub(in crate::config) probe_fall: Written<Count<1, 100>>,
    /// How long an unused connection is kept; must be below the app's own keep-alive.
    pub(in crate::config) idle_timeout: Written<Timespan<0>>,
    /// Unused HTTP/1.1 connections kept per worker and app server; further ones are closed.
    pub(in crate::config) idle_max: Written<Count<0, 100_000>>,
}

/// One of `upstreams.NAME.servers`.
#[derive(Clone, Debug)]
pub(in crate::config) struct Server {
    /// Where it is.
    pub(in crate::config) url: String,
    /// Its share of the requests.
    pub(in crate::config) weight: usize,
}

/// `upstreams.NAME.balance`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Balance {
    /// The less loaded one of two that chance has picked.
    LeastLoaded,
    /// One after the other.
    RoundRobin,
    /// The same one for the same store.
    StoreAffinity,
}

/// `upstreams.NAME.proxy_protocol`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum ProxyProtocol {
    /// HTTP from the first byte.
    Off,
    /// A header of PROXY protocol version 2 first.
    V2,
}
