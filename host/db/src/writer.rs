//! The one writer of a file.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use crate::open::{Schema, writing};
use crate::{Error, OpenError, Row, Value};

/// The connection that writes. It blocks: its owner is a thread of its own.
#[derive(Debug)]
pub struct Writer(Connection);

/// A transaction in the making: kept as a whole, or not at all.
#[derive(Debug)]
pub struct Transaction<'a>(rusqlite::Transaction<'a>);

impl Writer {
    /// Opens a file, makes it if it is not there, checks that it is whole, and migrates it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, schema: &Schema) -> Result<Self, OpenError> {
        writing(path, schema).map(Self)
    }

    /// Does `work` in one transaction, which is kept if it succeeds.
    ///
    /// # Errors
    /// That of `work`, or of keeping it.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tx = Transaction(tx);
        let done = work(&tx)?;
        tx.0.commit()?;
        Ok(done)
    }

    /// Returns when every transaction so far would survive a loss of power. Without it the last ones may
    /// be lost, though never a part of one.
    ///
    /// # Errors
    /// SQLite's; the transactions are kept as they were.
    pub fn settle(&self) -> Result<(), Error> {
        let busy: i64 = self.0.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))?;
        if busy == 0 { Ok(()) } else { Err(Error::busy()) }
    }
}

impl Transaction<'_> {
    /// Executes a statement that returns no rows.
    ///
    /// # Errors
    /// SQLite's.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<(), Error> {
        self.0.prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    /// Executes a query and makes something of every row.
    ///
    /// # Errors
    /// SQLite's, or that of `row`.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        row: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        query(&self.0, sql, values, row)
    }
}

/// A query on a connection.
pub(crate) fn query<T>(
    connection: &Connection,
    sql: &str,
    values: &[Value<'_>],
    mut row: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(next) = rows.next()? {
        found.push(row(&Row(next))?);
    }
    Ok(found)
}
