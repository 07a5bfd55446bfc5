//! What a partition log is made of, and what may be done to it.

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hash over a log up to one entry: two logs with the same chain at the same place are the same up
/// to there. The first 16 bytes of SHA-256 over the chain before, epoch, seq and payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    /// The chain after one more entry.
    #[must_use]
    pub fn next(self, epoch: u64, seq: u64, payload: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(epoch.to_le_bytes())
            .chain_update(seq.to_le_bytes())
            .chain_update(payload)
            .finalize();
        let mut chain = [0; 16];
        for (to, from) in chain.iter_mut().zip(digest) {
            *to = from;
        }
        Self(chain)
    }
}

/// One entry of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The epoch that made it.
    pub epoch: u64,
    /// Its number in the partition: 1, 2, 3 …
    pub seq: u64,
    /// The hash of the log up to and with it.
    pub chain: Chain,
    /// Its contents.
    pub payload: Bytes,
}

/// Where a log ends; zeros for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogEnd {
    /// Epoch of the last entry.
    pub epoch: u64,
    /// Its number.
    pub seq: u64,
    /// Its chain.
    pub chain: Chain,
}

/// Below which epoch a replica takes nothing, and whom it promised that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The epoch.
    pub epoch: u64,
    /// Its primary or candidate.
    pub node: NodeId,
    /// The process life of that node.
    pub boot: u64,
}

/// One change of what the disk holds. Applied in the order of submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Entries that follow the log's end.
    Append {
        /// Whose log.
        partition: PartitionId,
        /// In order, without gaps.
        entries: Vec<LogEntry>,
    },
    /// Drops every entry after a seq.
    Cut {
        /// Whose log.
        partition: PartitionId,
        /// The last entry that stays; 0 drops all.
        after: u64,
    },
    /// Keeps a promise.
    Promise {
        /// Of which partition.
        partition: PartitionId,
        /// What is promised.
        promise: Promise,
    },
    /// Keeps that the log lacks something that was there: it is damaged until it has an entry of a later
    /// epoch.
    Doubt {
        /// Whose log.
        partition: PartitionId,
        /// Nothing of what is missing is of a later epoch.
        epoch: u64,
    },
    /// The log begins behind an entry that is committed: what is kept of it and of everything before is in a
    /// base file that is on the disk. If the log ends before that entry, it goes on there, and has nothing
    /// that it had.
    Base {
        /// Whose log.
        partition: PartitionId,
        /// The entry.
        base: LogEnd,
    },
    /// Value files before this one are needed no more. Only the log itself asks for that.
    Release {
        /// The first that is.
        file: u32,
    },
    /// Keeps what is known to be committed: a hint that never asks for a sync of its own.
    Commit {
        /// Of which partition.
        partition: PartitionId,
        /// Everything up to here is committed.
        seq: u64,
    },
}
