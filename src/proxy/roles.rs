//! Which upstream serves whom: one for each kind of request, and that which a store's row names.

use std::sync::{Arc, Mutex, PoisonError};

use super::{error::Failure, worker::Worker};
use crate::routing::{Destination, Match, UpstreamName};

/// Names that are told of in the log. Whoever has more of them wrong has one mistake and not many.
const TOLD_MAX: usize = 100;

/// Which upstream serves whom, by position.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Tenants whose row names none.
    pub tenant: usize,
    /// The administration.
    pub admin: usize,
    /// The homepage.
    pub homepage: usize,
    /// `routing.unknown_upstream`.
    pub unknown: UnknownUpstream,
}

/// `routing.unknown_upstream`: who serves a store whose row names an upstream that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownUpstream {
    /// The default one.
    Default,
    /// Nobody (503).
    Unavailable,
}

impl Roles {
    /// The upstream for what is recognised as `matched`, where no row names another.
    pub fn upstream_for(self, matched: Match) -> usize {
        match matched {
            Match::CustomDomain | Match::Subdomain | Match::Path => self.tenant,
            Match::Admin => self.admin,
            Match::Homepage => self.homepage,
        }
    }
}

/// The position of the upstream that serves `destination`.
pub(super) fn upstream_for(worker: &Worker, destination: &Destination) -> Result<usize, Failure> {
    match destination.upstream() {
        None => Ok(worker.roles.upstream_for(destination.matched)),
        Some(name) => named(worker, name),
    }
}

/// There are a handful of upstreams: comparing their names costs less than a hash.
fn named(worker: &Worker, name: &UpstreamName) -> Result<usize, Failure> {
    let mut upstreams = worker.upstreams.iter().map(|upstream| upstream.upstream().settings.name.as_str());
    if let Some(position) = upstreams.position(|known| known == name.as_str()) {
        return Ok(position);
    }
    worker.metrics.unknown_upstream();
    worker.unknown_names.tell(name, worker.roles.unknown);
    match worker.roles.unknown {
        UnknownUpstream::Default => Ok(worker.roles.tenant),
        UnknownUpstream::Unavailable => Err(Failure::UnknownUpstream),
    }
}

/// The names that the log has told of, of all workers; a cheap clone. Only requests lock it that name what does not exist.
#[derive(Clone, Debug, Default)]
pub struct UnknownNames(Arc<Mutex<Vec<UpstreamName>>>);

impl UnknownNames {
    fn tell(&self, name: &UpstreamName, served: UnknownUpstream) {
        if self.is_new(name) {
            let instead = match served {
                UnknownUpstream::Default => "the default one",
                UnknownUpstream::Unavailable => "503",
            };
            tracing::error!(upstream = %name, instead, "a store's row names an upstream that does not exist");
        }
    }

    fn is_new(&self, name: &UpstreamName) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.len() < TOLD_MAX && !told.contains(name);
        if is_new {
            told.push(name.clone());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_told_once_and_no_more_than_so_many() {
        let names = UnknownNames::default();
        let name = |number: usize| UpstreamName::new(&format!("name-{number}")).unwrap();
        assert!(names.is_new(&name(0)) && !names.clone().is_new(&name(0)));
        assert_eq!((0..1000).filter(|number| names.is_new(&name(*number))).count(), TOLD_MAX - 1);
    }
}
