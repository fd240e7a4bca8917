//! Tasks with a name and an owner; a background service that returns or panics is a fault.

use std::{any::Any, collections::HashMap, future::Future};

use tokio::{
    runtime::Handle,
    task::{Id, JoinError, JoinSet},
};

/// The supervised services of the process. Dropping it aborts them all.
pub struct Tasks {
    runtime: Handle,
    services: JoinSet<()>,
    /// A panic takes everything with it but the task's id.
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Services run on `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, services: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a service that is expected to run until the process ends.
    pub fn spawn(&mut self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        let task = self.services.spawn_on(service, &self.runtime);
        self.names.insert(task.id(), name);
    }

    /// Waits until one of the services ends, logs how it ended, and names it. Without services it waits for ever.
    ///
    /// Cancel safe: a service that ended while nobody waited is named by the next call.
    pub async fn failed(&mut self) -> &'static str {
        let Some(ended) = self.services.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let service = self.names.remove(&id).unwrap_or("unnamed");
        match ended {
            Ok(_) => tracing::error!(service, "service returned"),
            Err(error) => log_broken_off(service, error),
        }
        service
    }
}

fn log_broken_off(service: &'static str, error: JoinError) {
    match error.try_into_panic() {
        Ok(payload) => tracing::error!(service, panic = panic_message(&*payload), "service panicked"),
        Err(_aborted) => tracing::error!(service, "service aborted"),
    }
}

/// What `panic!` was given: a literal or a formatted text; anything else is no text.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&'static str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    fn tasks() -> Tasks {
        Tasks::new(Handle::current())
    }

    #[tokio::test]
    async fn a_service_that_returns_is_named() {
        let mut tasks = tasks();
        tasks.spawn("feed", pending());
        tasks.spawn("probes", async {});
        assert_eq!(tasks.failed().await, "probes");
    }

    #[tokio::test]
    async fn a_service_that_panics_is_named_and_the_others_go_on() {
        let mut tasks = tasks();
        let (goes_on, heard) = tokio::sync::oneshot::channel();
        tasks.spawn("feed", async { panic!("on purpose") });
        assert_eq!(tasks.failed().await, "feed");
        tasks.spawn("probes", async { goes_on.send(()).unwrap() });
        heard.await.unwrap();
        assert_eq!(tasks.failed().await, "probes");
    }

    #[tokio::test(start_paused = true)]
    async fn while_all_services_run_nothing_has_failed() {
        let mut tasks = tasks();
        tasks.spawn("feed", pending());
        assert!(tokio::time::timeout(Duration::from_secs(3600), tasks.failed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn without_services_nothing_has_failed() {
        assert!(tokio::time::timeout(Duration::from_secs(3600), tasks().failed()).await.is_err());
    }

    #[tokio::test]
    async fn dropping_the_tasks_ends_their_services() {
        let mut tasks = tasks();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("feed", async move {
            let _held = held;
            pending().await
        });
        drop(tasks);
        assert!(dropped.await.is_err());
    }

    #[test]
    fn the_message_of_a_panic_is_found_in_both_its_forms() {
        assert_eq!(panic_message(&"literal"), "literal");
        assert_eq!(panic_message(&String::from("formatted")), "formatted");
        assert_eq!(panic_message(&7_u8), "(no message)");
    }
}
