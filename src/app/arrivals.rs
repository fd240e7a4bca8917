//! Whether names lead here, for those who ask CAs for certificates.

use crate::{
    domains::{Met, Reach, Traffic, Visits},
    tls::{Arrivals, Astray, BoxFuture},
};

impl Arrivals for Visits {
    fn lead_here<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Astray>> {
        Box::pin(async move {
            let traffic = self.look(name).await;
            match traffic.reach() {
                _ if leads_here(&traffic) => Ok(()),
                Reach::Hidden if is_hidden(&traffic) => Err(Astray::Hidden(traffic.to_string())),
                Reach::Unknown => Err(Astray::Unknown(traffic.to_string())),
                Reach::Here | Reach::Hidden | Reach::Elsewhere => Err(Astray::Elsewhere(traffic.to_string())),
            }
        })
    }
}

/// A CA takes any of the addresses, and another one where nobody answers: none of them may be somebody else's.
fn leads_here(traffic: &Traffic) -> bool {
    let met = |is: fn(&Met) -> bool| traffic.visits.iter().any(|visit| is(&visit.met));
    met(|met| *met == Met::Us) && !met(|met| matches!(met, Met::Other { .. } | Met::NotPublic))
}

/// Whether what is met at every address sends visitors to https at the same name, where it may be us.
fn is_hidden(traffic: &Traffic) -> bool {
    !traffic.visits.is_empty() && traffic.visits.iter().all(|visit| matches!(visit.met, Met::Secure { .. }))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::domains::Visit;

    #[test]
    fn no_address_may_be_somebody_elses() {
        let leads = |met: &[Met]| {
            let visit = |met: &Met| Visit { address: IpAddr::V4(Ipv4Addr::LOCALHOST), met: met.clone() };
            leads_here(&Traffic { visits: met.iter().map(visit).collect(), failure: None })
        };
        let (nobody, other) = (Met::Nobody { reason: String::new() }, Met::Other { status: 200 });
        assert!(leads(&[Met::Us]) && leads(&[Met::Us, nobody.clone()]));
        assert!(
            ![&[][..], &[nobody], &[Met::Us, other.clone()], &[other], &[Met::Us, Met::NotPublic]]
                .iter()
                .any(|met| leads(met))
        );
    }
}
