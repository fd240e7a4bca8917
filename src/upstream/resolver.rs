//! Where a name leads, asked of DNS. Nothing is cached here: whoever asks knows for how long an answer is good.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType, rdata::SRV},
    },
};
use tokio::time::timeout;

use super::{ServerAddress, balancer::greatest_common_divisor};

/// For one question to one server, which is asked twice. A resolver in the same house answers within milliseconds.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// For all that one name needs: two kinds of addresses, and the names behind a service.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Addresses of one name that are used. Each worker looks through all of them for some requests, and an answer of TCP could hold
/// four thousand.
const ADDRESSES_MAX: usize = 256;

/// The largest share of an address; those of a service are put in proportion to it.
const WEIGHT_MAX: usize = 100;

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) weight: usize,
    /// Of its record of a service, the lower the better; 0 where there is none.
    pub(super) priority: u16,
}

/// What DNS says of a name.
#[derive(Debug)]
pub(super) struct Answer {
    /// At least one.
    pub(super) found: Vec<Found>,
    /// Until when its records are good.
    pub(super) until: Instant,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's resolvers cannot be read, or no socket was to be had.
    #[error("DNS cannot be asked")]
    Setup(#[source] NetError),
    /// No server answered, or one failed.
    #[error("no answer from DNS")]
    NoAnswer(#[source] NetError),
    /// Not within the time for all of it.
    #[error("no answer from DNS within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// There are no addresses.
    #[error("the name has no address")]
    NoAddress,
}

/// Asks DNS.
pub(super) struct Resolver(TokioResolver);

impl Resolver {
    /// For these resolvers; for none, those of the system, as they are configured now.
    pub(super) fn new(resolvers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let mut builder = match resolvers {
            [] => TokioResolver::builder_tokio().map_err(ResolveError::Setup)?,
            some => {
                let servers = some.iter().copied().map(name_server).collect();
                let mut options = ResolverOpts::default();
                options.case_randomization = true;
                TokioResolver::builder_with_config(
                    ResolverConfig::from_name_servers(servers),
                    TokioRuntimeProvider::default(),
                )
                .with_options(options)
            }
        };
        builder.options_mut().timeout = QUESTION_TIMEOUT;
        builder.options_mut().cache_size = 0;
        builder.build().map(Self).map_err(ResolveError::Setup)
    }

    /// Where `server` is, whose share is `weight`.
    pub(super) async fn ask(&self, server: &ServerAddress, weight: usize) -> Result<Answer, ResolveError> {
        let answer = async {
            match server {
                ServerAddress::Service(name) => self.service(name).await,
                ServerAddress::Tcp { host, port } => self.host(host, *port, weight).await,
                ServerAddress::Unix(_) => Err(ResolveError::NoAddress),
            }
        };
        let mut answer = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_elapsed| ResolveError::Timeout)??;
        if answer.found.len() > ADDRESSES_MAX {
            tracing::warn!(%server, addresses = answer.found.len(), used = ADDRESSES_MAX, "a name has too many addresses");
            answer.found.truncate(ADDRESSES_MAX);
        }
        if answer.found.is_empty() { Err(ResolveError::NoAddress) } else { Ok(answer) }
    }

    /// All addresses of `host`. Where one kind cannot be asked for nothing is known: the other alone would pass for all of them.
    async fn host(&self, host: &str, port: u16, weight: usize) -> Result<Answer, ResolveError> {
        let (mut found, mut until) = (Vec::new(), None);
        for kind in [RecordType::A, RecordType::AAAA] {
            let Some(lookup) = self.lookup(host, kind).await? else { continue };
            let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
            found.extend(addresses.map(|address| Found { address, port, weight, priority: 0 }));
            until = earlier(until, lookup.valid_until());
        }
        Ok(Answer { found, until: until.unwrap_or_else(Instant::now) })
    }

    /// All addresses of the servers of a service (RFC 2782), from the best priority on, which is 0 beside other items of `servers`. Shares
    /// are those among servers of one priority; a server with several addresses has its own once.
    async fn service(&self, name: &str) -> Result<Answer, ResolveError> {
        let lookup = self.lookup(name, RecordType::SRV).await?.ok_or(ResolveError::NoAddress)?;
        let records: Vec<_> = lookup.answers().iter().filter_map(|record| srv(&record.data)).collect();
        let heaviest = |priority: u16| {
            let equals = records.iter().filter(|record| record.priority == priority);
            equals.map(|record| record.weight).max().unwrap_or_default()
        };
        let mut answer = Answer { found: Vec::new(), until: lookup.valid_until() };
        for record in records.iter().filter(|record| !record.target.is_root()) {
            let weight = share(record.weight, heaviest(record.priority));
            let host = self.host(&record.target.to_ascii(), record.port, weight).await?;
            let weight = (weight / host.found.len().max(1)).max(1);
            answer.found.extend(host.found.into_iter().map(|found| Found {
                priority: record.priority,
                weight,
                ..found
            }));
            answer.until = answer.until.min(host.until);
        }
        // Where there are too many the last ones are left out.
        answer.found.sort_by_key(|found| found.priority);
        let best = answer.found.first().map_or(0, |found| found.priority);
        answer.found.iter_mut().for_each(|found| found.priority -= best);
        answer.found.chunk_by_mut(|one, other| one.priority == other.priority).for_each(reduce);
        Ok(answer)
    }

    /// The answer; `None` where there are no such records. Everything else that keeps an answer away is an error.
    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Option<Lookup>, ResolveError> {
        match self.0.lookup(name, kind).await {
            Ok(lookup) => Ok(Some(lookup)),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
            {
                Ok(None)
            }
            Err(error) => Err(ResolveError::NoAnswer(error)),
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

fn srv(data: &RData) -> Option<&SRV> {
    match data {
        RData::SRV(record) => Some(record),
        _ => None,
    }
}

/// The smallest weights in the same proportion: equal ones weigh what any other item of `servers` does.
fn reduce(equals: &mut [Found]) {
    let unit = equals.iter().map(|found| found.weight).fold(0, greatest_common_divisor).max(1);
    equals.iter_mut().for_each(|found| found.weight /= unit);
}

/// The weight of a record beside the heaviest one. RFC 2782 gives those of weight 0 a small chance, and so do we.
fn share(weight: u16, heaviest: u16) -> usize {
    match heaviest {
        0 => 1,
        heaviest => (usize::from(weight) * WEIGHT_MAX / usize::from(heaviest)).max(1),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn weights_are_put_in_proportion() {
        assert_eq!([0, 1, 50, 100].map(|weight| share(weight, 100)), [1, 1, 50, 100]);
        assert_eq!([10, 65_535].map(|weight| share(weight, 65_535)), [1, 100]);
        assert_eq!([share(0, 0), share(3, 3)], [1, 100]);
        let found = |weight| Found { address: Ipv4Addr::LOCALHOST.into(), port: 1, weight, priority: 0 };
        let mut weighed = [100, 50, 25].map(found);
        reduce(&mut weighed);
        assert_eq!(weighed.map(|found| found.weight), [4, 2, 1]);
    }
}
