//! One address of an upstream, and what is running there.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// `host:port` of one app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host name or address literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One app server as all workers see it.
#[derive(Debug)]
pub struct Endpoint {
    address: ServerAddress,
    label: String,
    in_flight: AtomicUsize,
}

impl Endpoint {
    pub(super) fn new(address: ServerAddress) -> Self {
        Self { label: address.to_string(), address, in_flight: AtomicUsize::new(0) }
    }

    /// Where it is.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// `host:port`, for logs.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Requests running there, of all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts one request at its endpoint until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(super) fn begin(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// The endpoint that is counted at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_a_dialer_would_take_it() {
        let v6 = ServerAddress { host: "::1".into(), port: 80 };
        let name = ServerAddress { host: "app".into(), port: 8000 };
        assert_eq!((v6.to_string(), name.to_string()), ("[::1]:80".to_owned(), "app:8000".to_owned()));
    }

    #[test]
    fn a_request_is_counted_until_its_guard_drops() {
        let endpoint = Arc::new(Endpoint::new(ServerAddress { host: "app".into(), port: 1 }));
        let guard = InFlight::begin(&endpoint);
        assert_eq!(endpoint.in_flight(), 1);
        drop(guard);
        assert_eq!(endpoint.in_flight(), 0);
    }
}
