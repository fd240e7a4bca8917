//! What is told of a certificate, and of a name that has none yet.

use serde::Serialize;

use super::{
    super::acme::{self, LET_GO},
    archive::ArchiveError,
};
use crate::database::session::{Dialect, Row, Value};

/// A name, and how it stands with its certificate. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The host, or `*.` and the domain below which it is good for one label.
    pub name: String,
    /// When it ends to be valid; nothing where there is none.
    pub expires: Option<i64>,
    /// Which key its private key is sealed by.
    pub key_id: Option<String>,
    /// Whether somebody has to wait for one.
    pub state: State,
    /// When the next one is asked for, or asked for again; nothing where nobody asks for it.
    pub due: Option<i64>,
    /// How often in a row that has failed for this reason.
    pub failures: i64,
    /// Why, in a word: one of those of `usher_acme_names`.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub problem: Option<String>,
}

/// How it stands with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is good, and nobody has to do anything yet.
    Good,
    /// It is to be had, or renewed, and nothing stands in the way of that.
    Waiting,
    /// That has failed, and is tried again.
    Failing,
    /// It has ended, and nobody asks for another: it was imported, or its store has left.
    Ended,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Ended => "ended",
        }
    }

    /// What that word stands for.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Good, Self::Waiting, Self::Failing, Self::Ended].into_iter().find(|state| state.as_str() == text)
    }
}

impl Entry {
    /// Reads a row of [`page`] or [`one`].
    pub(super) fn read(row: &Row) -> Result<Self, ArchiveError> {
        let text = |column: usize| row.get(column).and_then(Value::as_text).map(str::to_owned);
        let int = |column: usize| match row.get(column) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        Ok(Self {
            name: text(0).ok_or(ArchiveError::Row)?,
            expires: int(1),
            key_id: text(2),
            state: text(3).as_deref().and_then(State::parse).ok_or(ArchiveError::Row)?,
            due: int(4),
            failures: int(5).unwrap_or_default(),
            reason: text(6),
            problem: text(7),
        })
    }
}

/// The statement that reads `count` entries behind the name in `$1`.
pub(super) fn page(dialect: Dialect, state: Option<State>, count: usize) -> String {
    let filter = state.map(|state| format!("AND state = '{}'", state.as_str())).unwrap_or_default();
    format!("{} WHERE name > $1 {filter} ORDER BY name LIMIT {count}", entries(dialect, "> $1"))
}

/// The statement that reads the entry with the name in `$1`.
pub(super) fn one(dialect: Dialect) -> String {
    format!("{} WHERE name = $1", entries(dialect, "= $1"))
}

/// Certificates with what is done for their names, and names that have none. `names` stands in both halves too, where the planner finds
/// it.
fn entries(dialect: Dialect, names: &str) -> String {
    let [certificates, orders] = ["certificates", "acme_orders"].map(|table| acme::table(dialect, table));
    let now = match dialect {
        Dialect::Postgres => "CAST(extract(epoch FROM now()) AS bigint)",
        Dialect::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
    };
    let state = format!(
        "CASE WHEN o.wanted_since IS NOT NULL AND o.reason IS NOT NULL THEN 'failing' \
         WHEN {LET_GO} AND c.expires_at > {now} THEN 'good' WHEN {LET_GO} THEN 'ended' \
         WHEN o.wanted_since IS NOT NULL OR c.renew_at <= {now} THEN 'waiting' \
         WHEN c.expires_at <= {now} THEN 'ended' ELSE 'good' END AS state"
    );
    let done = format!(
        "CASE WHEN {LET_GO} THEN NULL WHEN o.wanted_since IS NULL THEN c.renew_at ELSE o.due_at END AS due, \
         o.attempts AS failures, o.reason AS reason, o.problem AS problem"
    );
    format!(
        "SELECT name, expires, key_id, state, due, failures, reason, problem FROM (\
         SELECT c.name AS name, c.expires_at AS expires, c.key_id AS key_id, {state}, {done} \
         FROM {certificates} c LEFT JOIN {orders} o ON o.name = c.name WHERE c.name {names} UNION ALL \
         SELECT o.name AS name, NULL AS expires, NULL AS key_id, {state}, {done} \
         FROM {orders} o LEFT JOIN {certificates} c ON c.name = o.name \
         WHERE c.name IS NULL AND o.wanted_since IS NOT NULL AND o.name {names}) AS entries"
    )
}
