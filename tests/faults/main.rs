//! What becomes of traffic when something breaks: a module per thing that breaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod app_server;
mod client;
mod database;
mod failover;
mod feed;
mod idle_connection;
mod issuance;
mod replicas;
mod snapshot;
