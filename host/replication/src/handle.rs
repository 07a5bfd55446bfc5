//! What the floors above hold of replication.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions, Ring, Spread};
use registry::{MemberRecord, Session};
use runtime::Instant;
use segment::{Kept, Log, LogEntry, Pulse, Snapshot, SnapshotError, Times, is_sent};
use tokio::sync::{oneshot, watch};
use wire::{NotRun, RequestHead};

use crate::config::{Config, ENTRY_BYTES_MAX};
use crate::core::{Event, Outcome, PartitionView, Why};
use crate::ending::{Ending, Failure};
use crate::inbox::{Command, Inbox};
use crate::peers::Peers;
use crate::reads::unreadable;
use crate::stream::{Stream, Streaming};
use crate::{evidence, forward, membership, stream};

/// How soon an entry that is on its way to the log is looked for again: about one sync.
const READ_AGAIN: Duration = Duration::from_millis(2);

/// The replication of one node. Clones are the same. Holding one keeps nothing running.
#[derive(Clone, Debug)]
pub struct Replication {
    pub(crate) shared: Arc<Shared>,
}

/// What the handles and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) address: SocketAddr,
    pub(crate) inbox: Inbox,
    pub(crate) log: Log,
    /// How long messages took until they were committed.
    pub(crate) commits: Pulse,
    pub(crate) peers: Arc<Peers>,
    pub(crate) ending: Ending,
    /// One a partition, by number.
    pub(crate) views: Vec<watch::Sender<Arc<PartitionView>>>,
    pub(crate) ring: watch::Sender<Arc<RingView>>,
    /// Since when the registry cannot be reached.
    pub(crate) cut_since: Mutex<Option<Instant>>,
    /// The driver's: it ends with it, whoever still holds a handle.
    pub(crate) session: OnceLock<Weak<Session>>,
    /// The cluster's id, once it is known.
    pub(crate) cluster: OnceLock<u64>,
    /// The data folder, once it is known.
    pub(crate) folder: OnceLock<PathBuf>,
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far the driver is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Registered, and the cluster exists.
    pub(crate) joined: bool,
    /// It has ended.
    pub(crate) ended: bool,
    /// How many partitions it leads or takes over.
    pub(crate) led: usize,
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
    /// Runs a request of another node. An answer over [`crate::ANSWER_BYTES_MAX`] bytes cannot be sent and
    /// is lost to the asker, who may ask again: say something shorter. The future is dropped when nobody waits for it any more.
    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering;
    /// Whether the answer to this request can wait: it goes behind everything else that is said to that node.
    fn is_patient(&self, _body: &[u8]) -> bool {
        false
    }
    /// Whether a request begins a stream, which is then given to [`Host::stream`].
    fn streams(&self, body: &[u8]) -> bool {
        let _no_streams = body;
        false
    }
    /// Serves a stream of another node that `body` has begun. The future is dropped when the node stops.
    fn stream(&self, from: NodeId, body: Bytes, stream: Stream) -> Streaming {
        let _not_served = (from, body, stream);
        Box::pin(std::future::ready(()))
    }
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
    /// What it says; at most [`ENTRY_BYTES_MAX`] bytes.
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
        &self.shared.config.node
    }

    /// Where it listens for other nodes.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> Partitions {
        self.shared.config.partitions
    }

    /// How many members an entry must be on before it is shown, in epochs that this node opens.
    pub fn commit(&self) -> u8 {
        self.shared.config.commit
    }

    /// How many members a partition has.
    pub fn copies(&self) -> u8 {
        self.shared.config.copies
    }

    /// What two members of a partition do not share.
    pub fn spread(&self) -> Spread {
        self.shared.config.spread
    }

    /// How long a ring must have been the same before anything is moved by it.
    pub fn settle(&self) -> Duration {
        self.shared.config.timings.settle
    }

    /// The cluster's id, once this node has joined it.
    pub fn cluster(&self) -> Option<u64> {
        self.shared.cluster.get().copied()
    }

    /// How many partitions this node leads or takes over.
    pub fn led(&self) -> usize {
        self.shared.progress.borrow().led
    }

    /// How long the syncs of this node's log took that somebody waited for who sends.
    pub fn log_syncs(&self) -> Times {
        self.shared.log.syncs()
    }

    /// How long messages that were given to this node as a leader took until they were committed.
    pub fn commits(&self) -> Times {
        self.shared.commits.times()
    }

    /// This node's session with the registry, while the driver runs; it ends with it, so keep it no longer
    /// than a call takes.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.shared.session.get().and_then(Weak::upgrade)
    }

    /// For how long the registry has not been reached; `None`: it is reached.
    pub fn unreached(&self) -> Option<Duration> {
        let cut_since = *self.shared.cut_since.lock().unwrap_or_else(PoisonError::into_inner);
        cut_since.map(|since| runtime::now().saturating_duration_since(since))
    }

    /// Waits until this node is registered and the cluster exists. Cancel-safe.
    ///
    /// # Errors
    /// `None` when it was stopped before; otherwise why it ended by itself.
    pub async fn joined(&self) -> Result<(), Option<Failure>> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.joined || progress.ended).await;
        match reached.map(|progress| *progress) {
            Ok(Progress { ended: false, .. }) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why replication ended by itself, if it did. The node must then end too, with a non-zero code.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.ending.failure()
    }

    /// A partition as this node knows it.
    pub fn view(&self, partition: PartitionId) -> Arc<PartitionView> {
        self.watched(partition).map(|view| Arc::clone(&view.borrow())).unwrap_or_default()
    }

    /// Waits until the view of `partition` is another one than `seen`. Cancel-safe.
    pub async fn view_changed(&self, partition: PartitionId, seen: &Arc<PartitionView>) {
        match self.watched(partition).map(watch::Sender::subscribe) {
            // The sender lives as long as this handle.
            Some(mut view) => drop(view.wait_for(|view| !Arc::ptr_eq(view, seen)).await),
            None => std::future::pending().await,
        }
    }

    /// The ring.
    pub fn ring(&self) -> Arc<RingView> {
        let view = Arc::clone(&self.shared.ring.borrow());
        let Some(unreached) = self.unreached() else { return view };
        let stale = u64::try_from(unreached.as_millis()).unwrap_or(u64::MAX).max(1);
        let stale_ms = view.stale_ms.saturating_add(stale);
        Arc::new(RingView { stale_ms, ..RingView::clone(&view) })
    }

    /// The ring's version, also when the registry cannot be reached.
    pub fn ring_version(&self) -> u64 {
        self.shared.ring.borrow().version
    }

    /// Appends an entry; the order of calls is the order of submission, so that a caller that numbers
    /// them under a lock may call this under it. Never waits. `None` when the driver's queue is full, it
    /// has stopped, or the payload is too long: nothing was appended, and the place is still free.
    pub fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        if submission.payload.len() > ENTRY_BYTES_MAX {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let began = is_sent(&submission.payload).then(runtime::now);
        self.shared.inbox.try_send(Command::Submit { submission, began, reply }).ok()?;
        Some(answer)
    }

    /// Waits until everything appended so far in `epoch` is committed. Cancel-safe.
    pub async fn barrier(&self, partition: PartitionId, epoch: u64) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.asked(Command::Barrier { partition, epoch, reply }, answer).await
    }

    /// Waits until enough members have said that this node still leads. Cancel-safe.
    pub async fn confirm(&self, partition: PartitionId) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.asked(Command::Confirm { partition, reply }, answer).await
    }

    /// Committed entries of this node's own log, as [`segment::Log::read`] gives them, from a thread that
    /// may block. Waits for a first one that is still on its way to the disk. `None` when they cannot be
    /// read, which is in the log. Cancel-safe.
    pub async fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Option<Vec<LogEntry>> {
        let until = runtime::now() + self.shared.config.timings.answer;
        loop {
            let log = self.shared.log.clone();
            let read = move || log.read(partition, from, entries_max, bytes_max);
            match runtime::blocking(read).await? {
                // The disks of others can be quicker than this node's own: then an entry is committed,
                // and shown, while it is still on its way to the log here.
                Ok(page) if page.is_empty() && runtime::now() < until => {
                    runtime::sleep(READ_AGAIN).await;
                }
                Ok(page) => return Some(page),
                Err(error) => {
                    tracing::error!(%partition, from, %error, "reading the log");
                    if let Some(event) = unreadable(&error) {
                        // If the queue is full it is found again.
                        drop(self.shared.inbox.try_send(Command::Event(event)));
                    }
                    return None;
                }
            }
        }
    }

    /// Of which partitions something was put aside that the others do not have, and is there still. Blocks for
    /// a moment on the disk.
    pub fn evidence(&self) -> BTreeSet<PartitionId> {
        self.shared.folder.get().map(|folder| evidence::found(folder)).unwrap_or_default()
    }

    /// What is known of this node's own snapshot of a partition without reading it.
    pub fn kept(&self, partition: PartitionId) -> Option<Kept> {
        self.shared.log.kept(partition)
    }

    /// This node's own snapshot of a partition, as [`segment::Log::snapshot`] gives it, from a thread that
    /// may block. `None` if there is none that can be used; why one cannot is in the log. Cancel-safe.
    pub async fn snapshot(&self, partition: PartitionId) -> Option<Snapshot> {
        let log = self.shared.log.clone();
        let read = runtime::blocking(move || log.snapshot(partition)).await?;
        read.unwrap_or_else(|error| {
            tracing::warn!(%partition, error = &error as &dyn std::error::Error,
                "the snapshot is not used: the log is folded instead");
            None
        })
    }

    /// See [`segment::Log::forget_snapshot`].
    pub fn forget_snapshot(&self, partition: PartitionId) {
        self.shared.log.forget_snapshot(partition);
    }

    /// Keeps a snapshot in the place of the one before; whether it did, and if not, why is in the log and the
    /// one before stays. It is written in pieces, and between them it rests as long as they took, so that the
    /// log has the disk at least half of the time. Cancelling leaves the one before.
    pub async fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> bool {
        let Some(kept) = self.try_keep(partition, snapshot).await else { return false };
        if let Err(error) = &kept {
            tracing::warn!(%partition, error = error as &dyn std::error::Error,
                "no snapshot was kept: the one before it stays");
        }
        kept.is_ok()
    }

    /// `None` when the runtime is shutting down.
    async fn try_keep(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
    ) -> Option<Result<(), SnapshotError>> {
        let Snapshot { place, parts } = snapshot;
        let bytes = parts.iter().map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX)).sum();
        let log = self.shared.log.clone();
        let mut draft = match runtime::blocking(move || log.draft(partition, place, bytes)).await? {
            Ok(draft) => draft,
            Err(error) => return Some(Err(error)),
        };
        for part in parts {
            let began = runtime::now();
            match runtime::blocking(move || draft.put(&part).map(|()| draft)).await? {
                Ok(further) => draft = further,
                Err(error) => return Some(Err(error)),
            }
            runtime::sleep(runtime::now() - began).await;
        }
        runtime::blocking(move || draft.finish()).await
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
        forward::ask(self.shared.peers.connection(to), to, head, &body).await
    }

    /// Begins a stream to another node: it goes behind everything else that goes there.
    ///
    /// # Errors
    /// [`StreamEnded`](crate::StreamEnded): it is not connected, or has too many streams already.
    pub async fn stream(&self, to: &NodeId, body: Bytes) -> Result<Stream, crate::StreamEnded> {
        stream::begin(self.shared.peers.connection(to), &body).await
    }

    /// Gives one partition to another member, if one can take it.
    pub async fn hand_over(&self, partition: PartitionId) {
        // Once the driver has ended it leads nothing.
        drop(self.shared.inbox.send(Command::Event(Event::HandOver { partition })).await);
    }

    /// Writes that `node` leaves for good, or that it stays after all; `false` if no node of that name was
    /// ever a member. Asks the registry until it answers; cancelling it leaves unknown whether it was
    /// written, and asking again is harmless.
    ///
    /// # Errors
    /// [`Failure`], also when this node has ended.
    pub async fn set_leaving(&self, node: &NodeId, leaving: bool) -> Result<bool, Failure> {
        membership::set_leaving(&*self.registered()?, node, leaving).await
    }

    /// Says whether this node could serve what it leads: while it could not, it takes nothing over if another
    /// could. A node that says nothing could. Cancelling it leaves unknown whether it was said.
    pub async fn set_ready(&self, ready: bool) {
        // Once the driver has ended it leads nothing.
        drop(self.shared.inbox.send(Command::Event(Event::Ready(ready))).await);
    }

    /// From now on a member that is there is dropped only once enough of the others have all objects, as
    /// [`Replication::set_whole`] says; [`PartitionView::awaits_objects`](crate::core::PartitionView::awaits_objects) asks
    /// for that.
    pub async fn await_objects(&self) {
        // Once the driver has ended it changes nothing.
        drop(self.shared.inbox.send(Command::Event(Event::AwaitObjects)).await);
    }

    /// Says which members have all objects of a partition that this node leads in an epoch.
    pub async fn set_whole(&self, partition: PartitionId, epoch: u64, whole: BTreeSet<NodeId>) {
        let event = Event::Objects { partition, epoch, whole };
        drop(self.shared.inbox.send(Command::Event(event)).await);
    }

    /// What stands of every node that was ever here. Asks the registry until it answers.
    ///
    /// # Errors
    /// [`Failure`], also when this node has ended.
    pub async fn members(&self) -> Result<BTreeMap<NodeId, MemberRecord>, Failure> {
        membership::members(&*self.registered()?).await
    }

    /// Writes that this node leads nothing and takes nothing over, or that it does again, so that the others
    /// do not count on it. Asks the registry until it answers; cancelling it leaves unknown whether it was
    /// written.
    ///
    /// # Errors
    /// [`Failure`], also when this node has ended.
    pub async fn set_draining(&self, draining: bool) -> Result<(), Failure> {
        let session = self.registered()?;
        membership::set_draining(&session, &self.shared.config.node, draining).await.map(drop)
    }

    /// Ends what [`Replication::begin_drain`] began.
    pub async fn end_drain(&self) {
        // Once the driver has ended it leads nothing.
        drop(self.shared.inbox.send(Command::Event(Event::StayOn)).await);
    }

    fn registered(&self) -> Result<Arc<Session>, Failure> {
        self.session().ok_or(Failure::Registry)
    }

    /// Begins to give everything away; from then on nothing is taken over. [`Replication::led`] says how
    /// far it is.
    pub async fn begin_drain(&self) {
        // Once the driver has ended it leads nothing.
        drop(self.shared.inbox.send(Command::Event(Event::Drain)).await);
    }

    /// Gives everything away and takes nothing over any more; returns when nothing is led. Cancelling it
    /// stops the waiting only.
    pub async fn drain(&self) {
        self.begin_drain().await;
        let mut progress = self.shared.progress.subscribe();
        drop(progress.wait_for(|progress| progress.led == 0 || progress.ended).await);
    }

    async fn asked(&self, command: Command, answer: oneshot::Receiver<Outcome>) -> Outcome {
        if self.shared.inbox.try_send(command).is_err() {
            return Outcome::NotCommitted(Why::Overloaded);
        }
        answer.await.unwrap_or(Outcome::Unknown(Why::NotLeading))
    }

    fn watched(&self, partition: PartitionId) -> Option<&watch::Sender<Arc<PartitionView>>> {
        self.shared.views.get(usize::from(partition.0))
    }
}
