//! Programs that others wrote, against the real binary: what they take for HTTP is what usher speaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod curl;
mod fastapi;
mod grpc;
mod http2;
mod load;
mod program;
mod slow;
mod tls;
mod websocket;
