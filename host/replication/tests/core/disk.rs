//! What a node of a stage has on its disk: nothing is lost there but what a story takes away.

#![expect(clippy::unwrap_used, reason = "a piece is no longer than memory")]

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::PartitionId;
use replication::core::Kept;
use segment::{Base, LogEnd, LogEntry, LogOp, Promise, Restored};

/// What a disk holds of a partition.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) promise: Option<Promise>,
    pub(crate) commit: u64,
    pub(crate) damaged: bool,
    /// What is missing is of this epoch or a lower one.
    pub(crate) doubted: u64,
    /// These cannot be read.
    pub(crate) unreadable: Vec<u64>,
    /// The log begins behind it.
    pub(crate) base: LogEnd,
    /// How much was taken of what another one's log stands on.
    pub(crate) taken: (LogEnd, u64),
}

/// Does what a writer does.
pub(crate) fn apply(disk: &mut BTreeMap<PartitionId, Disk>, op: LogOp) {
    match op {
        LogOp::Append { partition, entries } => {
            let disk = disk.entry(partition).or_default();
            for entry in entries {
                let end = disk.restored().end;
                assert_eq!(entry.seq, end.seq + 1, "a gap on disk");
                let chain = end.chain.next(entry.epoch, entry.seq, &entry.payload);
                assert_eq!(entry.chain, chain, "a broken chain on disk");
                disk.damaged &= entry.epoch <= disk.doubted;
                disk.entries.push(entry);
            }
        }
        LogOp::Cut { partition, after } => {
            let disk = disk.entry(partition).or_default();
            disk.entries.retain(|entry| entry.seq <= after);
            disk.unreadable.retain(|seq| *seq <= after);
        }
        LogOp::Promise { partition, promise } => {
            let disk = disk.entry(partition).or_default();
            let before = disk.promise.as_ref().map_or(0, |promise| promise.epoch);
            assert!(promise.epoch >= before, "a promise falls");
            disk.promise = Some(promise);
        }
        LogOp::Doubt { partition, epoch } => {
            let disk = disk.entry(partition).or_default();
            disk.damaged = true;
            disk.doubted = epoch;
        }
        LogOp::Commit { partition, seq } => disk.entry(partition).or_default().commit = seq,
        LogOp::Base { partition, base } => {
            let disk = disk.entry(partition).or_default();
            if disk.restored().end.seq < base.seq {
                disk.entries.clear();
            }
            disk.entries.retain(|entry| entry.seq > base.seq);
            disk.base = base;
        }
        LogOp::Release { .. } => {}
    }
}

/// How long the contents of every base are.
const BASE_BYTES: u64 = 10_000;

impl Disk {
    /// A piece of what the log stands on.
    pub(crate) fn piece(&self, at: u64, bytes_max: usize) -> (Base, Bytes) {
        let base = Base { place: self.base, bytes: BASE_BYTES, ..Base::default() };
        let left = usize::try_from(BASE_BYTES - at).unwrap().min(bytes_max);
        (base, Bytes::from(vec![7; left]))
    }

    /// Keeps a piece of another one's; how much is there then.
    pub(crate) fn keep(&mut self, base: Base, at: u64, piece: &[u8]) -> Kept {
        if self.taken.0 != base.place {
            self.taken = (base.place, 0);
        }
        if self.taken.1 == at {
            self.taken.1 += piece.len() as u64;
        }
        if self.taken.1 == base.bytes { Kept::All } else { Kept::Some(self.taken.1) }
    }

    pub(crate) fn restored(&self) -> Restored {
        let end = self.entries.last().map_or(self.base, |entry| LogEnd {
            epoch: entry.epoch,
            seq: entry.seq,
            chain: entry.chain,
        });
        let mut epochs: Vec<(u64, u64)> = Vec::new();
        if self.base.seq > 0 {
            epochs.push((self.base.epoch, self.base.seq));
        }
        for entry in &self.entries {
            if epochs.last().is_none_or(|(epoch, _)| *epoch != entry.epoch) {
                epochs.push((entry.epoch, entry.seq));
            }
        }
        let (promise, commit, damaged) = (self.promise.clone(), self.commit, self.damaged);
        Restored { end, base: self.base, epochs, promise, commit, damaged }
    }

    pub(crate) fn read(&self, from: u64, entries_max: usize, bytes_max: usize) -> Vec<LogEntry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.seq >= from).take(entries_max) {
            bytes += entry.payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }
}
