//! What the value files say, kept in memory: of every partition its end, its epochs, its promise, and
//! where its last entries stand.
//!
//! Recovery fills it from records, the writer from what it has synced, by the same rules; so what a
//! reader sees is what a restart would find. Pure: no file is touched here.

use std::collections::{BTreeMap, VecDeque};

use hashring::PartitionId;

use crate::{Chain, LogEnd, Promise, Restored};

/// A place in the value files; later places are written later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) file: u32,
    pub(crate) offset: u64,
}

/// Where one entry stands, and what its record must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) epoch: u64,
    pub(crate) chain: Chain,
    pub(crate) at: Position,
    /// Bytes of its payload.
    pub(crate) length: u32,
}

/// The entry does not continue the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoesNotFollow;

/// All partitions of a node.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    partitions: BTreeMap<PartitionId, PartitionLog>,
    /// Everything before this place is on the disk.
    pub(crate) synced: Position,
}

/// One partition's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionLog {
    /// The entry before the tail: it and all below are found in the index.
    pub(crate) base: LogEnd,
    /// Where the entries after the base stand.
    pub(crate) tail: VecDeque<Location>,
    /// Where each epoch's entries begin: (epoch, first seq).
    pub(crate) epochs: Vec<(u64, u64)>,
    pub(crate) promise: Option<Promise>,
    /// Everything up to here is known to be committed.
    pub(crate) commit: u64,
    /// Something of this partition may be missing.
    pub(crate) suspect: bool,
    /// The highest (epoch, seq) that was ever seen of it.
    pub(crate) known: (u64, u64),
    /// Records up to here are contained in the base.
    pub(crate) applied: Position,
}

impl Ledger {
    pub(crate) fn partition(&self, partition: PartitionId) -> Option<&PartitionLog> {
        self.partitions.get(&partition)
    }

    pub(crate) fn partition_mut(&mut self, partition: PartitionId) -> &mut PartitionLog {
        self.partitions.entry(partition).or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PartitionId, &PartitionLog)> {
        self.partitions.iter().map(|(id, log)| (*id, log))
    }

    /// Whether something may be missing in any partition.
    pub(crate) fn is_suspect(&self) -> bool {
        self.partitions.values().any(|log| log.suspect)
    }

    /// Where a scan must begin to find everything that is not below a base. `end` is where the next
    /// record goes.
    pub(crate) fn oldest(&self, end: Position) -> Position {
        let fronts = self.partitions.values().filter_map(|log| log.tail.front());
        fronts.map(|location| location.at).fold(end, Position::min)
    }
}

impl PartitionLog {
    /// Where the log ends.
    pub(crate) fn end(&self) -> LogEnd {
        let behind = u64::try_from(self.tail.len()).unwrap_or(u64::MAX);
        self.tail.back().map_or(self.base, |last| LogEnd {
            epoch: last.epoch,
            seq: self.base.seq.saturating_add(behind),
            chain: last.chain,
        })
    }

    /// Adds the next entry.
    pub(crate) fn append(&mut self, seq: u64, location: Location) -> Result<(), DoesNotFollow> {
        let end = self.end();
        if seq != end.seq.saturating_add(1) || location.epoch < end.epoch {
            return Err(DoesNotFollow);
        }
        if self.epochs.last().is_none_or(|(epoch, _)| *epoch < location.epoch) {
            self.epochs.push((location.epoch, seq));
        }
        self.tail.push_back(location);
        self.see(location.epoch, seq);
        Ok(())
    }

    /// Drops every entry after `after`. Whether that went below the base: then the base is only a seq and
    /// an epoch, and the caller finds its chain.
    pub(crate) fn cut(&mut self, after: u64) -> Depth {
        let kept = self.epochs.partition_point(|(_, first)| *first <= after);
        self.epochs.truncate(kept);
        if after >= self.base.seq {
            self.tail.truncate(usize::try_from(after - self.base.seq).unwrap_or(usize::MAX));
            return Depth::Tail;
        }
        self.tail.clear();
        let epoch = self.epochs.last().map_or(0, |(epoch, _)| *epoch);
        self.base = LogEnd { epoch, seq: after, chain: Chain::default() };
        Depth::Base
    }

    /// Keeps a promise, unless a higher one is known.
    pub(crate) fn promise(&mut self, promise: &Promise) {
        if self.promise.as_ref().is_none_or(|old| old.epoch <= promise.epoch) {
            self.promise = Some(promise.clone());
        }
    }

    /// Keeps what is committed, unless more is known to be.
    pub(crate) fn commit(&mut self, seq: u64) {
        self.commit = self.commit.max(seq);
    }

    /// Something was there, whole or not.
    pub(crate) fn see(&mut self, epoch: u64, seq: u64) {
        self.known = self.known.max((epoch, seq));
    }

    /// The tail's locations from seq `from` on, with their seqs.
    pub(crate) fn locations(&self, from: u64) -> impl Iterator<Item = (u64, Location)> {
        let first = self.base.seq.saturating_add(1);
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let seqs = from.max(first)..;
        seqs.zip(self.tail.iter().skip(skipped).copied())
    }

    /// What a start tells of this partition.
    pub(crate) fn restored(&self) -> Restored {
        Restored {
            end: self.end(),
            epochs: self.epochs.clone(),
            promise: self.promise.clone(),
            commit: self.commit,
            damaged: self.suspect,
        }
    }
}

/// How far down a cut went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only entries of the tail are gone.
    Tail,
    /// Also entries below the base.
    Base,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(epoch: u64) -> Location {
        Location { epoch, chain: Chain([1; 16]), at: Position::default(), length: 0 }
    }

    #[test]
    fn a_log_knows_its_end_and_its_epochs_through_appends_and_cuts() {
        let mut log = PartitionLog::default();
        for (seq, epoch) in [(1, 1), (2, 1), (3, 4), (4, 4)] {
            log.append(seq, location(epoch)).unwrap();
        }
        assert_eq!((log.end().epoch, log.end().seq), (4, 4));
        assert_eq!(log.epochs, [(1, 1), (4, 3)]);
        assert_eq!(log.cut(2), Depth::Tail);
        assert_eq!((log.end().epoch, log.end().seq), (1, 2));
        assert_eq!(log.epochs, [(1, 1)]);
        assert_eq!(log.locations(2).map(|(seq, _)| seq).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn an_entry_that_leaves_a_gap_or_goes_back_in_epoch_does_not_follow() {
        let mut log = PartitionLog::default();
        log.append(1, location(3)).unwrap();
        assert_eq!(log.append(3, location(3)), Err(DoesNotFollow));
        assert_eq!(log.append(1, location(3)), Err(DoesNotFollow));
        assert_eq!(log.append(2, location(2)), Err(DoesNotFollow));
    }

    #[test]
    fn a_cut_below_the_base_leaves_an_empty_tail() {
        let base = LogEnd { epoch: 2, seq: 10, chain: Chain([7; 16]) };
        let mut log =
            PartitionLog { base, epochs: vec![(1, 1), (2, 6)], ..PartitionLog::default() };
        log.append(11, location(2)).unwrap();
        assert_eq!(log.cut(4), Depth::Base);
        assert_eq!((log.end().epoch, log.end().seq), (1, 4));
    }
}
