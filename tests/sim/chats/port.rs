//! What the chats of one process life stand on: a ledger that hands everything on to the world.
//!
//! It does what [`replication::Replication`] does between its callers and its driver: it queues what is
//! asked, keeps the views that the core told, and reads on while an entry is on its way to the disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chat::{Later, Ledger, Refusal, Response};
use hashring::{NodeId, PartitionId, Partitions};
use model::ChatToken;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::core::{Outcome, PartitionView, Why};
use replication::{Anew, ENTRY_BYTES_MAX, ForwardError, NotRun, RequestHead, RingView, Submission};
use segment::{Base, Kept, LogEntry, Snapshot};
use tokio::sync::{Notify, oneshot};

/// How soon an entry that is on its way to the log is looked for again. Replication looks more often.
const READ_AGAIN: Duration = Duration::from_millis(10);
/// For how long.
const READ_MAX: Duration = Duration::from_secs(5);

/// Something that the chats want of the world, or tell it.
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
    Snapshot {
        partition: PartitionId,
        reply: oneshot::Sender<Option<Snapshot>>,
    },
    Keep {
        partition: PartitionId,
        snapshot: Snapshot,
        reply: oneshot::Sender<bool>,
    },
    BaseSnapshot {
        partition: PartitionId,
        reply: oneshot::Sender<Option<Snapshot>>,
    },
    Weigh {
        partition: PartitionId,
        max: (u64, u64),
        reply: oneshot::Sender<Option<u64>>,
    },
    Trim {
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        reply: oneshot::Sender<bool>,
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
    /// The answer to a client.
    Done {
        operation: u64,
        result: Box<Result<Response, Refusal>>,
    },
}

/// A ledger of a simulated node.
#[derive(Debug)]
pub(crate) struct Port {
    node: NodeId,
    partitions: Partitions,
    commit: u8,
    copies: u8,
    inner: Mutex<Inner>,
    viewed: Notify,
}

#[derive(Debug)]
struct Inner {
    views: Vec<Arc<PartitionView>>,
    kept: BTreeMap<PartitionId, Kept>,
    /// What the logs begin with, as far as that is on the disk.
    bases: BTreeMap<PartitionId, Base>,
    wanted: VecDeque<Wanted>,
    wall_ms: u64,
    dice: StdRng,
    /// How many of a thousand find the queue full.
    busy_per_mille: u32,
    /// Counts whatever was done, so that it can be seen when nothing is.
    steps: u64,
}

impl Port {
    pub(crate) fn new(
        node: NodeId,
        partitions: Partitions,
        (commit, copies): (u8, u8),
        snapshots: &BTreeMap<PartitionId, Snapshot>,
        bases: BTreeMap<PartitionId, Base>,
        seed: u64,
    ) -> Self {
        let inner = Inner {
            views: vec![Arc::default(); usize::from(partitions.count())],
            kept: snapshots.iter().map(|(id, snapshot)| (*id, kept(snapshot))).collect(),
            bases,
            wanted: VecDeque::new(),
            wall_ms: 0,
            dice: StdRng::seed_from_u64(seed),
            busy_per_mille: 0,
            steps: 0,
        };
        let (inner, viewed) = (Mutex::new(inner), Notify::new());
        Self { node, partitions, commit, copies, inner, viewed }
    }

    /// A partition's view is another one.
    pub(crate) fn show(&self, partition: PartitionId, view: PartitionView) {
        self.inner().views[usize::from(partition.0)] = Arc::new(view);
        self.viewed.notify_waiters();
    }

    /// A log begins with another one.
    pub(crate) fn begin(&self, partition: PartitionId, base: Base) {
        self.inner().bases.insert(partition, base);
    }

    pub(crate) fn set_wall(&self, wall_ms: u64) {
        self.inner().wall_ms = wall_ms;
    }

    pub(crate) fn set_busy(&self, per_mille: u32) {
        self.inner().busy_per_mille = per_mille;
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

    fn busy(&self) -> bool {
        let mut inner = self.inner();
        let per_mille = inner.busy_per_mille;
        per_mille > 0 && inner.dice.random_ratio(per_mille, 1000)
    }
}

fn kept(snapshot: &Snapshot) -> Kept {
    let bytes = snapshot.parts.iter().map(|part| part.len() as u64).sum();
    Kept { seq: snapshot.place.seq, bytes }
}

impl Ledger for Port {
    fn node(&self) -> NodeId {
        self.node.clone()
    }

    fn partitions(&self) -> Partitions {
        self.partitions
    }

    fn commit(&self) -> u8 {
        self.commit
    }

    fn copies(&self) -> u8 {
        self.copies
    }

    fn view(&self, partition: PartitionId) -> Arc<PartitionView> {
        self.inner().views.get(usize::from(partition.0)).map(Arc::clone).unwrap_or_default()
    }

    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            loop {
                let viewed = self.viewed.notified();
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
        Arc::default()
    }

    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        if submission.payload.len() > ENTRY_BYTES_MAX || self.busy() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.want(Wanted::Submit { submission, reply });
        Some(answer)
    }

    fn confirm(&self, partition: PartitionId) -> Later<'_, Outcome> {
        Box::pin(async move {
            if self.busy() {
                return Outcome::NotCommitted(Why::Overloaded);
            }
            let (reply, answer) = oneshot::channel();
            self.want(Wanted::Confirm { partition, reply });
            answer.await.unwrap_or(Outcome::Unknown(Why::NotLeading))
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
                self.want(Wanted::Read { partition, from, max: (entries_max, bytes_max), reply });
                let page = read.await.ok().flatten()?;
                if !page.is_empty() || runtime::now() >= until {
                    return Some(page);
                }
                runtime::sleep(READ_AGAIN).await;
            }
        })
    }

    fn kept(&self, partition: PartitionId) -> Option<Kept> {
        self.inner().kept.get(&partition).copied()
    }

    fn snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(async move {
            let (reply, read) = oneshot::channel();
            self.want(Wanted::Snapshot { partition, reply });
            read.await.ok().flatten()
        })
    }

    fn forget_snapshot(&self, partition: PartitionId) {
        self.inner().kept.remove(&partition);
    }

    fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool> {
        Box::pin(async move {
            let told = kept(&snapshot);
            let (reply, done) = oneshot::channel();
            self.want(Wanted::Keep { partition, snapshot, reply });
            let done = done.await.unwrap_or(false);
            if done {
                self.inner().kept.insert(partition, told);
            }
            done
        })
    }

    fn base(&self, partition: PartitionId) -> Option<Base> {
        self.inner().bases.get(&partition).copied()
    }

    fn base_snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(async move {
            let (reply, read) = oneshot::channel();
            self.want(Wanted::BaseSnapshot { partition, reply });
            read.await.ok().flatten()
        })
    }

    fn weigh(
        &self,
        partition: PartitionId,
        entries_max: u64,
        bytes_max: u64,
    ) -> Later<'_, Option<u64>> {
        Box::pin(async move {
            let (reply, read) = oneshot::channel();
            self.want(Wanted::Weigh { partition, max: (entries_max, bytes_max), reply });
            read.await.ok().flatten()
        })
    }

    /// Nothing is taken back here: what is kept stays as it is.
    fn trim(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        _anew: Anew,
    ) -> Later<'_, bool> {
        Box::pin(async move {
            let (reply, done) = oneshot::channel();
            self.want(Wanted::Trim { partition, snapshot, kept, reply });
            done.await.unwrap_or(false)
        })
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.want(Wanted::Forward { to: to.clone(), head, body, reply });
            answer.await.unwrap_or(Err(ForwardError::Lost { to: to.clone() }))
        })
    }

    fn wall_ms(&self) -> u64 {
        self.inner().wall_ms
    }

    fn token(&self) -> ChatToken {
        ChatToken(self.inner().dice.random())
    }
}
