//! What the archive stands on, as a trait: the partitions' views and logs, other nodes, bulk data between them.
//!
//! In service it is [`replication::Replication`]; a simulation gives it a world in which everything that can go
//! wrong does.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use replication::core::{Outcome, PartitionView};
use replication::{ForwardError, Replication, RequestHead, RingView, Stream, StreamEnded};
use segment::{Base, LogEntry, Times};

/// Something that takes a while. Dropping it stops waiting.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the archive stands on. Each function is that of [`Replication`] with the same name.
pub trait Ground: std::fmt::Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> &NodeId;
    /// How many partitions there are.
    fn partitions(&self) -> Partitions;
    /// How many members an entry must be on before it is shown.
    fn commit(&self) -> u8;
    /// How many members a partition has.
    fn copies(&self) -> u8;
    /// A partition as this node knows it.
    fn view(&self, partition: PartitionId) -> Arc<PartitionView>;
    /// Waits until the view is another one.
    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()>;
    /// The ring.
    fn ring(&self) -> Arc<RingView>;
    /// Waits until enough members have said that this node still leads.
    fn confirm(&self, partition: PartitionId) -> Later<'_, Outcome>;
    /// Entries of this node's own log.
    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>>;
    /// What this node's log of a partition begins with.
    fn base(&self, partition: PartitionId) -> Option<Base>;
    /// How long the log's syncs took, ever.
    fn log_syncs(&self) -> Times;
    /// How long messages took until they were committed, ever.
    fn commits(&self) -> Times;
    /// Lets another node run a request.
    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>>;
    /// Begins a stream to another node.
    fn stream<'a>(&'a self, to: &'a NodeId, body: Bytes) -> Later<'a, Result<Stream, StreamEnded>>;
    /// From now on changes of members wait for objects.
    fn await_objects(&self) -> Later<'_, ()>;
    /// These members have all objects of a partition that this node leads in an epoch.
    fn set_whole(
        &self,
        partition: PartitionId,
        epoch: u64,
        whole: BTreeSet<NodeId>,
    ) -> Later<'_, ()>;
}

impl Ground for Replication {
    fn node(&self) -> &NodeId {
        Self::node(self)
    }

    fn partitions(&self) -> Partitions {
        Self::partitions(self)
    }

    fn commit(&self) -> u8 {
        Self::commit(self)
    }

    fn copies(&self) -> u8 {
        Self::copies(self)
    }

    fn view(&self, partition: PartitionId) -> Arc<PartitionView> {
        Self::view(self, partition)
    }

    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(Self::view_changed(self, partition, seen))
    }

    fn ring(&self) -> Arc<RingView> {
        Self::ring(self)
    }

    fn confirm(&self, partition: PartitionId) -> Later<'_, Outcome> {
        Box::pin(Self::confirm(self, partition))
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        Box::pin(Self::read(self, partition, from, entries_max, bytes_max))
    }

    fn base(&self, partition: PartitionId) -> Option<Base> {
        Self::base(self, partition)
    }

    fn log_syncs(&self) -> Times {
        Self::log_syncs(self)
    }

    fn commits(&self) -> Times {
        Self::commits(self)
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(Self::forward(self, to, head, body))
    }

    fn stream<'a>(&'a self, to: &'a NodeId, body: Bytes) -> Later<'a, Result<Stream, StreamEnded>> {
        Box::pin(Self::stream(self, to, body))
    }

    fn await_objects(&self) -> Later<'_, ()> {
        Box::pin(Self::await_objects(self))
    }

    fn set_whole(
        &self,
        partition: PartitionId,
        epoch: u64,
        whole: BTreeSet<NodeId>,
    ) -> Later<'_, ()> {
        Box::pin(Self::set_whole(self, partition, epoch, whole))
    }
}
