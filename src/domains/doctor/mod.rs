//! The doctor: what is set for a customer's domain, what should be, and the one thing that the customer should do next.
//!
//! For whoever answers the customer's mail. Everything is asked at the moment; what earlier looks have found is told beside it.

mod advice;
mod issuance;

pub use advice::{Advice, Certificate, Outlook, Who, advise};
pub use issuance::{Asked, Issuance, Permission};

use std::net::IpAddr;

use serde::Serialize;

use super::{
    Ownership, SelfCheck, Settings, Traffic,
    dns::{self, Dns, Zone},
    ownership::holds,
    traffic::Visitor,
};

/// Asks about domains.
pub struct Doctor {
    settings: Settings,
    dns: Dns,
    self_check: SelfCheck,
    /// The CAs that are asked for certificates.
    authorities: Vec<Asked>,
}

/// What is set for a domain.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Whether its zone can be asked at all.
    pub zone: Zone,
    /// Whether the token stands there; none where the row has no token.
    pub ownership: Option<Ownership>,
    /// A record in another place that holds the token.
    pub misplaced: Option<String>,
    /// The names that it is an alias of, one leading to the next.
    pub aliases: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its visitors arrive.
    pub traffic: Traffic,
    /// Whether the CAs may issue for it, the preferred one first.
    pub issuance: Vec<Permission>,
}

impl Doctor {
    /// Asks nothing yet. `authorities` are asked for certificates, the preferred one first.
    pub fn new(settings: Settings, self_check: SelfCheck, authorities: Vec<Asked>) -> Result<Self, dns::Error> {
        Ok(Self { dns: Dns::new(&settings.dns)?, settings, self_check, authorities })
    }

    /// Looks at `name`, canonical, which is to be proved by `token`.
    pub async fn examine(&self, name: &str, token: Option<&str>) -> Findings {
        let (zone, ownership, aliases, traffic, issuance) = tokio::join!(
            self.dns.zone(name),
            self.ownership(name, token),
            self.dns.aliases(name),
            self.visitor().look(name),
            self.issuance(name),
        );
        let misplaced = match (&ownership, token) {
            (Some(Ownership::Absent { .. }), Some(token)) => self.misplaced(name, token).await,
            _ => None,
        };
        let addresses = self.dns.addresses(name).await.unwrap_or_default();
        Findings { zone, ownership, misplaced, aliases: aliases.unwrap_or_default(), addresses, traffic, issuance }
    }

    async fn ownership(&self, name: &str, token: Option<&str>) -> Option<Ownership> {
        Some(Ownership::look(self.visitor(), &self.settings, name, token.filter(|token| !token.is_empty())?).await)
    }

    fn visitor(&self) -> Visitor<'_> {
        Visitor::new(&self.dns, &self.self_check, &self.settings)
    }

    async fn issuance(&self, name: &str) -> Vec<Permission> {
        if self.authorities.is_empty() {
            return Vec::new();
        }
        Permission::all(&self.dns.caa(name).await, &self.authorities)
    }

    /// Where people put the record by mistake: at the name itself, and below the zone twice, since many panels append it.
    async fn misplaced(&self, name: &str, token: &str) -> Option<String> {
        let prefix = self.settings.prefixes.first()?;
        for place in [name.to_owned(), format!("{prefix}.{name}.{name}"), format!("{prefix}.www.{name}")] {
            if self.dns.texts(&place).await.is_ok_and(|texts| holds(&texts, token)) {
                return Some(place);
            }
        }
        None
    }
}
