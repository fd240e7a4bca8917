//! Values as SQLite sends and takes them.

use rusqlite::{
    Connection, Error, ErrorCode, Statement, ToSql, TransactionBehavior,
    types::{ToSqlOutput, ValueRef},
};

use super::{Described, Row, Value};

pub(super) fn query(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    bind(&mut statement, values)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        answer.push((0..columns).map(|column| read(column, row)).collect::<Result<_, _>>()?);
    }
    Ok(answer)
}

/// A column of a statement has a name and no type.
pub(super) fn describe(connection: &Connection, sql: &str) -> rusqlite::Result<Described> {
    let statement = connection.prepare(sql)?;
    let columns = statement.column_names().map(|name| (name.to_owned(), String::new())).collect();
    Ok(Described { columns, takes: statement.parameter_count() })
}

pub(super) fn is_wrong_statement(error: &Error) -> bool {
    matches!(error, Error::SqlInputError { .. })
}

pub(super) fn transaction(
    connection: &mut Connection,
    statements: &[(String, Vec<Value>)],
) -> rusqlite::Result<Vec<Vec<Row>>> {
    // The lock for writing at once: taken in the middle, it could not be waited for.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answers = statements.iter().map(|(sql, values)| query(&transaction, sql, values)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(answers)
}

pub(super) fn batch(connection: &mut Connection, sql: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.commit()
}

pub(super) fn is_unique_violation(error: &Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::ConstraintViolation
            && matches!(error.extended_code, SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY)
    })
}

pub(super) fn is_refused_row(error: &Error) -> bool {
    const CODES: [ErrorCode; 3] = [ErrorCode::ConstraintViolation, ErrorCode::TooBig, ErrorCode::TypeMismatch];
    error.sqlite_error().is_some_and(|error| CODES.contains(&error.code))
}

/// To SQLite `$1` is a name; its position is the order of appearance.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    let mut bound = 0;
    for (value, number) in values.iter().zip(1..) {
        if let Some(index) = statement.parameter_index(&format!("${number}"))? {
            statement.raw_bind_parameter(index, value)?;
            bound += 1;
        }
    }
    // What is not bound is NULL to SQLite.
    match statement.parameter_count() {
        expected if expected == bound => Ok(()),
        expected => Err(Error::InvalidParameterCount(bound, expected)),
    }
}

fn read(column: usize, row: &rusqlite::Row<'_>) -> rusqlite::Result<Value> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(value) => Ok(Value::Int(value)),
        ValueRef::Text(_) => row.get(column).map(Value::Text),
        other @ (ValueRef::Real(_) | ValueRef::Blob(_)) => {
            let name = row.as_ref().column_name(column)?.to_owned();
            Err(Error::InvalidColumnType(column, name, other.data_type()))
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(rusqlite::types::Value::Null),
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Text(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_a_value_of_its_own_is_an_error() {
        let connection = Connection::open_in_memory().unwrap();
        let error = query(&connection, "SELECT 1, x'00'", &[]).unwrap_err();
        assert!(matches!(error, Error::InvalidColumnType(1, ..)), "{error}");
        assert_eq!(query(&connection, "SELECT CAST(1.5 AS text)", &[]).unwrap(), [[Value::Text("1.5".into())]]);
    }

    #[test]
    fn only_unique_constraints_are_unique_violations() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a UNIQUE, b NOT NULL); INSERT INTO t VALUES (1, 1)").unwrap();
        let violates = |sql: &str| is_unique_violation(&query(&connection, sql, &[]).unwrap_err());
        assert!(violates("INSERT INTO t VALUES (1, 2)"));
        assert!(!violates("INSERT INTO t VALUES (2, NULL)"));
        assert!(!violates("INSERT INTO nothing VALUES (1)"));
    }
}
