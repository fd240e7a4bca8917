//! Tasks with a name and an owner; a background service that returns or panics is a fault.

use std::future::Future;

/// The supervised services of the process.
pub struct Tasks {}

impl Tasks {
    /// Services run on `runtime`.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        let _ = runtime;
        todo!()
    }

    /// Starts a service that is expected to run until the process ends.
    pub fn spawn(&mut self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        let _ = (name, service);
        todo!()
    }

    /// Waits until one of the services ends, and names it.
    pub async fn failed(&mut self) -> &'static str {
        todo!()
    }
}
