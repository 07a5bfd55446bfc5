//! Why a node's replication ended by itself, and how the node learns of it.

use std::sync::{Arc, OnceLock};

use hashring::NodeId;
use runtime::Stop;

/// Replication cannot go on, and so neither can the node. Everything it acknowledged is safe: it is on
/// the disks that acknowledged it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A write or a sync failed. Nobody knows what is on the disk, so nothing more was acknowledged;
    /// look at the disk, and start again.
    #[error("the log cannot be written: {0}")]
    Log(String),
    /// A later process runs under this node's name. This one stopped itself; stop one of them for good.
    #[error("{0}")]
    Superseded(String),
    /// The registry holds a cluster that this configuration does not fit. Nothing was changed; correct
    /// `cluster.partitions`, or the registry's address.
    #[error("the cluster has {theirs} partitions, this node is configured for {ours}")]
    Partitions {
        /// The cluster's.
        theirs: u16,
        /// This node's.
        ours: u16,
    },
    /// A record in the registry cannot be read. Nothing was changed; an operator has to mend it.
    #[error(
        "the registry's record {key}: {text}; put back what a node wrote there, and start again"
    )]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        text: String,
    },
    /// The registry does not let this node do what it must. Nothing was changed; the text says what to
    /// correct.
    #[error("{0}")]
    Refused(String),
    /// The registry has stopped for good. What is committed stays; start the node again.
    #[error("the registry has stopped")]
    Registry,
    /// The data folder belongs to another cluster than the registry. Nothing was changed; correct the
    /// registry's address, or give the node another data folder.
    #[error("the data folder belongs to cluster {ours:016x}, and the registry to {theirs:016x}")]
    Cluster {
        /// The registry's.
        theirs: u64,
        /// The folder's.
        ours: u64,
    },
    /// The other nodes of the cluster would not believe this one. It has no places and holds nothing; give
    /// it a certificate of their authority, and start it again.
    #[error(
        "node {node} of this cluster has a certificate of another authority: the nodes of one cluster \
         need certificates that one ca.pem has signed"
    )]
    Authority {
        /// One of the others.
        node: NodeId,
    },
    /// The data folder cannot be written. Nothing was acknowledged; look at the disk.
    #[error("the data folder: {0}")]
    Folder(String),
}

/// Ends the node for a reason. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    failure: Arc<OnceLock<Failure>>,
    stop: Arc<OnceLock<Stop>>,
}

impl Ending {
    /// What [`Ending::fail`] stops.
    pub(crate) fn stops(&self, stop: &Stop) {
        // Started once; a second start would be a mistake that changes nothing.
        drop(self.stop.set(stop.clone()));
    }

    /// Ends the node. The first failure is the one that is told.
    pub(crate) fn fail(&self, failure: Failure) {
        tracing::error!(%failure, "replication ends, and the node with it");
        drop(self.failure.set(failure));
        if let Some(stop) = self.stop.get() {
            stop.stop();
        }
    }

    /// Why, if it did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }
}
