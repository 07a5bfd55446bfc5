//! The logs of a cluster, in memory: one for each partition, the same for all nodes, and a seat at it for each node.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test needs is there, or it fails"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions};
use model::{
    Attrs, Body, Change, ChatToken, Entry, Frozen, FrozenId, Lane, Message, MessageId, Outbox,
    OutboxChange, OutboxEntry, Outcall, Route, encode, is_outbox,
};
use outbox::{Access, Call, Desk, Hook, Later, Reply, Services};
use registry::Session;
use replication::core::{Outcome, Why};
use segment::{Chain, LogEntry};
use tokio::sync::{Semaphore, oneshot};

/// What all nodes share. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

/// A node's place at it.
#[derive(Debug)]
pub(crate) struct Seat {
    node: NodeId,
    ledger: Ledger,
    hook: Option<Hook>,
    /// With the registry, if there is one.
    pub(crate) session: Option<Arc<Session>>,
}

#[derive(Debug)]
struct Inner {
    logs: Vec<Log>,
    /// Whether what is appended waits to be committed.
    held: bool,
    services: Vec<Services>,
    /// What plugins wait for, and what they were told.
    calls: Vec<(PartitionId, Call)>,
    replies: Vec<Reply>,
    /// Where whole pages of a log are waited for, if they are; and how many are.
    pages: Option<Arc<Semaphore>>,
    reading: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Log {
    entries: Vec<(u64, Bytes)>,
    committed: usize,
    fold: Outbox,
    leader: NodeId,
    epoch: u64,
    /// Entries that are on no disk any more.
    gone: BTreeSet<u64>,
    waiting: Vec<(usize, oneshot::Sender<Outcome>)>,
}

impl Log {
    fn new(leader: &str) -> Self {
        let leader = leader.parse().expect("a name");
        let mut log = Self {
            entries: Vec::new(),
            committed: 0,
            fold: Outbox::default(),
            leader,
            epoch: 1,
            gone: BTreeSet::new(),
            waiting: Vec::new(),
        };
        log.append(Bytes::from_static(&[0]));
        log.commit();
        log
    }

    fn append(&mut self, payload: Bytes) -> usize {
        self.entries.push((self.epoch, payload));
        self.entries.len()
    }

    fn commit(&mut self) {
        while let Some((epoch, payload)) = self.entries.get(self.committed) {
            self.committed += 1;
            let seq = self.committed as u64;
            if is_outbox(payload) {
                let entry = OutboxEntry::decode(payload).expect("it is one");
                self.fold.apply(*epoch, seq, &entry);
            } else if let Ok(entry) = encode::decode(payload) {
                self.fold.hear(seq, &entry);
            }
        }
        let committed = self.committed;
        for (place, waits) in std::mem::take(&mut self.waiting) {
            assert!(place <= committed, "all of it is committed at once");
            // Whoever waited may be gone.
            let _heard = waits.send(Outcome::Quorum { seq: place as u64 });
        }
    }
}

impl Ledger {
    /// Logs that are led by `leader`.
    pub(crate) fn new(partitions: u16, leader: &str) -> Self {
        let logs = (0..partitions).map(|_| Log::new(leader)).collect();
        let (services, calls, replies) = (Vec::new(), Vec::new(), Vec::new());
        let (pages, reading) = (None, Arc::default());
        let inner = Inner { logs, held: false, services, calls, replies, pages, reading };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A place for a node, which waits for `hook` between its steps.
    pub(crate) fn seat(
        &self,
        node: &str,
        hook: Option<Hook>,
        session: Option<Session>,
    ) -> Arc<Seat> {
        let (node, ledger) = (node.parse().expect("a name"), self.clone());
        Arc::new(Seat { node, ledger, hook, session: session.map(Arc::new) })
    }

    /// Somebody is to be told of what is committed from now on.
    pub(crate) fn tells(&self, services: &Services) {
        self.inner().services.push(services.clone());
    }

    /// Says something in a partition.
    pub(crate) fn say(&self, partition: u16, text: &str) -> MessageId {
        let (chat, turn) =
            (ChatToken([1; 16]), self.inner().logs[usize::from(partition)].entries.len());
        let turn = turn as u64;
        let id = MessageId::derive(u8::try_from(partition).expect("few"), chat, 1, turn, 0);
        let message = Message {
            id,
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body: Body::Text(text.to_owned()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: turn,
            sent_ms: None,
            stamps: Vec::new(),
        };
        let changes = vec![Change::Message(Arc::new(message))];
        let entry = Entry { chat, turn, time_ms: 1, changes, remembered: None };
        self.put(partition, encode::encode(&entry).expect("it can be written"));
        id
    }

    /// Says something of a service, as some other build of us may.
    pub(crate) fn put_outbox(&self, partition: u16, change: OutboxChange) {
        self.put(partition, OutboxEntry { time_ms: 1, changes: vec![change] }.encode());
    }

    fn put(&self, partition: u16, payload: Vec<u8>) {
        let mut inner = self.inner();
        let log = &mut inner.logs[usize::from(partition)];
        log.append(Bytes::from(payload));
        log.commit();
        drop(inner);
        self.ring(partition);
    }

    /// What is said in an entry is not to be read any more.
    pub(crate) fn redact(&self, partition: u16, seq: u64) {
        let mut inner = self.inner();
        let at = usize::try_from(seq).expect("short") - 1;
        let payload = &mut inner.logs[usize::from(partition)].entries[at].1;
        let mut entry = encode::decode(payload).expect("a chat's");
        for change in &mut entry.changes {
            if let Change::Message(message) = change {
                let body = Body::Text(String::new());
                *message = Arc::new(Message { body, ..Message::clone(message) });
            }
        }
        *payload = Bytes::from(encode::encode(&entry).expect("it can be written"));
    }

    /// From now on what nodes append waits, or does not and what waited is committed.
    pub(crate) fn hold(&self, held: bool) {
        let mut inner = self.inner();
        inner.held = held;
        if !held {
            inner.logs.iter_mut().for_each(Log::commit);
        }
        let count = u16::try_from(inner.logs.len()).expect("few");
        drop(inner);
        (0..count).for_each(|partition| self.ring(partition));
    }

    /// Another node leads, or the same one anew. `keeps`: what was appended is committed.
    pub(crate) fn take_over(&self, partition: u16, node: &str, keeps: bool) {
        let mut inner = self.inner();
        let log = &mut inner.logs[usize::from(partition)];
        for (_, waits) in std::mem::take(&mut log.waiting) {
            let _heard = waits.send(Outcome::Unknown(Why::Deposed));
        }
        if !keeps {
            log.entries.truncate(log.committed);
        }
        log.epoch += 1;
        log.leader = node.parse().expect("a name");
        log.append(Bytes::from_static(&[0]));
        log.commit();
        drop(inner);
        self.ring(partition);
    }

    /// What a partition owes to a service.
    pub(crate) fn lane(&self, partition: u16, service: &str) -> Option<Lane> {
        let inner = self.inner();
        let booked = inner.logs[usize::from(partition)].fold.service(service)?;
        let lane = booked.lane.clone();
        let sum = lane.done + lane.parked + lane.abandoned + lane.pending();
        assert_eq!(lane.concerned, sum, "T-I1: {lane:?}");
        Some(lane)
    }

    /// Whether so many entries are appended in a partition that are not committed.
    pub(crate) fn is_waiting(&self, partition: u16) -> bool {
        let inner = self.inner();
        let log = &inner.logs[usize::from(partition)];
        log.committed < log.entries.len()
    }

    /// T-I4, asked by nobody's engine: whether a committed entry froze what is called like this in a partition.
    pub(crate) fn froze(&self, partition: u16, id: FrozenId) -> bool {
        let inner = self.inner();
        let log = &inner.logs[usize::from(partition)];
        let at = usize::try_from(id.seq).expect("short");
        if at == 0 || at > log.committed {
            return false;
        }
        let (epoch, payload) = &log.entries[at - 1];
        let Ok(entry) = OutboxEntry::decode(payload) else { return false };
        let parts = entry.changes.iter().map(|change| match change {
            OutboxChange::Cut { .. } => 1,
            OutboxChange::Settle { again, .. } => again.len(),
            _ => 0,
        });
        *epoch == id.epoch && usize::from(id.index) < parts.sum()
    }

    /// What is sent first in a partition.
    pub(crate) fn front(&self, partition: u16, service: &str) -> Option<Arc<Frozen>> {
        self.lane(partition, service)?.unfinished.front().map(Arc::clone)
    }

    /// A plugin calls a service.
    pub(crate) fn calls(&self, partition: u16, call: Call) {
        self.inner().calls.push((PartitionId(partition), call));
        self.ring(partition);
    }

    /// An entry is on no disk any more.
    pub(crate) fn loses(&self, partition: u16, seq: u64) {
        self.inner().logs[usize::from(partition)].gone.insert(seq);
    }

    /// From now on whoever reads a whole page of a log waits.
    pub(crate) fn reads_wait(&self) {
        self.inner().pages = Some(Arc::new(Semaphore::new(0)));
    }

    /// One of them goes on, if one waits.
    pub(crate) fn read_one(&self) {
        let inner = self.inner();
        let waits = inner.reading.load(Ordering::SeqCst) > 0;
        inner.pages.iter().filter(|_| waits).for_each(|pages| pages.add_permits(1));
    }

    /// All of them do, and nobody waits any more.
    pub(crate) fn reads_go_on(&self) {
        self.inner().pages.take().into_iter().for_each(|pages| pages.add_permits(1000));
    }

    /// How many wait.
    pub(crate) fn reading(&self) -> usize {
        self.inner().reading.load(Ordering::SeqCst)
    }

    /// What plugins were told.
    pub(crate) fn replies(&self) -> Vec<Reply> {
        self.inner().replies.clone()
    }

    fn ring(&self, partition: u16) {
        let services = self.inner().services.clone();
        services.iter().for_each(|services| services.ring(PartitionId(partition)));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Seat {
    /// The log of a partition, if this node leads it in this epoch.
    fn led<T>(&self, of: PartitionId, epoch: u64, look: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let mut inner = self.ledger.inner();
        let log = inner.logs.get_mut(usize::from(of.0))?;
        (log.leader == self.node && log.epoch == epoch).then(|| look(log))
    }
}

impl Desk for Seat {
    fn node(&self) -> NodeId {
        self.node.clone()
    }

    fn registry(&self) -> Access {
        self.session.clone().map_or(Access::Absent, Access::There)
    }

    fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
    }

    fn others(&self) -> Vec<NodeId> {
        Vec::new()
    }

    fn ask<'a>(&'a self, _node: &'a NodeId, _question: Bytes) -> Later<'a, Option<Bytes>> {
        Box::pin(async { None })
    }

    fn partitions(&self) -> Partitions {
        let count = u16::try_from(self.ledger.inner().logs.len()).expect("few");
        Partitions::try_from(count).expect("a power of two")
    }

    fn cluster(&self) -> u32 {
        7
    }

    fn leads(&self, partition: PartitionId) -> Option<u64> {
        let inner = self.ledger.inner();
        let log = inner.logs.get(usize::from(partition.0))?;
        (log.leader == self.node).then_some(log.epoch)
    }

    fn owed(
        &self,
        partition: PartitionId,
        epoch: u64,
        look: &mut dyn FnMut(&Outbox),
    ) -> Option<u64> {
        self.led(partition, epoch, |log| {
            look(&log.fold);
            log.committed as u64
        })
    }

    fn number(
        &self,
        _of: PartitionId,
        _epoch: u64,
        _chat: ChatToken,
        seq: u64,
        _index: u32,
    ) -> u64 {
        seq
    }

    fn calls(
        &self,
        partition: PartitionId,
        epoch: u64,
        wanted: &dyn Fn(&Outcall) -> bool,
    ) -> Vec<Call> {
        let calls = self.ledger.inner().calls.clone();
        let of = calls.into_iter().filter(|(place, it)| *place == partition && wanted(&it.outcall));
        self.led(partition, epoch, |_log| of.map(|(_, call)| call).collect()).unwrap_or_default()
    }

    fn reply(&self, reply: Reply) -> Later<'_, bool> {
        let mut inner = self.ledger.inner();
        let same = |call: &Call| (call.chat, call.number) == (reply.chat, reply.number);
        inner.calls.retain(|(_, call)| !same(call));
        inner.replies.push(reply);
        Box::pin(async { true })
    }

    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let held = self.ledger.inner().held;
        let (told, heard) = oneshot::channel();
        self.led(partition, epoch, |log| {
            let place = log.append(payload);
            log.waiting.push((place, told));
            if !held {
                log.commit();
            }
        })?;
        self.ledger.ring(partition.0);
        Some(heard)
    }

    fn give_up(&self, _partition: PartitionId, _epoch: u64) {}

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let inner = self.ledger.inner();
        let log = &inner.logs[usize::from(partition.0)];
        let there = |seq: &u64| *seq >= from && !log.gone.contains(seq);
        let entries = (1..).zip(&log.entries[..log.committed]).filter(|(seq, _)| there(seq));
        let page = entries.take(entries_max).map(|(seq, (epoch, payload))| LogEntry {
            epoch: *epoch,
            seq,
            chain: Chain::default(),
            payload: payload.clone(),
        });
        let page = page.collect();
        let waits = inner.pages.clone().filter(|_| bytes_max >= 1 << 20);
        let reading = Arc::clone(&inner.reading);
        Box::pin(async move {
            if let Some(pages) = waits {
                reading.fetch_add(1, Ordering::SeqCst);
                pages.acquire().await.expect("nobody closes it").forget();
                reading.fetch_sub(1, Ordering::SeqCst);
            }
            Some(page)
        })
    }
}
