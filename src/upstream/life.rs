//! How long one connection to an app server serves requests: so many of them, and for so long. Then it is closed between two requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Settings, connections::ConnectionPermit};
use crate::telemetry::{metrics::EndpointMetrics, outcome::ConnectionLimit};

/// Of a lifetime, how much is taken off or added by lot: connections that were opened together should not end together.
const JITTER: f32 = 0.1;

/// The life of one connection.
#[derive(Debug)]
pub(super) struct Life {
    permit: ConnectionPermit,
    /// Requests that may still begin; `None`: any number.
    requests_left: Option<usize>,
    ends: Option<Instant>,
    counts: Arc<EndpointMetrics>,
}

impl Life {
    /// Of a connection that is opened at `now`.
    pub(super) fn new(
        permit: ConnectionPermit,
        settings: &Settings,
        counts: &Arc<EndpointMetrics>,
        now: Instant,
    ) -> Self {
        let lifetime = settings.connection_lifetime.map(|time| jittered(time, fastrand::f32()));
        Self {
            permit,
            requests_left: settings.connection_requests_max,
            ends: lifetime.and_then(|time| now.checked_add(time)),
            counts: Arc::clone(counts),
        }
    }

    /// One more request begins.
    pub(super) fn spend(&mut self) {
        if let Some(left) = &mut self.requests_left {
            *left = left.saturating_sub(1);
        }
    }

    /// Whether no further request may begin at `now`; then that is counted, and the connection is to be closed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let limit = match (self.requests_left, self.ends) {
            (Some(0), _) => ConnectionLimit::Requests,
            (_, Some(ends)) if now >= ends => ConnectionLimit::Lifetime,
            _ => return false,
        };
        self.counts.connection_limit(limit);
        true
    }

    /// The connection is not in use: another worker may have it.
    pub(super) fn rest(&self) {
        self.permit.at_rest();
    }

    /// No further request begins, and those that run go on: the connection does not stand in the way of another one.
    pub(super) fn leave(&mut self) {
        self.permit.leave();
    }

    /// What counts the connection for as long as it is open, whatever is spoken on it.
    pub(super) fn into_permit(self) -> ConnectionPermit {
        self.permit
    }
}

/// `lot` is from 0 to 1.
fn jittered(time: Duration, lot: f32) -> Duration {
    time.mul_f32(1.0 - JITTER + 2.0 * JITTER * lot)
}

#[cfg(test)]
impl Life {
    /// One without an end.
    pub(super) fn example() -> Self {
        let connections = Arc::new(super::connections::Connections::new(None));
        let permit = connections.permit().unwrap();
        Self::new(permit, &Settings::default(), &Arc::default(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::connections::Connections;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(requests: Option<usize>, lifetime: Option<Duration>, now: Instant) -> (Life, Arc<EndpointMetrics>) {
        let counts = Arc::<EndpointMetrics>::default();
        let settings =
            Settings { connection_requests_max: requests, connection_lifetime: lifetime, ..Settings::default() };
        let permit = Arc::new(Connections::new(None)).permit().unwrap();
        (Life::new(permit, &settings, &counts, now), counts)
    }

    #[test]
    fn a_connection_serves_so_many_requests() {
        let now = Instant::now();
        let (mut life, counts) = life(Some(2), None, now);
        life.spend();
        assert!(!life.is_over(now + 1_000_000 * SECOND));
        life.spend();
        assert!(life.is_over(now));
        assert_eq!(counts.connection_limits(ConnectionLimit::Requests), 1);
    }

    #[test]
    fn a_connection_ends_about_when_its_time_is_over() {
        let now = Instant::now();
        let (life, counts) = life(None, Some(100 * SECOND), now);
        assert!(!life.is_over(now + 89 * SECOND) && life.is_over(now + 111 * SECOND));
        assert_eq!(counts.connection_limits(ConnectionLimit::Lifetime), 1);
        assert_eq!([0.0, 0.5, 1.0].map(|lot| jittered(10 * SECOND, lot).as_secs()), [9, 10, 11]);
    }

    #[test]
    fn without_limits_it_never_ends() {
        let now = Instant::now();
        let (mut life, _) = life(None, None, now);
        (0..1000).for_each(|_| life.spend());
        assert!(!life.is_over(now + 1_000_000 * SECOND));
    }
}
