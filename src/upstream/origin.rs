//! Where endpoints come from: an item of `servers`, which is one endpoint, or a name that leads to any number of them.

use std::{sync::Arc, time::Instant};

use super::{Endpoint, Server, ServerAddress, resolver::Found};

/// An item of `servers`, and what it leads to.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) server: Server,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Origin {
    pub(super) fn new(server: Server, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self { server, endpoints }
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// It leads to `found` and nowhere else from `now` on: what is new is made by `make`, and what is gone drains. Whether there is
    /// something new to choose from.
    pub(super) fn lead_to(&mut self, found: &[Found], now: Instant, make: impl Fn(Server) -> Arc<Endpoint>) -> bool {
        let (mut reweighted, before) = (false, self.endpoints.len());
        for endpoint in &self.endpoints {
            let listed = found.iter().find(|found| found.server().address == *endpoint.address());
            endpoint.list(listed.is_some(), now);
            reweighted |= listed.is_some_and(|found| endpoint.reweigh(found.weight));
        }
        for server in found.iter().map(Found::server) {
            if !self.endpoints.iter().any(|endpoint| *endpoint.address() == server.address) {
                self.endpoints.push(make(server));
            }
        }
        reweighted || self.endpoints.len() > before
    }

    /// Lets go of endpoints that are gone from DNS and have nothing left to do. Whether there were any.
    pub(super) fn retire(&mut self) -> bool {
        let before = self.endpoints.len();
        self.endpoints.retain(|endpoint| endpoint.is_listed() || endpoint.in_flight() > 0);
        self.endpoints.len() < before
    }
}

impl Found {
    fn server(&self) -> Server {
        let address = ServerAddress::Tcp { host: self.address.to_string(), port: self.port };
        Server { address, weight: self.weight }
    }
}
