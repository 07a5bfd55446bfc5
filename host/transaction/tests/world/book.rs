//! What must be so, as somebody sees it who knows the logs and the service, and asks no engine.

use std::collections::{BTreeMap, BTreeSet};

use model::{FrozenId, Lane, MessageId};
use transaction::TransactionId;

use crate::log::Log;

/// An event: its partition, and its place in the log.
pub(crate) type At = (u16, u64, u32);

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What concerned the service, by what it wanted when it was committed.
    pub(crate) concerned: BTreeMap<MessageId, At>,
    /// The ids that came, and the bytes they came with.
    came: BTreeMap<(u16, FrozenId), [u8; 32]>,
    /// Under which ids an event came.
    under: BTreeMap<MessageId, BTreeSet<(u16, FrozenId)>>,
    /// What was taken, each when it was first, and how often.
    taken: Vec<MessageId>,
    counts: BTreeMap<MessageId, usize>,
    /// What the service said it could not take for now, and what somebody had sent again.
    pub(crate) failed: BTreeSet<MessageId>,
}

impl Book {
    /// A transaction stands before the service.
    ///
    /// T-I2: one id, one content. T-I4: none before the entry that froze it is committed, which only the log
    /// knows.
    pub(crate) fn came(
        &mut self,
        (lane, log): (u16, &Log),
        id: FrozenId,
        hash: [u8; 32],
        events: impl Iterator<Item = MessageId>,
    ) {
        let name = TransactionId::of(7, lane, id);
        assert!(log.froze(id), "T-I4: {name} came, and no committed entry froze it");
        let known = *self.came.entry((lane, id)).or_insert(hash);
        assert_eq!(known, hash, "T-I2: {name} came with other bytes");
        events.for_each(|event| _ = self.under.entry(event).or_default().insert((lane, id)));
    }

    pub(crate) fn took(&mut self, event: MessageId) {
        assert!(self.concerned.contains_key(&event), "T-I1: {event} does not concern it");
        let count = self.counts.entry(event).or_default();
        *count += 1;
        if *count == 1 {
            self.taken.push(event);
        }
    }

    /// How often an event was taken, and under how many ids it came.
    pub(crate) fn times(&self, event: MessageId) -> (usize, usize) {
        let ids = self.under.get(&event).map_or(0, BTreeSet::len);
        (self.counts.get(&event).copied().unwrap_or_default(), ids)
    }

    /// How many events were taken, and how often one of them was again.
    pub(crate) fn sums(&self) -> (usize, usize) {
        let (events, times) = (self.counts.len(), self.counts.values().sum::<usize>());
        (events, times - events)
    }

    /// What was taken, in the order in which it came first.
    pub(crate) fn taken(&self) -> &[MessageId] {
        &self.taken
    }

    /// T-I1: nothing is lost count of.
    pub(crate) fn counts(&self, partition: u16, lane: &Lane) {
        let ours = self.concerned.values().filter(|(of, _, _)| *of == partition).count();
        assert_eq!(lane.concerned, ours as u64, "T-I1: what concerned it in {partition}");
        let sum = lane.done + lane.parked + lane.abandoned + lane.pending();
        assert_eq!(lane.concerned, sum, "T-I1: {lane:?}");
    }

    /// T-I3: in the order of the lane, but for what failed meanwhile.
    pub(crate) fn in_order(&self) {
        let mut last = BTreeMap::new();
        for event in self.taken.iter().filter(|event| !self.failed.contains(*event)) {
            let (partition, seq, index) = self.concerned[event];
            let before = last.insert(partition, (seq, index)).unwrap_or_default();
            assert!(
                before < (seq, index),
                "T-I3: {event} at {seq} of {partition} came after {before:?}"
            );
        }
    }

    /// T-I12: everything was taken, or put aside; and nobody's log has lost what froze an id that came.
    pub(crate) fn complete(&self, parked: &BTreeSet<At>, logs: &[Log]) {
        for (event, at) in &self.concerned {
            let taken = self.counts.contains_key(event);
            assert!(taken || parked.contains(at), "T-I12: {event} at {at:?} is lost");
        }
        for (lane, id) in self.came.keys() {
            assert!(logs[usize::from(*lane)].froze(*id), "T-I4: nobody knows {id:?} of {lane}");
        }
    }
}
