//! usher: the edge of a multi-tenant SaaS.
//!
//! The modules, in reading order: what a request means (`routing`), who is behind a name (`directory` over `database`),
//! who answers (`upstream`), what clients are shown (`tls`), who owns their domains (`domains`), and the path a request takes through them (`proxy`). Around these stand the admin listener,
//! the life cycle and the telemetry; `config` says what was asked for and `app` puts the parts together.

pub mod routing;

pub mod catalog;
pub mod database;
pub mod directory;
pub mod domains;
pub mod tls;
pub mod upstream;

pub mod proxy;

pub mod admin;
pub mod lifecycle;
pub mod telemetry;

pub mod app;
pub mod config;
pub mod demo;
