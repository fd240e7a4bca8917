//! Certificates that usher asks a CA for (RFC 8555), for names that somebody has shown to be theirs.
//!
//! What always holds: one instance at a time works for a name, under a lease whose number fences everything it writes; what it has begun
//! is in the database, so that another can go on with it; and a name that fails is tried again ever more rarely.

mod account;
mod challenges;
mod lease;
mod order;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};

use self::{
    account::Accounts,
    lease::Lease,
    order::{OrderError, Reason},
};
use super::{Certificate, Keyring, NotLoaded, Vault};
use crate::{
    database::session::{self, Dialect, Session},
    routing::Hostname,
    telemetry::causes::one_line,
};

pub use challenges::Challenges;

/// How often the database is asked for names that are due.
const LOOK: Duration = Duration::from_secs(5);

/// Names asked for at once: more than can be worked on.
const NAMES_MAX: usize = 16;

/// Orders at once in this instance. CAs allow some hundreds in three hours, and each takes some seconds.
const ORDERS_MAX: usize = 8;

/// For one order; less than a lease lasts.
const ORDER_WITHIN: Duration = Duration::from_mins(2);

/// How long nothing is ordered after the CA has said that it was too much: its windows are hours long, and what comes too early
/// counts as well.
const REST: Duration = Duration::from_hours(1);

/// How long a handshake waits for a certificate that is being asked for, and how often it looks.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
const HANDSHAKE_LOOK: Duration = Duration::from_millis(500);

/// Handshakes that wait for a certificate at once.
const WAITING_MAX: usize = 256;

/// What `[acme]` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the CA.
    pub directory: String,
    /// Whom the CA may write to: `mailto:…`.
    pub contacts: Vec<String>,
    /// The root certificate of a private CA's own server.
    pub root: Option<PathBuf>,
}

/// Where the names are that are to have a certificate.
pub trait Names: Send + Sync {
    /// So many of those that lack one or need a new one, the most urgent first.
    fn due(&self, count: usize) -> BoxFuture<'_, Result<Vec<String>, session::Error>>;
}

/// A future of a trait that is used as an object.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What handshakes and requests see of it; a cheap clone.
#[derive(Clone, Debug)]
pub struct Issuer {
    counts: Arc<Counts>,
    demand: mpsc::Sender<String>,
    waiting: Arc<Semaphore>,
    challenges: Arc<Challenges>,
}

impl Issuer {
    /// Orders that ended since the start: with a certificate, refused, for lack of an answer, and too many.
    pub fn orders(&self) -> [u64; 4] {
        let Counts { issued, refused, unreachable, rate_limited } = &*self.counts;
        [issued, refused, unreachable, rate_limited].map(|count| count.load(Relaxed))
    }

    /// The answers to the CA's questions.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Asks for a certificate for `name`, and waits a while for it.
    pub async fn obtain(&self, name: &Hostname<'_>, vault: &Vault) -> Result<Option<Arc<Certificate>>, NotLoaded> {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Ok(None) };
        let _many_ask = self.demand.try_send(name.to_string());
        let deadline = Instant::now() + HANDSHAKE_WAIT;
        while Instant::now() < deadline {
            sleep(HANDSHAKE_LOOK).await;
            if let Some(certificate) = vault.find_anew(name).await? {
                return Ok(Some(certificate));
            }
        }
        Ok(None)
    }
}

/// How orders ended.
#[derive(Debug, Default)]
struct Counts {
    issued: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    rate_limited: AtomicU64,
}

impl Counts {
    fn count(&self, outcome: &Result<(), OrderError>) {
        let counter = match outcome.as_ref().map_err(OrderError::reason) {
            Ok(()) => &self.issued,
            Err(Reason::Refused) => &self.refused,
            Err(Reason::Unreachable) => &self.unreachable,
            Err(Reason::RateLimited) => &self.rate_limited,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// The service.
pub struct Acme {
    shared: Arc<Shared>,
    demand: mpsc::Receiver<String>,
}

struct Shared {
    session: Session,
    keys: Arc<Keyring>,
    accounts: Accounts,
    names: Arc<dyn Names>,
    challenges: Arc<Challenges>,
    counts: Arc<Counts>,
    /// Until when nothing is ordered.
    resting_until: Mutex<Option<Instant>>,
    /// Names that this instance works for.
    under_way: Mutex<HashSet<String>>,
    /// Of this instance, for people who read the table of orders.
    holder: String,
}

impl Acme {
    /// The service, and what others see of it.
    pub fn new(settings: Settings, session: Session, keys: Arc<Keyring>, names: Arc<dyn Names>) -> (Self, Issuer) {
        let (sender, demand) = mpsc::channel(WAITING_MAX);
        let challenges = Arc::new(Challenges::default());
        let counts = Arc::<Counts>::default();
        let issuer = Issuer {
            counts: Arc::clone(&counts),
            demand: sender,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            challenges: Arc::clone(&challenges),
        };
        let shared = Shared {
            accounts: Accounts::new(settings),
            session,
            keys,
            names,
            challenges,
            counts,
            resting_until: Mutex::default(),
            under_way: Mutex::default(),
            holder: format!("{:x}-{}", fastrand::u32(..), std::process::id()),
        };
        (Self { shared: Arc::new(shared), demand }, issuer)
    }

    /// Orders what is due, for as long as the process runs.
    pub async fn run(mut self) {
        let watch = Arc::clone(&self.shared);
        let challenges = async move { watch.challenges.watch(&watch.session).await };
        tokio::join!(challenges, self.plan());
    }

    async fn plan(&mut self) {
        let permits = Arc::new(Semaphore::new(ORDERS_MAX));
        let mut next = Instant::now();
        loop {
            let names = tokio::select! {
                asked = self.demand.recv() => asked.into_iter().collect(),
                () = sleep_until(next) => {
                    next = Instant::now() + LOOK.mul_f32(fastrand::f32() + 0.5);
                    self.shared.due().await
                }
            };
            for name in names {
                if self.shared.is_resting() {
                    break;
                }
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { break };
                if let Some(work) = Work::begin(&self.shared, name) {
                    tokio::spawn(async move {
                        work.run().await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

impl Shared {
    async fn due(&self) -> Vec<String> {
        self.names.due(NAMES_MAX).await.unwrap_or_else(|error| {
            let error = one_line(&error);
            tracing::warn!(error, "the database cannot be asked which certificates are due");
            Vec::new()
        })
    }

    /// Whether the CA wants to be left alone.
    fn is_resting(&self) -> bool {
        let until = *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        tracing::warn!(rest = ?REST, "the CA wants fewer orders");
        *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<String>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that this instance works for, until it is dropped.
struct Work {
    shared: Arc<Shared>,
    name: String,
}

impl Work {
    fn begin(shared: &Arc<Shared>, name: String) -> Option<Self> {
        shared.under_way().insert(name.clone()).then(|| Self { shared: Arc::clone(shared), name })
    }

    async fn run(&self) {
        let Shared { session, holder, .. } = &*self.shared;
        let name = self.name.as_str();
        match Lease::take(session, name, holder).await {
            Ok(None) => {}
            Ok(Some(lease)) => self.work_under(lease).await,
            Err(error) => {
                let error = one_line(&error);
                tracing::warn!(name, error, "a lease cannot be taken");
            }
        }
    }

    async fn work_under(&self, lease: Lease) {
        let outcome = timeout(ORDER_WITHIN, order::run(&self.shared, &lease)).await.unwrap_or(Err(OrderError::Late));
        self.shared.counts.count(&outcome);
        if outcome.as_ref().is_err_and(|error| error.reason() == Reason::RateLimited) {
            self.shared.rest();
        }
        let name = self.name.as_str();
        let ended = match &outcome {
            Ok(()) => {
                tracing::info!(name, "certificate issued");
                lease.finish(&self.shared.session).await
            }
            Err(error) => {
                let attempts = lease.attempts + 1;
                tracing::warn!(name, error = one_line(error), attempts, "no certificate was issued");
                lease.fail(&self.shared.session, error).await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(name, error = one_line(&error), "a lease cannot be given back");
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.under_way().remove(&self.name);
    }
}

/// The time of the database in seconds since the Unix epoch: the one clock that all instances share.
pub(super) fn now(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "CAST(extract(epoch FROM now()) AS bigint)",
        Dialect::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
    }
}

/// A table of usher's own.
pub(super) fn table(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("usher.{name}"),
        Dialect::Sqlite => format!("usher_{name}"),
    }
}
