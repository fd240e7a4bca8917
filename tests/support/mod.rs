//! What the test binaries share: a throw-away PostgreSQL, the real `usher`, scripted app servers, and a raw HTTP client.
//!
//! Everything blocks, so that a test reads from top to bottom; every wait has a deadline, so that no test hangs.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

mod acme;
mod app;
mod client;
mod cluster;
mod descriptors;
mod fixture;
mod forwarder;
mod front;
mod h2_app;
mod h2_client;
mod modern_ca;
mod name_server;
mod pebble;
mod pooler;
mod resolver;
mod tables;
mod tls;
mod usher;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use acme::{AcmeStage, Balancer, answered, logged, within, within_a_minute};
pub(crate) use app::{App, Conversation, Request};
pub(crate) use client::{Client, Response};
pub(crate) use cluster::{Cluster, signal};
pub(crate) use descriptors::connections_possible;
pub(crate) use fixture::{Fixture, UNBUFFERED};
pub(crate) use forwarder::Forwarder;
pub(crate) use front::{Front, Met, Speech};
pub(crate) use h2_app::{
    Call, DATA, END_HEADERS, END_STREAM, Frame, FrameApp, Frames, GOAWAY, H2App, HEADERS, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};
pub(crate) use h2_client::{H2Client, get as h2_get};
pub(crate) use modern_ca::ModernCa;
pub(crate) use name_server::NameServer;
pub(crate) use pebble::{Pebble, free_address};
pub(crate) use pooler::Pooler;
pub(crate) use resolver::Resolver;
pub(crate) use tables::{Backend, EXAMPLE_ROWS, Tables};
pub(crate) use tls::{Ca, Pair, TlsFixture, Trust};
pub(crate) use usher::{A_MOMENT, Binary, Output, Usher};
pub(crate) use wire::{Body, Framing, Head, Wire};

/// How long anything may take that is expected to happen at once; generous, since the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks `probe` until it has an answer, and fails the test where that takes longer than [`SOON`].
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
