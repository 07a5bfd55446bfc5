//! Who holds a partition, as the registry records it.
//!
//! One record a partition, changed only by compare-and-set. `prev_*` describe the last epoch that was
//! *open*: a seal must meet every commit of that epoch, and replacing a sealing record carries them
//! over unchanged.

use hashring::NodeId;
use serde::{Deserialize, Serialize};

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
