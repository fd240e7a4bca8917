//! Where endpoints come from: an item of `servers`, which is one endpoint, or a name that leads to any number of them.

use std::{sync::Arc, time::Instant};

use super::{Endpoint, Server, ServerAddress, TlsError, maker::Maker, resolver::Found, tls::Handshake};

/// An item of `servers`, and what it leads to.
#[derive(Debug)]
pub(super) struct Origin {
    /// The item.
    pub(super) name: Arc<str>,
    /// The handshake of TLS with all that it leads to.
    pub(super) handshake: Option<Handshake>,
    endpoints: Vec<Arc<Endpoint>>,
    /// Those that are gone and drain by order, by their labels: who comes back there drains still.
    ordered: Vec<Arc<str>>,
}

/// Orders that are kept for what is gone; beyond it the oldest one is forgotten. More servers than any name leads to.
const ORDERED_MAX: usize = 1000;

impl Origin {
    /// An address leads to itself, a name nowhere before it was resolved.
    pub(super) fn new(server: &Server, maker: &Maker) -> Result<Self, TlsError> {
        let handshake = maker.handshake(server)?;
        let mut origin =
            Self { name: server.address.to_string().into(), handshake, endpoints: Vec::new(), ordered: Vec::new() };
        if !server.address.is_resolved() {
            origin.endpoints.push(maker.endpoint(server.clone(), &origin, None));
        }
        Ok(origin)
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// It leads to `found` and nowhere else from `now` on: what is new is made, and what is gone drains. Whether that is anything
    /// new.
    pub(super) fn lead_to(&mut self, found: &[Found], now: Instant, maker: &Maker) -> bool {
        let mut changed = false;
        for endpoint in &self.endpoints {
            let listed = found.iter().find(|found| found.server().address == *endpoint.address());
            changed |= endpoint.list(listed.is_some(), now);
            changed |= listed.is_some_and(|found| endpoint.reweigh(found.weight) | endpoint.rank(found.priority));
        }
        let since = (maker.has_run_until(now) || !self.endpoints.is_empty()).then_some(now);
        for (server, priority) in found.iter().map(|found| (found.server(), found.priority)) {
            if !self.endpoints.iter().any(|endpoint| *endpoint.address() == server.address) {
                let endpoint = maker.endpoint(server, self, since);
                endpoint.rank(priority);
                if self.forget_order(endpoint.label()) {
                    endpoint.drain(true, now);
                }
                self.endpoints.push(endpoint);
                changed = true;
            }
        }
        changed
    }

    /// The endpoint with this label drains from `now` on, or goes on. Whether it is known: it may be gone at the moment.
    pub(super) fn order(&mut self, label: &str, drain: bool, now: Instant) -> bool {
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| **endpoint.label() == *label) {
            endpoint.drain(drain, now);
            return true;
        }
        let is_known = self.forget_order(label);
        if is_known && drain {
            self.keep_order(label.into());
        }
        is_known
    }

    /// Lets go of endpoints that are gone from DNS and have nothing left to do. Whether there were any.
    pub(super) fn retire(&mut self) -> bool {
        let is_done = |endpoint: &mut Arc<Endpoint>| !endpoint.is_listed() && endpoint.in_flight() == 0;
        let done: Vec<_> = self.endpoints.extract_if(.., is_done).collect();
        let ordered = done.iter().filter(|endpoint| endpoint.is_ordered_to_drain());
        ordered.for_each(|endpoint| self.keep_order(Arc::clone(endpoint.label())));
        !done.is_empty()
    }

    fn keep_order(&mut self, label: Arc<str>) {
        if self.ordered.len() >= ORDERED_MAX {
            self.ordered.remove(0);
        }
        self.ordered.push(label);
    }

    /// Whether there was one.
    fn forget_order(&mut self, label: &str) -> bool {
        let before = self.ordered.len();
        self.ordered.retain(|ordered| **ordered != *label);
        self.ordered.len() < before
    }
}

impl Found {
    fn server(&self) -> Server {
        let address = ServerAddress::Tcp { host: self.address.to_string(), port: self.port };
        Server { address, weight: self.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{InFlight, Settings, queue::Queue};

    struct Fixture {
        origin: Origin,
        maker: Maker,
    }

    impl Fixture {
        fn new() -> Self {
            let maker = Maker::new(&Settings::default(), &Arc::new(Queue::new(1))).unwrap();
            let address = ServerAddress::Tcp { host: "app.internal".into(), port: 80 };
            let origin = Origin::new(&Server { address, weight: 1 }, &maker).unwrap();
            Self { origin, maker }
        }

        fn lead_to(&mut self, addresses: &[(&str, usize)]) -> bool {
            let found = |(address, weight): &(&str, usize)| {
                let address = address.parse().unwrap();
                Found { address, port: 80, weight: *weight, priority: 0 }
            };
            let found: Vec<_> = addresses.iter().map(found).collect();
            self.origin.lead_to(&found, Instant::now(), &self.maker)
        }

        fn labels(&self) -> Vec<&str> {
            self.origin.endpoints().iter().map(|endpoint| &**endpoint.label()).collect()
        }
    }

    #[test]
    fn a_name_leads_nowhere_before_it_was_resolved_and_then_to_each_address() {
        let mut fixture = Fixture::new();
        assert!(fixture.labels().is_empty());
        assert!(fixture.lead_to(&[("10.0.0.1", 1), ("2001:db8::1", 1)]));
        assert_eq!(fixture.labels(), ["10.0.0.1:80", "[2001:db8::1]:80"]);
        assert!(!fixture.lead_to(&[("2001:db8::1", 1), ("10.0.0.1", 1)]), "the order means nothing");
    }

    #[test]
    fn what_is_gone_drains_until_nothing_runs_there_and_may_come_back() {
        let mut fixture = Fixture::new();
        fixture.lead_to(&[("10.0.0.1", 1), ("10.0.0.2", 1)]);
        let gone = Arc::clone(&fixture.origin.endpoints()[0]);
        let running = InFlight::begin(&gone);
        assert!(fixture.lead_to(&[("10.0.0.2", 1)]) && gone.is_draining());
        assert!(!fixture.origin.retire(), "something runs there");
        assert!(fixture.lead_to(&[("10.0.0.1", 1), ("10.0.0.2", 1)]) && !gone.is_draining());
        fixture.lead_to(&[("10.0.0.2", 1)]);
        drop(running);
        assert!(fixture.origin.retire() && !fixture.origin.retire());
        assert_eq!(fixture.labels(), ["10.0.0.2:80"]);
    }

    #[test]
    fn an_order_outlasts_an_address_that_goes_and_comes_back() {
        let (mut fixture, now) = (Fixture::new(), Instant::now());
        let both = [("10.0.0.1", 1), ("10.0.0.2", 1)];
        fixture.lead_to(&both);
        assert!(!fixture.origin.order("10.0.0.3:80", true, now));
        assert!(fixture.origin.order("10.0.0.1:80", true, now));
        let goes = |fixture: &mut Fixture| {
            fixture.lead_to(&both[1..]);
            assert!(fixture.origin.retire());
        };
        let comes_back = |fixture: &mut Fixture| {
            fixture.lead_to(&both);
            let mut endpoints = fixture.origin.endpoints().iter();
            endpoints.find(|endpoint| **endpoint.label() == *"10.0.0.1:80").unwrap().is_draining()
        };
        for _ in 0..2 {
            goes(&mut fixture);
            assert!(comes_back(&mut fixture));
        }
        goes(&mut fixture);
        assert!(fixture.origin.order("10.0.0.1:80", false, now), "it is known while it is gone");
        assert!(!comes_back(&mut fixture));
        goes(&mut fixture);
        assert!(!comes_back(&mut fixture));
    }

    #[test]
    fn weights_follow_the_records() {
        let mut fixture = Fixture::new();
        fixture.lead_to(&[("10.0.0.1", 1)]);
        assert!(fixture.lead_to(&[("10.0.0.1", 7)]) && !fixture.lead_to(&[("10.0.0.1", 7)]));
        assert_eq!(fixture.origin.endpoints()[0].weight(), 7);
    }
}
