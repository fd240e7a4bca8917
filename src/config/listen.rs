//! `[listen]`.

use std::{net::SocketAddr, num::NonZero, time::Duration};

use http::HeaderName;
use toml::Spanned;

use super::{
    convert::{listen_address, plain},
    file,
    problems::{Refusal, Report},
    written::{List, Written},
};
use crate::proxy;

/// Two descriptors per connection, one to each side, stay well below the usual limit of 65536, and as many idle
/// connections take about 320 MiB.
const CONNECTIONS_MAX: usize = 16_384;

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
        workers: workers(written.workers.or(0)),
        connections_max: written.connections_max.or(CONNECTIONS_MAX),
        header_timeout: written.header_timeout.or(Duration::from_secs(30)),
        header_max_bytes: written.header_max_bytes.or(32 * 1024),
        header_max_count: written.header_max_count.or(100),
        drain_timeout: written.drain_timeout.or(Duration::from_secs(30)),
        owned_headers: plain(report.convert_list("listen.owned_headers", written.owned_headers, &[], owned_header)),
        drop_underscores: written.drop_underscores.or(true),
    }
}

fn addresses(written: Written<List<String>>, report: &mut Report<'_>) -> Vec<SocketAddr> {
    if let Some(span) = written.span().filter(|_| written.is_empty()) {
        let refusal = Refusal::new("is empty: nobody could reach usher", "one address or more", "name an address");
        report.refuse("listen.http", span, refusal);
    }
    let parse = |text: &str| listen_address(text).map(Listener);
    let listeners = report.convert_list("listen.http", written, &["127.0.0.1:8080"], parse);
    listeners.into_iter().map(Spanned::into_inner).map(|listener| listener.0).collect()
}

/// An address that may stand in a list once; port 0 is another port every time.
struct Listener(SocketAddr);

impl PartialEq for Listener {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && self.0.port() != 0
    }
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
