//! `[listen]`.

use std::{net::SocketAddr, num::NonZero, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

use super::{
    convert::{listen_address, network, plain},
    file,
    problems::{Refusal, Report},
    suggest::closest,
    written::{List, Written},
};
use crate::proxy::{self, TrustedProxies, presets};

/// Two descriptors per connection, one to each side, stay well below the usual limit of 65536, and as many idle
/// connections of HTTP/1.1 take about 35 MB.
const CONNECTIONS_MAX: usize = 16_384;

/// A thousand slow clients with a page each, or four thousand uploads; small beside what a machine with that many clients has.
const BUFFERS_MAX: usize = 256 << 20;

/// Names that frame a message or steer the connection; usher handles each of them itself (RFC 9110 §7.2, §7.6.1, §8.6).
pub(super) const FRAMING_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn resolve(written: file::Listen, report: &mut Report<'_>) -> proxy::Settings {
    proxy::Settings {
        http: addresses(written.http, report),
        https: tls_addresses(written.https, report),
        workers: workers(written.workers.or(0)),
        connections_max: written.connections_max.or(CONNECTIONS_MAX),
        connections_per_client_max: written.connections_per_client_max.or(512),
        requests_per_client_max: written.requests_per_client_max.or(1024),
        connection_requests_max: written.connection_requests_max.or(10_000),
        connection_lifetime: written.connection_lifetime.or(Duration::from_hours(1)),
        buffers_max: written.buffers_max.or(BUFFERS_MAX),
        keep_alive_timeout: written.keep_alive_timeout.or(Duration::from_secs(60)),
        park_after: written.park_after.or(Duration::from_millis(500)),
        header_timeout: written.header_timeout.or(Duration::from_secs(30)),
        body_timeout: written.body_timeout.or(Duration::from_secs(30)),
        write_timeout: written.write_timeout.or(Duration::from_secs(30)),
        rate_min: written.rate_min.or(240) as u64,
        target_max_bytes: written.target_max_bytes.or(16 * 1024),
        http2_streams_max: http2_streams(written.http2_streams_max.or(128)),
        tunnel_idle_timeout: written.tunnel_idle_timeout.or(Duration::from_mins(10)),
        header_max_bytes: written.header_max_bytes.or(32 * 1024),
        header_max_count: written.header_max_count.or(100),
        drain_timeout: written.drain_timeout.or(Duration::from_secs(30)),
        owned_headers: plain(report.convert_list("listen.owned_headers", written.owned_headers, &[], owned_header)),
        drop_underscores: written.drop_underscores.or(true),
        trusted_proxies: TrustedProxies::new(peers("listen.trusted_proxies", written.trusted_proxies, report)),
        proxy_protocol: peers("listen.proxy_protocol", written.proxy_protocol, report),
        forwarded: written.forwarded.or(false),
    }
}

fn addresses(written: Written<List<String>>, report: &mut Report<'_>) -> Vec<SocketAddr> {
    if let Some(span) = written.span().filter(|_| written.is_empty()) {
        let refusal = Refusal::new("is empty: nobody could reach usher", "one address or more", "name an address");
        report.refuse("listen.http", span, refusal);
    }
    let listeners = report.convert_list("listen.http", written, &["127.0.0.1:8080"], listener);
    plain(listeners).into_iter().map(|listener| listener.0).collect()
}

fn tls_addresses(written: Written<List<String>>, report: &mut Report<'_>) -> Vec<SocketAddr> {
    let listeners = report.convert_list("listen.https", written, &[], listener);
    plain(listeners).into_iter().map(|listener| listener.0).collect()
}

fn listener(text: &str) -> Result<Listener, Refusal> {
    listen_address(text).map(Listener)
}

/// An address that may stand in a list once; port 0 is another port every time.
struct Listener(SocketAddr);

impl PartialEq for Listener {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && self.0.port() != 0
    }
}

/// Networks, each written as one, as an address or by its name.
fn peers(path: &str, written: Written<List<String>>, report: &mut Report<'_>) -> Vec<IpNet> {
    let lists = report.convert_list(path, written, &[], peer);
    for list in lists.iter().filter(|list| list.get_ref().iter().any(|network| network.prefix_len() == 0)) {
        let accepted = "the networks of the proxies in front";
        let refusal = Refusal::new("lets every client say who it is", accepted, "list the proxies alone");
        report.warn(path, Some(list.span()), refusal);
    }
    plain(lists).concat()
}

fn peer(text: &str) -> Result<Vec<IpNet>, Refusal> {
    if let Some(networks) = presets::named(text) {
        return Ok(networks.to_vec());
    }
    network(text).map(|network| vec![network]).map_err(|_| {
        let accepted = "a network, an address, or a name: \"10.0.0.0/8\", \"192.0.2.7\", \"cloudflare\", \"private\", \"loopback\"";
        let remedy = match closest(text, &presets::NAMES) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "correct the address or the length of the prefix".to_owned(),
        };
        Refusal::new("is neither a network nor a name of some", accepted, remedy)
    })
}

/// The bounds of the key leave nothing that would not fit.
fn http2_streams(written: usize) -> u32 {
    u32::try_from(written).unwrap_or(u32::MAX)
}

fn workers(written: usize) -> usize {
    match written {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        workers => workers,
    }
}

fn owned_header(text: &str) -> Result<HeaderName, Refusal> {
    let accepted = "the name of a header field, such as \"X-Tenant-Plan\"";
    let refusal = |cause: &str, remedy: &str| Refusal::new(cause, accepted, remedy);
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| refusal("is no name of a header field", "correct the name"))?;
    match FRAMING_HEADERS.contains(&name.as_str()) {
        true => Err(refusal("frames the message; usher handles it itself", "remove it from the list")),
        false => Ok(name),
    }
}
