//! What the floors above hold of replication.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions, Ring};
use segment::LogEntry;
use tokio::sync::oneshot;
use wire::{NotRun, RequestHead};

use crate::core::{Outcome, PartitionView};

/// The replication of one node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Replication {
    shared: Arc<()>,
}

/// Who is told what becomes of the partitions this node leads, and who answers requests that another
/// node sent on. Told from the driver's task, in order: it must not wait, and must be quick.
pub trait Host: Send + Sync + 'static {
    /// This node leads `epoch`; everything up to `seq` is committed. Nothing is served before this.
    fn opened(&self, partition: PartitionId, epoch: u64, seq: u64);
    /// Everything up to `seq` is committed. Told before the answers to what was submitted.
    fn committed(&self, partition: PartitionId, epoch: u64, seq: u64);
    /// This node does not lead `epoch` any more. What was not committed may vanish.
    fn closed(&self, partition: PartitionId, epoch: u64);
    /// Runs a request of another node.
    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering;
}

/// The answer to another node's request, while it is made.
pub type Answering = Pin<Box<dyn Future<Output = Result<Bytes, NotRun>> + Send>>;

/// An entry to append.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Which partition.
    pub partition: PartitionId,
    /// The epoch it is meant for.
    pub epoch: u64,
    /// The place it is meant for: one more than the last one submitted in this epoch.
    pub seq: u64,
    /// What it says.
    pub payload: Bytes,
    /// How many members must hold it before the answer, this node included.
    pub acks: u8,
}

/// Why a request to another node has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was not run there. It may be sent elsewhere without harm.
    #[error("node {to} did not run it")]
    NotRun {
        /// Whom it was sent to.
        to: NodeId,
        /// Why not, if the node said so; `None`: it cannot be reached.
        why: Option<NotRun>,
    },
    /// It may or may not have been run there. Only a key makes sending it again safe.
    #[error("the answer of node {to} is lost")]
    Lost {
        /// Whom it was sent to.
        to: NodeId,
    },
    /// Nothing came in time. It may or may not have been run there.
    #[error("no answer of node {to} in time")]
    Late {
        /// Whom it was sent to.
        to: NodeId,
    },
}

/// The ring as this node knows it.
#[derive(Clone, Debug, Default)]
pub struct RingView {
    /// Rises with every change this node sees.
    pub version: u64,
    /// How long ago it was last known to be true, in milliseconds; 0 while the registry is reachable.
    pub stale_ms: u64,
    /// The positions.
    pub ring: Ring,
    /// The nodes, by id.
    pub nodes: Vec<RingMember>,
}

/// One node of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingMember {
    /// Its id.
    pub id: NodeId,
    /// Short name of its machine.
    pub hostname: String,
    /// Full name of its machine.
    pub fqdn: String,
    /// Where it answers clients: the URL.
    pub http: String,
    /// Where it answers nodes: `host:port`.
    pub quic: String,
    /// Its failure domain, or nothing.
    pub zone: String,
    /// How many shares of the ring it asked for.
    pub weight: u32,
    /// Whether this node is connected to it, or is it.
    pub up: bool,
}

impl Replication {
    /// This node.
    pub fn node(&self) -> &NodeId {
        todo!("the driver's")
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> Partitions {
        todo!("the driver's")
    }

    /// How many members an entry must be on before it is shown, in epochs that this node opens.
    pub fn commit(&self) -> u8 {
        todo!("the driver's")
    }

    /// How many members a partition has.
    pub fn copies(&self) -> u8 {
        todo!("the driver's")
    }

    /// A partition as this node knows it.
    pub fn view(&self, partition: PartitionId) -> Arc<PartitionView> {
        let _unused = (partition, &self.shared);
        todo!("the driver's")
    }

    /// Waits until the view of `partition` is another one than `seen`. Cancel-safe.
    pub async fn view_changed(&self, partition: PartitionId, seen: &Arc<PartitionView>) {
        let _unused = (partition, seen);
        std::future::pending().await
    }

    /// The ring.
    pub fn ring(&self) -> Arc<RingView> {
        todo!("the driver's")
    }

    /// Appends an entry; the order of calls is the order of submission, so that a caller that numbers
    /// them under a lock may call this under it. Never waits. `None` when the driver's queue is full or
    /// it has stopped: nothing was appended, and the place is still free.
    pub fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        let _unused = submission;
        None
    }

    /// Waits until everything appended so far in `epoch` is committed. Cancel-safe.
    pub async fn barrier(&self, partition: PartitionId, epoch: u64) -> Outcome {
        let _unused = (partition, epoch);
        std::future::pending().await
    }

    /// Waits until enough members have said that this node still leads. Cancel-safe.
    pub async fn confirm(&self, partition: PartitionId) -> Outcome {
        let _unused = partition;
        std::future::pending().await
    }

    /// Entries of this node's own log, as [`segment::Log::read`] gives them, from a thread that may block.
    /// `None` when they cannot be read, which is in the log.
    pub async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Option<Vec<LogEntry>> {
        let _unused = (partition, from, entries_max, bytes_max);
        std::future::pending().await
    }

    /// Lets another node run a request. Dropping the future stops waiting, not the request.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward(
        &self,
        to: &NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Result<Bytes, ForwardError> {
        let _unused = (to, head, body);
        std::future::pending().await
    }
}
