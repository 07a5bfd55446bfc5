//! What must be so.

use std::collections::{BTreeMap, BTreeSet};

use model::{Lane, MessageId};
use transaction::TransactionId;

/// An event: its partition, and its place in the log.
pub(crate) type At = (u16, u64, u32);

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What concerned the service, by what it wanted when it was committed.
    pub(crate) concerned: BTreeMap<MessageId, At>,
    /// Its ids and the bytes they came with.
    bytes: BTreeMap<String, [u8; 32]>,
    /// What was taken, each when it was first, and how often.
    taken: Vec<MessageId>,
    counts: BTreeMap<MessageId, usize>,
    /// What the service said it could not take, for now.
    pub(crate) failed: BTreeSet<MessageId>,
}

impl Book {
    /// T-I2: one id, one content.
    pub(crate) fn came(&mut self, id: &TransactionId, hash: [u8; 32]) {
        let known = *self.bytes.entry(id.to_string()).or_insert(hash);
        assert_eq!(known, hash, "{id} came with other bytes");
    }

    pub(crate) fn took(&mut self, event: MessageId) {
        assert!(self.concerned.contains_key(&event), "{event} does not concern it");
        let count = self.counts.entry(event).or_default();
        *count += 1;
        if *count == 1 {
            self.taken.push(event);
        }
    }

    /// T-I1: nothing is lost count of.
    pub(crate) fn counts(&self, partition: u16, lane: &Lane) {
        let ours = self.concerned.values().filter(|(of, _, _)| *of == partition).count();
        assert_eq!(lane.concerned, ours as u64, "what concerned it in {partition}");
        let sum = lane.done + lane.parked + lane.abandoned + lane.pending();
        assert_eq!(lane.concerned, sum, "{lane:?}");
    }

    /// T-I3: in the order of the lane, but for what failed meanwhile.
    pub(crate) fn in_order(&self) {
        let mut last = BTreeMap::new();
        for event in self.taken.iter().filter(|event| !self.failed.contains(*event)) {
            let (partition, seq, index) = self.concerned[event];
            let before = last.insert(partition, (seq, index)).unwrap_or_default();
            assert!(before < (seq, index), "{event} at {seq} of {partition} came after {before:?}");
        }
    }

    /// T-I12: everything was taken, or put aside.
    pub(crate) fn complete(&self, parked: &BTreeSet<At>) {
        for (event, at) in &self.concerned {
            let taken = self.counts.contains_key(event);
            assert!(taken || parked.contains(at), "{event} at {at:?} is lost");
        }
    }
}
