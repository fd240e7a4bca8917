//! New rows in tables whose every column is not known.

use super::{Catalog, Error, Table};
use crate::database::{
    schema::Column,
    session::{self, Dialect, Value},
};

/// Where the value of a column comes from.
pub(super) enum Source {
    /// From here.
    Value(Value),
    /// The key of the store whose id reads so, in whatever type the key has.
    StoreKey(String),
}

impl Catalog {
    /// Adds a row with the values of those `given` columns that `table` has, and returns its id.
    pub(super) async fn insert(&self, table: &Table, given: Vec<(&str, Source)>) -> Result<String, InsertError> {
        let mut names = Vec::new();
        let mut expressions = Vec::new();
        let mut values = Vec::new();
        for (name, source) in given.into_iter().filter(|(name, _)| table.has(name)) {
            let place = values.len() + 1;
            let (expression, value) = match source {
                Source::Value(value) => (format!("${place}"), value),
                Source::StoreKey(id) => (format!("(SELECT id FROM stores WHERE id = ${place})"), Value::Text(id)),
            };
            names.push(name.to_owned());
            expressions.push(expression);
            values.push(value);
        }
        for (column, expression) in fill(table, &names, self.session.dialect())? {
            names.push(format!("\"{column}\""));
            expressions.push(expression.to_owned());
        }
        let (table, names, expressions) = (table.name, names.join(", "), expressions.join(", "));
        let sql = format!("INSERT INTO {table} ({names}) VALUES ({expressions}) RETURNING CAST(id AS text)");
        let rows = self.session.query(&sql, &values).await?;
        Ok(super::text(rows.first().and_then(|row| row.first())))
    }
}

/// Values for the further columns that a row cannot do without; an app that writes its defaults itself leaves such columns.
fn fill<'t>(table: &'t Table, given: &[String], dialect: Dialect) -> Result<Vec<(&'t str, &'static str)>, Error> {
    let missing = table.columns.iter().filter(|column| column.is_required && !given.contains(&column.name));
    let (known, unknown): (Vec<_>, Vec<_>) =
        missing.map(|column| (column.name.as_str(), made_up(column, dialect))).partition(|(_, made)| made.is_some());
    if unknown.is_empty() {
        return Ok(known.into_iter().filter_map(|(name, made)| Some((name, made?))).collect());
    }
    let columns = unknown.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Err(Error::UnknownColumns { table: table.name, columns })
}

/// What anybody would write into a column of this type.
fn made_up(column: &Column, dialect: Dialect) -> Option<&'static str> {
    let starts_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| column.kind.starts_with(prefix));
    match dialect {
        _ if starts_with(&["timestamp", "datetime", "date"]) => Some("CURRENT_TIMESTAMP"),
        Dialect::Postgres if column.kind == "uuid" && column.name == "id" => Some("gen_random_uuid()"),
        Dialect::Postgres | Dialect::Sqlite => None,
    }
}

/// Why a row was not added: whoever asked for it knows what its unique values mean.
pub(super) enum InsertError {
    /// Another row has a value that must be unique.
    Conflict(session::Error),
    /// Anything else.
    Other(Error),
}

impl From<session::Error> for InsertError {
    fn from(error: session::Error) -> Self {
        if error.is_unique_violation() { Self::Conflict(error) } else { Self::Other(error.into()) }
    }
}

impl From<Error> for InsertError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)]) -> Table {
        let column =
            |(name, kind): &(&str, &str)| Column { name: (*name).into(), kind: (*kind).into(), is_required: true };
        Table { name: "stores", columns: columns.iter().map(column).collect() }
    }

    #[test]
    fn what_an_app_fills_in_itself_is_filled_in() {
        let table = table(&[("id", "uuid"), ("subdomain", "text"), ("updated_at", "timestamp without time zone")]);
        let filled = fill(&table, &["subdomain".into()], Dialect::Postgres).unwrap();
        assert_eq!(filled, [("id", "gen_random_uuid()"), ("updated_at", "CURRENT_TIMESTAMP")]);
    }

    #[test]
    fn values_that_only_the_app_can_know_are_named_together() {
        let table = table(&[("id", "uuid"), ("merchant", "uuid"), ("plan", "text")]);
        let error = fill(&table, &[], Dialect::Postgres).unwrap_err();
        assert!(matches!(error, Error::UnknownColumns { table: "stores", columns } if columns == "merchant, plan"));
    }
}
