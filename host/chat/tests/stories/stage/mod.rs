//! A cluster of chats on a log in memory that commits when it is told to and loses epochs on purpose.
//!
//! One partition, up to three nodes, no network: what one node forwards another answers directly.

mod asking;
pub(crate) mod scripted;
pub(crate) mod shelf;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chat::{Chain, Chats, Config, Later, Ledger, LiveChain, Request, Response, Sent};
use hashring::{NodeId, PartitionId, Partitions};
use model::{Attrs, ChatToken};
use replication::core::{Outcome, PartitionView, Role, Why};
use replication::{ANSWER_BYTES_MAX, Anew, ForwardError, Host, RequestHead, RingView, Submission};
use runtime::{Stop, Tasks};
use segment::{Base, Kept, LogEnd, LogEntry, Snapshot};
use tokio::sync::{Notify, oneshot};

pub(crate) use asking::{
    Asking, PATIENCE, context, create, message, page, read, reading, refused, send, sent, texts,
    wait, waits,
};

pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// The state of the world.
pub(crate) struct Inner {
    pub(crate) log: Vec<LogEntry>,
    pub(crate) committed: u64,
    pub(crate) epoch: u64,
    pub(crate) primary: Option<usize>,
    pub(crate) leading: bool,
    pub(crate) live: u8,
    pub(crate) full: bool,
    /// Entries are committed as soon as they are appended.
    pub(crate) commits: bool,
    /// Confirmations are given.
    pub(crate) confirms: bool,
    /// Nodes that cannot be reached.
    pub(crate) cut: Vec<usize>,
    /// Nodes that run what they are asked and say nothing: they died while they did.
    pub(crate) silent: Vec<usize>,
    pub(crate) wall_ms: u64,
    /// How often somebody looked at that clock.
    pub(crate) clock_reads: u64,
    /// How often the log was read.
    pub(crate) reads: usize,
    /// How many entries were given then.
    pub(crate) entries_read: usize,
    /// What stands where a snapshot is kept. All nodes have one disk.
    pub(crate) snapshot: Option<Snapshot>,
    /// What the log begins with, and which entries before can be read.
    pub(crate) base: Option<(Snapshot, BTreeSet<u64>)>,
    pending: Vec<Pending>,
    hosts: Vec<Option<Chats>>,
    version: u64,
}

struct Pending {
    seq: u64,
    acks: u8,
    answer: Option<oneshot::Sender<Outcome>>,
}

pub(crate) struct World {
    inner: Mutex<Inner>,
    changed: Notify,
    appended: Notify,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

#[derive(Debug)]
struct Node {
    world: Arc<World>,
    index: usize,
}

/// How much of what was not committed a new primary has.
#[derive(Clone, Copy)]
pub(crate) enum Keeps {
    Everything,
    Committed,
}

impl World {
    pub(crate) fn look(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.look().version += 1;
        self.changed.notify_waiters();
    }

    /// Commits everything that is appended, and answers those who waited for it.
    pub(crate) fn commit(&self) {
        let (host, seq, epoch, answers) = {
            let mut inner = self.look();
            inner.committed = inner.log.last().map_or(0, |last| last.seq);
            let answers: Vec<Pending> = inner.pending.drain(..).collect();
            let host = inner.primary.and_then(|primary| inner.hosts[primary].clone());
            (host, inner.committed, inner.epoch, answers)
        };
        if let Some(host) = host {
            host.committed(PARTITION, epoch, seq);
        }
        for mut pending in answers {
            if let Some(answer) = pending.answer.take() {
                let _gone = answer.send(Outcome::Quorum { seq: pending.seq });
            }
        }
        self.tell();
    }

    /// Answers those who wait for the primary's disk alone.
    fn sync(&self) {
        for pending in &mut self.look().pending {
            if pending.acks < 2
                && let Some(answer) = pending.answer.take()
            {
                let _gone = answer.send(Outcome::Local { seq: pending.seq });
            }
        }
    }

    /// Nobody leads any more.
    pub(crate) fn close(&self) {
        let (host, epoch, answers) = {
            let mut inner = self.look();
            let host = inner.primary.take().and_then(|primary| inner.hosts[primary].clone());
            (host, inner.epoch, std::mem::take(&mut inner.pending))
        };
        self.tell();
        for pending in answers {
            if let Some(answer) = pending.answer {
                let _gone = answer.send(Outcome::Unknown(Why::Deposed));
            }
        }
        if let Some(host) = host {
            host.closed(PARTITION, epoch);
        }
        self.tell();
    }

    /// Node `primary` leads a new epoch.
    pub(crate) fn open(&self, primary: usize, keeps: Keeps) {
        let (host, epoch, seq) = {
            let mut inner = self.look();
            let committed = inner.committed;
            if matches!(keeps, Keeps::Committed) {
                inner.log.retain(|entry| entry.seq <= committed);
            }
            inner.epoch += 1;
            let seq = inner.log.len() as u64 + 1;
            let (epoch, payload) = (inner.epoch, Bytes::from_static(&[0, 1]));
            inner.push(epoch, payload);
            inner.committed = seq;
            inner.primary = Some(primary);
            (inner.hosts[primary].clone(), inner.epoch, seq)
        };
        if let Some(host) = host {
            host.opened(PARTITION, epoch, seq);
        }
        self.tell();
    }
}

impl Inner {
    fn push(&mut self, epoch: u64, payload: Bytes) {
        let LogEnd { seq, chain, .. } = self.at(self.log.len() as u64).unwrap_or_default();
        let chain = chain.next(epoch, seq + 1, &payload);
        self.log.push(LogEntry { epoch, seq: seq + 1, chain, payload });
    }

    /// The place of an entry.
    pub(crate) fn at(&self, seq: u64) -> Option<LogEnd> {
        let entry = self.log.iter().find(|entry| entry.seq == seq)?;
        Some(LogEnd { epoch: entry.epoch, seq, chain: entry.chain })
    }

    /// Entries that are not replication's own.
    pub(crate) fn entries(&self) -> usize {
        self.log.iter().filter(|entry| entry.payload[0] != 0).count()
    }
}

impl Ledger for Node {
    fn node(&self) -> NodeId {
        node(self.index)
    }

    fn partitions(&self) -> Partitions {
        Partitions::try_from(1).unwrap()
    }

    fn commit(&self) -> u8 {
        2
    }

    fn copies(&self) -> u8 {
        3
    }

    fn view(&self, _partition: PartitionId) -> Arc<PartitionView> {
        let inner = self.world.look();
        let leads = inner.primary == Some(self.index);
        let leading = leads && inner.leading;
        Arc::new(PartitionView {
            epoch: inner.epoch,
            role: if leads { Role::Primary } else { Role::Member },
            open: inner.primary.is_some(),
            primary: inner.primary.map(node),
            ensemble: (0..3).map(node).collect(),
            wanted: (0..3).map(node).collect(),
            learners: Vec::new(),
            leading,
            live: inner.live,
            closed_for: inner.full.then_some(Why::Full),
            commit: inner.committed,
            committed: inner.at(inner.committed),
            end: inner.log.len() as u64,
            ..PartitionView::default()
        })
    }

    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            loop {
                let changed = self.world.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.view(partition) != *seen {
                    return;
                }
                changed.await;
            }
        })
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::default()
    }

    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        let (answer, receiver) = oneshot::channel();
        let mut inner = self.world.look();
        let Submission { epoch, seq, payload, acks, .. } = submission;
        if inner.epoch != epoch || inner.primary != Some(self.index) {
            let _gone = answer.send(Outcome::NotCommitted(Why::Deposed));
            return Some(receiver);
        }
        assert_eq!(seq, inner.log.len() as u64 + 1, "entries are numbered without gaps");
        inner.push(epoch, payload);
        inner.pending.push(Pending { seq, acks, answer: Some(answer) });
        drop(inner);
        self.world.appended.notify_one();
        self.world.tell();
        Some(receiver)
    }

    fn confirm(&self, _partition: PartitionId) -> Later<'_, Outcome> {
        let inner = self.world.look();
        let leads = inner.primary == Some(self.index) && inner.confirms;
        let outcome = if leads { Outcome::Done } else { Outcome::NotCommitted(Why::NotLeading) };
        Box::pin(std::future::ready(outcome))
    }

    fn read(
        &self,
        _partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let mut inner = self.world.look();
        inner.reads += 1;
        let mut bytes = 0;
        let there = |seq: u64| {
            let base = inner.base.as_ref();
            base.is_none_or(|(base, kept)| seq > base.place.seq || kept.contains(&seq))
        };
        let entries = inner.log.iter().filter(|entry| entry.seq >= from && there(entry.seq));
        let entries = entries.take(entries_max);
        let entries = entries.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.payload.len();
            first || bytes <= bytes_max
        });
        let entries: Vec<LogEntry> = entries.cloned().collect();
        inner.entries_read += entries.len();
        Box::pin(std::future::ready(Some(entries)))
    }

    fn kept(&self, _partition: PartitionId) -> Option<Kept> {
        let inner = self.world.look();
        inner.snapshot.as_ref().map(|snapshot| Kept { seq: snapshot.place.seq, bytes: 0 })
    }

    fn snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(self.world.look().snapshot.clone()))
    }

    fn forget_snapshot(&self, _partition: PartitionId) {
        self.world.look().snapshot = None;
    }

    fn keep_snapshot(&self, _partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool> {
        self.world.look().snapshot = Some(snapshot);
        self.world.tell();
        Box::pin(std::future::ready(true))
    }

    fn base(&self, _partition: PartitionId) -> Option<Base> {
        let inner = self.world.look();
        let (Snapshot { place, .. }, kept) = inner.base.as_ref()?;
        Some(Base { place: *place, entries: kept.len() as u64, ..Base::default() })
    }

    fn base_snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        let base = self.world.look().base.as_ref().map(|(base, _)| base.clone());
        Box::pin(std::future::ready(base))
    }

    fn weigh(&self, _: PartitionId, entries_max: u64, _: u64) -> Later<'_, Option<u64>> {
        let end = self.world.look().log.len() as u64;
        Box::pin(std::future::ready(Some(end.saturating_sub(entries_max))))
    }

    fn trim(
        &self,
        _: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        anew: Anew,
    ) -> Later<'_, bool> {
        let mut inner = self.world.look();
        for logged in &mut inner.log {
            if logged.seq <= snapshot.place.seq
                && let Some(payload) = anew(logged)
            {
                logged.payload = payload;
            }
        }
        inner.base = Some((snapshot, kept.into_iter().collect()));
        drop(inner);
        self.world.tell();
        Box::pin(std::future::ready(true))
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(async move {
            let host = {
                let inner = self.world.look();
                let index = (0..inner.hosts.len()).find(|index| node(*index) == *to);
                index
                    .filter(|index| !inner.cut.contains(index))
                    .and_then(|index| inner.hosts[index].clone())
            };
            let gone = ForwardError::NotRun { to: to.clone(), why: None };
            let host = host.ok_or(gone)?;
            let answer = host.answer(node(self.index), head, body).await;
            if self.world.look().silent.iter().any(|index| node(*index) == *to) {
                return std::future::pending().await;
            }
            match answer {
                Ok(answer) if answer.len() > ANSWER_BYTES_MAX => {
                    Err(ForwardError::Lost { to: to.clone() })
                }
                Ok(answer) => Ok(answer),
                Err(why) => Err(ForwardError::NotRun { to: to.clone(), why: Some(why) }),
            }
        })
    }

    fn wall_ms(&self) -> u64 {
        let mut inner = self.world.look();
        inner.clock_reads += 1;
        inner.wall_ms
    }
}

pub(crate) fn node(index: usize) -> NodeId {
    format!("n{index}").parse().unwrap()
}

/// The cluster of a story.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) chats: Vec<Chats>,
    tasks: Tasks,
}

impl Stage {
    /// One node without handlers.
    pub(crate) fn one() -> Self {
        Self::new(vec![Chain::default()], Config::default())
    }

    /// A node for each chain; the first leads.
    pub(crate) fn new(chains: Vec<impl Into<LiveChain>>, config: Config) -> Self {
        let inner = Inner {
            log: Vec::new(),
            committed: 0,
            epoch: 0,
            primary: None,
            leading: true,
            live: 3,
            full: false,
            commits: true,
            confirms: true,
            cut: Vec::new(),
            silent: Vec::new(),
            wall_ms: 1_000_000,
            clock_reads: 0,
            reads: 0,
            entries_read: 0,
            snapshot: None,
            base: None,
            pending: Vec::new(),
            hosts: vec![None; chains.len()],
            version: 0,
        };
        let (changed, appended) = (Notify::new(), Notify::new());
        let world = Arc::new(World { inner: Mutex::new(inner), changed, appended });
        let tasks = Tasks::current(Stop::default());
        let mut chats = Vec::new();
        for (index, chain) in chains.into_iter().enumerate() {
            let node = Node { world: Arc::clone(&world), index };
            let each = Chats::new(Arc::new(node), chain, config, &tasks);
            world.look().hosts[index] = Some(each.clone());
            chats.push(each);
        }
        let log = Arc::clone(&world);
        let stop = tasks.stop().clone();
        tasks.spawn("log", async move {
            while !stop.is_stopped() {
                tokio::select! {
                    () = stop.stopped() => return,
                    () = log.appended.notified() => {}
                }
                log.sync();
                let commits = log.look().commits;
                if commits {
                    log.commit();
                }
            }
        });
        world.open(0, Keeps::Everything);
        Self { world, chats, tasks }
    }

    /// Lets everything go on until `met`.
    pub(crate) async fn comes_to(&self, met: impl Fn() -> bool) {
        for _turn in 0..10_000 {
            if met() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never came to that");
    }

    /// Lets everything go on that can, so that what has not happened by then does not happen by itself.
    pub(crate) async fn rest(&self) {
        for _turn in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the chats were looked at again and again: whoever looks asks how late it is.
    pub(crate) async fn sweeps(&self) {
        let wanted = self.world.look().clock_reads + 50;
        self.sees(|| self.world.look().clock_reads >= wanted).await;
    }

    /// Waits until it is so, however long that takes by the clock.
    pub(crate) async fn sees(&self, it_is_so: impl Fn() -> bool) {
        let looking = async {
            while !it_is_so() {
                runtime::sleep(Duration::from_millis(1)).await;
            }
        };
        runtime::timeout(PATIENCE, looking).await.expect("it comes to that");
    }

    /// From here on entries stay uncommitted.
    pub(crate) fn hold(&self) {
        self.world.look().commits = false;
    }

    /// Waits until something is there.
    pub(crate) async fn until<T>(&self, there: impl Fn(&Inner) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.world.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = there(&self.world.look()) {
                    return found;
                }
                changed.await;
            }
        };
        runtime::timeout(PATIENCE, waiting).await.expect("it comes")
    }

    /// Asks node `at`.
    pub(crate) fn ask(&self, at: usize, request: Request) -> Asking<'_> {
        Box::pin(self.chats[at].call(request, context()))
    }

    /// A new chat.
    pub(crate) async fn chat(&self) -> ChatToken {
        self.chat_with(None, None).await
    }

    /// A new chat with limits.
    pub(crate) async fn chat_with(
        &self,
        duration_s: Option<u64>,
        participants: Option<u32>,
    ) -> ChatToken {
        let create = Request::Create {
            max_duration_s: duration_s,
            max_participants: participants,
            attrs: Attrs::new(),
        };
        match self.ask(0, create).await {
            Ok(Response::Created(created)) => created.token,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a text through node 0.
    pub(crate) async fn say(&self, token: ChatToken, key: &str, text: &str) -> Sent {
        sent(self.ask(0, send(token, key, text)).await)
    }

    /// Everything in a chat, as node `at` tells it.
    pub(crate) async fn texts(&self, at: usize, token: ChatToken) -> Vec<String> {
        texts(&page(self.ask(at, read(token, None)).await))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.stop().stop();
    }
}
