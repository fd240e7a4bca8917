//! The triggers on the app's tables, which tell whoever listens what has been edited.

use super::watched;
use crate::database::session::{Error, Session, Value};

/// Where the triggers notify; the SQL beside this module says the same.
pub const CHANNEL: &str = "usher_changes";

const TEMPLATE: &str = include_str!("postgres_watch.sql");

/// A table whose edits are told, and what its rows name.
pub(super) struct Watch {
    table: &'static str,
    /// What routing reads; nothing else is compared.
    columns: &'static [&'static str],
    /// Kinds of names, as a change has them, and the columns that hold them.
    keys: &'static [(&'static str, &'static str)],
}

/// The tables of the default look-ups.
pub(super) const WATCHED: [Watch; 2] = [
    Watch {
        table: "stores",
        columns: &["id", "subdomain", "is_active"],
        keys: &[("label", "subdomain"), ("tenant", "id")],
    },
    Watch {
        table: "store_domains",
        columns: &["id", "store_id", "domain", "is_active", "is_verified", "is_primary"],
        keys: &[("domain", "domain"), ("tenant", "store_id")],
    },
];

impl Watch {
    /// The statement that creates the triggers, and repairs them where they differ.
    pub(super) fn sql(&self) -> String {
        let columns: Vec<_> = self.columns.iter().copied().map(quoted).collect();
        let keys: serde_json::Map<_, _> =
            self.keys.iter().map(|(kind, column)| ((*kind).to_owned(), (*column).into())).collect();
        TEMPLATE
            .replace("{table}", &quoted(self.table))
            .replace("{columns}", &format!("ARRAY[{}]", columns.join(", ")))
            .replace("{keys}", &quoted(&serde_json::Value::from(keys).to_string()))
    }
}

/// Whether all is well with what tells of edits, as one row: a text that stands for the triggers, NULL where one is missing or
/// disabled, and whether the queue of notices has room. Triggers that were made anew stand for another text: edits may have come
/// between the old and the new ones.
pub const STANDING: &str = "\
SELECT CASE WHEN count(*) = 8 THEN string_agg(t.oid::text, ' ' ORDER BY t.oid) END, pg_notification_queue_usage() < 0.5
FROM pg_trigger t
WHERE tgrelid IN (to_regclass('stores'), to_regclass('store_domains')) AND tgenabled IN ('O', 'A')
  AND tgname IN ('usher_insert', 'usher_update', 'usher_delete', 'usher_truncate')";

/// Whether the triggers are there and at work; on SQLite none are needed.
pub async fn is_watched(session: &Session) -> Result<bool, Error> {
    if watched(session.dialect()).is_empty() {
        return Ok(true);
    }
    let rows = session.query(STANDING, &[]).await?;
    Ok(matches!(rows.first().map(Vec::as_slice), Some([Value::Text(_), _])))
}

/// A text as SQL writes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
