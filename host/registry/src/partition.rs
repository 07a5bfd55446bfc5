//! Who holds a partition, as the registry records it.
//!
//! One record a partition, changed only by compare-and-set. `prev_*` describe the last epoch that was
//! *open*: a seal must meet every commit of that epoch, and replacing a sealing record carries them
//! over unchanged.

use hashring::NodeId;
use serde::{Deserialize, Serialize};

use crate::codec::{COUNT_MAX, Record};

/// One data directory on one node. A wiped or foreign directory has another store id, so that what it
/// says is not counted for what it no longer holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub store: u64,
}

/// What a partition's current epoch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionState {
    /// A candidate is sealing the last open epoch; nobody serves.
    Sealing,
    /// The primary serves.
    Open,
}

/// The registry's record of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionRecord {
    /// The number of this reign; rises with every change of primary or ensemble.
    pub epoch: u64,
    /// Sealing or open.
    pub state: PartitionState,
    /// Who leads it, or will; none in epoch 0.
    pub primary: Option<NodeId>,
    /// The process life of the primary.
    pub boot: u64,
    /// Who must hold what is committed in this epoch.
    pub ensemble: Vec<Member>,
    /// How many of them make an entry committed.
    pub commit: u8,
    /// The last open epoch.
    pub prev_epoch: u64,
    /// Its ensemble.
    pub prev_ensemble: Vec<Member>,
    /// Its commit quorum.
    pub prev_commit: u8,
    /// Made anew for every write, so that a writer whose answer was lost can tell its own record.
    pub nonce: u64,
}

impl Record for PartitionRecord {
    fn fault(&self) -> Option<&'static str> {
        let met = |ensemble: &[Member], commit: u8| {
            let mut nodes: Vec<&NodeId> = ensemble.iter().map(|member| &member.node).collect();
            nodes.sort_unstable();
            let twice = nodes.windows(2).any(|pair| matches!(pair, [one, other] if one == other));
            commit > 0 && usize::from(commit) <= ensemble.len() && !twice
        };
        if self.epoch > COUNT_MAX || self.boot > COUNT_MAX {
            return Some("no partition has had so many reigns, or no node so many lives");
        }
        if self.prev_epoch > self.epoch {
            return Some("the reign before is a later one");
        }
        let sound = met(&self.ensemble, self.commit) && met(&self.prev_ensemble, self.prev_commit);
        (!sound).then_some("an ensemble names a node twice, or cannot meet its commit quorum")
    }
}

impl PartitionRecord {
    /// The record a partition begins with: epoch 0, open, led by nobody.
    pub fn first(ensemble: Vec<Member>, commit: u8) -> Self {
        Self {
            epoch: 0,
            state: PartitionState::Open,
            primary: None,
            boot: 0,
            prev_ensemble: ensemble.clone(),
            ensemble,
            commit,
            prev_epoch: 0,
            prev_commit: commit,
            nonce: 0,
        }
    }

    /// The ensemble and commit quorum that a seal of this record's successor must meet: those of the
    /// last open epoch.
    pub fn last_open(&self) -> (u64, &[Member], u8) {
        match self.state {
            PartitionState::Open => (self.epoch, &self.ensemble, self.commit),
            PartitionState::Sealing => (self.prev_epoch, &self.prev_ensemble, self.prev_commit),
        }
    }

    /// Whether this store of this node is in the ensemble.
    pub fn names(&self, node: &NodeId, store: u64) -> bool {
        self.ensemble.iter().any(|member| member.node == *node && member.store == store)
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, PartitionRecord};
    use crate::codec::{COUNT_MAX, DecodeError, decode, encode};

    #[test]
    fn a_record_that_no_node_can_have_written_is_refused() {
        let member = |node: &str| Member { node: node.parse().unwrap(), store: 1 };
        let first = PartitionRecord::first(vec![member("a"), member("b")], 2);
        let last = PartitionRecord { epoch: COUNT_MAX, ..first.clone() };
        for sound in [first.clone(), last] {
            assert_eq!(decode::<PartitionRecord>(&encode(&sound)).unwrap(), sound);
        }
        let twice = vec![member("a"), member("a")];
        for unsound in [
            PartitionRecord { epoch: u64::MAX, ..first.clone() },
            PartitionRecord { boot: u64::MAX, ..first.clone() },
            PartitionRecord { prev_epoch: 1, ..first.clone() },
            PartitionRecord { commit: 3, ..first.clone() },
            PartitionRecord { prev_commit: 0, ..first.clone() },
            PartitionRecord { ensemble: Vec::new(), ..first.clone() },
            PartitionRecord { ensemble: twice, ..first },
        ] {
            let refused = decode::<PartitionRecord>(&encode(&unsound));
            assert!(matches!(refused, Err(DecodeError::Unsound(_))), "{unsound:?}");
        }
    }
}
