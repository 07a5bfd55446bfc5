//! What goes into a statement and comes out of a row.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::Error;

/// A value for a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A number. SQLite's are signed: one above 2^63 − 1 comes back the same, and sorts below zero.
    Integer(u64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
}

/// A row of a result. Columns are counted from 0.
#[derive(Debug)]
pub struct Row<'a>(pub(crate) &'a rusqlite::Row<'a>);

impl Row<'_> {
    /// The number in a column.
    ///
    /// # Errors
    /// It is not a number.
    pub fn integer(&self, column: usize) -> Result<u64, Error> {
        Ok(self.0.get::<_, i64>(column)?.cast_unsigned())
    }

    /// The number in a column that may hold none.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_integer(&self, column: usize) -> Result<Option<u64>, Error> {
        Ok(self.0.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
    }

    /// The bytes in a column.
    ///
    /// # Errors
    /// It does not hold bytes.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, Error> {
        Ok(self.0.get(column)?)
    }

    /// The bytes in a column that may hold none.
    ///
    /// # Errors
    /// It holds something else.
    pub fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(column)?)
    }

    /// The text in a column that may hold none.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_text(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.0.get(column)?)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(number.cast_signed()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}
