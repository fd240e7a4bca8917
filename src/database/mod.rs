//! Connections to PostgreSQL and SQLite, and the migrations; knows nothing of tenants.

pub mod migrations;
pub mod postgres;
pub mod schema;
pub mod session;
pub mod sqlite;
