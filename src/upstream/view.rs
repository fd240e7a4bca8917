//! The endpoints of an upstream as one worker sees them for a while, with its connections to them. A request keeps to one view, so that
//! positions go on meaning the same.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use fastrand::Rng;
use http_body::Body;

use super::{
    Asking, ClientAddresses, ConnectError, Connection, Endpoint, InFlight, Members, Settings, Tried, Upstream, Wish,
    seat::Seat,
};
use crate::telemetry::metrics::{EndpointMetrics, WorkerMetrics};

/// The endpoints, and what the worker keeps for each.
pub struct View<B> {
    upstream: Arc<Upstream>,
    members: Arc<Members>,
    seats: Vec<Arc<Seat<B>>>,
}

impl<B> View<B> {
    /// Of `upstream` as it is now; what was kept in `seats` is kept on.
    pub(super) fn of(upstream: &Arc<Upstream>, seats: &[Arc<Seat<B>>], position: usize, metrics: &WorkerMetrics) -> Self
    where
        B: Send + 'static,
    {
        let members = upstream.members();
        let seat = |endpoint| match seats.iter().find(|seat| seat.is_for(endpoint)) {
            Some(seat) => Arc::clone(seat),
            None => {
                let counts = metrics.endpoint(position, endpoint.label());
                Arc::new(Seat::new(endpoint, &upstream.settings, counts))
            }
        };
        let seats = members.endpoints().iter().map(seat).collect();
        Self { upstream: Arc::clone(upstream), members, seats }
    }

    pub(super) fn seats(&self) -> &[Arc<Seat<B>>] {
        &self.seats
    }

    /// Whether the upstream is still as it was.
    pub(super) fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.members, &self.upstream.members.load())
    }

    /// Which of these endpoints are among those that were `tried` in an older view.
    pub fn carry(&self, tried: &Tried, older: &Self) -> Tried {
        let was_tried = |seat: &Arc<Seat<B>>| {
            older.seats.iter().enumerate().any(|(position, old)| tried.contains(position) && Arc::ptr_eq(old, seat))
        };
        let mut carried = Tried::default();
        let positions = self.seats.iter().enumerate().filter(|(_, seat)| was_tried(seat));
        positions.for_each(|(position, _)| carried.add(position));
        carried
    }

    /// Whether no address of it is known.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The endpoint to try next, by position; `None` once all were tried.
    pub fn choose(&self, asking: &Asking<'_>, tried: &Tried, now: Instant) -> Option<usize> {
        self.members.choose(asking, tried, now, &mut Rng::with_seed(fastrand::u64(..)))
    }

    /// Whether a place at some endpoint that was not tried is worth waiting for.
    pub fn is_full(&self, tried: &Tried) -> bool {
        self.members.is_full(tried)
    }

    /// Whether some endpoint was not tried.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        self.members.has_untried(tried)
    }

    /// What a request has to say of itself that waits for a place, after it was `tried` at some.
    pub fn wish(&self, tried: &Tried, is_repeatable: bool) -> Wish {
        let endpoints = self.members.endpoints().iter().enumerate();
        let tried = endpoints.filter(|(position, _)| tried.contains(*position));
        Wish { tried: tried.map(|(_, endpoint)| Arc::clone(endpoint)).collect(), is_repeatable }
    }

    /// The position of `endpoint`, if it is among these.
    pub fn position(&self, endpoint: &Arc<Endpoint>) -> Option<usize> {
        self.members.endpoints().iter().position(|known| Arc::ptr_eq(known, endpoint))
    }

    /// Counts a request at the endpoint at `position`; `None` where all places there are taken.
    pub fn begin(&self, position: usize) -> Option<InFlight> {
        self.seats[position].begin()
    }

    /// What this worker counts at the endpoint at `position`.
    pub fn counts(&self, position: usize) -> &Arc<EndpointMetrics> {
        self.seats[position].counts()
    }

    /// Closes what has been unused for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.seats.iter().for_each(|seat| seat.sweep(self.settings(), now));
    }

    fn settings(&self) -> &Settings {
        &self.upstream.settings
    }
}

impl<B> View<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection to the endpoint at `position` that is open and has room, if there is one.
    /// It is looked at closely for a request that is not `repeatable`.
    pub fn reuse(&self, position: usize, now: Instant, repeatable: bool) -> Option<Connection<B>> {
        self.seats[position].reuse(now, repeatable)
    }

    /// Opens a connection to the endpoint at `position` for an exchange of `client`, under the connect deadline.
    pub async fn open(&self, position: usize, client: &ClientAddresses) -> Result<Connection<B>, ConnectError> {
        self.seats[position].open(client, self.settings()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        telemetry::metrics::Metrics,
        upstream::{Server, ServerAddress, resolver::Found},
    };

    fn lead_to(upstream: &Upstream, addresses: &[&str]) {
        let found = |address: &&str| Found { address: address.parse().unwrap(), port: 80, weight: 1, priority: 0 };
        upstream.lead_to(0, &addresses.iter().map(found).collect::<Vec<_>>(), Instant::now());
    }

    #[test]
    fn what_was_tried_stays_tried_in_a_newer_view() {
        let address = ServerAddress::Tcp { host: "app.internal".into(), port: 80 };
        let servers = vec![Server { address, weight: 1 }];
        let upstream = Arc::new(Upstream::new(Settings { servers, ..Settings::default() }).unwrap());
        let metrics = Metrics::new(vec!["default".into()]).worker();
        let view = View::<()>::of(&upstream, &[], 0, &metrics);
        assert!(view.is_empty() && view.is_current());
        lead_to(&upstream, &["10.0.0.1", "10.0.0.2"]);
        assert!(!view.is_current());
        let older = View::<()>::of(&upstream, view.seats(), 0, &metrics);
        let mut tried = Tried::default();
        tried.add(1);
        lead_to(&upstream, &["10.0.0.2", "10.0.0.3"]);
        let newer = View::of(&upstream, older.seats(), 0, &metrics);
        let carried = newer.carry(&tried, &older);
        let labels: Vec<_> = newer.members.endpoints().iter().map(|endpoint| endpoint.label().to_string()).collect();
        assert_eq!(labels, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], "the first one drains");
        assert_eq!([0, 1, 2].map(|position| carried.contains(position)), [false, true, false]);
    }
}
