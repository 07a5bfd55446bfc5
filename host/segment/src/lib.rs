//! Value files, group commit, partition logs on disk, recovery.

mod entry;

pub use entry::{Chain, LogEnd, LogEntry, LogOp, Promise};
