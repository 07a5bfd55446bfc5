//! What a change of the ring means for the partitions.

use crate::{NodeId, PartitionId, Partitions, Ring, Spread};

/// A partition whose wanted ensemble differs between two rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub partition: PartitionId,
    /// Wanted before, in order.
    pub before: Vec<NodeId>,
    /// Wanted now, in order.
    pub after: Vec<NodeId>,
}

impl Move {
    /// Nodes that need the partition's data and were not wanted before.
    pub fn entering(&self) -> impl Iterator<Item = &NodeId> {
        self.after.iter().filter(|node| !self.before.contains(node))
    }

    /// Nodes that are no longer wanted.
    pub fn leaving(&self) -> impl Iterator<Item = &NodeId> {
        self.before.iter().filter(|node| !self.after.contains(node))
    }
}

/// The partitions that `new` wants elsewhere than `old`, in order.
pub fn moves(
    old: &Ring,
    new: &Ring,
    partitions: Partitions,
    copies: usize,
    spread: Spread,
) -> Vec<Move> {
    partitions
        .all()
        .map(|partition| Move {
            partition,
            before: partitions.wanted(old, partition, copies, spread),
            after: partitions.wanted(new, partition, copies, spread),
        })
        .filter(|change| change.before != change.after)
        .collect()
}
