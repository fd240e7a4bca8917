//! `[upstreams.NAME]`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    mem::take,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{StatusCode, Uri};
use toml::Spanned;

use super::{
    convert::plain,
    file, probes,
    problems::{Refusal, Report},
    suggest::closest,
    units::{Count, Timespan},
    upstream_tls,
    written::{List, Section, Written},
};
use crate::{
    proxy::UnknownUpstream,
    routing::Hostname,
    upstream::{Balance, HealthRules, Protocol, ProxyProtocol, Server, ServerAddress, Settings},
};

const SERVER: &str =
    "\"http://host:port\", \"https://\", \"h2c://\" or \"h2://\" with host and port, or \"unix:/path\"";

/// Bytes of a path that the system takes for a socket's name, without the last NUL (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;

/// The upstream that serves tenants, and everything for which no other one is named.
pub(super) const DEFAULT: &str = "default";

/// All upstreams in the order of their names.
pub(super) fn resolve(
    written: BTreeMap<Spanned<String>, Section<file::Upstream>>,
    report: &mut Report<'_>,
) -> Vec<Settings> {
    if !written.keys().any(|name| name.get_ref() == DEFAULT) {
        let remedy = "add [upstreams.default] with servers = [\"http://127.0.0.1:8000\"]";
        let refusal = Refusal::new("is missing: tenants are forwarded to it", "a group of app servers", remedy);
        report.refuse_absence("upstreams.default", None, refusal);
    }
    written.into_iter().map(|(name, upstream)| group(name, upstream.0, report)).collect()
}

/// The position of the upstream called `name`.
pub(super) fn position(name: &str, upstreams: &[Settings]) -> Option<usize> {
    upstreams.iter().position(|upstream| upstream.name == name)
}

/// The position of the upstream that is named at `path`, by default of [`DEFAULT`].
pub(super) fn named(path: &str, name: Written<String>, upstreams: &[Settings], report: &mut Report<'_>) -> usize {
    let span = name.span().unwrap_or_default();
    let name = name.or(DEFAULT.to_owned());
    let position = position(&name, upstreams);
    if position.is_none() && !span.is_empty() && !upstreams.is_empty() {
        report.refuse(path, span, unknown_upstream(&name, upstreams));
    }
    position.unwrap_or_default()
}

fn unknown_upstream(name: &str, upstreams: &[Settings]) -> Refusal {
    let known: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let remedy = match closest(name, &known) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "add this upstream, or name one that exists".to_owned(),
    };
    let accepted: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
    Refusal::new("there is no such upstream", accepted.join(", "), remedy)
}

fn group(name: Spanned<String>, mut written: file::Upstream, report: &mut Report<'_>) -> Settings {
    let path = format!("upstreams.{}", name.get_ref());
    check_name(&path, &name, report);
    let servers_path = format!("{path}.servers");
    if written.servers.is_empty() {
        let refusal = Refusal::new("names no app server", SERVER, "add servers = [\"http://127.0.0.1:8000\"]");
        report.refuse_absence(&servers_path, Some(written.servers.span().unwrap_or(name.span())), refusal);
    }
    let servers = servers(&servers_path, take(&mut written.servers), report);
    let speech = common_speech(&servers_path, &servers, report);
    let tls = upstream_tls::Keys::take(&mut written).resolve(&path, speech.is_tls, report);
    let resolvers = report.convert_list(&format!("{path}.resolvers"), take(&mut written.resolvers), &[], resolver);
    let probe = probes::Keys::take(&mut written).resolve(&path, report);
    let health = health(&mut written);
    let default = Settings::default();
    Settings {
        name: name.into_inner(),
        servers: plain(servers).into_iter().map(|listed| listed.server).collect(),
        resolvers: plain(resolvers),
        balance: written.balance.or(default.balance),
        protocol: speech.protocol,
        tls,
        proxy_protocol: written.proxy_protocol.or(default.proxy_protocol),
        body_max_bytes: written
            .body_max_bytes
            .given()
            .map_or(default.body_max_bytes, |size| body_max(size.into_inner().into())),
        buffer_request: written.buffer_request.or(default.buffer_request),
        buffer_response: written.buffer_response.or(default.buffer_response),
        connect_timeout: written.connect_timeout.or(default.connect_timeout),
        head_timeout: written.head_timeout.or(default.head_timeout),
        attempt_timeout: written.attempt_timeout.or(default.attempt_timeout),
        answer_timeout: patience(written.answer_timeout, default.answer_timeout),
        stream_idle_timeout: patience(written.stream_idle_timeout, default.stream_idle_timeout),
        failure_status: written.failure_status.given().map_or(default.failure_status, failure_status),
        requests_max: limit(written.requests_max.or(0)),
        connections_max: limit(written.connections_max.or(0)),
        connection_requests_max: limit(written.connection_requests_max.or(0)),
        connection_lifetime: written.connection_lifetime.into_value().filter(|time: &Duration| !time.is_zero()),
        store_requests_max: limit(written.store_requests_max.or(0)),
        queue_max: written.queue_max.or(default.queue_max),
        queue_timeout: written.queue_timeout.or(default.queue_timeout),
        repeat_percent: written.repeat_percent.or(default.repeat_percent),
        health,
        probe,
        idle_timeout: written.idle_timeout.or(default.idle_timeout),
        idle_max: written.idle_max.or(default.idle_max),
    }
}

fn health(written: &mut file::Upstream) -> HealthRules {
    let default = HealthRules::default();
    HealthRules {
        eject_after: take(&mut written.eject_after).or(default.eject_after),
        eject_percent: take(&mut written.eject_percent).or(default.eject_percent),
        eject_time: take(&mut written.eject_time).or(default.eject_time),
        eject_time_max: take(&mut written.eject_time_max).or(default.eject_time_max),
        ejected_max_percent: take(&mut written.ejected_max_percent).or(default.ejected_max_percent),
        slow_start: take(&mut written.slow_start).or(default.slow_start),
        ..default
    }
}

fn failure_status(written: Spanned<List<Count<500, 599>>>) -> Vec<StatusCode> {
    let numbers = plain(written.into_inner().0).into_iter().map(usize::from);
    numbers.filter_map(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok()).collect()
}

/// 0 is written for no limit.
fn limit(written: usize) -> Option<usize> {
    (written > 0).then_some(written)
}

/// The same of a time.
fn patience(written: Written<Timespan<0>>, default: Option<Duration>) -> Option<Duration> {
    written.into_value().map_or(default, |time: Duration| Some(time).filter(|time| !time.is_zero()))
}

/// The same in bytes.
fn body_max(written: usize) -> Option<u64> {
    (written > 0).then_some(written as u64)
}

fn check_name(path: &str, name: &Spanned<String>, report: &mut Report<'_>) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let text = name.get_ref();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        let accepted = "1 to 64 characters of a-z, 0-9, - and _";
        let refusal = Refusal::new("this name cannot be used: it is a label of the metrics", accepted, "rename it");
        report.refuse_key(path, name.span(), refusal);
    }
}

/// One item of `servers`.
struct Listed {
    speech: Speech,
    server: Server,
}

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Speech {
    protocol: Protocol,
    is_tls: bool,
}

const PLAIN: Speech = Speech { protocol: Protocol::Http1, is_tls: false };

/// The items that make sense, each address once: a repetition would be a server that fails twice.
fn servers(path: &str, written: Written<List<file::Server>>, report: &mut Report<'_>) -> Vec<Spanned<Listed>> {
    let mut servers: Vec<Spanned<Listed>> = Vec::new();
    for item in written.given().into_iter().flat_map(|list| list.into_inner().0) {
        let span = item.span();
        let is_listed = |address: &_| servers.iter().any(|other| other.get_ref().server.address == *address);
        match listed(item.into_inner()) {
            Ok(item) if is_listed(&item.server.address) => {
                let remedy = "remove one of the two; a larger share is a weight";
                report.refuse(path, span, Refusal::new("is listed twice", "each server once", remedy));
            }
            Ok(item) => servers.push(Spanned::new(span, item)),
            Err(refusal) => report.refuse(path, span, refusal),
        }
    }
    servers
}

fn listed(written: file::Server) -> Result<Listed, Refusal> {
    let (speech, address) = server(&written.url)?;
    if matches!(address, ServerAddress::Service(_)) && written.weight != 1 {
        let cause = "has a weight, and its records in DNS have weights of their own";
        return Err(Refusal::new(cause, "srv+http:// servers without a weight", "remove the weight"));
    }
    Ok(Listed { speech, server: Server { address, weight: written.weight } })
}

/// What all of them speak: a request is prepared for one protocol before it is known which of them gets it.
fn common_speech(path: &str, servers: &[Spanned<Listed>], report: &mut Report<'_>) -> Speech {
    let Some(first) = servers.first() else { return PLAIN };
    let speech = first.get_ref().speech;
    for other in servers.iter().filter(|server| server.get_ref().speech != speech) {
        let cause = "speaks another protocol than the first one";
        let accepted = "in one upstream only http:// and unix:, only https://, only h2c:// or only h2://";
        report.refuse(path, other.span(), Refusal::new(cause, accepted, "give the others an upstream of their own"));
    }
    speech
}

impl From<file::Balance> for Balance {
    fn from(written: file::Balance) -> Self {
        match written {
            file::Balance::LeastLoaded => Self::LeastLoaded,
            file::Balance::RoundRobin => Self::RoundRobin,
            file::Balance::StoreAffinity => Self::StoreAffinity,
        }
    }
}

impl From<file::UnknownUpstream> for UnknownUpstream {
    fn from(written: file::UnknownUpstream) -> Self {
        match written {
            file::UnknownUpstream::Default => Self::Default,
            file::UnknownUpstream::Unavailable => Self::Unavailable,
        }
    }
}

impl From<file::ProxyProtocol> for ProxyProtocol {
    fn from(written: file::ProxyProtocol) -> Self {
        match written {
            file::ProxyProtocol::Off => Self::Off,
            file::ProxyProtocol::V2 => Self::V2,
        }
    }
}

fn server(text: &str) -> Result<(Speech, ServerAddress), Refusal> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path).map(|address| (PLAIN, address));
    }
    let refusal = |cause: &str, remedy: &str| Refusal::new(cause, SERVER, remedy);
    let (text, is_service) = text.strip_prefix("srv+").map_or((text, false), |rest| (rest, true));
    let text = &*with_ascii_host(text)?;
    let url: Uri = text.parse().map_err(|_| refusal("is no URL", "write scheme, host and port"))?;
    let (protocol, is_tls) = match url.scheme_str() {
        Some("http") => (Protocol::Http1, false),
        Some("https") => (Protocol::Http1, true),
        Some("h2c") => (Protocol::Http2, false),
        Some("h2") => (Protocol::Http2, true),
        _ => {
            return Err(refusal(
                "is not an http:// URL",
                "put http:// in front of host and port, or h2c:// for HTTP/2",
            ));
        }
    };
    let Some(authority) = url.authority() else { return Err(refusal("has no host", "write host and port")) };
    if authority.as_str().contains('@') {
        return Err(refusal("has a user name, which would be sent to nobody", "remove what stands before the @"));
    }
    if url.path() != "/" || text.contains(['?', '#']) {
        let cause = "has a path or a query; a request keeps its own";
        return Err(refusal(cause, "end the URL after the port"));
    }
    let speech = Speech { protocol, is_tls };
    if is_service {
        return service(authority.as_str()).map(|address| (speech, address));
    }
    let Some(port) = authority.port_u16().filter(|port| *port != 0) else {
        return Err(refusal("has no port from 1 to 65535", "add the port of the app server, such as :8000"));
    };
    Ok((speech, ServerAddress::Tcp { host: server_host(authority.host())?, port }))
}

/// The URL with A-labels, where its host is written in Unicode: no URL can hold that as it is.
fn with_ascii_host(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let Some((scheme, rest)) = text.split_once("://").filter(|_| !text.is_ascii()) else { return Ok(text.into()) };
    let (host, behind) = rest.split_at(rest.find([':', '/', '?', '#', '@']).unwrap_or(rest.len()));
    Ok(format!("{scheme}://{}{behind}", server_host(host)?).into())
}

/// A name with SRV records.
fn service(text: &str) -> Result<ServerAddress, Refusal> {
    let accepted = "\"srv+http://_service._tcp.name\", without a port: that is in the records";
    if text.parse::<IpAddr>().is_ok() {
        return Err(Refusal::new("is an address and no name", accepted, "write the name, or remove srv+"));
    }
    let name = Hostname::parse_human(text);
    name.map(|name| ServerAddress::Service(name.as_str().to_owned()))
        .map_err(|error| Refusal::new(error.to_string(), accepted, "correct the name"))
}

/// A resolver; on port 53 unless it says otherwise.
fn resolver(text: &str) -> Result<SocketAddr, Refusal> {
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)));
    address.map_err(|_| {
        let accepted = "an address, and a port if it is not 53: \"10.0.0.2\", \"127.0.0.1:8600\"";
        Refusal::new("is no address of a resolver", accepted, "write the address in digits")
    })
}

/// A socket in the file system. `unix:///path` is the same, since people write URLs so.
fn socket(path: &str) -> Result<ServerAddress, Refusal> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let refusal =
        |cause: &str| Err(Refusal::new(cause, "\"unix:/path\", 107 bytes of path at most", "correct the path"));
    match path {
        _ if !path.starts_with('/') => refusal("is no absolute path"),
        _ if path.len() > SOCKET_PATH_MAX => refusal("is longer than the name of a socket may be"),
        _ if path.contains('\0') => refusal("has a NUL"),
        _ => Ok(ServerAddress::Unix(path.into())),
    }
}

/// A name or an address; IPv6 without its brackets.
fn server_host(text: &str) -> Result<String, Refusal> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = unbracketed.unwrap_or(text).parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let name = Hostname::parse_human(text);
    name.map(|name| name.as_str().to_owned())
        .map_err(|error| Refusal::new(error.to_string(), SERVER, "correct the host"))
}
