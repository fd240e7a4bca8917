//! What the tables of the app look like: nothing is known of them before they are asked.

use super::session::{Dialect, Error, Row, Session, Value};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as the database writes it, in lower case.
    pub kind: String,
    /// Whether a new row must give it a value, since it takes no NULL and has no default.
    pub is_required: bool,
}

/// The columns of `table` in their order; none where there is no such table on the search path.
pub async fn columns(session: &Session, table: &str) -> Result<Vec<Column>, Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => {
            "SELECT attname, format_type(atttypid, atttypmod),
                    attnotnull AND NOT atthasdef AND attidentity = ''
             FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        }
        // An INTEGER PRIMARY KEY numbers its rows; other primary keys take NULL here, and are meant to have a value.
        Dialect::Sqlite => {
            "SELECT name, lower(type),
                    dflt_value IS NULL AND (\"notnull\" OR pk > 0) AND NOT (pk = 1 AND lower(type) = 'integer')
             FROM pragma_table_info($1) ORDER BY cid"
        }
    };
    let rows = session.query(sql, &[Value::Text(table.to_owned())]).await?;
    Ok(rows.iter().filter_map(column).collect())
}

/// Whether an index can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It is there.
    Usable,
    /// PostgreSQL was interrupted while it built the index.
    Unfinished {
        /// Its name as a statement has to write it.
        quoted: String,
    },
    /// There is none of this name.
    Missing,
}

/// The state of the index `name` of `table`.
pub async fn index(session: &Session, table: &str, name: &str) -> Result<IndexState, Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => {
            "SELECT i.indisvalid, i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             WHERE i.indrelid = to_regclass($1) AND c.relname = $2"
        }
        Dialect::Sqlite => "SELECT TRUE, name FROM pragma_index_list($1) WHERE name = $2",
    };
    let rows = session.query(sql, &[Value::Text(table.to_owned()), Value::Text(name.to_owned())]).await?;
    Ok(match rows.first().map(Vec::as_slice) {
        None => IndexState::Missing,
        Some([Value::Bool(false), Value::Text(quoted)]) => IndexState::Unfinished { quoted: quoted.clone() },
        Some(_) => IndexState::Usable,
    })
}

fn column(row: &Row) -> Option<Column> {
    let [Value::Text(name), Value::Text(kind), is_required] = row.as_slice() else { return None };
    Some(Column { name: name.clone(), kind: kind.clone(), is_required: is_required.is_true() })
}
