//! Reading, from any thread, without waiting for the writer.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::open::reading;
use crate::writer::query;
use crate::{Error, Row, Value};

/// So many connections are kept for the next reads.
const IDLE_MAX: usize = 4;

/// Reads a file that a [`Writer`](crate::Writer) has opened. It blocks on the disk.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    /// A reader of a file; nothing is opened before the first query.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
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
        let connection = match self.idle().pop() {
            Some(connection) => connection,
            None => reading(&self.path)?,
        };
        let found = query(&connection, sql, values, row)?;
        // After an error it is closed instead: nobody knows its state.
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(found)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
