//! A log in a folder of its own, and a model of what it should hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use segment::{
    Chain, Disk, Log, LogConfig, LogEntry, LogOp, Notice, Promise, Recovered, Reserve, SystemDisk,
};
use tempfile::TempDir;

/// Nothing that should happen takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What one partition should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) promise: Option<Promise>,
}

/// An open log, what it told, and what was written to it.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) recovered: Recovered,
    pub(crate) notices: Receiver<Notice>,
    ticket: Mutex<u64>,
}

/// A folder for logs.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The same in memory, for tests that open logs by the hundred: what they look for is in the bytes.
pub(crate) fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_not_here| folder())
}

/// A configuration with small files, so that a test has several.
pub(crate) fn config(folder: &Path, value_file_bytes_max: u64) -> LogConfig {
    LogConfig {
        folder: folder.to_owned(),
        store: 0x5eed,
        partitions: 4,
        value_file_bytes_max,
        reserve: Reserve::Bytes(0),
    }
}

pub(crate) fn open(config: LogConfig) -> Opened {
    open_on(Arc::new(SystemDisk), config)
}

pub(crate) fn open_on(disk: Arc<dyn Disk>, config: LogConfig) -> Opened {
    let (tell, notices) = channel();
    let (log, recovered) = Log::open_on(disk, config, move |notice| {
        let _closed = tell.send(notice);
    })
    .unwrap();
    Opened { log, recovered, notices, ticket: Mutex::new(0) }
}

impl Opened {
    /// Submits and returns the ticket.
    pub(crate) fn submit(&self, ops: Vec<LogOp>) -> u64 {
        let mut ticket = self.ticket.lock().unwrap();
        *ticket += 1;
        self.log.submit(*ticket, ops).unwrap();
        *ticket
    }

    /// Submits and waits until it is on the disk.
    pub(crate) fn write(&self, ops: Vec<LogOp>) {
        let wanted = self.submit(ops);
        self.written(wanted);
    }

    /// Waits until a ticket is on the disk.
    pub(crate) fn written(&self, wanted: u64) {
        loop {
            match self.notices.recv_timeout(PATIENCE).unwrap() {
                Notice::Written { ticket } if ticket >= wanted => return,
                Notice::Written { .. } | Notice::Full(_) => {}
                Notice::Failed { text } => panic!("{text}"),
            }
        }
    }

    /// All entries of a partition, read in small pieces.
    pub(crate) fn entries(&self, partition: u16) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        loop {
            let from = entries.len() as u64 + 1;
            let more = self.log.read(PartitionId(partition), from, 7, 1000).unwrap();
            if more.is_empty() {
                return entries;
            }
            entries.extend(more);
        }
    }

    /// Checks that the log holds what it should.
    pub(crate) fn holds(&self, expected: &BTreeMap<u16, Expected>) {
        for (partition, expected) in expected {
            assert_eq!(self.entries(*partition), expected.entries, "partition {partition}");
        }
    }

    /// Checks what the start told of the partitions.
    pub(crate) fn restored(&self, expected: &BTreeMap<u16, Expected>) {
        for (partition, expected) in expected {
            let restored = self.recovered.partitions.get(&PartitionId(*partition));
            let restored = restored.cloned().unwrap_or_default();
            let last = expected.entries.last();
            let end = last.map(|last| (last.epoch, last.seq, last.chain)).unwrap_or_default();
            assert_eq!((restored.end.epoch, restored.end.seq, restored.end.chain), end);
            assert_eq!(restored.promise, expected.promise);
            let mut epochs: Vec<(u64, u64)> = Vec::new();
            for entry in &expected.entries {
                if epochs.last().is_none_or(|(epoch, _)| *epoch < entry.epoch) {
                    epochs.push((entry.epoch, entry.seq));
                }
            }
            assert_eq!(restored.epochs, epochs);
        }
    }
}

/// Entries that follow others, with these payloads.
pub(crate) fn follow(entries: &[LogEntry], epoch: u64, payloads: &[&[u8]]) -> Vec<LogEntry> {
    let (mut seq, mut chain) =
        entries.last().map_or_else(|| (0, Chain::default()), |last| (last.seq, last.chain));
    let mut added = Vec::new();
    for payload in payloads {
        seq += 1;
        chain = chain.next(epoch, seq, payload);
        added.push(LogEntry { epoch, seq, chain, payload: Bytes::copy_from_slice(payload) });
    }
    added
}

pub(crate) fn append(partition: u16, entries: Vec<LogEntry>) -> LogOp {
    LogOp::Append { partition: PartitionId(partition), entries }
}

pub(crate) fn cut(partition: u16, after: u64) -> LogOp {
    LogOp::Cut { partition: PartitionId(partition), after }
}

pub(crate) fn commit(partition: u16, seq: u64) -> LogOp {
    LogOp::Commit { partition: PartitionId(partition), seq }
}

pub(crate) fn promised(epoch: u64) -> Promise {
    Promise { epoch, node: "n2".parse().unwrap(), boot: 4 }
}

pub(crate) fn promise(partition: u16, epoch: u64) -> LogOp {
    LogOp::Promise { partition: PartitionId(partition), promise: promised(epoch) }
}

/// Does to a model what the log does to itself.
pub(crate) fn apply(model: &mut BTreeMap<u16, Expected>, op: &LogOp) {
    match op {
        LogOp::Append { partition, entries } => {
            model.entry(partition.0).or_default().entries.extend(entries.iter().cloned());
        }
        LogOp::Cut { partition, after } => {
            let kept = usize::try_from(*after).unwrap();
            model.entry(partition.0).or_default().entries.truncate(kept);
        }
        LogOp::Promise { partition, promise } => {
            model.entry(partition.0).or_default().promise = Some(promise.clone());
        }
        LogOp::Doubt { .. } | LogOp::Commit { .. } => {}
        LogOp::Base { .. } | LogOp::Release { .. } => panic!("not in this model: {op:?}"),
    }
}

/// The path of a value file.
pub(crate) fn values(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08}.values"))
}

/// A copy of a folder as it is now: what a crash would leave.
pub(crate) fn image(folder: &Path) -> TempDir {
    loop {
        let copy = quick_folder();
        let copied = fs::read_dir(folder).unwrap().all(|file| {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).is_ok()
        });
        // A file got another name meanwhile: begun again, it is found under that.
        if copied {
            return copy;
        }
    }
}

/// Where the records of a value file end: behind the last byte that is not zero, in whole words. Only for
/// files whose last record does not end in zeros.
pub(crate) fn end_of_records(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    (last / 8 + 1) * 8
}
