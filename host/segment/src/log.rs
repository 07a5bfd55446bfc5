//! The partition logs of one node, in value files: the handle.
//!
//! Submitting hands operations to the one thread that writes and never waits. Reading happens on the
//! caller's thread: the ledger, or the index for what is older, says where the entries stand, and every
//! record is verified against that before it is returned.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;

use crate::base_draft::BaseDraft;
use crate::base_file::{Base, BaseError};
use crate::base_taking::BaseTaken;
use crate::bases::Bases;
use crate::disk::{Disk, SystemDisk};
use crate::index::Index;
use crate::indexer::{Bell, Indexer, Last};
use crate::ledger::{Ledger, Location};
use crate::pulse::{Pulse, Times};
use crate::queue::{Ending, Queue};
use crate::recovery;
use crate::snapshot::{self, Kept, Snapshot, SnapshotDraft, SnapshotError};
use crate::writer::Writer;
use crate::{LogEnd, LogEntry, LogOp, Promise, ReadError};

/// Where the logs are and how much room they take.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The folder of the value files and their index; made if it is not there.
    pub folder: PathBuf,
    /// The data directory's number: value files of another are not taken.
    pub store: u64,
    /// How many partitions there are.
    pub partitions: u16,
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
    /// The log begins behind this entry: what is kept of it and before is in a base file.
    pub base: LogEnd,
    /// Where each epoch's entries begin: (epoch, first seq), rising.
    pub epochs: Vec<(u64, u64)>,
    /// The last promise.
    pub promise: Option<Promise>,
    /// Everything up to here was known to be committed; above the end if that was lost.
    pub commit: u64,
    /// Entries were lost that a sync had confirmed.
    pub damaged: bool,
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every partition of which there is anything.
    pub partitions: BTreeMap<PartitionId, Restored>,
    /// What was found broken and may have been confirmed.
    pub damages: Vec<Damage>,
    /// Bytes at the end that were never confirmed and are gone.
    pub cut_bytes: u64,
    /// Entries that were read from value files; the index holds the others.
    pub entries: u64,
    /// How long it took.
    pub took: Duration,
}

/// A place where a value file is not what was written. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The value file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is broken, as far as it can be told.
    pub what: String,
    /// Whose it is; `None` if that cannot be told, and every partition may lack something.
    pub partition: Option<PartitionId>,
}

/// What the writer tells. Called on its thread, so it must not wait.
#[derive(Debug)]
pub enum Notice {
    /// Everything up to and with this ticket is on disk; a ticket that brought only commit hints may be
    /// confirmed before they are.
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

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused. Nothing was lost; see the cause.
    #[error("{file}")]
    Disk {
        /// The file or folder.
        file: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A newer version wrote this. Nothing was changed; start that version again.
    #[error("{file} holds, at byte {offset}, what a newer version wrote")]
    Newer {
        /// The value file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// The file belongs to another data directory. Nothing was changed; put the files back where they
    /// came from.
    #[error("{file} belongs to another data directory ({store:016x})")]
    Foreign {
        /// The value file.
        file: PathBuf,
        /// To which.
        store: u64,
    },
}

/// The log did not take the operations. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The log has stopped: it failed, or it is being closed. The node is ending; nothing is left to do.
    #[error("the log has stopped")]
    Stopped,
    /// Too much waits already: the disk is much too slow, or has no room. The operations come back; submit
    /// them again, before any others, after the next [`Notice::Written`].
    #[error("too much waits for the log")]
    Busy(Vec<LogOp>),
}

/// The logs of one node. Clones are the same; when the last is dropped, the writer writes what is queued,
/// marks it and ends, and the drop returns.
#[derive(Clone, Debug)]
pub struct Log {
    running: Arc<Running>,
}

/// What the handle, the writer and the readers share.
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) queue: Queue,
    pub(crate) bell: Bell,
    pub(crate) index: Option<Index>,
    ledger: Mutex<Ledger>,
    files: Mutex<BTreeMap<u32, Arc<File>>>,
    kept: Mutex<BTreeMap<PartitionId, Kept>>,
    bases: Mutex<Bases>,
    pub(crate) pulse: Pulse,
}

/// Ends the threads with the last handle.
#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    indexer: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the logs in a folder: recovers what is there, then starts the writer. `notices` is called on
    /// the writer's thread.
    ///
    /// # Errors
    /// [`OpenError`]; damage is none, it is in [`Recovered`].
    pub fn open(
        config: LogConfig,
        notices: impl Fn(Notice) + Send + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(SystemDisk), config, notices)
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// The same.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        notices: impl Fn(Notice) + Send + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        let began = runtime::now();
        let folder = &config.folder;
        fs::create_dir_all(folder).map_err(|source| recovery::disk_error(folder, source))?;
        let ready = recovery::recover(disk.as_ref(), &config)?;
        let kept = snapshot::find(&config);
        let kept = kept.map_err(|source| recovery::disk_error(folder, source))?;
        let recovered = Recovered { took: runtime::now() - began, ..ready.told };
        let files = BTreeMap::from([(ready.file.number, Arc::clone(&ready.file.file))]);
        let (index, index_writer) =
            ready.index.map_or((None, None), |opened| (Some(opened.index), Some(opened.writer)));
        let shared = Arc::new(Shared {
            disk,
            queue: Queue::default(),
            bell: Bell::default(),
            index,
            ledger: Mutex::new(ready.ledger),
            files: Mutex::new(files),
            kept: Mutex::new(kept),
            bases: Mutex::new(Bases::new(ready.bases)),
            pulse: Pulse::default(),
            config,
        });
        let running = Running { shared: Arc::clone(&shared), threads: Mutex::default() };
        let folder = &shared.config.folder;
        let fail = |source| recovery::disk_error(folder, source);
        let mut writer = Writer::new(Arc::clone(&shared), ready.file, ready.doubts, notices);
        let writer = runtime::thread("log-writer", move || writer.run()).map_err(fail)?;
        running.threads().writer = Some(writer);
        if let Some(index_writer) = index_writer {
            let indexer = Indexer::new(Arc::clone(&shared), index_writer);
            let indexer = runtime::thread("log-index", move || indexer.run()).map_err(fail)?;
            running.threads().indexer = Some(indexer);
        }
        Ok((Self { running: Arc::new(running) }, recovered))
    }

    /// Queues operations; they are written in the order of submission and confirmed by
    /// [`Notice::Written`]. Never waits.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing of the submission was taken.
    pub fn submit(&self, ticket: u64, ops: Vec<LogOp>) -> Result<(), SubmitError> {
        self.running.shared.queue.submit(ticket, ops)
    }

    /// How long the syncs took that somebody waited for who sends.
    pub fn syncs(&self) -> Times {
        self.running.shared.pulse.times()
    }

    /// Reads entries from seq `from` on: at most `entries_max`, and at most `bytes_max` payload bytes but
    /// at least one entry. Fewer than there are is no error; empty means that there is nothing at `from`.
    /// Blocks on the disk: call it where blocking hurts nobody. Sees everything whose
    /// [`Notice::Written`] was told, as of one moment.
    ///
    /// # Errors
    /// When the bytes cannot be read or do not verify.
    pub fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        crate::read::read(&self.running.shared, partition, from, entries_max, bytes_max)
    }

    /// Begins to write a snapshot of a partition at `place`, of about `bytes` bytes. One at a time of each
    /// partition. Blocks on the disk.
    ///
    /// # Errors
    /// [`SnapshotError`]; the snapshot before it stays.
    pub fn draft(
        &self,
        partition: PartitionId,
        place: LogEnd,
        bytes: u64,
    ) -> Result<SnapshotDraft, SnapshotError> {
        SnapshotDraft::begin(Arc::clone(&self.running.shared), partition, place, bytes)
    }

    /// Reads the snapshot of a partition. It is verified, but its place is not looked for in the log: that
    /// is the caller's to do before it is believed. Blocks on the disk.
    ///
    /// # Errors
    /// [`SnapshotError`] when there is one that cannot be used.
    pub fn snapshot(&self, partition: PartitionId) -> Result<Option<Snapshot>, SnapshotError> {
        let read = snapshot::read(&self.running.shared.config, partition);
        if read.is_err() {
            self.forget_snapshot(partition);
        }
        read
    }

    /// What a partition's snapshot says cannot be used: from here on it counts as none, so that another one is
    /// written soon. The file stays until then.
    pub fn forget_snapshot(&self, partition: PartitionId) {
        self.running.shared.kept().remove(&partition);
    }

    /// What is known of a partition's snapshot without reading it; `None` if there is none.
    pub fn kept(&self, partition: PartitionId) -> Option<Kept> {
        self.running.shared.kept().get(&partition).copied()
    }

    /// Begins to write what is kept of a partition's log up to `base`, which is committed, of about `bytes`
    /// bytes. Once it is finished the log may begin there, by [`LogOp::Base`]. One at a time of each
    /// partition. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`]; the log stays what it is.
    pub fn draft_base(
        &self,
        partition: PartitionId,
        base: LogEnd,
        bytes: u64,
    ) -> Result<BaseDraft, BaseError> {
        BaseDraft::begin(Arc::clone(&self.running.shared), partition, base, bytes)
    }

    /// What a partition's log begins with; `None` if that is its first entry.
    pub fn base(&self, partition: PartitionId) -> Option<Base> {
        self.running.shared.bases().of(partition).map(|file| file.base)
    }

    /// What was made of the log up to its base. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`]. Nothing else has it: the partition cannot be folded here.
    pub fn base_parts(&self, partition: PartitionId) -> Result<Option<Snapshot>, BaseError> {
        let shared = &self.running.shared;
        let root = shared.ledger().partition(partition).map(|log| log.root).unwrap_or_default();
        if root.seq == 0 {
            return Ok(None);
        }
        let file = shared.bases().of(partition).ok_or(BaseError::Gone { partition })?;
        Ok(Some(Snapshot { place: file.base.place, parts: file.parts()? }))
    }

    /// A piece of what a partition's log stands on, to be given to another node: at most so many bytes from
    /// `at` on. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn base_piece(
        &self,
        partition: PartitionId,
        at: u64,
        bytes_max: usize,
    ) -> Result<(Base, Bytes), BaseError> {
        let file = self.running.shared.bases().of(partition);
        let file = file.ok_or(BaseError::Gone { partition })?;
        Ok((file.base, file.piece(at, bytes_max)?))
    }

    /// Takes a piece of what another node's log stands on; `base` as that node tells of it. When all of it is
    /// there and verified, the log may begin there by [`LogOp::Base`]. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`]; what was taken before stays.
    pub fn take_base(
        &self,
        partition: PartitionId,
        base: Base,
        at: u64,
        piece: &[u8],
    ) -> Result<BaseTaken, BaseError> {
        crate::base_taking::take(&self.running.shared, partition, base, at, piece)
    }

    /// The lowest place after which the log has no more than so many entries and payload bytes: behind it
    /// it may begin without becoming shorter than that. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn weigh(
        &self,
        partition: PartitionId,
        entries_max: u64,
        bytes_max: u64,
    ) -> Result<u64, ReadError> {
        crate::read::weigh(&self.running.shared, partition, entries_max, bytes_max)
    }

    /// Ends the writer at once, as if the process had been killed: what is queued is not written, and the
    /// last batch not marked. For tests of what a restart makes of that.
    pub fn abandon(&self) {
        self.running.end(Ending::Abandon);
    }
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the index says of one entry.
    pub(crate) fn indexed(
        &self,
        partition: PartitionId,
        seq: u64,
    ) -> Result<Option<Location>, db::Error> {
        let Some(index) = self.index.as_ref().filter(|_| seq > 0) else { return Ok(None) };
        let found = index.locations(partition, seq, seq, 1)?;
        Ok(found.first().map(|(_, location)| *location))
    }

    /// The index said something that is not so.
    pub(crate) fn distrust_index(&self) {
        if let Some(index) = &self.index {
            tracing::error!(
                "the index does not fit the value files; the next start builds it anew"
            );
            index.distrust();
        }
    }

    /// Which snapshots there are.
    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What logs begin with.
    pub(crate) fn bases(&self) -> MutexGuard<'_, Bases> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, ending: Ending) {
        let Threads { writer, indexer } = std::mem::take(&mut *self.threads());
        self.shared.queue.end(ending);
        join(writer);
        // After the writer: what it wrote last is indexed too.
        let last = if ending == Ending::Drain { Last::Round } else { Last::Nothing };
        self.shared.bell.end(last);
        join(indexer);
    }
}

/// Waits for a thread, unless it is this one: the last handle may have been dropped by whom it told.
fn join(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        tracing::error!("a thread of the log panicked");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Ending::Drain);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("folder", &self.config.folder).finish_non_exhaustive()
    }
}
