//! The partition logs of one node, in value files: the handle, and the thread that writes.

use std::path::PathBuf;
use std::sync::Arc;

use hashring::PartitionId;

use crate::{LogEnd, LogEntry, LogOp, Promise};

/// Where the logs are and how much room they take.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The folder of the value files and their index; made if it is not there.
    pub folder: PathBuf,
    /// A value file is rolled over before it would become larger, in bytes.
    pub value_file_bytes_max: u64,
    /// What stays free on the disk.
    pub reserve: Reserve,
}

/// What stays free: below it sends are refused early, so that promises and seals still find room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Hundredths of the disk.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

/// What the disk held of one partition when the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Where the log ends.
    pub end: LogEnd,
    /// Where each epoch's entries begin: (epoch, first seq), rising.
    pub epochs: Vec<(u64, u64)>,
    /// The last promise.
    pub promise: Option<Promise>,
    /// Everything up to here was known to be committed.
    pub commit: u64,
    /// Entries were lost that a sync had confirmed.
    pub damaged: bool,
}

/// What the writer tells. Called on its thread, so it must not wait.
#[derive(Debug)]
pub enum Notice {
    /// Everything up to and with this ticket is on disk.
    Written {
        /// The ticket of a [`Log::submit`].
        ticket: u64,
    },
    /// The disk has become too full for more, or has room again.
    Full(bool),
    /// A write or a sync failed: nobody knows what is on the disk. Nothing was acknowledged after it,
    /// nothing will be written any more, and the process must end.
    Failed {
        /// What failed, with the file.
        text: String,
    },
}

/// The logs of one node. Clones are the same; when the last is dropped the writer writes what is queued
/// and ends.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<()>,
}

/// The log did not take the operations. Nothing was written; the node is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log has stopped")]
pub struct Stopped;

impl Log {
    /// Queues operations; they are written in the order of submission and confirmed by
    /// [`Notice::Written`]. The queue is bounded by what the core lets be on its way.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn submit(&self, ticket: u64, ops: Vec<LogOp>) -> Result<(), Stopped> {
        let _unused = (ticket, ops, &self.shared);
        Err(Stopped)
    }

    /// Reads entries from seq `from` on: at most `entries_max`, and at most `bytes_max` payload bytes but
    /// at least one entry. Fewer than there are is no error; empty means that there is nothing at `from`.
    /// Blocks on the disk: call it where blocking hurts nobody. Sees everything submitted before that is
    /// written.
    ///
    /// # Errors
    /// When the bytes cannot be read or do not verify.
    pub fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, Stopped> {
        let _unused = (partition, from, entries_max, bytes_max);
        Err(Stopped)
    }
}
