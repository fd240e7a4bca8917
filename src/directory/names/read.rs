//! Reads the names, once changes are told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    directory::{Shared, SourceError, now},
    routing::KeyRef,
    telemetry::causes::one_line,
};

/// An app that edits everything again and again must not keep its database busy with us: so many times what the last reading
/// took are between two of them.
pub(in crate::directory) const REST: u32 = 10;

/// Before the next try where reading failed.
const RETRY: Duration = Duration::from_secs(10);

impl Shared {
    /// Reads all names in the background, if those that come are told; a reading that is under way ends.
    pub(in crate::directory) fn start_reading_names(shared: &Arc<Self>) {
        if shared.names.are_off() {
            return;
        }
        let round = shared.name_rounds.fetch_add(1, SeqCst) + 1;
        if !shared.loader.cache.lifetimes.are_followed() {
            return;
        }
        let shared = Arc::clone(shared);
        shared.control.clone().spawn(async move { shared.read_names(round).await });
    }

    /// Ends what is under way, and forgets the names.
    pub(in crate::directory) fn forget_names(&self) {
        self.name_rounds.fetch_add(1, SeqCst);
        self.names.doubt();
    }

    async fn read_names(self: Arc<Self>, round: u64) {
        self.name_turns.wait().await;
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
        // Whoever ends a round counts first and forgets then; between the two this one must not begin.
        if self.name_rounds.load(SeqCst) != round {
            self.names.end(round);
            return Ok(());
        }
        let fits = AtomicBool::new(true);
        let each = |key: KeyRef<'_>| {
            let goes_on = self.names.add_read(round, key);
            if !goes_on {
                fits.store(false, SeqCst);
            }
            goes_on
        };
        let began = now();
        let is_complete = self.loader.source.names(&each).await;
        self.name_turns.end(began, now());
        let is_complete = is_complete?;
        match (is_complete, fits.load(SeqCst)) {
            (true, true) => {
                self.names.finish(round);
                let (names, bytes) = self.names.size().unwrap_or_default();
                match self.names_were_told.swap(true, SeqCst) {
                    false => tracing::info!(names, bytes, "every name in the tables is known"),
                    true => tracing::debug!(names, bytes, "every name in the tables is known again"),
                }
            }
            (true, false) if self.name_rounds.load(SeqCst) == round => {
                self.names.doubt();
                tracing::warn!("more names than directory.names_max; unknown hosts are asked for");
            }
            // Another round goes on.
            (true, false) => {}
            (false, _) => {
                self.names.doubt();
                if !self.names_were_told.swap(true, SeqCst) {
                    tracing::info!("the names behind directory.queries cannot be listed; unknown hosts are asked for");
                }
            }
        }
        Ok(())
    }
}
