//! Value files, group commit, partition logs on disk, recovery.
//!
//! One durable thing is on the path of an acknowledgement: the value file, append-only, of records that
//! describe themselves. One thread appends what all partitions have queued and syncs once for all of it.
//! The index in SQLite only makes starts short and memory small: it is written later, by another thread,
//! never believed over a value file, and may be deleted while the node is stopped. A snapshot keeps what the
//! floors above have made of a partition's log, by the same rule.
//!
//! A log may begin behind a place that is committed, its base. Then a base file has what is kept of everything
//! up to there, and value files that no log needs any more are given back.

pub mod archive;
mod backup;
mod backup_copy;
mod base_draft;
mod base_file;
mod base_taking;
mod bases;
mod disk;
mod entry;
mod floor;
mod folder;
mod header;
mod identity;
mod index;
mod indexer;
mod ledger;
mod log;
mod measure;
mod pulse;
mod queue;
mod read;
mod record;
mod recovery;
mod scan;
mod snapshot;
mod space;
mod value_file;
mod writer;

pub use backup::{Backup, BackupError, Road};
pub use base_draft::BaseDraft;
pub use base_file::{Base, BaseError};
pub use base_taking::BaseTaken;
pub use disk::{Disk, Space, SystemDisk};
pub use entry::{Chain, LogEnd, LogEntry, LogOp, Promise};
pub use floor::floor;
pub use folder::{Folder, FolderError};
pub use log::{
    Damage, Log, LogConfig, Notice, OpenError, Recovered, Reserve, Restored, SubmitError,
};
pub use pulse::{Pulse, Times, is_sent};
pub use read::ReadError;
pub use snapshot::{Kept, SNAPSHOT_PART_BYTES_MAX, Snapshot, SnapshotDraft, SnapshotError};
