//! What this crate needs of its node, as a trait: the log first of all.
//!
//! In service it is the chats, replication and the registry; in tests it is a log in memory.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use model::{ChatToken, Outbox, Outcall};
use registry::Session;
use replication::core::Outcome;
use segment::LogEntry;
use tokio::sync::oneshot;

use crate::hook::Hook;

/// Something that takes a while. Dropping it stops waiting.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A plugin's call to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of which chat.
    pub chat: ChatToken,
    /// Its number there.
    pub number: u64,
    /// What it says.
    pub outcall: Arc<Outcall>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of which chat.
    pub chat: ChatToken,
    /// Its number there.
    pub number: u64,
    /// The status; 0: there was no answer that ends it.
    pub status: u16,
    /// What was answered.
    pub body: Bytes,
    /// How often it was tried.
    pub attempts: u32,
}

/// The registry, as far as there is one.
#[derive(Clone, Debug)]
pub enum Access {
    /// There is none: a service is what the node's own file says, and stops are forgotten with the process.
    Absent,
    /// There is one, and no session with it at the moment.
    Away,
    /// This node's session. Keep it no longer than it is used.
    There(Arc<Session>),
}

/// The log of each partition, and what it says is owed.
pub trait Desk: Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;
    /// This process life of the node.
    fn boot(&self) -> u64 {
        0
    }
    /// The registry with the cluster's records of services.
    fn registry(&self) -> Access {
        Access::Absent
    }
    /// The URLs at which the instances of a service are that has this path in the service registry.
    fn instances(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }
    /// What is waited for between the steps: nothing, but in tests.
    fn hook(&self) -> Option<&Hook> {
        None
    }
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
    /// The first call of each chat that is `wanted`.
    fn calls(
        &self,
        partition: PartitionId,
        epoch: u64,
        wanted: &dyn Fn(&Outcall) -> bool,
    ) -> Vec<Call>;
    /// Gives a reply to the plugin that waits for it; whether that is over.
    fn reply(&self, reply: Reply) -> Later<'_, bool>;
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
