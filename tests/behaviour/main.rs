//! What usher promises, shown from outside on the real binary: a module per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod acme;
mod admin_api;
mod answers;
mod app_answers;
mod balancing;
mod buffering;
mod changes;
mod check;
mod client_address;
mod commands;
mod connections;
mod database_tls;
mod decision_table;
mod demo;
mod directory;
mod dns;
mod doctor;
mod domains;
mod early_answers;
mod examples;
mod expectations;
mod first_visitors;
mod framing;
mod h2c_answers;
mod h2c_repeats;
mod harness;
mod headers;
mod hosts;
mod http2_limits;
mod https;
mod lifecycle;
mod limits;
mod metrics;
mod named_upstreams;
mod polling;
mod primary;
mod proxy_protocol_out;
mod query_plans;
mod queueing;
mod rights;
mod sessions;
mod smuggling;
mod streaming;
mod tls;
mod upload_limits;
mod upstream_connections;
mod upstream_dns;
mod upstream_h2c;
mod upstream_tls;
mod upstream_unix;
mod upstreams;
mod vault;
mod websocket;
