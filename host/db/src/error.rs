//! What can go wrong with a database, by what is to be done about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// A statement failed. Nothing of its transaction was kept.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] rusqlite::Error);

impl Error {
    /// Somebody else kept the file too long.
    pub(crate) fn busy() -> Self {
        Self(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        ))
    }

    /// Whether there was no room on the disk: nothing was changed, and with room it works again.
    pub fn is_full(&self) -> bool {
        self.0.sqlite_error_code() == Some(ErrorCode::DiskFull)
    }

    /// Whether the file itself is broken, so that trying again is useless.
    pub fn is_damage(&self) -> bool {
        matches!(
            self.0.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a whole database. Nothing was changed; set it aside and build it again.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// The file is a database of something else. Nothing was changed; somebody put it there.
    #[error("{path} is a database of another kind")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it. Nothing was changed; start that version, or set the file aside.
    #[error("{path} has schema {version}, and this version knows up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: usize,
        /// The newest that is known here.
        known: usize,
    },
    /// SQLite or the disk refused. Nothing is known to be changed; see the cause.
    #[error("{path}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Error,
    },
}
