//! Asks the database, and keeps what it says.
//!
//! Loads wait in one line. Whenever a query may be sent, it takes all that wait, up to a limit: at rest that is one key and one
//! query for it; after an edit of everything, when all tenants are asked for at once, it is hundreds at a time.

use std::{sync::Arc, time::Instant};

use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};

use super::{
    CouldNotAsk, Event, Stats, TenantSource,
    breaker::Breaker,
    cache::Cache,
    flights::Departure,
    marks::Marks,
    source::{Answer, Blame, SourceError},
};
use crate::routing::{Tenant, TenantKey};

/// Keys of one query at most: PostgreSQL answers them within some milliseconds.
pub(super) const BATCH_MAX: usize = 256;

/// What a load needs.
pub(super) struct Loader {
    pub(super) source: Arc<dyn TenantSource>,
    pub(super) cache: Arc<Cache>,
    pub(super) marks: Arc<Marks>,
    pub(super) breaker: Breaker,
    pub(super) stats: Arc<Stats>,
}

/// The line of loads that wait for a query. The budgets of [`Flights`](super::flights::Flights) bound its length.
pub(super) struct Line(UnboundedSender<Departure>);

impl Line {
    /// Runs on `control`, never on a worker, until the line is dropped.
    pub(super) fn start(loader: Arc<Loader>, queries_max: usize, control: &Handle) -> Self {
        let (sender, waiting) = unbounded_channel();
        control.spawn(dispatch(loader, waiting, Arc::new(Semaphore::new(queries_max))));
        Self(sender)
    }

    /// A load in a task of its own: whoever waits may go away without ending it for the others.
    pub(super) fn enter(&self, departure: Departure) {
        // Fails only where the runtime has ended; the departure then lands with an error by its drop.
        let _ = self.0.send(departure);
    }
}

async fn dispatch(loader: Arc<Loader>, mut waiting: UnboundedReceiver<Departure>, queries: Arc<Semaphore>) {
    while let Some(first) = waiting.recv().await {
        let Ok(permit) = Arc::clone(&queries).acquire_owned().await else { return };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let loader = Arc::clone(&loader);
        tokio::spawn(async move {
            loader.load(batch).await;
            drop(permit);
        });
    }
}

impl Loader {
    /// One query for all of `batch`.
    pub(super) async fn load(&self, batch: Vec<Departure>) {
        self.stats.count(Event::Queried);
        let keys: Vec<TenantKey> = batch.iter().map(|departure| departure.key.clone()).collect();
        match self.ask(&keys).await {
            Ok(answers) => batch.into_iter().zip(answers).for_each(|(departure, answer)| self.land(departure, answer)),
            Err(error) => self.fail(batch, error),
        }
    }

    async fn ask(&self, keys: &[TenantKey]) -> Result<Vec<Answer>, SourceError> {
        match keys {
            [key] => Ok(vec![self.source.load(key).await]),
            keys => match self.source.load_many(keys).await {
                Err(error) if error.blame == Blame::Row => Ok(self.ask_each(keys).await),
                answers => answers,
            },
        }
    }

    /// Where one name spoils the query for all: each gets an answer of its own.
    async fn ask_each(&self, keys: &[TenantKey]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            answers.push(self.source.load(key).await);
        }
        answers
    }

    /// Keeps what was read at `read_at` in an earlier run; false where it may not be served any more.
    pub(super) fn keep(&self, key: TenantKey, tenant: Arc<Tenant>, read_at: Instant) -> bool {
        let departed = self.marks.depart(self.marks.hash(key.as_ref()));
        if let Some(stamp) = self.marks.stamp(&departed, Some(&tenant.id)) {
            self.cache.store(key.clone(), Some(tenant), read_at, stamp);
        }
        self.cache.get(key.as_ref(), super::now()).is_some()
    }

    fn land(&self, departure: Departure, answer: Answer) {
        match answer {
            Ok(tenant) => {
                self.breaker.succeed();
                self.stats.count(if tenant.is_some() { Event::LoadFound } else { Event::LoadAbsent });
                let stamp = self.marks.stamp(&departure.flight.departed, tenant.as_ref().map(|tenant| &tenant.id));
                if let Some(stamp) = stamp {
                    self.cache.store(departure.key.clone(), tenant.clone(), departure.read_at, stamp);
                }
                departure.land(Ok(tenant));
            }
            Err(error) => {
                if error.blame == Blame::Row {
                    self.cache.forget(&departure.key);
                }
                self.fail(vec![departure], error);
            }
        }
    }

    fn fail(&self, batch: Vec<Departure>, error: SourceError) {
        if error.blame == Blame::Database {
            self.breaker.fail(super::now());
        }
        let error = Arc::new(error);
        for departure in batch {
            self.stats.count(Event::LoadFailed);
            departure.land(Err(CouldNotAsk::Source(Arc::clone(&error))));
        }
    }
}
