//! Opening: settings, whether the file is whole and ours, and its migrations.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::{Error, OpenError};

/// What a database of one kind looks like.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Tells this kind of file from others (`PRAGMA application_id`).
    pub application_id: i32,
    /// Step `n` leads from version `n` to `n + 1` (`PRAGMA user_version`). Steps are only ever added.
    pub migrations: &'static [&'static str],
}

/// A reader or the writer may have to wait for a checkpoint of the write-ahead log.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a connection that writes. The file is made if it is not there, checked, and brought to the newest
/// schema.
pub(crate) fn writing(path: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    let judge = |error: rusqlite::Error| judge(path, error);
    let mut connection = Connection::open(path).map_err(judge)?;
    connection.busy_timeout(BUSY).map_err(judge)?;
    connection.pragma_update(None, "journal_mode", "wal").map_err(judge)?;
    // Consistent after any crash; the last transactions may be missing, and are then made again.
    connection.pragma_update(None, "synchronous", "normal").map_err(judge)?;
    check(&connection, path)?;
    migrate(&mut connection, path, schema)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn reading(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Moves a database out of the way, to its name with `.damaged` behind it; an older one there is replaced.
/// Nobody may have it open. Where there is none, nothing happens.
///
/// # Errors
/// The system's.
pub fn set_aside(path: &Path) -> io::Result<()> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // The write-ahead log first: without it the file alone is still consistent.
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(beside(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match fs::rename(path, beside(".damaged")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| judge(path, error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), what: found })
}

fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let judge = |error: rusqlite::Error| judge(path, error);
    let number = |connection: &Connection, pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(judge)
    };
    let version = usize::try_from(number(connection, "user_version")?).unwrap_or(usize::MAX);
    let id = number(connection, "application_id")?;
    if (version, id) != (0, 0) && id != schema.application_id {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let known = schema.migrations.len();
    let Some(steps) = schema.migrations.get(version..) else {
        return Err(OpenError::Newer { path: path.to_owned(), version, known });
    };
    if steps.is_empty() {
        return Ok(());
    }
    let tx = connection.transaction().map_err(judge)?;
    for step in steps {
        tx.execute_batch(step).map_err(judge)?;
    }
    tx.pragma_update(None, "application_id", schema.application_id).map_err(judge)?;
    tx.pragma_update(None, "user_version", i32::try_from(known).unwrap_or(i32::MAX))
        .map_err(judge)?;
    tx.commit().map_err(judge)
}

fn judge(path: &Path, error: rusqlite::Error) -> OpenError {
    let error = Error::from(error);
    let path = path.to_owned();
    if error.is_damage() {
        return OpenError::Damaged { path, what: error.to_string() };
    }
    OpenError::Refused { path, source: error }
}
