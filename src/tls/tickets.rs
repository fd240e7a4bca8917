//! Session tickets that every instance can read: their keys lie in the database, sealed, one for each half of a day.
//!
//! The key of the next half day is made ahead, so that no instance meets a ticket whose key it has not read yet. Two instances that
//! make it at the same time meet at its number, and the first one counts. Keys that no ticket can need any more are removed: what was
//! recorded can then be read by nobody (RFC 8446 §8.1, RFC 9325 §7.4).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use tokio::time::sleep;

use super::{Keyring, SealError, Sealed};
use crate::database::session::{self, Dialect, Session, Value};
use crate::telemetry::causes::one_line;

/// How long tickets are made by one key.
const PERIOD_SECONDS: u64 = 12 * 60 * 60;

/// How long a ticket may be used: until its key is the one before the last.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

/// How often the database is asked for keys, and how soon again where it did not answer.
const LOOK: Duration = Duration::from_mins(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Of AES-256.
const KEY_LEN: usize = 32;

/// Bytes in front of nonce and ciphertext: the number of the key.
const NUMBER_LEN: usize = size_of::<u64>();

/// Makes and reads tickets. Until keys have been read there are none, and every handshake is a full one.
pub struct Tickets {
    keys: ArcSwap<Keys>,
}

#[derive(Clone, Default)]
struct Keys {
    all: Vec<Arc<Key>>,
    /// The database's time at the moment of `read_at`, in seconds since the Unix epoch.
    read: u64,
    read_at: Option<Instant>,
}

struct Key {
    number: u64,
    key: RandomizedNonceKey,
}

impl Tickets {
    /// Without keys so far.
    #[allow(clippy::new_without_default, reason = "always shared")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { keys: ArcSwap::default() })
    }

    /// Keeps the keys as they are in the database, for as long as the process runs.
    pub async fn share(self: Arc<Self>, session: Session, keyring: Arc<Keyring>) {
        let table = Table { session, keyring };
        loop {
            let pause = match table.keys().await {
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    LOOK
                }
                Err(error) => {
                    tracing::warn!(error = one_line(&error), "the keys of session tickets cannot be shared");
                    LOOK_AGAIN
                }
            };
            sleep(pause).await;
        }
    }
}

/// Where the keys lie.
struct Table {
    session: Session,
    keyring: Arc<Keyring>,
}

impl Table {
    /// The keys, once those that are needed have been made and those that are not have been removed. What does not open is left out.
    async fn keys(&self) -> Result<Keys, TicketError> {
        let now = self.now().await?;
        let number = now / PERIOD_SECONDS;
        self.session.query(&self.sql("DELETE FROM {} WHERE number < $1"), &[int(number.saturating_sub(1))]).await?;
        for number in [number, number + 1] {
            self.make(number).await?;
        }
        let rows = self.session.query(&self.sql("SELECT number, key_id, sealed_key FROM {}"), &[]).await?;
        let (opened, closed): (Vec<_>, Vec<_>) = rows.iter().map(|row| self.open(row)).partition(Result::is_ok);
        if let Some(error) = closed.into_iter().find_map(Result::err) {
            tracing::warn!(error = one_line(&error), "tickets of another instance cannot be read");
        }
        let all = opened.into_iter().flatten().map(Arc::new).collect();
        Ok(Keys { all, read: now, read_at: Some(Instant::now()) })
    }

    /// The clock of the database is the one that all instances share.
    async fn now(&self) -> Result<u64, TicketError> {
        let sql = match self.session.dialect() {
            Dialect::Postgres => "SELECT CAST(extract(epoch FROM now()) AS bigint)",
            Dialect::Sqlite => "SELECT CAST(strftime('%s', 'now') AS INTEGER)",
        };
        number(self.session.query(sql, &[]).await?.first().and_then(|row| row.first()))
    }

    async fn make(&self, number: u64) -> Result<(), TicketError> {
        let mut secret = [0; KEY_LEN];
        getrandom::fill(&mut secret).map_err(TicketError::Random)?;
        let Sealed { key_id, text } = self.keyring.seal(&secret, &context(number))?;
        let sql = "INSERT INTO {} (number, key_id, sealed_key) VALUES ($1, $2, $3) ON CONFLICT (number) DO NOTHING";
        self.session.query(&self.sql(sql), &[int(number), Value::Text(key_id), Value::Text(text)]).await?;
        Ok(())
    }

    fn open(&self, row: &[Value]) -> Result<Key, TicketError> {
        let number = number(row.first())?;
        let text = |column: usize| row.get(column).and_then(Value::as_text).unwrap_or_default().to_owned();
        let secret = self.keyring.open(&Sealed { key_id: text(1), text: text(2) }, &context(number))?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &secret).map_err(|_| SealError::Damaged)?;
        Ok(Key { number, key })
    }

    fn sql(&self, text: &str) -> String {
        let table = match self.session.dialect() {
            Dialect::Postgres => "usher.ticket_keys",
            Dialect::Sqlite => "usher_ticket_keys",
        };
        text.replace("{}", table)
    }
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn number(value: Option<&Value>) -> Result<u64, TicketError> {
    match value {
        Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| TicketError::Row),
        _ => Err(TicketError::Row),
    }
}

/// What a key is sealed for, in front of its number.
pub(super) const CONTEXT: &str = "ticket key ";

fn context(number: u64) -> String {
    format!("{CONTEXT}{number}")
}

impl Keys {
    /// The number of the key by which tickets are made now.
    fn current(&self) -> Option<u64> {
        let now = self.read + self.read_at?.elapsed().as_secs();
        Some(now / PERIOD_SECONDS)
    }

    fn get(&self, number: u64) -> Option<&Key> {
        self.all.iter().find(|key| key.number == number).map(|key| &**key)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        let keys = self.keys.load();
        keys.current().is_some_and(|number| keys.get(number).is_some())
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let key = keys.get(keys.current()?)?;
        let (number, mut text) = (key.number.to_be_bytes(), session.to_vec());
        let nonce = key.key.seal_in_place_append_tag(Aad::from(number), &mut text).ok()?;
        Some([&number[..], nonce.as_ref(), &text].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER_LEN>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let key = keys.get(u64::from_be_bytes(*number)).filter(|key| Some(key.number + 1) >= keys.current())?;
        let mut text = rest.to_vec();
        key.key.open_in_place(Nonce::from(nonce), Aad::from(*number), &mut text).ok().map(|session| session.to_vec())
    }
}

impl fmt::Debug for Tickets {
    /// The numbers alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.load().all.iter().map(|key| key.number)).finish()
    }
}

/// Why keys cannot be shared.
#[derive(Debug, thiserror::Error)]
enum TicketError {
    #[error("the database could not be asked")]
    Database(#[from] session::Error),
    #[error("the table has columns of another type")]
    Row,
    #[error("a key cannot be read")]
    Sealed(#[from] SealError),
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::database::{migrations, sqlite::Database};

    struct Fixture {
        database: Database,
        _folder: tempfile::TempDir,
    }

    impl Fixture {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::create(&folder.path().join("usher.db")).unwrap();
            migrations::run(&Session::sqlite(&database), &migrations::Plan::default()).await.unwrap();
            Self { database, _folder: folder }
        }

        async fn instance(&self) -> Arc<Tickets> {
            let tickets = Tickets::new();
            tickets.keys.store(Arc::new(self.table(1).keys().await.unwrap()));
            tickets
        }

        fn table(&self, key: u8) -> Table {
            let keyring = Keyring::parse(&format!("k{key}:{}", STANDARD.encode([key; 32]))).unwrap();
            Table { session: Session::sqlite(&self.database), keyring: Arc::new(keyring) }
        }
    }

    /// As if so much more time had passed since the keys were read.
    fn pass(tickets: &Tickets, periods: u64) {
        let mut keys = Keys::clone(&tickets.keys.load());
        keys.read += periods * PERIOD_SECONDS;
        tickets.keys.store(Arc::new(keys));
    }

    #[tokio::test]
    async fn every_instance_reads_what_another_has_made() {
        let fixture = Fixture::new().await;
        let [one, two] = [fixture.instance().await, fixture.instance().await];
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(two.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert!(!ticket.windows(7).any(|part| part == b"session"));
        for place in [0, NUMBER_LEN, ticket.len() - 1] {
            let mut damaged = ticket.clone();
            damaged[place] ^= 1;
            assert_eq!(two.decrypt(&damaged), None, "{place}");
        }
        assert!(two.decrypt(&[]).is_none() && two.decrypt(&[0; 20]).is_none());
    }

    #[tokio::test]
    async fn the_next_key_is_there_before_it_is_needed_and_an_old_one_is_not_used_for_ever() {
        let fixture = Fixture::new().await;
        let [one, two] = [fixture.instance().await, fixture.instance().await];
        let early = one.encrypt(b"session").unwrap();
        pass(&one, 1);
        let late = one.encrypt(b"session").unwrap();
        assert_ne!(early[..NUMBER_LEN], late[..NUMBER_LEN]);
        // An instance that has read its keys long ago reads it too.
        assert!(two.decrypt(&late).is_some());
        assert!(one.decrypt(&early).is_some());
        pass(&one, 1);
        assert!(one.decrypt(&early).is_none() && !one.enabled(), "no key has been made for this time yet");
    }

    #[tokio::test]
    async fn without_keys_there_are_no_tickets() {
        let tickets = Tickets::new();
        assert!(!tickets.enabled() && tickets.encrypt(b"session").is_none());
        let fixture = Fixture::new().await;
        fixture.instance().await;
        assert_eq!(fixture.table(2).keys().await.unwrap().all.len(), 0);
    }

    #[tokio::test]
    async fn a_key_that_does_not_open_costs_its_own_tickets_and_no_others() {
        let fixture = Fixture::new().await;
        let session = Session::sqlite(&fixture.database);
        fixture.instance().await;
        session.batch("UPDATE usher_ticket_keys SET sealed_key = 'damaged' WHERE number = (SELECT max(number) FROM usher_ticket_keys)").await.unwrap();
        let tickets = fixture.instance().await;
        assert!(tickets.decrypt(&tickets.encrypt(b"session").unwrap()).is_some());
    }

    #[tokio::test]
    async fn keys_that_no_ticket_needs_are_removed() {
        let fixture = Fixture::new().await;
        fixture.table(1).make(1).await.unwrap();
        let keys = fixture.table(1).keys().await.unwrap();
        assert_eq!(keys.all.len(), 2);
        assert!(keys.get(1).is_none());
    }
}
