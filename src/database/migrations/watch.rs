//! The triggers on the app's tables, which tell whoever listens what has been edited.

use std::fmt::Write as _;

use super::POSTGRES_PRELUDE;
use crate::database::session::{Dialect, Error, Session, Value};

/// Where the triggers notify; the SQL beside this module says the same.
pub const CHANNEL: &str = "usher_changes";

/// Where an instance notifies that a CA may have a new question, which stands in a table. Anybody may notify: it is a reason to look, and
/// no more.
pub const CHALLENGES: &str = "usher_challenges";

const TEMPLATE: &str = include_str!("postgres_watch.sql");

/// Triggers of a table: insert, update, delete, truncate.
const TRIGGERS: usize = 4;

/// A table whose edits are told, and what its rows name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// As SQL names it.
    pub table: String,
    /// What routing reads; nothing else is compared.
    pub columns: Vec<String>,
    /// The column with a custom domain.
    pub domain: Option<String>,
    /// The column with a label.
    pub label: Option<String>,
    /// The column with a store's id. Where none of the three is set, an edit concerns everything.
    pub tenant: Option<String>,
}

impl Watch {
    /// The tables of the default look-ups.
    pub fn defaults() -> Vec<Self> {
        let stores = Self::of("stores", &["id", "subdomain", "is_active", "upstream"]);
        let columns = ["id", "store_id", "domain", "is_active", "is_verified", "is_primary"];
        let domains = Self::of("store_domains", &columns);
        vec![
            Self { label: Some("subdomain".into()), tenant: Some("id".into()), ..stores },
            Self { domain: Some("domain".into()), tenant: Some("store_id".into()), ..domains },
        ]
    }

    fn of(table: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { table: table.to_owned(), columns, domain: None, label: None, tenant: None }
    }

    /// The columns that hold names, by kind.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = [("domain", &self.domain), ("label", &self.label), ("tenant", &self.tenant)];
        keys.into_iter().filter_map(|(kind, column)| Some((kind, column.as_deref()?)))
    }

    /// The columns that are compared, those that hold names among them.
    pub fn compared(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str).chain(self.keys().map(|(_, column)| column))
    }

    /// The transaction that creates the triggers, and repairs them where they differ. One for each table: the app may lock its
    /// tables in another order.
    pub(super) fn sql(&self) -> String {
        let keys = self.keys().map(|(kind, column)| (kind.to_owned(), column.into()));
        let keys = serde_json::Value::Object(keys.collect()).to_string();
        let columns: Vec<_> = self.compared().map(quoted).collect();
        let triggers = TEMPLATE
            .replace("{table}", &quoted(&self.table))
            .replace("{columns}", &format!("ARRAY[{}]", columns.join(", ")))
            .replace("{keys}", &quoted(&keys));
        format!("{POSTGRES_PRELUDE}{triggers}")
    }

    /// The statements that wait for all who are writing to the table.
    pub(super) fn wait_for_writers(&self) -> String {
        let table = &self.table;
        format!("BEGIN;\nSET LOCAL lock_timeout = '10s';\nLOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;\nCOMMIT;\n")
    }
}

/// Asks whether all is well with what tells of edits. One row: a text that stands for the triggers, NULL where one is missing,
/// disabled, or older than a column that it should compare; and whether notices are sent: the queue has room, and they are not
/// switched off, be it for sessions that begin later. Triggers that were made anew or switched on again stand for another text, and so do
/// new functions: edits may have come meanwhile, or of what the old ones did not compare.
pub fn standing(watched: &[Watch]) -> String {
    let (mut tables, mut columns) = (String::new(), String::new());
    for watch in watched {
        // Nothing that is written to a text fails.
        let table = quoted(&watch.table);
        let _ = write!(tables, "to_regclass({table}), ");
        for name in watch.compared() {
            let _ = write!(columns, ", (to_regclass({table}), {})", quoted(name));
        }
    }
    format!(
        "SELECT CASE WHEN count(*) = {} AND NOT EXISTS (SELECT FROM (VALUES (NULL::regclass, NULL){columns}) AS compared (watched, name) \
         JOIN pg_attribute a ON attrelid = watched AND attname = name AND NOT attisdropped \
         JOIN pg_trigger u ON u.tgrelid = watched AND u.tgname = 'usher_update' JOIN pg_proc f ON f.oid = u.tgfoid \
         WHERE strpos(f.prosrc, ' ' || quote_ident(name) || '::text') = 0) \
         THEN string_agg(concat_ws(':', t.oid, t.xmin, p.xmin), ' ' ORDER BY t.oid) END, \
         pg_notification_queue_usage() < 0.5 AND current_setting('usher.notify', true) IS DISTINCT FROM 'off' \
         AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE 'usher.notify=off' = ANY (setconfig) AND setdatabase IN (0, \
         (SELECT oid FROM pg_database WHERE datname = current_database()))) \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE tgrelid IN ({tables}NULL) AND tgenabled IN ('O', 'A') \
         AND tgname IN ('usher_insert', 'usher_update', 'usher_delete', 'usher_truncate')",
        TRIGGERS * watched.len()
    )
}

/// Whether the triggers are there and at work; on SQLite none are needed.
pub async fn is_watched(session: &Session, watched: &[Watch]) -> Result<bool, Error> {
    if session.dialect() == Dialect::Sqlite {
        return Ok(true);
    }
    let rows = session.query(&standing(watched), &[]).await?;
    Ok(matches!(rows.first().map(Vec::as_slice), Some([Value::Text(_), _])))
}

/// Whether the triggers of `table` compare `column`, which may have been added after them; on SQLite none are needed.
pub async fn tells_of(session: &Session, table: &str, column: &str) -> Result<bool, Error> {
    if session.dialect() == Dialect::Sqlite {
        return Ok(true);
    }
    let sql = "SELECT 1 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
               WHERE t.tgrelid = to_regclass($1) AND tgname = 'usher_update'
               AND strpos(prosrc, ' ' || quote_ident($2) || '::text') = 0";
    let values = [table, column].map(|text| Value::Text(text.to_owned()));
    Ok(session.query(sql, &values).await?.is_empty())
}

/// A text as SQL writes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_key_columns_are_compared() {
        let watch = Watch { domain: Some("host".into()), ..Watch::of("shop.o'neill", &["id"]) };
        let sql = watch.sql();
        assert!(sql.contains("to_regclass('shop.o''neill')"), "{sql}");
        assert!(sql.contains("ARRAY['id', 'host']"), "{sql}");
        assert!(sql.contains(r#"'{"domain":"host"}'"#), "{sql}");
    }
}
