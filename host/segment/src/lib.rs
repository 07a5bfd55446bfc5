//! Value files, group commit, partition logs on disk, recovery.

mod entry;
mod log;

pub use entry::{Chain, LogEnd, LogEntry, LogOp, Promise};
pub use log::{Log, LogConfig, Notice, Reserve, Restored, Stopped};
