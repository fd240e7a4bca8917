//! The endpoints of an upstream as one worker sees them for a while, with its connections to them. A request keeps to one view, so that
//! positions go on meaning the same.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use fastrand::Rng;
use http_body::Body;

use super::{
    Asking, ClientAddresses, ConnectError, Connection, InFlight, Members, Settings, Tried, Upstream, seat::Seat,
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
    pub(super) fn of(
        upstream: &Arc<Upstream>,
        seats: &[Arc<Seat<B>>],
        position: usize,
        metrics: &WorkerMetrics,
    ) -> Self {
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
    pub fn reuse(&self, position: usize, now: Instant) -> Option<Connection<B>> {
        self.seats[position].reuse(now)
    }

    /// Opens a connection to the endpoint at `position` for an exchange of `client`, under the connect deadline.
    pub async fn open(&self, position: usize, client: &ClientAddresses) -> Result<Connection<B>, ConnectError> {
        self.seats[position].open(client, self.settings()).await
    }
}
