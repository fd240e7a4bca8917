//! Certificates in the database, which all instances share: loaded when a client first asks for one, then held.
//!
//! What always holds: one load runs per name however many handshakes wait for it, each under a deadline; the number of loads and of
//! certificates held is bounded; a certificate that was once loaded is shown while the database cannot be asked, by the next run too where
//! there is a snapshot; and one that has ended is shown by nobody who can get another.

mod archive;
mod entry;
mod reserve;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map},
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use foldhash::fast::RandomState;
use moka::sync::Cache;
use rustls::crypto::aws_lc_rs;
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{Certificate, CertificateError, Keyring, Sealed, acme, keyring::SealError};
use crate::{
    database::session::{self, Dialect, Session, Value},
    routing::Hostname,
    telemetry::causes::one_line,
};
pub use archive::{Archive, ArchiveError, Rekeyed};
pub use entry::{Entry, State};
use reserve::Reserve;

/// Names held, with a certificate or without. A certificate with its chain and key takes some 8 KB: 200 MB at most.
const HELD_MAX: u64 = 25_000;

/// Loads at once. Beyond it names that are not held get no handshake: each load waits for a connection of the database's pool.
const LOADS_MAX: usize = 64;

/// How long a handshake waits for a load.
const WAIT: Duration = Duration::from_secs(2);

/// After this a certificate is looked for again, behind the handshake that asks for it: renewed ones are there days before the old
/// ones run out.
const FRESH: Duration = Duration::from_mins(5);

/// The same for a name that had none, or one that has ended, or could not be looked up: somebody may be waiting for it.
const FRESH_ABSENT: Duration = Duration::from_secs(5);

/// The certificates; a cheap clone.
#[derive(Clone)]
pub struct Vault {
    shared: Arc<Shared>,
}

struct Shared {
    session: Session,
    keys: Arc<Keyring>,
    held: Cache<Box<str>, Held, RandomState>,
    /// What the last run has left.
    reserve: OnceLock<Reserve>,
    flights: Mutex<HashMap<Box<str>, watch::Receiver<Option<Answer>>>>,
    control: Handle,
    loads: AtomicU64,
    failures: AtomicU64,
    /// Loads that found something else than was held.
    changes: AtomicU64,
}

/// What is known of a name.
#[derive(Clone)]
struct Held {
    /// An error where there is a certificate that cannot be used.
    known: Result<Option<Loaded>, NotLoaded>,
    fresh_until: Instant,
}

/// A certificate, and how it lies in the database.
#[derive(Clone)]
struct Loaded {
    certificate: Arc<Certificate>,
    row: Arc<Row>,
}

/// What a certificate leaves out of its row.
struct Row {
    name: Box<str>,
    sealed: Sealed,
}

type Answer = Result<Option<Arc<Certificate>>, NotLoaded>;

/// The certificate of a name could not be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLoaded;

impl Vault {
    /// Those behind `session`; loads run on `control`, never on a worker.
    pub fn new(session: Session, keys: Arc<Keyring>, control: Handle) -> Self {
        let shared = Shared {
            session,
            keys,
            held: Cache::builder().max_capacity(HELD_MAX).build_with_hasher(RandomState::default()),
            reserve: OnceLock::new(),
            flights: Mutex::default(),
            control,
            loads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The certificate for `name`, its own or a wildcard.
    pub async fn find(&self, name: &Hostname<'_>) -> Answer {
        let name = name.as_str();
        let held = self.shared.held(name);
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh()) {
            return held.answer();
        }
        match held.and_then(|held| held.certificate()) {
            Some(certificate) if !certificate.has_ended(SystemTime::now()) => {
                let _already_enough = self.board(name);
                Ok(Some(certificate))
            }
            // What has ended is better than nothing where nothing else can be had.
            Some(certificate) => self.wait_for(name).await.or(Ok(Some(certificate))),
            None => self.wait_for(name).await,
        }
    }

    /// The same, even where there was none a moment ago.
    pub async fn find_anew(&self, name: &Hostname<'_>) -> Answer {
        let held = self.shared.held(name.as_str()).and_then(|held| held.certificate());
        match held.filter(|certificate| !certificate.has_ended(SystemTime::now())) {
            Some(certificate) => Ok(Some(certificate)),
            None => self.wait_for(name.as_str()).await,
        }
    }

    /// The one that is held, where nobody knows whether `name` is worth a query.
    pub fn shown(&self, name: &Hostname<'_>) -> Option<Arc<Certificate>> {
        self.shared.held(name.as_str())?.certificate()
    }

    /// Whether there is one for `name` that has not ended, as far as that is known; where it is not, it soon will be.
    pub fn has(&self, name: &Hostname<'_>) -> bool {
        let held = self.shared.held(name.as_str());
        if !held.as_ref().is_some_and(Held::is_fresh) {
            let _already_enough = self.board(name.as_str());
        }
        held.and_then(|held| held.certificate()).is_some_and(|certificate| !certificate.has_ended(SystemTime::now()))
    }

    /// Loads that ended, and those of them that failed.
    pub fn loads(&self) -> (u64, u64) {
        (self.shared.loads.load(Relaxed), self.shared.failures.load(Relaxed))
    }

    async fn wait_for(&self, name: &str) -> Answer {
        let mut flight = self.board(name)?;
        let landed = timeout(WAIT, flight.wait_for(Option::is_some)).await;
        // A load that panics takes its sender with it.
        let answer = landed.ok().and_then(Result::ok).and_then(|answer| answer.clone());
        answer.unwrap_or(Err(NotLoaded))
    }

    /// Joins the load of `name`, or begins one.
    fn board(&self, name: &str) -> Result<watch::Receiver<Option<Answer>>, NotLoaded> {
        let mut flights = self.shared.flights();
        let under_way = flights.len();
        match flights.entry(name.into()) {
            hash_map::Entry::Occupied(flight) => Ok(flight.get().clone()),
            hash_map::Entry::Vacant(_) if under_way >= LOADS_MAX => Err(NotLoaded),
            hash_map::Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                let landing = Landing { shared: Arc::clone(&self.shared), name: name.into() };
                self.shared.control.spawn(async move { landing.fly(&sender).await });
                Ok(receiver)
            }
        }
    }
}

impl Shared {
    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, watch::Receiver<Option<Answer>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of `name`: by this run, else by the last one.
    fn held(&self, name: &str) -> Option<Held> {
        self.held.get(name).or_else(|| self.recall(name))
    }

    /// What the last run has left for `name`; not fresh any more. A few KB of a file that was read through at the start.
    fn recall(&self, name: &str) -> Option<Held> {
        let reserve = self.reserve.get()?;
        let loaded = reserve.find(name, &self.keys).unwrap_or_else(|error| {
            tracing::warn!(name, error = one_line(&error), "a certificate of the last run cannot be used");
            None
        })?;
        let held = Held { known: Ok(Some(loaded)), fresh_until: Instant::now() };
        self.held.insert(name.into(), held.clone());
        reserve.forget(name);
        Some(held)
    }

    async fn load(&self, name: &str) -> Result<Option<Loaded>, LoadError> {
        let wildcard = name.split_once('.').map_or_else(String::new, |(_, parent)| format!("*.{parent}"));
        // What has not ended; then the row of the name itself before that of a wildcard.
        let sql = format!(
            "SELECT name, certificate, key_id, sealed_key FROM {} \
             WHERE name = $1 OR name = $2 ORDER BY (expires_at > $3) DESC, (name = $1) DESC LIMIT 1",
            table(self.session.dialect())
        );
        let now = Value::Int(archive::seconds(SystemTime::now()));
        let rows = self.session.query(&sql, &[Value::from(name), Value::from(&*wildcard), now]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let [name, chain, key_id, text] =
            [0, 1, 2, 3].map(|column| row.get(column).and_then(Value::as_text).unwrap_or_default());
        let row = Row { name: name.into(), sealed: Sealed { key_id: key_id.to_owned(), text: text.to_owned() } };
        let key = self.keys.open(&row.sealed, name)?;
        match Certificate::from_pem(chain.as_bytes(), &key, &aws_lc_rs::default_provider()) {
            Ok(certificate) => Ok(Some(Loaded { certificate: Arc::new(certificate), row: Arc::new(row) })),
            Err(damage) => {
                self.give_up(&row).await?;
                Err(damage.into())
            }
        }
    }

    /// A certificate from a CA that cannot be used is due for another one. Not one whose key does not open: that may be this instance's
    /// fault, and all others show it.
    async fn give_up(&self, row: &Row) -> Result<(), LoadError> {
        let sql = format!(
            "UPDATE {} SET renew_at = $1, ask_at = NULL WHERE name = $2 AND sealed_key = $3 AND directory IS NOT NULL",
            table(self.session.dialect())
        );
        let now = Value::Int(archive::seconds(SystemTime::now()));
        let values = [now, Value::from(&*row.name), Value::from(row.sealed.text.as_str())];
        Ok(self.session.query(&sql, &values).await.map(drop)?)
    }

    /// Keeps what was loaded; where nothing could be, what was there before.
    fn keep(&self, name: &str, loaded: Result<Option<Loaded>, LoadError>) -> Answer {
        let before = self.held.get(name).and_then(|held| held.loaded());
        let is_known = !matches!(loaded, Err(LoadError::Database(_)));
        let (known, fresh) = match loaded {
            Ok(Some(loaded)) => {
                let remaining = loaded.certificate.remaining(SystemTime::now());
                (Ok(Some(loaded)), if remaining.is_zero() { FRESH_ABSENT } else { FRESH.min(remaining) })
            }
            Ok(None) => (Ok(None), FRESH_ABSENT),
            Err(_) => (before.clone().map(Some).ok_or(NotLoaded), FRESH_ABSENT),
        };
        let held = Held { known, fresh_until: Instant::now() + fresh };
        let answer = held.answer();
        if sealed(before.as_ref()) != sealed(held.loaded().as_ref()) {
            self.changes.fetch_add(1, Relaxed);
        }
        if answer.is_ok() || is_known {
            self.held.insert(name.into(), held);
        }
        answer
    }
}

impl Held {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    fn answer(&self) -> Answer {
        self.known.clone().map(|loaded| loaded.map(|loaded| loaded.certificate))
    }

    fn certificate(&self) -> Option<Arc<Certificate>> {
        self.loaded().map(|loaded| loaded.certificate)
    }

    fn loaded(&self) -> Option<Loaded> {
        self.known.clone().ok().flatten()
    }
}

/// A load under way; its place is free when it is dropped.
struct Landing {
    shared: Arc<Shared>,
    name: Box<str>,
}

impl Landing {
    async fn fly(self, sender: &watch::Sender<Option<Answer>>) {
        let loaded = self.shared.load(&self.name).await;
        self.shared.loads.fetch_add(1, Relaxed);
        if let Err(error) = &loaded {
            self.shared.failures.fetch_add(1, Relaxed);
            tracing::warn!(name = %self.name, error = one_line(error), "a certificate cannot be loaded");
        }
        sender.send_replace(Some(self.shared.keep(&self.name, loaded)));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.flights().remove(&self.name);
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &self.shared.keys).finish_non_exhaustive()
    }
}

/// The secret is sealed anew with every certificate.
fn sealed(loaded: Option<&Loaded>) -> Option<&Sealed> {
    loaded.map(|loaded| &loaded.row.sealed)
}

fn table(dialect: Dialect) -> String {
    acme::table(dialect, "certificates")
}

/// Why a certificate cannot be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the database could not be asked")]
    Database(#[from] session::Error),
    #[error("the snapshot could not be read")]
    Snapshot(#[from] io::Error),
    #[error("its private key cannot be read")]
    Sealed(#[from] SealError),
    #[error("it cannot be used")]
    Certificate(#[from] CertificateError),
}
