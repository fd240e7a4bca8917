//! The worker threads, one runtime each.

use std::{io, thread};

use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    lifecycle::{Drain, DrainWatch},
    proxy::{ListeningSocket, Parts, Worker},
};

/// The running workers. Each holds a watch of the drain until its thread is about to end.
pub(super) struct Threads {
    ended: UnboundedReceiver<()>,
}

impl Threads {
    /// Starts one thread per worker.
    pub(super) fn start(workers: Vec<Parts>, sockets: Vec<Vec<ListeningSocket>>, drain: &Drain) -> io::Result<Self> {
        let (sender, ended) = unbounded_channel();
        let crew = TaskTracker::new();
        crew.close();
        for (number, (parts, sockets)) in workers.into_iter().zip(sockets).enumerate() {
            let (end, watch, present) = (End(sender.clone()), drain.watch(), crew.token());
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _end = end;
                if let Err(error) = run(parts, sockets, watch, present) {
                    tracing::error!(%error, "a worker cannot run");
                }
            })?;
        }
        Ok(Self { ended })
    }

    /// Waits until a worker ends, which before a drain is a fault.
    pub(super) async fn failed(&mut self) -> &'static str {
        self.ended.recv().await;
        "worker"
    }
}

/// Told when a thread ends, even by a panic.
struct End(UnboundedSender<()>);

impl Drop for End {
    fn drop(&mut self) {
        let _nobody_waits_any_more = self.0.send(());
    }
}

/// `watch` outlives the runtime, so that the drain waits for the log lines of what the deadline cut off. The runtime outlives the last
/// worker that is `present`: requests of one may run on a connection that another has opened.
fn run(parts: Parts, sockets: Vec<ListeningSocket>, watch: DrainWatch, present: TaskTrackerToken) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        Worker::new(parts).run(sockets, watch.clone()).await?;
        let crew = present.task_tracker().clone();
        drop(present);
        crew.wait().await;
        Ok(())
    });
    drop(runtime);
    served
}
