//! The state of the world: one log in memory, who leads it, and what fails. It commits when it is told to and loses
//! epochs on purpose.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chat::Chats;
use hashring::PartitionId;
use replication::Host;
use replication::core::{Outcome, Why};
use segment::{LogEnd, LogEntry, Snapshot};
use tokio::sync::{Notify, oneshot};

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
    pub(super) pending: Vec<Pending>,
    pub(super) hosts: Vec<Option<Chats>>,
    version: u64,
}

pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) acks: u8,
    pub(super) answer: Option<oneshot::Sender<Outcome>>,
}

pub(crate) struct World {
    inner: Mutex<Inner>,
    pub(super) changed: Notify,
    pub(super) appended: Notify,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// How much of what was not committed a new primary has.
#[derive(Clone, Copy)]
pub(crate) enum Keeps {
    Everything,
    Committed,
}

impl World {
    /// Of so many nodes, none of which leads yet.
    pub(super) fn new(nodes: usize) -> Self {
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
            hosts: vec![None; nodes],
            version: 0,
        };
        let (changed, appended) = (Notify::new(), Notify::new());
        Self { inner: Mutex::new(inner), changed, appended }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self) {
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
    pub(super) fn sync(&self) {
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
    pub(super) fn push(&mut self, epoch: u64, payload: Bytes) {
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
