//! The upstreams that rows name.

use super::text;
use crate::database::session::{Error, Session, Value};

/// Names that are read; a person who has more of them wrong corrects what writes them.
const NAMES_MAX: usize = 1000;

/// The names in the column `upstream` of `table`, and how many rows have each.
pub async fn named_upstreams(session: &Session, table: &str) -> Result<Vec<(String, i64)>, Error> {
    let sql = format!(
        "SELECT CAST(upstream AS text), count(*) FROM {table} WHERE upstream IS NOT NULL AND CAST(upstream AS text) <> ''
         GROUP BY 1 ORDER BY 1 LIMIT {NAMES_MAX}"
    );
    let rows = session.query(&sql, &[]).await?;
    let named = |row: &Vec<Value>| match row.get(1) {
        Some(Value::Int(count)) => (text(row.first()), *count),
        _ => (text(row.first()), 0),
    };
    Ok(rows.iter().map(named).collect())
}
