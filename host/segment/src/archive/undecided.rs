//! Uploads that are whole here and of which nobody has said what becomes of them.
//!
//! Kept in memory, so that asking costs what there is of them and not all uploads ever; made of the index by a start.
//! There are as many as coordinators have under way, and more only while those are away.

use std::collections::BTreeMap;
use std::ops::Bound;

use hashring::NodeId;

use crate::archive::fact::Held;
use crate::archive::name::Upload;
use crate::archive::store::Archive;

/// Those that are not decided.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    all: BTreeMap<Upload, Held>,
    /// The last one that was told: the next ones have their turn.
    told: Option<Upload>,
}

impl Undecided {
    /// What is left of what the index tells, when fences are counted.
    pub(crate) fn new(held: Vec<Held>, fences: &BTreeMap<NodeId, u64>) -> Self {
        let mut undecided = Self::default();
        held.into_iter().for_each(|held| undecided.hold(held));
        fences.iter().for_each(|(node, boot)| undecided.fence(node, *boot));
        undecided
    }

    pub(crate) fn hold(&mut self, held: Held) {
        self.all.insert(held.upload.clone(), held);
    }

    pub(crate) fn decide(&mut self, upload: &Upload) {
        self.all.remove(upload);
    }

    /// Earlier lives of a node are decided.
    pub(crate) fn fence(&mut self, node: &NodeId, boot: u64) {
        self.all.retain(|upload, _| upload.node != *node || upload.boot >= boot);
    }

    /// The next so many, in turn: one that cannot be decided keeps no other from being asked about.
    fn next(&mut self, most: usize) -> Vec<Held> {
        let behind = match &self.told {
            Some(told) => (Bound::Excluded(told), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let turn =
            self.all.range::<Upload, _>(behind).chain(&self.all).take(most.min(self.all.len()));
        let next: Vec<Held> = turn.map(|(_, held)| held.clone()).collect();
        self.told = next.last().map(|held| held.upload.clone());
        next
    }
}

impl Archive {
    /// Uploads that are whole here and of which nobody has said what becomes of them: at most so many, and each time
    /// the next ones.
    pub fn held(&self, most: usize) -> Vec<Held> {
        self.shared().undecided().next(most)
    }
}
