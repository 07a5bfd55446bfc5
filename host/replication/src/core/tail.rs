//! One partition's log, as much of it as is kept in memory.
//!
//! Where the log ends, where each epoch begins, and the last entries: their epochs and chains, and the
//! payloads of those that somebody may still want. What is not here is on this node's own disk, and is
//! asked for with [`Step::Read`](super::Step::Read). Nothing here knows what is synced.

use std::collections::VecDeque;

use bytes::Bytes;
use segment::{Chain, LogEnd, LogEntry, Restored};

/// The end of a log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    end: LogEnd,
    /// (epoch, its first seq), both rising.
    epochs: Vec<(u64, u64)>,
    /// The last entries, up to the end without gaps.
    entries: VecDeque<Held>,
    /// The place before `entries`.
    before: LogEnd,
    /// Payload bytes in `entries`.
    bytes: usize,
    /// Payloads up to this seq are given up.
    bare: u64,
    /// One place below `entries` that was read from the disk.
    anchor: Option<LogEnd>,
    /// The log begins behind this entry.
    base: LogEnd,
}

#[derive(Debug)]
struct Held {
    epoch: u64,
    chain: Chain,
    payload: Option<Bytes>,
}

impl Tail {
    /// The end of a log that is on disk.
    pub(super) fn new(restored: &Restored) -> Self {
        Self {
            end: restored.end,
            before: restored.end,
            epochs: restored.epochs.clone(),
            bare: restored.end.seq,
            base: restored.base,
            ..Self::default()
        }
    }

    /// Appends an entry that follows the end.
    pub(super) fn push(&mut self, entry: &LogEntry) {
        if entry.epoch != self.end.epoch {
            self.epochs.push((entry.epoch, entry.seq));
        }
        self.end = LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain };
        self.bytes += entry.payload.len();
        let payload = Some(entry.payload.clone());
        self.entries.push_back(Held { epoch: entry.epoch, chain: entry.chain, payload });
    }

    /// The log begins behind an entry that it has from now on.
    pub(super) fn trim(&mut self, base: LogEnd) {
        self.epochs.retain(|(epoch, first)| *first > base.seq && *epoch > base.epoch);
        self.epochs.insert(0, (base.epoch, base.seq));
        self.anchor = self.anchor.filter(|anchor| anchor.seq >= base.seq);
        self.base = base;
    }

    /// The log is another one: it begins and ends behind `base`.
    pub(super) fn begin(&mut self, base: LogEnd) {
        let epochs = vec![(base.epoch, base.seq)];
        *self = Self { end: base, before: base, base, bare: base.seq, epochs, ..Self::default() };
    }

    /// Behind which entry the log begins.
    pub(super) fn base(&self) -> LogEnd {
        self.base
    }

    /// Drops everything after `last`, which is in the log.
    pub(super) fn cut(&mut self, last: LogEnd) {
        while self.end.seq > last.seq {
            let Some(held) = self.entries.pop_back() else { break };
            self.bytes -= held.payload.map_or(0, |payload| payload.len());
            self.end.seq -= 1;
        }
        self.end = last;
        if self.entries.is_empty() {
            self.before = last;
        }
        self.bare = self.bare.min(last.seq);
        while self.epochs.last().is_some_and(|(_, first)| *first > last.seq) {
            self.epochs.pop();
        }
        self.anchor = self.anchor.filter(|anchor| anchor.seq <= last.seq);
    }

    /// Gives up the payloads up to `seq`, and everything of them above `entries_max`.
    pub(super) fn forget(&mut self, seq: u64, entries_max: usize) {
        let seq = seq.min(self.end.seq);
        let first = self.first();
        for bare in self.bare.max(first.saturating_sub(1))..seq {
            let payload =
                self.index(bare + 1).and_then(|at| self.entries.get_mut(at)?.payload.take());
            self.bytes -= payload.map_or(0, |payload| payload.len());
        }
        self.bare = self.bare.max(seq);
        while self.entries.len() > entries_max && self.first() <= self.bare {
            let seq = self.first();
            if let Some(Held { epoch, chain, .. }) = self.entries.pop_front() {
                self.before = LogEnd { epoch, seq, chain };
            }
        }
    }

    /// Keeps a place that was read from the disk.
    pub(super) fn note(&mut self, place: LogEnd) {
        if self.epoch_at(place.seq) == Some(place.epoch) {
            self.anchor = Some(place);
        }
    }

    /// The last entry.
    pub(super) fn end(&self) -> LogEnd {
        self.end
    }

    /// Payload bytes of the entries after `seq`, at most those in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The epoch of an entry; 0 for seq 0, `None` behind the end and before the beginning.
    pub(super) fn epoch_at(&self, seq: u64) -> Option<u64> {
        if seq > self.end.seq || seq < self.base.seq {
            return None;
        }
        let later = self.epochs.partition_point(|(_, first)| *first <= seq);
        Some(later.checked_sub(1).and_then(|at| self.epochs.get(at)).map_or(0, |(epoch, _)| *epoch))
    }

    /// The place after an entry, if its chain is in memory.
    pub(super) fn place(&self, seq: u64) -> Option<LogEnd> {
        if seq == self.end.seq {
            return Some(self.end);
        }
        if seq <= self.base.seq {
            return Some(self.base).filter(|base| base.seq == seq);
        }
        match self.index(seq).and_then(|at| self.entries.get(at)) {
            Some(held) => Some(LogEnd { epoch: held.epoch, seq, chain: held.chain }),
            None if seq == self.before.seq => Some(self.before),
            None => self.anchor.filter(|anchor| anchor.seq == seq),
        }
    }

    /// The same, and nothing below the beginning of the log: what that stands on is committed, so every log
    /// that can be compared with it has it.
    pub(super) fn shared(&self, epoch: u64, seq: u64) -> u64 {
        self.not_above(epoch, seq).max(self.base.seq)
    }

    /// The seq of the last entry that is not above `epoch` and `seq`, by either; below the beginning of the log
    /// if none in it is.
    pub(super) fn not_above(&self, epoch: u64, seq: u64) -> u64 {
        let later = self.epochs.partition_point(|(begun, _)| *begun <= epoch);
        let seq = seq.min(self.end.seq);
        self.epochs.get(later).map_or(seq, |(_, first)| seq.min(first.saturating_sub(1)))
    }

    /// An entry, if its payload is in memory.
    pub(super) fn entry(&self, seq: u64) -> Option<LogEntry> {
        let held = self.entries.get(self.index(seq)?)?;
        let payload = held.payload.clone()?;
        Some(LogEntry { epoch: held.epoch, seq, chain: held.chain, payload })
    }

    /// The first seq of an epoch.
    pub(super) fn first_of(&self, epoch: u64) -> Option<u64> {
        let at = self.epochs.binary_search_by_key(&epoch, |(epoch, _)| *epoch).ok()?;
        self.epochs.get(at).map(|(_, first)| *first)
    }

    /// The seq of the first entry in memory.
    fn first(&self) -> u64 {
        self.end.seq + 1 - u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with entries of these epochs.
    fn tail(epochs: &[u64]) -> Tail {
        let mut tail = Tail::default();
        for epoch in epochs {
            let seq = tail.end().seq + 1;
            let payload = Bytes::from(format!("{epoch}/{seq}"));
            let chain = tail.end().chain.next(*epoch, seq, &payload);
            tail.push(&LogEntry { epoch: *epoch, seq, chain, payload });
        }
        tail
    }

    #[test]
    fn the_last_entry_not_above_a_place_is_found_by_epoch_and_by_seq() {
        let tail = tail(&[1, 1, 3, 3, 4]);
        for (epoch, seq, found) in
            [(9, 9, 5), (3, 9, 4), (3, 3, 3), (2, 9, 2), (2, 1, 1), (0, 5, 0), (4, 0, 0)]
        {
            assert_eq!(tail.not_above(epoch, seq), found, "{epoch}/{seq}");
        }
        let epochs: Vec<_> = (0..=6).map(|seq| tail.epoch_at(seq)).collect();
        assert_eq!(epochs, [Some(0), Some(1), Some(1), Some(3), Some(3), Some(4), None]);
        assert_eq!((tail.first_of(3), tail.first_of(2)), (Some(3), None));
    }

    #[test]
    fn what_is_cut_is_forgotten_and_the_end_is_where_it_was() {
        let mut cut = tail(&[1, 1, 3, 3, 4]);
        let place = cut.place(2).unwrap();
        cut.cut(place);
        let short = tail(&[1, 1]);
        assert_eq!((cut.end(), cut.bytes()), (short.end(), short.bytes()));
        assert_eq!(cut.epoch_at(3), None);
        assert_eq!(cut.first_of(3), None);
        assert_eq!(cut.entry(2), short.entry(2));
        cut.cut(LogEnd::default());
        assert_eq!((cut.end(), cut.bytes()), (LogEnd::default(), 0));
    }

    #[test]
    fn a_trimmed_log_knows_nothing_before_its_beginning() {
        let mut trimmed = tail(&[1, 1, 3, 3, 4]);
        let base = trimmed.place(3).unwrap();
        trimmed.trim(base);
        let epochs: Vec<_> = (0..=6).map(|seq| trimmed.epoch_at(seq)).collect();
        assert_eq!(epochs, [None, None, None, Some(3), Some(3), Some(4), None]);
        assert_eq!((trimmed.place(3), trimmed.place(2)), (Some(base), None));
        assert_eq!((trimmed.not_above(3, 9), trimmed.shared(3, 9)), (4, 4));
        assert!(trimmed.not_above(2, 9) < 3 && trimmed.shared(2, 9) == 3);
        assert!(trimmed.not_above(9, 1) < 3 && trimmed.shared(9, 1) == 3);
        assert_eq!(trimmed.place(5), tail(&[1, 1, 3, 3, 4]).place(5));
        let mut begun = tail(&[1, 1]);
        begun.begin(base);
        assert_eq!((begun.end(), begun.base(), begun.bytes()), (base, base, 0));
        let chain = base.chain.next(4, 4, b"x");
        begun.push(&LogEntry { epoch: 4, seq: 4, chain, payload: "x".into() });
        assert_eq!((begun.epoch_at(4), begun.entry(4).is_some()), (Some(4), true));
        begun.forget(4, 0);
        assert_eq!(begun.place(4).map(|place| place.seq), Some(4));
    }

    #[test]
    fn payloads_are_given_up_before_places_and_places_only_above_the_bound() {
        let mut tail = tail(&[1, 1, 1, 1, 1]);
        tail.forget(4, 3);
        assert!(tail.entry(4).is_none() && tail.entry(5).is_some());
        assert!(tail.place(1).is_none() && tail.place(2).is_some());
        assert_eq!(tail.bytes(), 3);
        tail.forget(9, 0);
        assert_eq!((tail.bytes(), tail.place(5).map(|end| end.seq)), (0, Some(5)));
        assert!(tail.place(0).is_some(), "before the first is always known");
    }

    #[test]
    fn a_restored_log_knows_its_end_its_epochs_and_a_place_it_is_told() {
        let whole = tail(&[1, 2, 2]);
        let restored =
            Restored { end: whole.end(), epochs: vec![(1, 1), (2, 2)], ..Restored::default() };
        let mut tail = Tail::new(&restored);
        assert_eq!(tail.place(3), Some(whole.end()));
        let chain = whole.end().chain.next(3, 4, b"");
        tail.push(&LogEntry { epoch: 3, seq: 4, chain, payload: Bytes::new() });
        assert_eq!(tail.place(3), Some(whole.end()));
        tail.cut(whole.end());
        assert_eq!((tail.place(2), tail.epoch_at(2)), (None, Some(2)));
        tail.note(whole.place(2).unwrap());
        assert_eq!(tail.place(2), whole.place(2));
        tail.cut(whole.place(1).unwrap());
        assert_eq!(tail.place(2), None);
        assert_eq!(tail.end(), whole.place(1).unwrap());
    }
}
