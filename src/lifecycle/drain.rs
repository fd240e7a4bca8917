//! Drain: announce, finish, deadline, abort.

use std::{future::Future, time::Duration};

/// The side that starts the drain and waits for its end.
pub struct Drain {}

/// What finished before the deadline of a drain, and what did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Watches still held when the deadline came; 0 where everything ended by itself.
    pub left: usize,
}

impl Drain {
    /// A drain that has not begun.
    #[allow(clippy::new_without_default, reason = "a drain is a deliberate act, not a value to default")]
    pub fn new() -> Self {
        todo!()
    }

    /// A watch; the drain waits for its drop.
    pub fn watch(&self) -> DrainWatch {
        todo!()
    }

    /// Announces the drain, then waits for all watches to be dropped, at most for `deadline`.
    pub async fn run(self, deadline: Duration) -> Drained {
        let _ = deadline;
        todo!()
    }
}

/// Held by whatever must be allowed to finish; a clone is one more to wait for.
#[derive(Clone)]
pub struct DrainWatch {}

impl DrainWatch {
    /// Whether the drain was announced.
    pub fn is_draining(&self) -> bool {
        todo!()
    }

    /// Ends when the drain is announced.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + '_ {
        async { todo!() }
    }
}
