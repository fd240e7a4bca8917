//! Certificates in the database, which all instances share: loaded when a client first asks for one, then held.
//!
//! What always holds: one load runs per name however many handshakes wait for it, each under a deadline; the number of loads and of
//! certificates held is bounded; and a certificate that was once loaded is shown while the database cannot be asked.

mod archive;
mod entry;

use std::{
    collections::{HashMap, hash_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
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

/// Names held, with a certificate or without. A certificate with its chain and key takes some 8 KB: 200 MB at most.
const HELD_MAX: u64 = 25_000;

/// Loads at once. Beyond it names that are not held get no handshake: each load waits for a connection of the database's pool.
const LOADS_MAX: usize = 64;

/// How long a handshake waits for a load.
const WAIT: Duration = Duration::from_secs(2);

/// After this a certificate is looked for again, behind the handshake that asks for it: renewed ones are there days before the old
/// ones run out.
const FRESH: Duration = Duration::from_mins(5);

/// The same for a name that had none, or could not be looked up: somebody may be waiting for it.
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
    flights: Mutex<HashMap<Box<str>, watch::Receiver<Option<Answer>>>>,
    control: Handle,
    loads: AtomicU64,
    failures: AtomicU64,
}

/// What is known of a name.
#[derive(Clone)]
struct Held {
    certificate: Option<Arc<Certificate>>,
    fresh_until: Instant,
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
            flights: Mutex::default(),
            control,
            loads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The certificate for `name`, its own or a wildcard.
    pub async fn find(&self, name: &Hostname<'_>) -> Answer {
        let name = name.as_str();
        match self.shared.held.get(name) {
            Some(held) if held.is_fresh() => Ok(held.certificate),
            Some(Held { certificate: Some(certificate), .. }) => {
                let _already_enough = self.board(name);
                Ok(Some(certificate))
            }
            _ => self.wait_for(name).await,
        }
    }

    /// The same, even where there was none a moment ago.
    pub async fn find_anew(&self, name: &Hostname<'_>) -> Answer {
        match self.shared.held.get(name.as_str()) {
            Some(Held { certificate: Some(certificate), .. }) => Ok(Some(certificate)),
            _ => self.wait_for(name.as_str()).await,
        }
    }

    /// Whether there is one for `name`, as far as that is known; where it is not, it soon will be.
    pub fn has(&self, name: &Hostname<'_>) -> bool {
        let held = self.shared.held.get(name.as_str());
        if !held.as_ref().is_some_and(Held::is_fresh) {
            let _already_enough = self.board(name.as_str());
        }
        held.is_some_and(|held| held.certificate.is_some())
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

    async fn load(&self, name: &str) -> Result<Option<Arc<Certificate>>, LoadError> {
        let wildcard = name.split_once('.').map_or_else(String::new, |(_, parent)| format!("*.{parent}"));
        // The row of the name itself, else that of a wildcard.
        let sql = format!(
            "SELECT name, certificate, key_id, sealed_key FROM {} \
             WHERE name = $1 OR name = $2 ORDER BY (name = $1) DESC LIMIT 1",
            table(self.session.dialect())
        );
        let rows = self.session.query(&sql, &[Value::from(name), Value::from(&*wildcard)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let [name, chain, key_id, text] =
            [0, 1, 2, 3].map(|column| row.get(column).and_then(Value::as_text).unwrap_or_default());
        let key = self.keys.open(&Sealed { key_id: key_id.to_owned(), text: text.to_owned() }, name)?;
        let certificate = Certificate::from_pem(chain.as_bytes(), &key, &aws_lc_rs::default_provider())?;
        Ok(Some(Arc::new(certificate)))
    }

    /// Keeps what was loaded; where nothing could be, what was there before.
    fn keep(&self, name: &str, loaded: Answer) -> Answer {
        let before = || self.held.get(name).and_then(|held| held.certificate);
        let (answer, fresh) = match loaded {
            Ok(Some(certificate)) => (Ok(Some(certificate)), FRESH),
            Ok(None) => (Ok(None), FRESH_ABSENT),
            Err(NotLoaded) => (before().map(Some).ok_or(NotLoaded), FRESH_ABSENT),
        };
        if let Ok(certificate) = &answer {
            let held = Held { certificate: certificate.clone(), fresh_until: Instant::now() + fresh };
            self.held.insert(name.into(), held);
        }
        answer
    }
}

impl Held {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
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
        let loaded = loaded.map_err(|error| {
            self.shared.failures.fetch_add(1, Relaxed);
            tracing::warn!(name = %self.name, error = one_line(&error), "a certificate cannot be loaded");
            NotLoaded
        });
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

fn table(dialect: Dialect) -> String {
    acme::table(dialect, "certificates")
}

/// Why a certificate cannot be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the database could not be asked")]
    Database(#[from] session::Error),
    #[error("its private key cannot be read")]
    Sealed(#[from] SealError),
    #[error("it cannot be used")]
    Certificate(#[from] CertificateError),
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::database::{migrations, sqlite::Database};

    struct Fixture {
        vault: Vault,
        archive: Archive,
        keys: Arc<Keyring>,
        database: Database,
        _folder: tempfile::TempDir,
    }

    fn keyring(byte: u8) -> Arc<Keyring> {
        Arc::new(Keyring::parse(&format!("k{byte}:{}", STANDARD.encode([byte; 32]))).unwrap())
    }

    impl Fixture {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::create(&folder.path().join("usher.db")).unwrap();
            migrations::run(&Session::sqlite(&database), &migrations::Plan::default()).await.unwrap();
            let keys = keyring(1);
            let vault = Vault::new(Session::sqlite(&database), Arc::clone(&keys), Handle::current());
            Self { vault, archive: Archive::new(Session::sqlite(&database)), keys, database, _folder: folder }
        }

        async fn import(&self, names: &[&str]) {
            let made =
                rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
            let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            self.archive.import(certificate.as_bytes(), key.as_bytes(), &self.keys).await.unwrap();
        }

        async fn sql(&self, sql: &str) {
            Session::sqlite(&self.database).batch(sql).await.unwrap();
        }

        async fn find(&self, name: &str) -> Answer {
            self.vault.find(&Hostname::parse(name).unwrap()).await
        }

        /// Takes what is held for old.
        fn age(&self) {
            for (name, mut held) in &self.vault.shared.held {
                held.fresh_until = Instant::now();
                self.vault.shared.held.insert((*name).clone(), held);
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_found_by_itself_or_by_a_wildcard() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example", "*.platform.com"]).await;
        for name in ["shop.example", "store1.platform.com"] {
            assert!(fixture.find(name).await.unwrap().is_some(), "{name}");
        }
        for name in ["other.example", "platform.com", "a.b.platform.com"] {
            assert!(fixture.find(name).await.unwrap().is_none(), "{name}");
        }
    }

    #[tokio::test]
    async fn any_number_of_handshakes_for_a_name_cost_one_load() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        let name = Hostname::parse("shop.example").unwrap();
        let all = futures_of(100, || fixture.vault.find(&name)).await;
        assert!(all.into_iter().all(|answer| answer.unwrap().is_some()));
        assert_eq!(fixture.vault.loads(), (1, 0));
    }

    async fn futures_of<F: Future>(count: usize, make: impl Fn() -> F) -> Vec<F::Output> {
        let mut pinned: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
        let mut outputs = Vec::new();
        std::future::poll_fn(|context| {
            pinned.retain_mut(|future| match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => {
                    outputs.push(output);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if pinned.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        outputs
    }

    #[tokio::test]
    async fn what_was_loaded_once_is_shown_while_it_cannot_be_loaded_again() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        let first = fixture.find("shop.example").await.unwrap().unwrap();
        fixture.sql("UPDATE usher_certificates SET sealed_key = 'damaged'").await;
        for _ in 0..3 {
            fixture.age();
            assert!(Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(fixture.vault.loads().1 >= 1);
        assert_eq!(fixture.find("other.example").await.unwrap().map(|_| ()), None);
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_behind_the_next_handshake() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        let first = fixture.find("shop.example").await.unwrap().unwrap();
        fixture.import(&["shop.example"]).await;
        fixture.age();
        assert!(Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
        while fixture.vault.loads().0 < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!Arc::ptr_eq(&fixture.find("shop.example").await.unwrap().unwrap(), &first));
    }

    #[tokio::test]
    async fn a_key_moved_to_another_name_and_one_of_another_ring_do_not_open() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        fixture.sql("UPDATE usher_certificates SET name = 'evil.example'").await;
        assert_eq!(fixture.find("evil.example").await.map(|_| ()), Err(NotLoaded));
        fixture.import(&["shop.example"]).await;
        let stranger = Vault::new(Session::sqlite(&fixture.database), keyring(2), Handle::current());
        assert_eq!(stranger.find(&Hostname::parse("shop.example").unwrap()).await.map(|_| ()), Err(NotLoaded));
    }

    #[tokio::test]
    async fn a_question_without_waiting_is_answered_the_second_time() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        let name = Hostname::parse("shop.example").unwrap();
        assert!(!fixture.vault.has(&name));
        while fixture.vault.loads().0 < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(fixture.vault.has(&name));
    }

    #[tokio::test]
    async fn a_new_key_can_take_the_place_of_an_old_one() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example", "other.example"]).await;
        let both =
            Keyring::parse(&format!("k2:{}\nk1:{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]))).unwrap();
        assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed { sealed_anew: 2, failed: Vec::new() });
        assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed::default());
        let vault = Vault::new(Session::sqlite(&fixture.database), keyring(2), Handle::current());
        assert!(vault.find(&Hostname::parse("shop.example").unwrap()).await.unwrap().is_some());
        let lost =
            fixture.archive.rekey(&Keyring::parse(&format!("k3:{}", STANDARD.encode([3; 32]))).unwrap()).await.unwrap();
        assert_eq!((lost.sealed_anew, lost.failed.len()), (0, 2));
    }

    #[tokio::test]
    async fn what_is_listed_and_shown_holds_no_key() {
        let fixture = Fixture::new().await;
        fixture.import(&["shop.example"]).await;
        let entries = fixture.archive.list().await.unwrap();
        let [found] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(
            (found.name.as_str(), found.key_id.as_deref(), found.state),
            ("shop.example", Some("k1"), State::Good)
        );
        let (entry, pem) = fixture.archive.show("shop.example").await.unwrap().unwrap();
        assert!(entry == entries[0] && pem.contains("BEGIN CERTIFICATE") && !pem.contains("KEY"), "{pem}");
        assert!(fixture.archive.show("other.example").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn accounts_and_keys_of_tickets_are_sealed_anew_as_well() {
        let fixture = Fixture::new().await;
        for (table, whose, column, context) in [
            ("usher_acme_accounts", "'https://ca'", "sealed_credentials", "https://ca"),
            ("usher_ticket_keys", "7", "sealed_key", "ticket key 7"),
        ] {
            let Sealed { key_id, text } = fixture.keys.seal(b"secret", context).unwrap();
            fixture.sql(&format!("INSERT INTO {table} VALUES ({whose}, '{key_id}', '{text}')")).await;
            let both =
                Keyring::parse(&format!("k2:{}\nk1:{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]))).unwrap();
            assert_eq!(fixture.archive.rekey(&both).await.unwrap(), Rekeyed { sealed_anew: 1, failed: Vec::new() });
            let session = Session::sqlite(&fixture.database);
            let rows = session.query(&format!("SELECT key_id, {column} FROM {table}"), &[]).await.unwrap();
            let [key_id, text] = [0, 1].map(|column| rows[0][column].as_text().unwrap().to_owned());
            assert_eq!(keyring(2).open(&Sealed { key_id, text }, context).unwrap(), b"secret");
        }
    }

    #[tokio::test]
    async fn names_that_wait_or_fail_are_listed_with_the_reason() {
        let fixture = Fixture::new().await;
        fixture.import(&["good.example"]).await;
        let rows = "INSERT INTO usher_acme_orders (name, fence, holder, leased_until, due_at, attempts, wanted_since, reason, problem)
                VALUES ('waiting.example', 1, '', 0, 0, 0, 5, NULL, NULL), ('done.example', 1, '', 0, 0, 0, NULL, NULL, NULL),
                    ('failing.example', 1, '', 0, 99, 3, 5, 'astray', 'it has no address'),
                    ('renewed.example', 1, '', 0, 99, 1, 5, 'refused', 'no');
            INSERT INTO usher_certificates (name, certificate, key_id, sealed_key, expires_at, renew_at) VALUES
                ('renewed.example', '', 'k1', '', 99999999999, 1), ('ended.example', '', 'k1', '', 1, NULL)";
        fixture.sql(rows).await;
        let listed = fixture.archive.list().await.unwrap();
        let told: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.state, entry.expires)).collect();
        let good = listed.iter().find(|entry| entry.name == "good.example").unwrap().expires;
        let expected = [
            ("failing.example", State::Failing, None),
            ("waiting.example", State::Waiting, None),
            ("ended.example", State::Ended, Some(1)),
            ("renewed.example", State::Failing, Some(99_999_999_999)),
            ("good.example", State::Good, good),
        ];
        assert!(expected.iter().all(|entry| told.contains(entry)) && told.len() == expected.len(), "{told:?}");
        let failing = fixture.archive.page("", Some(State::Failing), 10).await.unwrap();
        assert_eq!(
            failing.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
            ["failing.example", "renewed.example"]
        );
        assert_eq!((failing[0].failures, failing[0].due, failing[0].reason.as_deref()), (3, Some(99), Some("astray")));
        assert_eq!(fixture.archive.page("failing.example", Some(State::Failing), 10).await.unwrap().len(), 1);
    }
}
