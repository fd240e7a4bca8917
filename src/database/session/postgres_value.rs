//! Values as PostgreSQL sends and takes them.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::Value;

pub(super) fn row(row: &Row) -> Result<super::Row, tokio_postgres::Error> {
    (0..row.len()).map(|column| row.try_get(column)).collect()
}

/// Values go out as text, whose type the server infers: the same statement then fits keys of any type.
impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Text(value) => out.extend_from_slice(value.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        match *kind {
            Type::BOOL => bool::from_sql(kind, raw).map(Self::Bool),
            Type::INT2 => i16::from_sql(kind, raw).map(|value| Self::Int(value.into())),
            Type::INT4 => i32::from_sql(kind, raw).map(|value| Self::Int(value.into())),
            Type::INT8 => i64::from_sql(kind, raw).map(Self::Int),
            Type::UUID => Ok(Self::Text(uuid(raw)?)),
            _ if <String as FromSql>::accepts(kind) => String::from_sql(kind, raw).map(Self::Text),
            _ => Err(format!("a column of type {kind} has to be cast to text").into()),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// 16 octets in the form of RFC 9562 §4.
fn uuid(raw: &[u8]) -> Result<String, std::array::TryFromSliceError> {
    let octets: [u8; 16] = raw.try_into()?;
    let digits = format!("{:032x}", u128::from_be_bytes(octets));
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &Type, raw: &[u8]) -> Option<Value> {
        Value::from_sql(kind, raw).ok()
    }

    #[test]
    fn columns_are_read_by_their_type() {
        assert_eq!(read(&Type::BOOL, &[1]), Some(Value::Bool(true)));
        assert_eq!(read(&Type::INT2, &[0xff, 0xff]), Some(Value::Int(-1)));
        assert_eq!(read(&Type::INT4, &[0, 0, 1, 0]), Some(Value::Int(256)));
        assert_eq!(read(&Type::INT8, &[0, 0, 0, 0, 0, 0, 0, 9]), Some(Value::Int(9)));
        assert_eq!(read(&Type::VARCHAR, b"shop"), Some(Value::Text("shop".into())));
        let uuid: Vec<u8> = (0..16).collect();
        assert_eq!(read(&Type::UUID, &uuid), Some(Value::Text("00010203-0405-0607-0809-0a0b0c0d0e0f".into())));
    }

    #[test]
    fn a_type_without_a_value_of_its_own_is_an_error() {
        assert_eq!(read(&Type::TIMESTAMPTZ, &[0; 8]), None);
        assert_eq!(read(&Type::UUID, &[0; 15]), None);
        assert_eq!(read(&Type::TEXT, &[0xff]), None);
    }
}
