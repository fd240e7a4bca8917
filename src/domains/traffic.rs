//! Where visitors of a name arrive: asked by being one, since customers stand behind CDNs whose addresses say nothing.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header, response::Parts, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::{
    Reach, SelfCheck, Settings,
    dns::{self, Dns},
    ownership::reason,
    public::is_public,
};

/// For one visit. A CDN that wakes up its way here takes a second or two.
const VISIT_WITHIN: Duration = Duration::from_secs(5);

/// Addresses of each family that are visited. Whoever has more has a CDN, whose addresses are alike.
const ADDRESSES_MAX: usize = 4;

/// Octets of an answer that are read; ours has 64.
const ANSWER_MAX: usize = 1024;

/// Where the visitors of a name arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// A visit at each address that the name has, four of each family at most.
    pub visits: Vec<Visit>,
    /// Why its addresses are not known.
    pub failure: Option<String>,
}

/// What a visitor meets at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Visit {
    /// Where.
    pub address: IpAddr,
    /// Who answers.
    pub met: Met,
}

/// Who answers there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum Met {
    /// An instance of ours.
    Us,
    /// Somebody who sends every visitor to https at the same name: what is met there is not known.
    Secure {
        /// With this status.
        status: u16,
    },
    /// Somebody else.
    Other {
        /// With this status.
        status: u16,
    },
    /// Nobody, or not in time.
    Nobody {
        /// What went wrong.
        reason: String,
    },
    /// It is no address of the public Internet: nobody was asked.
    NotPublic,
}

/// Visits names for others, who have to know whether they lead here.
pub struct Visits {
    dns: Dns,
    self_check: SelfCheck,
    settings: Settings,
}

impl Visits {
    /// As `settings` say, and with the questions of `self_check`; an error where no DNS server is known.
    pub fn new(settings: Settings, self_check: SelfCheck) -> Result<Self, dns::Error> {
        Ok(Self { dns: Dns::new(&settings.dns)?, self_check, settings })
    }

    /// Where the visitors of `name` arrive.
    pub async fn look(&self, name: &str) -> Traffic {
        Visitor::new(&self.dns, &self.self_check, &self.settings).look(name).await
    }
}

/// How names are visited.
#[derive(Clone, Copy)]
pub(super) struct Visitor<'a> {
    pub(super) dns: &'a Dns,
    self_check: &'a SelfCheck,
    port: u16,
    allow_private: bool,
}

impl Traffic {
    /// What it means for the claim.
    pub fn reach(&self) -> Reach {
        let met = |is: fn(&Met) -> bool| self.visits.iter().any(|visit| is(&visit.met));
        match self.failure {
            _ if met(|met| *met == Met::Us) => Reach::Here,
            Some(_) => Reach::Unknown,
            None if met(|met| matches!(met, Met::Nobody { .. })) => Reach::Unknown,
            None if met(|met| matches!(met, Met::Secure { .. })) => Reach::Hidden,
            None => Reach::Elsewhere,
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return write!(f, "its addresses could not be asked for: {failure}");
        }
        if self.visits.is_empty() {
            return f.write_str("it has no address");
        }
        let visits: Vec<_> = self.visits.iter().map(ToString::to_string).collect();
        f.write_str(&visits.join(", "))
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match &self.met {
            Met::Us => write!(f, "{address} leads here"),
            Met::Secure { status } => write!(f, "{address} leads to https (answers {status})"),
            Met::Other { status } => write!(f, "{address} leads elsewhere (answers {status})"),
            Met::Nobody { reason } => write!(f, "nobody answers at {address} ({reason})"),
            Met::NotPublic => write!(f, "{address} is no public address"),
        }
    }
}

impl<'a> Visitor<'a> {
    pub(super) fn new(dns: &'a Dns, self_check: &'a SelfCheck, settings: &Settings) -> Self {
        Self { dns, self_check, port: settings.port, allow_private: settings.dns.allow_private }
    }

    /// Looks up `name` and visits its addresses, all at once: CAs and browsers take any of them, IPv6 first, and a forgotten record
    /// leads them elsewhere.
    pub(super) async fn look(self, name: &str) -> Traffic {
        let addresses = match self.dns.addresses(name).await {
            Ok(addresses) => addresses,
            Err(error) => return Traffic { failure: Some(reason(&error)), ..Traffic::default() },
        };
        let mut visits = JoinSet::new();
        for (position, address) in chosen(&addresses).into_iter().enumerate() {
            let (self_check, name) = (self.self_check.clone(), name.to_owned());
            let (port, may_visit) = (self.port, self.may_visit(address));
            visits.spawn(async move {
                let met = match may_visit {
                    true => visit(&self_check, SocketAddr::new(address, port), &name).await,
                    false => Met::NotPublic,
                };
                (position, Visit { address, met })
            });
        }
        let mut visits = visits.join_all().await;
        visits.sort_unstable_by_key(|(position, _)| *position);
        Traffic { visits: visits.into_iter().map(|(_, visit)| visit).collect(), failure: None }
    }

    /// Whether one of the addresses of `name` answers 200 to a request for `path`, with a page that `is_wanted`.
    pub(super) async fn meets(self, name: &str, path: &str, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        let addresses = self.dns.addresses(name).await.unwrap_or_default();
        let mut pages = JoinSet::new();
        for address in chosen(&addresses).into_iter().filter(|address| self.may_visit(*address)) {
            let (name, path, at) = (name.to_owned(), path.to_owned(), SocketAddr::new(address, self.port));
            pages.spawn(async move { timeout(VISIT_WITHIN, ask(at, &name, &path)).await });
        }
        let pages = pages.join_all().await;
        pages
            .iter()
            .any(|page| matches!(page, Ok(Ok((head, page))) if head.status == StatusCode::OK && is_wanted(page)))
    }

    /// Nobody's name leads us to a door inside our own network.
    fn may_visit(self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }
}

/// The addresses that are visited, those of IPv4 in front.
fn chosen(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let family = |is_wanted: fn(&IpAddr) -> bool| addresses.iter().copied().filter(is_wanted).take(ADDRESSES_MAX);
    family(IpAddr::is_ipv4).chain(family(IpAddr::is_ipv6)).collect()
}

async fn visit(self_check: &SelfCheck, at: SocketAddr, name: &str) -> Met {
    let question = SelfCheck::question();
    match timeout(VISIT_WITHIN, ask(at, name, &path(&question))).await {
        Err(_) => Met::Nobody { reason: format!("no answer within {VISIT_WITHIN:?}") },
        Ok(Err(error)) => Met::Nobody { reason: crate::telemetry::causes::one_line(&error) },
        Ok(Ok((_, answer))) if self_check.is_answer(&answer, &question, name) => Met::Us,
        Ok(Ok((head, _))) if leads_to_https(&head, name, &question) => Met::Secure { status: head.status.as_u16() },
        Ok(Ok((head, _))) => Met::Other { status: head.status.as_u16() },
    }
}

/// Whether the answer to `question` sends whoever asks `name` to the same place under https, as CDNs do.
fn leads_to_https(head: &Parts, name: &str, question: &str) -> bool {
    let location = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let Some(location) = location.and_then(|location| location.parse::<Uri>().ok()) else { return false };
    head.status.is_redirection()
        && location.scheme() == Some(&Scheme::HTTPS)
        && location.host().is_some_and(|host| host.eq_ignore_ascii_case(name))
        && matches!(location.port_u16(), None | Some(443))
        && location.path() == path(question)
}

/// Where CAs ask.
fn path(question: &str) -> String {
    format!("/.well-known/acme-challenge/{question}")
}

/// One request; a redirect is an answer like any other, and is not followed.
async fn ask(at: SocketAddr, name: &str, path: &str) -> Result<(Parts, Bytes), VisitError> {
    let request = Request::get(path)
        .header(header::HOST, HeaderValue::try_from(name)?)
        .header(header::USER_AGENT, HeaderValue::from_static("usher self-check"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        // What is longer is not our answer, whatever it is.
        let body = Limited::new(body, ANSWER_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((head, body))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // It may have ended with the answer.
        _ended = connection => exchange.await,
    }
}

/// Why a visit came to nothing.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    /// No connection.
    #[error("no connection")]
    Connect(#[from] std::io::Error),
    /// What answers speaks no HTTP, or breaks off.
    #[error("no answer of HTTP")]
    Http(#[from] hyper::Error),
    /// The name cannot be asked for.
    #[error("the name cannot stand in a request")]
    Request(#[from] http::Error),
    /// The same.
    #[error("the name cannot stand in a request")]
    Name(#[from] header::InvalidHeaderValue),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(met: &[Met]) -> Traffic {
        let address = IpAddr::from([192, 0, 2, 1]);
        Traffic { visits: met.iter().map(|met| Visit { address, met: met.clone() }).collect(), failure: None }
    }

    #[test]
    fn one_way_here_is_enough_and_silence_proves_nothing() {
        let nobody = Met::Nobody { reason: "no connection".into() };
        let other = Met::Other { status: 301 };
        assert_eq!(traffic(&[]).reach(), Reach::Elsewhere);
        assert_eq!(traffic(&[Met::Us, other.clone()]).reach(), Reach::Here);
        assert_eq!(traffic(&[nobody.clone(), Met::Us]).reach(), Reach::Here);
        assert_eq!(traffic(&[other.clone(), Met::NotPublic]).reach(), Reach::Elsewhere);
        assert_eq!(traffic(&[other.clone(), nobody]).reach(), Reach::Unknown);
        assert_eq!(traffic(&[other, Met::Secure { status: 301 }]).reach(), Reach::Hidden);
        assert_eq!(Traffic { failure: Some("SERVFAIL".into()), ..traffic(&[]) }.reach(), Reach::Unknown);
    }

    #[test]
    fn four_addresses_of_each_family_are_visited() {
        let addresses: Vec<IpAddr> = (1..=6)
            .flat_map(|number| [format!("2001:db8::{number}"), format!("192.0.2.{number}")])
            .map(|address| address.parse().unwrap())
            .collect();
        let chosen: Vec<_> = chosen(&addresses).iter().map(ToString::to_string).collect();
        let expected = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].into_iter();
        assert!(chosen.iter().eq(expected.chain(["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"])));
    }

    #[test]
    fn only_the_same_place_under_https_is_no_other() {
        let leads = |status: u16, location: &str| {
            let answer = http::Response::builder().status(status).header(header::LOCATION, location).body(());
            leads_to_https(&answer.unwrap().into_parts().0, "shop.example", "question")
        };
        let place = "/.well-known/acme-challenge/question";
        for location in [format!("https://shop.example{place}"), format!("https://Shop.Example:443{place}?x=1")] {
            assert!(leads(301, &location) && leads(308, &location) && !leads(200, &location), "{location}");
        }
        for location in [
            format!("http://shop.example{place}"),
            format!("https://www.shop.example{place}"),
            format!("https://shop.example:8443{place}"),
            "https://shop.example/".to_owned(),
            place.to_owned(),
        ] {
            assert!(!leads(301, &location), "{location}");
        }
    }
}
