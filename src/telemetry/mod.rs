//! Logs and metrics. What is recorded here is for people; nothing decides by it.

pub mod access_log;
pub mod causes;
mod fault;
pub mod logging;
pub mod metrics;
pub mod outcome;

pub use fault::Fault;
