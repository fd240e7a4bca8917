//! How an instance knows another one behind a name, whatever CDNs lie in between: it asks a question that only they can answer.
//!
//! The question stands where CAs ask theirs, so that what is found out is what a CA would find. The answer is a MAC over question and
//! host, and any instance can give it: they share a secret in the database. Whoever has that can pretend to be an edge of ours, which
//! proves nothing about who owns a name; so it is not sealed, and needs no key in the configuration.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use tokio::time::sleep;

use crate::{
    database::session::{self, Dialect, Session, Value},
    telemetry::causes::one_line,
};

/// Before the digits of a question; no token of a CA begins so, since those are base64url of random octets.
const MARK: &str = "usher-self-check-";

/// Digits of a question, from 128 random bits.
const DIGITS: usize = 32;

/// Between two attempts to read the secret, doubled from one to the next.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_hours(1);

/// The secret of all instances, once it is known; a cheap clone.
#[derive(Clone, Debug, Default)]
pub struct SelfCheck {
    key: Arc<OnceLock<Key>>,
}

impl SelfCheck {
    /// The answer where `token`, which stands behind `/.well-known/acme-challenge/`, is a question that was asked of `host`.
    pub fn answer(&self, token: &str, host: &str) -> Option<String> {
        let digits = token.strip_prefix(MARK)?;
        let is_question = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let key = self.key.get().filter(|_| is_question)?;
        let mac = hmac::sign(key, format!("{digits}\n{host}").as_bytes());
        Some(mac.as_ref().iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// A new question.
    pub(super) fn question() -> String {
        format!("{MARK}{:032x}", fastrand::u128(..))
    }

    /// Whether `answer` is the answer to `question` that was asked of `host`.
    pub(super) fn is_answer(&self, answer: &[u8], question: &str, host: &str) -> bool {
        self.answer(question, host).is_some_and(|expected| expected.as_bytes() == answer)
    }

    /// Sees to it that questions can be answered, for as long as the process runs; where that is not possible, for lack of the table
    /// or of the right to read it, ever more rarely.
    pub async fn keep(self, session: Session) {
        let mut pause = RETRY;
        while let Err(error) = self.load(&session).await {
            tracing::debug!(
                error = one_line(&error),
                "other instances will not know this one behind a customer's name"
            );
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        pending().await
    }

    /// Reads the secret, and makes it where there is none; of two that make it at the same time one is kept.
    pub async fn load(&self, session: &Session) -> Result<(), SelfCheckError> {
        if self.key.get().is_some() {
            return Ok(());
        }
        let table = match session.dialect() {
            Dialect::Postgres => "usher.self_check",
            Dialect::Sqlite => "usher_self_check",
        };
        let make = format!("INSERT INTO {table} (id, secret) VALUES (1, $1) ON CONFLICT (id) DO NOTHING");
        let read = format!("SELECT secret FROM {table} WHERE id = 1");
        let mut rows = session.query(&read, &[]).await?;
        if rows.is_empty() {
            session.query(&make, &[Value::Text(secret()?)]).await?;
            rows = session.query(&read, &[]).await?;
        }
        let secret = rows.first().and_then(|row| row.first()).and_then(Value::as_text).ok_or(SelfCheckError::Absent)?;
        // A second one would be the same.
        let _known = self.key.set(Key::new(HMAC_SHA256, secret.as_bytes()));
        Ok(())
    }
}

/// 256 bits.
fn secret() -> Result<String, SelfCheckError> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets)?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// Why instances do not know each other.
#[derive(Debug, thiserror::Error)]
pub enum SelfCheckError {
    /// The database.
    #[error("the secret of the self-check cannot be read")]
    Database(#[from] session::Error),
    /// It was written, and is not there: a replica that lags, or rows that the role may not see.
    #[error("the secret of the self-check was made and cannot be seen")]
    Absent,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Randomness(#[from] getrandom::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{migrations, sqlite::Database};

    async fn two_instances() -> [SelfCheck; 2] {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let instances = [SelfCheck::default(), SelfCheck::default()];
        for instance in &instances {
            instance.load(&session).await.unwrap();
        }
        instances
    }

    #[tokio::test]
    async fn one_instance_knows_the_answer_of_another() {
        let [asking, asked] = two_instances().await;
        let question = SelfCheck::question();
        let answer = asked.answer(&question, "a.example").unwrap();
        assert!(asking.is_answer(answer.as_bytes(), &question, "a.example"));
        assert!(!asking.is_answer(answer.as_bytes(), &question, "b.example"));
        assert!(!asking.is_answer(answer.as_bytes(), &SelfCheck::question(), "a.example"));
        assert!(!asking.is_answer(b"", &question, "a.example"));
    }

    #[tokio::test]
    async fn without_a_secret_nobody_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::sqlite(&Database::create(&folder.path().join("usher.db")).unwrap());
        migrations::run(&session, &migrations::Plan::default()).await.unwrap();
        let hide = "CREATE TRIGGER hide AFTER INSERT ON usher_self_check BEGIN DELETE FROM usher_self_check; END";
        session.batch(hide).await.unwrap();
        assert!(matches!(SelfCheck::default().load(&session).await, Err(SelfCheckError::Absent)));
    }

    #[tokio::test]
    async fn only_questions_are_answered_and_only_by_who_knows_the_secret() {
        let [instance, _] = two_instances().await;
        let question = SelfCheck::question();
        assert!(SelfCheck::default().answer(&question, "a.example").is_none());
        for token in ["", "usher-self-check-", "usher-self-check-12", &question[1..], &format!("{question}0")] {
            assert!(instance.answer(token, "a.example").is_none(), "{token}");
        }
    }
}
