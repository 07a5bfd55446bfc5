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

impl Position {
    /// The place right behind the start of what stands here.
    fn behind(self) -> Self {
        Self { offset: self.offset.saturating_add(1), ..self }
    }
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
    pub(crate) doubt: Doubt,
    /// While in doubt: the log is whole again when it reaches this (epoch, seq).
    pub(crate) known: (u64, u64),
    /// Records before this place are contained in what was read from the index.
    pub(crate) applied: Position,
    /// The place behind the last entry or cut.
    pub(crate) touched: Position,
    /// The base went down, and the index does not know yet.
    pub(crate) lowered: bool,
    /// The log begins behind this entry; what is kept of it and before is in a base file.
    pub(crate) root: LogEnd,
    /// The root moved, and the index does not know yet.
    pub(crate) moved: Moved,
    /// While recovering: where the log begins is not known yet, because what said so first may be in a value
    /// file that was given back. It is said again later.
    pub(crate) floating: bool,
}

/// How a root moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moved {
    /// It did not.
    #[default]
    Not,
    /// The log lost its beginning.
    Up,
    /// The log is another one from there on.
    Away,
}

/// Whether something of a log is missing that a sync had confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Nothing is.
    #[default]
    None,
    /// At most what is known.
    Missing,
    /// Something was lost and nobody knows of which partition. Only while recovering: an entry that was
    /// appended later, in the same process life, and continues the chain proves that it was of another
    /// one, because nothing is appended over an unknown entry or below an unknown promise.
    Open,
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

    /// Ends every open doubt: from here on entries are appended on top of what may be missing, and prove
    /// nothing unless they are of an epoch that nothing missing can be of. Returns these epochs.
    pub(crate) fn settle(&mut self) -> Vec<(PartitionId, u64)> {
        let mut settled = Vec::new();
        for (id, log) in &mut self.partitions {
            if log.doubt == Doubt::Open {
                let promised = log.promise.as_ref().map_or(0, |promise| promise.epoch);
                let epoch = promised.max(log.known.0).max(log.end().epoch);
                log.miss(epoch, u64::MAX);
                log.doubt = Doubt::Missing;
                settled.push((*id, epoch));
            }
        }
        settled
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
        self.touched = location.at.behind();
        if self.doubt == Doubt::Missing && (location.epoch, seq) >= self.known {
            self.doubt = Doubt::None;
        }
        Ok(())
    }

    /// Drops every entry after `after`. `at` is the place of the cut's record.
    pub(crate) fn cut(&mut self, after: u64, at: Position) {
        self.touched = at.behind();
        let kept = self.epochs.partition_point(|(_, first)| *first <= after);
        self.epochs.truncate(kept);
        if after >= self.base.seq {
            self.tail.truncate(usize::try_from(after - self.base.seq).unwrap_or(usize::MAX));
            return;
        }
        // The index holds only what is committed, and that is never cut: whoever cuts it begins this log
        // anew. The new base's chain is in the index.
        self.tail.clear();
        let epoch = self.epochs.last().map_or(0, |(epoch, _)| *epoch);
        self.base = LogEnd { epoch, seq: after, chain: Chain::default() };
        self.lowered = true;
    }

    /// The log begins behind `root`, says the record at `at`. A log that ends before it has nothing any more.
    pub(crate) fn rebase(&mut self, root: LogEnd, at: Position) {
        self.commit = self.commit.max(root.seq);
        if root.seq <= self.root.seq {
            return;
        }
        self.touched = at.behind();
        let is_inside = root.seq <= self.end().seq;
        let into = root.seq.checked_sub(self.base.seq);
        let drained = usize::try_from(into.unwrap_or(0)).unwrap_or(usize::MAX);
        let there = drained.checked_sub(1).and_then(|last| self.tail.get(last));
        let is_other =
            there.is_some_and(|there| (there.epoch, there.chain) != (root.epoch, root.chain));
        if is_inside && !is_other {
            self.tail.drain(..drained.min(self.tail.len()));
            self.moved = self.moved.max(Moved::Up);
        } else {
            self.tail.clear();
            self.epochs.clear();
            self.lowered = false;
            self.moved = Moved::Away;
        }
        if into.is_some() || self.moved == Moved::Away {
            self.base = root;
        }
        self.epochs.retain(|(epoch, first)| *first > root.seq && *epoch > root.epoch);
        self.epochs.insert(0, (root.epoch, root.seq));
        self.root = root;
        self.floating = false;
        if self.doubt == Doubt::Missing && (root.epoch, root.seq) >= self.known {
            self.doubt = Doubt::None;
        }
    }

    /// While recovering: the next entry is `seq`, and why is not known yet.
    pub(crate) fn float(&mut self, seq: u64) {
        self.tail.clear();
        self.epochs.clear();
        self.base = LogEnd { seq: seq.saturating_sub(1), ..LogEnd::default() };
        self.floating = true;
    }

    /// While recovering: nothing has told where the log begins. What was found of it is of no use.
    pub(crate) fn sink(&mut self) {
        let end = self.end();
        self.tail.clear();
        self.epochs.clear();
        self.base = LogEnd::default();
        self.floating = false;
        self.miss(end.epoch, end.seq);
        self.doubt = Doubt::Missing;
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

    /// Something up to this place was there and is missing.
    pub(crate) fn miss(&mut self, epoch: u64, seq: u64) {
        if self.doubt == Doubt::None {
            self.doubt = Doubt::Missing;
            self.known = (0, 0);
        }
        self.known = self.known.max((epoch, seq));
    }

    /// Something is missing, and it may be of this log.
    pub(crate) fn doubt(&mut self) {
        if self.doubt == Doubt::None {
            self.known = (0, 0);
        }
        self.doubt = Doubt::Open;
    }

    /// The chain continues: an open doubt is over, unless more is known to be missing.
    pub(crate) fn prove(&mut self) {
        let end = self.end();
        if self.doubt == Doubt::Open && (end.epoch, end.seq) >= self.known {
            self.doubt = Doubt::None;
        }
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
            base: self.root,
            epochs: self.epochs.clone(),
            promise: self.promise.clone(),
            commit: self.commit,
            damaged: self.doubt != Doubt::None,
        }
    }
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
        log.cut(2, Position::default());
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
        log.cut(4, Position::default());
        assert_eq!((log.end().epoch, log.end().seq, log.lowered), (1, 4, true));
    }

    #[test]
    fn a_log_begins_behind_its_root_and_forgets_what_was_before() {
        let place = |epoch, seq| LogEnd { epoch, seq, chain: Chain([1; 16]) };
        let mut log = PartitionLog::default();
        for (seq, epoch) in [(1, 1), (2, 1), (3, 4), (4, 4), (5, 6)] {
            log.append(seq, location(epoch)).unwrap();
        }
        log.rebase(place(4, 3), Position::default());
        assert_eq!((log.root, log.base, log.moved), (place(4, 3), place(4, 3), Moved::Up));
        assert_eq!((log.end().seq, log.commit), (5, 3));
        assert_eq!(log.epochs, [(4, 3), (6, 5)]);
        let left: Vec<u64> = log.locations(0).map(|(seq, _)| seq).collect();
        assert_eq!(left, [4, 5]);
        let before = log.clone();
        log.rebase(place(1, 2), Position::default());
        assert_eq!(log.root, before.root, "it never goes back");
        log.rebase(place(9, 40), Position::default());
        assert_eq!((log.end(), log.base), (place(9, 40), place(9, 40)));
        assert_eq!((log.epochs.as_slice(), log.moved), ([(9, 40)].as_slice(), Moved::Away));
        log.append(41, location(9)).unwrap();
        assert_eq!(log.epochs, [(9, 40)]);
    }

    #[test]
    fn a_root_below_what_is_indexed_leaves_the_tail() {
        let base = LogEnd { epoch: 2, seq: 10, chain: Chain([7; 16]) };
        let mut log =
            PartitionLog { base, epochs: vec![(1, 1), (2, 6)], ..PartitionLog::default() };
        log.append(11, location(2)).unwrap();
        let root = LogEnd { epoch: 2, seq: 8, chain: Chain([8; 16]) };
        log.rebase(root, Position::default());
        assert_eq!((log.base, log.end().seq, log.moved), (base, 11, Moved::Up));
        assert_eq!(log.epochs, [(2, 8)]);
    }

    #[test]
    fn where_a_floating_log_begins_is_told_later_or_it_is_lost() {
        let mut log = PartitionLog::default();
        log.float(31);
        log.append(31, location(5)).unwrap();
        log.append(32, location(5)).unwrap();
        let mut lost = log.clone();
        let root = LogEnd { epoch: 5, seq: 30, chain: Chain([3; 16]) };
        log.rebase(root, Position::default());
        assert_eq!((log.base, log.end().seq, log.floating), (root, 32, false));
        assert_eq!((log.epochs.as_slice(), log.doubt), ([(5, 30)].as_slice(), Doubt::None));
        lost.sink();
        assert_eq!((lost.end().seq, lost.known, lost.restored().damaged), (0, (5, 32), true));
    }

    #[test]
    fn a_doubt_ends_when_the_log_reaches_what_is_known_to_be_missing() {
        let mut log = PartitionLog::default();
        log.append(1, location(3)).unwrap();
        log.miss(3, 3);
        log.append(2, location(3)).unwrap();
        assert!(log.restored().damaged);
        log.append(3, location(3)).unwrap();
        assert!(!log.restored().damaged);
    }

    #[test]
    fn after_a_settled_doubt_only_a_later_epoch_proves_that_nothing_is_missing() {
        let mut ledger = Ledger::default();
        let partition = PartitionId(1);
        ledger.partition_mut(partition).append(1, location(3)).unwrap();
        ledger.partition_mut(partition).doubt();
        assert_eq!(ledger.settle(), [(partition, 3)]);
        let log = ledger.partition_mut(partition);
        log.append(2, location(3)).unwrap();
        assert!(log.restored().damaged);
        log.append(3, location(4)).unwrap();
        assert!(!log.restored().damaged);
    }
}
