//! What the archive of one process life stands on: a ground that hands everything on to the world.
//!
//! It does what [`replication::Replication`] does between its callers and its driver, and what the chats do for the
//! archive: it numbers what is appended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::{Append, Ground, Later};
use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use model::ChatToken;
use replication::core::{Event, Outcome, PartitionView};
use replication::{
    ForwardError, NotRun, RequestHead, RingMember, RingView, Stream, StreamEnded, Submission,
};
use segment::{Base, LogEntry, Times};
use tokio::sync::{Notify, oneshot};

use super::clients::Heard;

/// How soon an entry that is on its way to the log is looked for again. Replication looks more often.
const READ_AGAIN: Duration = Duration::from_millis(10);
/// For how long.
const READ_MAX: Duration = Duration::from_secs(5);

/// Something that the archive wants of the world, or tells it.
#[derive(Debug)]
pub(crate) enum Wanted {
    Submit {
        submission: Submission,
        reply: oneshot::Sender<Outcome>,
    },
    Confirm {
        partition: PartitionId,
        reply: oneshot::Sender<Outcome>,
    },
    Read {
        partition: PartitionId,
        from: u64,
        max: (usize, usize),
        reply: oneshot::Sender<Option<Vec<LogEntry>>>,
    },
    Forward {
        to: NodeId,
        head: RequestHead,
        body: Bytes,
        reply: oneshot::Sender<Result<Bytes, ForwardError>>,
    },
    /// The answer to another node's request.
    Answered {
        call: u64,
        answer: Result<Bytes, NotRun>,
    },
    Stream {
        to: NodeId,
        body: Bytes,
        reply: oneshot::Sender<Stream>,
    },
    /// What the node's own partitions are told.
    Tell(Event),
    /// The answer to a client.
    Done {
        operation: u64,
        heard: Box<Heard>,
    },
}

/// The ground of a simulated node.
#[derive(Debug)]
pub(crate) struct Port {
    node: NodeId,
    partitions: Partitions,
    commit: u8,
    copies: u8,
    ring: Arc<RingView>,
    inner: Mutex<Inner>,
    viewed: Notify,
}

/// The same, as the archive takes it.
#[derive(Debug)]
pub(crate) struct Standing(pub(crate) Arc<Port>);

#[derive(Debug)]
struct Inner {
    views: Vec<Arc<PartitionView>>,
    /// The epoch and the place of the next entry of each partition that is led.
    reigns: BTreeMap<PartitionId, (u64, u64)>,
    wanted: VecDeque<Wanted>,
    /// Counts whatever was done, so that it can be seen when nothing is.
    steps: u64,
}

impl Port {
    pub(crate) fn new(
        node: NodeId,
        partitions: Partitions,
        (commit, copies): (u8, u8),
        nodes: usize,
    ) -> Self {
        let member = |index: usize| RingMember {
            id: format!("n{}", index + 1).parse().expect("a label"),
            hostname: String::new(),
            fqdn: String::new(),
            http: String::new(),
            quic: String::new(),
            zone: String::new(),
            weight: 1,
            up: true,
        };
        let ring = RingView { nodes: (0..nodes).map(member).collect(), ..RingView::default() };
        let inner = Inner {
            views: vec![Arc::default(); usize::from(partitions.count())],
            reigns: BTreeMap::new(),
            wanted: VecDeque::new(),
            steps: 0,
        };
        let (inner, viewed) = (Mutex::new(inner), Notify::new());
        Self { node, partitions, commit, copies, ring: Arc::new(ring), inner, viewed }
    }

    /// A partition's view is another one.
    pub(crate) fn show(&self, partition: PartitionId, view: PartitionView) {
        self.inner().views[usize::from(partition.0)] = Arc::new(view);
        self.viewed.notify_waiters();
    }

    pub(crate) fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        self.inner().reigns.insert(partition, (epoch, seq + 1));
    }

    pub(crate) fn closed(&self, partition: PartitionId) {
        self.inner().reigns.remove(&partition);
    }

    /// Everything wanted since the last time, in order.
    pub(crate) fn take(&self) -> VecDeque<Wanted> {
        std::mem::take(&mut self.inner().wanted)
    }

    pub(crate) fn want(&self, wanted: Wanted) {
        let mut inner = self.inner();
        inner.steps += 1;
        inner.wanted.push_back(wanted);
    }

    /// Something was done.
    pub(crate) fn step(&self) {
        self.inner().steps += 1;
    }

    pub(crate) fn steps(&self) -> u64 {
        self.inner().steps
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Append for Port {
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let mut inner = self.inner();
        let (_, next) = inner.reigns.get_mut(&partition).filter(|(of, _)| *of == epoch)?;
        let seq = *next;
        *next += 1;
        let submission = Submission { partition, epoch, seq, payload, acks };
        let (reply, answer) = oneshot::channel();
        inner.steps += 1;
        inner.wanted.push_back(Wanted::Submit { submission, reply });
        Some((seq, answer))
    }

    fn give_up(&self, partition: PartitionId, _epoch: u64) {
        self.closed(partition);
    }

    /// Attachments' chats are the chats' own world.
    fn has_chat(&self, _: PartitionId, _epoch: u64, _: ChatToken) -> Option<bool> {
        Some(true)
    }
}

impl Ground for Standing {
    fn node(&self) -> &NodeId {
        &self.0.node
    }

    fn partitions(&self) -> Partitions {
        self.0.partitions
    }

    fn commit(&self) -> u8 {
        self.0.commit
    }

    fn copies(&self) -> u8 {
        self.0.copies
    }

    fn view(&self, partition: PartitionId) -> Arc<PartitionView> {
        self.0.inner().views.get(usize::from(partition.0)).map(Arc::clone).unwrap_or_default()
    }

    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            loop {
                let viewed = self.0.viewed.notified();
                tokio::pin!(viewed);
                viewed.as_mut().enable();
                if !Arc::ptr_eq(&self.view(partition), seen) {
                    return;
                }
                viewed.await;
            }
        })
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::clone(&self.0.ring)
    }

    fn confirm(&self, partition: PartitionId) -> Later<'_, Outcome> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.0.want(Wanted::Confirm { partition, reply });
            answer.await.unwrap_or(Outcome::Unknown(replication::core::Why::NotLeading))
        })
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        Box::pin(async move {
            let until = runtime::now() + READ_MAX;
            loop {
                let (reply, read) = oneshot::channel();
                let max = (entries_max, bytes_max);
                self.0.want(Wanted::Read { partition, from, max, reply });
                let page = read.await.ok().flatten()?;
                if !page.is_empty() || runtime::now() >= until {
                    return Some(page);
                }
                runtime::sleep(READ_AGAIN).await;
            }
        })
    }

    /// Logs with objects are whole here.
    fn base(&self, _partition: PartitionId) -> Option<Base> {
        None
    }

    fn log_syncs(&self) -> Times {
        Times::default()
    }

    fn commits(&self) -> Times {
        Times::default()
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.0.want(Wanted::Forward { to: to.clone(), head, body, reply });
            answer.await.unwrap_or(Err(ForwardError::Lost { to: to.clone() }))
        })
    }

    fn stream<'a>(&'a self, to: &'a NodeId, body: Bytes) -> Later<'a, Result<Stream, StreamEnded>> {
        Box::pin(async move {
            let (reply, begun) = oneshot::channel();
            self.0.want(Wanted::Stream { to: to.clone(), body, reply });
            begun.await.map_err(|_not_connected| StreamEnded)
        })
    }

    fn await_objects(&self) -> Later<'_, ()> {
        self.0.want(Wanted::Tell(Event::AwaitObjects));
        Box::pin(std::future::ready(()))
    }

    fn set_whole(
        &self,
        partition: PartitionId,
        epoch: u64,
        whole: BTreeSet<NodeId>,
    ) -> Later<'_, ()> {
        self.0.want(Wanted::Tell(Event::Objects { partition, epoch, whole }));
        Box::pin(std::future::ready(()))
    }
}
