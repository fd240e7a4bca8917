//! What the DNS says of a customer's name.
//!
//! Asked of a resolver first; where its "no" would take something from a customer, of the zone's own servers too: resolvers
//! remember absences for as long as the zone allows, and some filter. Nothing is cached here, and every name is absolute.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError as Answer, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Message, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::CAA},
    },
    system_conf,
};
use serde::Serialize;
use tokio::{net::UdpSocket, time::timeout};

use super::public::is_public;
use crate::telemetry::causes::one_line;

/// Servers of a zone that are asked; big zones have eight names with two addresses each, and all say the same.
const AUTHORITIES_MAX: usize = 4;

/// Labels that are taken off a name in search of its zone; names have 127 at most, customers' have three or four.
const CUTS_MAX: usize = 8;

/// How the DNS is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Resolvers to ask; none: those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// For one question to one server; it is asked twice.
    pub timeout: Duration,
    /// Where the servers of a zone listen: 53, except on a test bench.
    pub authority_port: u16,
    /// Whether servers of a zone may be at addresses that are not public.
    pub allow_private: bool,
}

impl Default for Settings {
    fn default() -> Self {
        // Whoever needs longer is as good as away; the schedule comes back.
        Self { resolvers: Vec::new(), timeout: Duration::from_secs(2), authority_port: 53, allow_private: false }
    }
}

/// The DNS, as far as this machine can ask it.
pub struct Dns {
    resolver: TokioResolver,
    /// The same, one by one.
    servers: Vec<SocketAddr>,
    settings: Settings,
}

/// The CAA records that count for a name.
#[derive(Clone, Debug, Default)]
pub struct Authorization {
    /// The name that they stand at.
    pub at: String,
    /// None: nobody is kept from issuing.
    pub records: Vec<CAA>,
}

/// Whether a zone can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Zone {
    /// It answers.
    Answers,
    /// Its answers are not signed as its parent says (DNSSEC): whoever checks that gets none.
    Forged,
    /// The resolvers get no answer from it.
    Silent {
        /// Why.
        reason: String,
    },
    /// The resolvers themselves give no answer.
    Unasked {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("answers"),
            Self::Forged => f.write_str("its signatures do not fit (DNSSEC)"),
            Self::Silent { reason } => write!(f, "no answer from its name servers: {reason}"),
            Self::Unasked { reason } => write!(f, "could not be asked: {reason}"),
        }
    }
}

impl Dns {
    /// Prepares to ask; asks nothing yet.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let servers = match settings.resolvers.as_slice() {
            [] => of_system()?,
            some => some.to_vec(),
        };
        let resolver = builder(servers.iter().copied());
        let resolver = resolver.with_options(options(settings.timeout, true)).build().map_err(Error::Setup)?;
        Ok(Self { resolver, servers, settings: settings.clone() })
    }

    /// The texts of `name`, the pieces of each put together; none where the resolver says that there are none.
    pub async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        let records = ask(&self.resolver, &absolute(name)?, RecordType::TXT).await?;
        Ok(records.iter().filter_map(text).collect())
    }

    /// The same, as the servers of the zone itself say it. Where the name is an alias into a zone of other servers, they refuse
    /// to speak for it: an error.
    pub async fn texts_at_authority(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        let name = absolute(name)?;
        let authority = self.authority(&name).await?;
        let records = ask(&authority, &name, RecordType::TXT).await?;
        Ok(records.iter().filter_map(text).collect())
    }

    /// The addresses of `name`, IPv4 first.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        self.addresses_of(&absolute(name)?).await
    }

    /// The names that `name` is an alias of, one leading to the next.
    pub async fn aliases(&self, name: &str) -> Result<Vec<String>, Error> {
        let records = ask(&self.resolver, &absolute(name)?, RecordType::A).await?;
        let target = |record: &Record| match &record.data {
            RData::CNAME(target) => Some(written(target)),
            _ => None,
        };
        Ok(records.iter().filter_map(target).collect())
    }

    /// The CAA records that count for `name`: its own, or those of the closest name above it that has any (RFC 8659 §3).
    pub async fn caa(&self, name: &str) -> Result<Authorization, Error> {
        let mut name = absolute(name)?;
        while !name.is_root() {
            let records = ask(&self.resolver, &name, RecordType::CAA).await?;
            let found: Vec<_> = records.iter().filter_map(issuance).collect();
            if !found.is_empty() {
                return Ok(Authorization { at: written(&name), records: found });
            }
            name = name.base_name();
        }
        Ok(Authorization::default())
    }

    /// Whether the zone of `name` can be asked. A resolver that checks signatures says no more than that it has failed; where it
    /// has an answer when it is asked not to check (RFC 4035 §3.2.2), the signatures are what is wrong.
    pub async fn zone(&self, name: &str) -> Zone {
        match self.texts(name).await {
            Ok(_) => Zone::Answers,
            Err(Error::ServerFailure) if self.answers_unchecked(name).await => Zone::Forged,
            Err(error @ Error::ServerFailure) => Zone::Silent { reason: one_line(&error) },
            Err(error) => Zone::Unasked { reason: one_line(&error) },
        }
    }

    /// Whether a resolver has an answer of any kind where it does not check signatures.
    async fn answers_unchecked(&self, name: &str) -> bool {
        let Ok(name) = absolute(name) else { return false };
        for server in &self.servers {
            if let Ok(Ok(code)) = timeout(self.settings.timeout, unchecked(*server, name.clone())).await {
                return matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
            }
        }
        false
    }

    /// A resolver that asks the servers of the zone of `name` and nobody else.
    async fn authority(&self, name: &Name) -> Result<TokioResolver, Error> {
        let mut addresses = Vec::new();
        for server in self.servers_of_zone(name).await? {
            let found = self.addresses_of(&server).await.unwrap_or_default();
            addresses.extend(found.into_iter().filter(|ip| self.settings.allow_private || is_public(*ip)));
            if addresses.len() >= AUTHORITIES_MAX {
                break;
            }
        }
        if addresses.is_empty() {
            return Err(Error::NoAuthority);
        }
        let servers =
            addresses.into_iter().take(AUTHORITIES_MAX).map(|ip| SocketAddr::new(ip, self.settings.authority_port));
        builder(servers).with_options(options(self.settings.timeout, false)).build().map_err(Error::Setup)
    }

    /// The names of the servers of the closest zone above `name`.
    async fn servers_of_zone(&self, name: &Name) -> Result<Vec<Name>, Error> {
        let mut zone = name.clone();
        for _ in 0..CUTS_MAX {
            let records = ask(&self.resolver, &zone, RecordType::NS).await?;
            let servers: Vec<_> = records.iter().filter(|record| record.name == zone).filter_map(server).collect();
            if !servers.is_empty() {
                return Ok(servers);
            }
            zone = zone.base_name();
            if zone.is_root() {
                break;
            }
        }
        Err(Error::NoAuthority)
    }

    async fn addresses_of(&self, name: &Name) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            addresses.extend(ask(&self.resolver, name, kind).await?.iter().filter_map(|record| record.data.ip_addr()));
        }
        Ok(addresses)
    }
}

/// What a resolver says of `name` without checking signatures.
async fn unchecked(server: SocketAddr, name: Name) -> io::Result<ResponseCode> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.metadata.checking_disabled = true;
    question.add_query(Query::query(name, RecordType::TXT));
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut answer = [0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        let Ok(message) = Message::from_vec(answer.get(..length).unwrap_or_default()) else { continue };
        if message.metadata.id == question.metadata.id {
            return Ok(message.metadata.response_code);
        }
    }
}

/// The records of an answer; none where there are none. Everything else that keeps an answer away is an error.
async fn ask(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<Vec<Record>, Error> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(lookup.answers().to_vec()),
        Err(NetError::Dns(Answer::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            Ok(Vec::new())
        }
        Err(NetError::Dns(Answer::ResponseCode(ResponseCode::ServFail))) => Err(Error::ServerFailure),
        Err(NetError::Dns(Answer::NoRecordsFound(none))) if none.response_code == ResponseCode::ServFail => {
            Err(Error::ServerFailure)
        }
        Err(error) => Err(Error::NoAnswer(error)),
    }
}

fn of_system() -> Result<Vec<SocketAddr>, Error> {
    let (config, _options) = system_conf::read_system_conf().map_err(Error::Setup)?;
    let mut servers: Vec<_> = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect();
    servers.dedup();
    Ok(servers)
}

type Builder = hickory_resolver::ResolverBuilder<TokioRuntimeProvider>;

fn builder(servers: impl Iterator<Item = SocketAddr>) -> Builder {
    let at = |mut connection: ConnectionConfig, port| {
        connection.port = port;
        connection
    };
    let server = |address: SocketAddr| {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|kind| at(kind, address.port())).to_vec();
        NameServerConfig::new(address.ip(), true, connections)
    };
    let config = ResolverConfig::from_name_servers(servers.map(server).collect());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn options(timeout: Duration, recursion: bool) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.recursion_desired = recursion;
    options.case_randomization = true;
    options
}

fn absolute(name: &str) -> Result<Name, Error> {
    let mut name = Name::from_ascii(name).map_err(|error| Error::Name(error.to_string()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Without the dot at the end.
fn written(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

fn text(record: &Record) -> Option<Vec<u8>> {
    match &record.data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    }
}

fn issuance(record: &Record) -> Option<CAA> {
    match &record.data {
        RData::CAA(caa) => Some(caa.clone()),
        _ => None,
    }
}

fn server(record: &Record) -> Option<Name> {
    match &record.data {
        RData::NS(server) => Some(server.0.clone()),
        _ => None,
    }
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system's resolvers cannot be read, or no socket was to be had.
    #[error("the DNS cannot be asked")]
    Setup(#[source] NetError),
    /// It is no name that the DNS could hold.
    #[error("this is no DNS name: {0}")]
    Name(String),
    /// The resolver itself got no answer that it believes: servers of the zone that are away, or a broken signature (DNSSEC).
    #[error("the resolver failed (SERVFAIL): the zone's servers are away, or its DNSSEC signatures are broken")]
    ServerFailure,
    /// No server answered.
    #[error("no answer from the DNS")]
    NoAnswer(#[source] NetError),
    /// The servers of the zone were not found.
    #[error("the zone's own servers were not found")]
    NoAuthority,
}
