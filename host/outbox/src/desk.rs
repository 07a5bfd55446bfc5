//! What this crate needs of the log, as a trait.
//!
//! In service it is the chats and replication; in tests it is a log in memory.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use model::{ChatToken, Outbox};
use replication::core::Outcome;
use segment::LogEntry;
use tokio::sync::oneshot;

/// Something that takes a while. Dropping it stops waiting.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The log of each partition, and what it says is owed.
pub trait Desk: Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;
    /// The other nodes of the cluster, as far as they are there.
    fn others(&self) -> Vec<NodeId>;
    /// Asks another node; nothing when there is no answer in time.
    fn ask<'a>(&'a self, node: &'a NodeId, question: Bytes) -> Later<'a, Option<Bytes>>;
    /// How many partitions there are.
    fn partitions(&self) -> Partitions;
    /// What names the cluster in ids of transactions. It is known before anything is led.
    fn cluster(&self) -> u32;
    /// The epoch in which this node leads a partition and knows what it owes.
    fn leads(&self, partition: PartitionId) -> Option<u64>;
    /// Lets `look` see what is owed in an epoch that this node leads; up to which entry the log is committed.
    fn owed(
        &self,
        partition: PartitionId,
        epoch: u64,
        look: &mut dyn FnMut(&Outbox),
    ) -> Option<u64>;
    /// Which of its chat's messages an event is, from 1; 0 if the chat is forgotten.
    fn number(
        &self,
        partition: PartitionId,
        epoch: u64,
        chat: ChatToken,
        seq: u64,
        index: u32,
    ) -> u64;
    /// Appends an entry. `None`: nothing was appended.
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
    ) -> Option<oneshot::Receiver<Outcome>>;
    /// An entry that was appended was refused after all.
    fn give_up(&self, partition: PartitionId, epoch: u64);
    /// Committed entries from `from` on. `None` or nothing: they cannot be read at the moment.
    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>>;
}
