//! Answers to a CA's questions, held by every instance: whichever it meets can answer. A question that nobody knows costs no query.

use std::{collections::HashMap, time::Duration};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::time::sleep;

use super::{now, table};
use crate::database::session::{self, Session, Value};
use crate::telemetry::causes::one_line;

/// How often the database is asked for them.
const LOOK: Duration = Duration::from_secs(1);

/// After so long every instance has asked, and the CA may come.
pub(super) const SPREAD: Duration = Duration::from_millis(2500);

/// An order that has left its questions behind is long over then.
const KEPT_SECONDS: u32 = 60 * 60;

/// What stands behind `/.well-known/acme-challenge/` (RFC 8555 §8.3).
#[derive(Debug, Default)]
pub struct Challenges {
    answers: ArcSwap<HashMap<Box<str>, Box<str>, RandomState>>,
}

impl Challenges {
    /// The answer to the question with this token.
    pub fn answer(&self, token: &str) -> Option<String> {
        self.answers.load().get(token).map(|answer| answer.to_string())
    }

    /// Keeps them as they are in the database, for as long as the process runs.
    pub(super) async fn watch(&self, session: &Session) {
        loop {
            match read(session).await {
                Ok(answers) => self.answers.store(answers.into()),
                Err(error) => {
                    let error = one_line(&error);
                    tracing::warn!(error, "the database cannot be asked for open challenges");
                }
            }
            sleep(LOOK).await;
        }
    }
}

async fn read(session: &Session) -> Result<HashMap<Box<str>, Box<str>, RandomState>, session::Error> {
    let (table, now) = (table(session.dialect(), "acme_challenges"), now(session.dialect()));
    let sql = format!("SELECT token, answer FROM {table} WHERE begun_at > {now} - {KEPT_SECONDS}");
    let rows = session.query(&sql, &[]).await?;
    let text = |value: Option<&Value>| value.and_then(Value::as_text).map(Box::from);
    Ok(rows.iter().filter_map(|row| Some((text(row.first())?, text(row.get(1))?))).collect())
}

/// Puts an answer where all instances will find it.
pub(super) async fn publish(session: &Session, name: &str, token: &str, answer: &str) -> Result<(), session::Error> {
    let (table, now) = (table(session.dialect(), "acme_challenges"), now(session.dialect()));
    let sql = format!(
        "INSERT INTO {table} (token, name, answer, begun_at) VALUES ($1, $2, $3, {now}) \
         ON CONFLICT (token) DO UPDATE SET answer = excluded.answer, begun_at = excluded.begun_at"
    );
    session.query(&sql, &[token, name, answer].map(Value::from)).await.map(drop)
}

/// Removes what was asked for `name`.
pub(super) async fn withdraw(session: &Session, name: &str) -> Result<(), session::Error> {
    let sql = format!("DELETE FROM {} WHERE name = $1", table(session.dialect(), "acme_challenges"));
    session.query(&sql, &[Value::from(name)]).await.map(drop)
}
