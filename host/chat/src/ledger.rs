//! What the chats need of replication, as a trait: the log, the partitions' views, other nodes.
//!
//! In service it is [`replication::Replication`]; in tests it is a log in memory that commits when it is
//! told to and loses epochs on purpose. The wall clock and the dice are here too, because what they say
//! goes into entries.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use model::ChatToken;
use replication::core::{Outcome, PartitionView};
use replication::{Anew, ForwardError, Replication, RequestHead, RingView, Submission};
use segment::{Base, Kept, LogEntry, Snapshot};
use tokio::sync::oneshot;

/// Something that takes a while. Dropping it stops waiting.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the chats stand on. Each function is that of [`Replication`] with the same name.
pub trait Ledger: std::fmt::Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;
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
    /// Its version. Asked with every answer, so it should cost less than the ring.
    fn ring_version(&self) -> u64 {
        self.ring().version
    }
    /// Appends an entry; never waits. `None`: nothing was appended, and the place is still free.
    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>>;
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
    /// What is known of this node's own snapshot of a partition without reading it.
    fn kept(&self, partition: PartitionId) -> Option<Kept>;
    /// That snapshot. `None` if there is none that is whole.
    fn snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>>;
    /// It cannot be used: from here on there is none.
    fn forget_snapshot(&self, partition: PartitionId);
    /// Keeps a snapshot in the place of the one before; whether it did.
    fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool>;
    /// What this node's log of a partition begins with; `None` if that is its first entry, as with one that is
    /// never trimmed.
    fn base(&self, _partition: PartitionId) -> Option<Base> {
        None
    }
    /// What was made of the log up to there. `None` if there is nothing, or it cannot be read.
    fn base_snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(None))
    }
    /// After which entry the log has no more than so many entries and bytes; `None` if that is not known.
    fn weigh(
        &self,
        _partition: PartitionId,
        _entries_max: u64,
        _bytes_max: u64,
    ) -> Later<'_, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
    /// Lets the log begin behind the snapshot's place, and keeps these entries of those before, some of them written
    /// anew; whether they were written.
    fn trim(
        &self,
        _partition: PartitionId,
        _snapshot: Snapshot,
        _kept: Vec<u64>,
        _anew: Anew,
    ) -> Later<'_, bool> {
        Box::pin(std::future::ready(false))
    }
    /// Lets another node run a request.
    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>>;
    /// Unix milliseconds, for what is shown.
    fn wall_ms(&self) -> u64 {
        runtime::wall_ms()
    }
    /// A name for a chat that nobody can guess.
    fn token(&self) -> ChatToken {
        ChatToken(rand::random())
    }
}

impl Ledger for Replication {
    fn node(&self) -> NodeId {
        Self::node(self).clone()
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

    fn ring_version(&self) -> u64 {
        Self::ring_version(self)
    }

    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        Self::submit(self, submission)
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

    fn kept(&self, partition: PartitionId) -> Option<Kept> {
        Self::kept(self, partition)
    }

    fn snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(Self::snapshot(self, partition))
    }

    fn forget_snapshot(&self, partition: PartitionId) {
        Self::forget_snapshot(self, partition);
    }

    fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool> {
        Box::pin(Self::keep_snapshot(self, partition, snapshot))
    }

    fn base(&self, partition: PartitionId) -> Option<Base> {
        Self::base(self, partition)
    }

    fn base_snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(Self::base_snapshot(self, partition))
    }

    fn weigh(
        &self,
        partition: PartitionId,
        entries_max: u64,
        bytes_max: u64,
    ) -> Later<'_, Option<u64>> {
        Box::pin(Self::weigh(self, partition, entries_max, bytes_max))
    }

    fn trim(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        anew: Anew,
    ) -> Later<'_, bool> {
        Box::pin(Self::trim(self, partition, snapshot, kept, anew))
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(Self::forward(self, to, head, body))
    }
}
