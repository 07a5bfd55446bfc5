//! The log of a chat that exists for one test: in memory, on one node, committed at once.
//!
//! It is all that stands between the chats of a real node and a fixture: what decides turns, joins and
//! effects above it is what a node runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chat::{Chats, Later, Ledger};
use hashring::{NodeId, PartitionId, Partitions};
use model::{ChatToken, Entry, encode};
use replication::core::{Outcome, PartitionView, Role};
use replication::{ForwardError, Host as _, RequestHead, RingView, Submission};
use runtime::Tasks;
use segment::{Chain, Kept, LogEntry, Snapshot};
use tokio::sync::{Notify, oneshot};

/// The one partition there is.
pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// The one epoch there is.
pub(crate) const EPOCH: u64 = 1;

/// The one chat there is: always the same, so that the same step costs the same fuel.
pub(crate) const TOKEN: ChatToken = ChatToken([0xca; 16]);

/// A log in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    node: NodeId,
    partitions: Partitions,
    state: Mutex<State>,
    appended: Notify,
}

#[derive(Debug)]
struct State {
    log: Vec<LogEntry>,
    wall_ms: u64,
    /// What was appended and is not committed, and who wants to know.
    waiting: Vec<(u64, oneshot::Sender<Outcome>)>,
}

impl Memory {
    /// A log that begins with `entry`; `None` cannot happen.
    pub(crate) fn new(entry: &Entry) -> Option<Arc<Self>> {
        let state = State { log: Vec::new(), wall_ms: entry.time_ms, waiting: Vec::new() };
        let memory = Self {
            node: "workbench".parse().ok()?,
            partitions: Partitions::try_from(1).ok()?,
            state: Mutex::new(state),
            appended: Notify::new(),
        };
        memory.append(encode::encode(entry).ok()?.into());
        Some(Arc::new(memory))
    }

    /// Lets `chats` serve what is in the log, and commits what they append: not at once, because whoever
    /// appends has to take it down first.
    pub(crate) fn serve(self: &Arc<Self>, chats: &Chats, tasks: &Tasks) {
        chats.opened(PARTITION, EPOCH, self.end());
        let (memory, chats, stop) = (Arc::clone(self), chats.clone(), tasks.stop().clone());
        tasks.spawn("workbench-log", async move {
            while !stop.is_stopped() {
                tokio::select! {
                    () = stop.stopped() => return,
                    () = memory.appended.notified() => {}
                }
                let waiting = std::mem::take(&mut memory.state().waiting);
                for (seq, answer) in waiting {
                    chats.committed(PARTITION, EPOCH, seq);
                    // Whoever asked may be gone.
                    let _unwanted = answer.send(Outcome::Quorum { seq });
                }
            }
        });
    }

    fn end(&self) -> u64 {
        self.state().log.len() as u64
    }

    /// Time passes.
    pub(crate) fn pass(&self, ms: u64) {
        let mut state = self.state();
        state.wall_ms = state.wall_ms.saturating_add(ms);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, payload: Bytes) -> u64 {
        let mut state = self.state();
        let seq = state.log.len() as u64 + 1;
        state.log.push(LogEntry { epoch: EPOCH, seq, chain: Chain::default(), payload });
        seq
    }
}

impl Ledger for Memory {
    fn node(&self) -> NodeId {
        self.node.clone()
    }

    fn partitions(&self) -> Partitions {
        self.partitions
    }

    fn commit(&self) -> u8 {
        1
    }

    fn copies(&self) -> u8 {
        1
    }

    fn view(&self, _partition: PartitionId) -> Arc<PartitionView> {
        let end = self.end();
        Arc::new(PartitionView {
            epoch: EPOCH,
            role: Role::Primary,
            open: true,
            primary: Some(self.node.clone()),
            ensemble: vec![self.node.clone()],
            wanted: vec![self.node.clone()],
            learners: Vec::new(),
            leading: true,
            live: 1,
            closed_for: None,
            commit: end,
            committed: None,
            end,
            ..PartitionView::default()
        })
    }

    fn view_changed<'a>(
        &'a self,
        _partition: PartitionId,
        _seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        // Nobody else is there to change it.
        Box::pin(std::future::pending())
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::default()
    }

    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        let (answer, answered) = oneshot::channel();
        let seq = self.append(submission.payload);
        self.state().waiting.push((seq, answer));
        self.appended.notify_one();
        Some(answered)
    }

    fn confirm(&self, _partition: PartitionId) -> Later<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Done))
    }

    fn read(
        &self,
        _partition: PartitionId,
        from: u64,
        entries_max: usize,
        _bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let state = self.state();
        let entries = state.log.iter().filter(|entry| entry.seq >= from).take(entries_max);
        Box::pin(std::future::ready(Some(entries.cloned().collect())))
    }

    fn kept(&self, _partition: PartitionId) -> Option<Kept> {
        None
    }

    fn snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(None))
    }

    fn forget_snapshot(&self, _partition: PartitionId) {}

    fn keep_snapshot(&self, _partition: PartitionId, _snapshot: Snapshot) -> Later<'_, bool> {
        // What is tried here is over before a log is long.
        Box::pin(std::future::ready(false))
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        _head: RequestHead,
        _body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(std::future::ready(Err(ForwardError::NotRun { to: to.clone(), why: None })))
    }

    fn wall_ms(&self) -> u64 {
        self.state().wall_ms
    }

    fn token(&self) -> ChatToken {
        TOKEN
    }
}
