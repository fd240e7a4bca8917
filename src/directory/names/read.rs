//! Reads the names, once changes are told.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    directory::{Shared, SourceError},
    routing::KeyRef,
    telemetry::causes::one_line,
};

/// Several edits of everything in a row are read for once; and a database that has just come back has more urgent work.
const SETTLE: Duration = Duration::from_secs(1);

/// An app that edits everything again and again must not keep its database busy with us: so many times what the last reading
/// took are between two of them.
const REST: u32 = 10;

/// Before the next try where reading failed.
const RETRY: Duration = Duration::from_secs(10);

impl Shared {
    /// Reads all names in the background; a reading that is under way ends.
    pub(in crate::directory) fn start_reading_names(shared: &Arc<Self>) {
        let round = shared.name_rounds.fetch_add(1, SeqCst) + 1;
        let shared = Arc::clone(shared);
        shared.control.clone().spawn(async move { shared.read_names(round).await });
    }

    /// Ends what is under way, and forgets the names.
    pub(in crate::directory) fn forget_names(&self) {
        self.name_rounds.fetch_add(1, SeqCst);
        self.names.doubt();
    }

    async fn read_names(self: Arc<Self>, round: u64) {
        sleep(pause_after(Duration::from_millis(self.names_took_ms.load(Relaxed)))).await;
        while self.name_rounds.load(SeqCst) == round {
            match self.read_names_once(round).await {
                Ok(()) => return,
                Err(error) => {
                    let error = one_line(&error);
                    tracing::warn!(error, "the names in the tables could not be read; unknown hosts are asked for");
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn read_names_once(&self, round: u64) -> Result<(), SourceError> {
        self.names.begin(round);
        let fits = AtomicBool::new(true);
        let each = |key: KeyRef<'_>| {
            let goes_on = self.names.add_read(round, key);
            if !goes_on {
                fits.store(false, SeqCst);
            }
            goes_on
        };
        let began = Instant::now();
        let is_complete = self.loader.source.names(&each).await;
        self.names_took_ms.store(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        let is_complete = is_complete?;
        match (is_complete, fits.load(SeqCst)) {
            (true, true) => {
                self.names.finish(round);
                let (names, bytes) = self.names.size().unwrap_or_default();
                tracing::info!(names, bytes, "every name in the tables is known");
            }
            (true, false) if self.name_rounds.load(SeqCst) == round => {
                self.names.doubt();
                tracing::warn!("more names than directory.names_max; unknown hosts are asked for");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Before the next reading, where the last one `took` so long.
fn pause_after(took: Duration) -> Duration {
    SETTLE.max(took.saturating_mul(REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_for_a_tenth_of_the_time_at_most() {
        assert_eq!(pause_after(Duration::ZERO), SETTLE);
        assert_eq!(pause_after(Duration::from_millis(50)), SETTLE);
        assert_eq!(pause_after(Duration::from_secs(3)), Duration::from_secs(30));
    }
}
