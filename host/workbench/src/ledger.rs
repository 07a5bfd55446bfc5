//! The log of a chat that exists for one test: in memory, on one node, committed at once. Time passes when
//! the fixture says so.
//!
//! It is all that stands between the chats of a real node and a fixture: what decides turns, joins and
//! effects above it is what a node runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chat::{Chats, Later, Ledger};
use hashring::{NodeId, PartitionId, Partitions};
use model::{Chat, ChatToken, Entry, encode};
use replication::core::{Outcome, PartitionView, Role};
use replication::{ForwardError, Host as _, RequestHead, RingView, Submission};
use runtime::{SimulatedClock, Tasks};
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
    committed: Notify,
    clock: SimulatedClock,
    began_ms: u64,
}

#[derive(Debug)]
struct State {
    log: Vec<LogEntry>,
    /// The chat after everything that was appended.
    chat: Chat,
    wall_ms: u64,
    /// What was appended and is not committed, and who wants to know.
    waiting: Vec<(u64, oneshot::Sender<Outcome>)>,
}

impl Memory {
    /// A log that begins with `entry`, on a clock that stands; `None` cannot happen.
    pub(crate) fn new(entry: &Entry, clock: SimulatedClock) -> Option<Arc<Self>> {
        let (chat, began_ms) = (Chat::new(TOKEN), entry.time_ms);
        let state = State { log: Vec::new(), chat, wall_ms: began_ms, waiting: Vec::new() };
        let memory = Self {
            node: "workbench".parse().ok()?,
            partitions: Partitions::try_from(1).ok()?,
            state: Mutex::new(state),
            appended: Notify::new(),
            committed: Notify::new(),
            clock,
            began_ms,
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
                memory.committed.notify_waiters();
            }
        });
    }

    /// The chat after everything that was appended.
    pub(crate) fn chat(&self) -> Chat {
        self.state().chat.clone()
    }

    fn end(&self) -> u64 {
        self.state().log.len() as u64
    }

    /// What the clock says.
    pub(crate) fn now_ms(&self) -> u64 {
        self.state().wall_ms
    }

    /// Time passes: what ends meanwhile ends in its order, each at its own time.
    pub(crate) async fn pass(&self, ms: u64) {
        let until = self.now_ms().saturating_add(ms);
        while let Some(next) = self.next_end().filter(|next| *next <= until) {
            self.set(next);
            self.until(|state| ends(&state.chat).all(|end| end > next)).await;
            self.told().await;
        }
        self.set(until);
    }

    /// Waits until everybody who listens was told of everything.
    pub(crate) async fn told(&self) {
        let told = |chat: &Chat| chat.waiting.as_ref().is_none_or(|it| it.notices.is_empty());
        self.until(|state| told(&state.chat)).await;
    }

    /// Waits for `done`, after everything that was appended is committed. Whatever is waited for here is done
    /// by this thread's own tasks, and each of their calls ends with its fuel.
    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let committed = self.committed.notified();
            {
                let state = self.state();
                if state.waiting.is_empty() && done(&state) {
                    return;
                }
            }
            committed.await;
        }
    }

    fn set(&self, wall_ms: u64) {
        self.state().wall_ms = wall_ms;
        self.clock.set(Duration::from_millis(wall_ms.saturating_sub(self.began_ms)));
    }

    /// When the next timer or hold is over.
    fn next_end(&self) -> Option<u64> {
        ends(&self.state().chat).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, payload: Bytes) -> u64 {
        let mut state = self.state();
        let seq = state.log.len() as u64 + 1;
        // What is appended here was encoded a moment ago.
        if let Ok(entry) = encode::decode(&payload) {
            state.chat.apply(&entry);
        }
        state.log.push(LogEntry { epoch: EPOCH, seq, chain: Chain::default(), payload });
        seq
    }
}

/// When each timer and hold of a chat is over, on its clock.
fn ends(chat: &Chat) -> impl Iterator<Item = u64> {
    let waiting = chat.waiting.iter();
    waiting.flat_map(|waiting| {
        let timers = waiting.timers.values();
        let timers = timers.map(|timer| timer.since_ms.saturating_add(timer.after_ms.into()));
        let holds = waiting.held.values().flat_map(|held| {
            let since = held.message.time_ms;
            held.holds.iter().map(move |hold| since.saturating_add(hold.deadline_ms.into()))
        });
        timers.chain(holds)
    })
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
