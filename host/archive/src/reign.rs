//! One epoch in which this node leads a partition, as far as objects are concerned.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use hashring::PartitionId;
use runtime::Stop;
use segment::archive::{Fact, UnifiedId, UnifiedIds};
use tokio::sync::{Mutex, Notify};

use crate::entry::ObjectEntry;

/// An epoch that this node leads.
#[derive(Debug)]
pub(crate) struct Reign {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: u64,
    /// Where it begins: everything up to here is committed.
    pub(crate) opened: u64,
    pub(crate) closed: Stop,
    /// Decisions are made one after another.
    pub(crate) appended: Mutex<Appended>,
    /// Everything up to here is committed.
    pub(crate) committed: AtomicU64,
    /// The first entry about objects that is not applied; `u64::MAX`: none.
    pub(crate) first_pending: AtomicU64,
    /// Everything up to here is in this node's archive.
    applied: AtomicU64,
    /// That is another place: whoever waits is woken in order.
    applied_rung: Notify,
}

/// What was appended in it.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Entries about objects that are not applied yet, in order.
    pub(crate) pending: VecDeque<(u64, ObjectEntry)>,
    /// Makes versions, once the highest one is known.
    pub(crate) ids: Option<UnifiedIds>,
    /// Archives of parts that are begun and not ended, once somebody wants to begin one.
    pub(crate) unfinished: Option<BTreeSet<UnifiedId>>,
}

/// What a decision changes in what is unfinished.
pub(crate) fn note(unfinished: &mut BTreeSet<UnifiedId>, fact: &Fact) {
    match fact {
        Fact::Started { at, .. } => drop(unfinished.insert(at.version)),
        Fact::Finished { at, .. } | Fact::Aborted { at, .. } => {
            unfinished.remove(&at.version);
        }
        _ => {}
    }
}

impl Reign {
    pub(crate) fn new(partition: PartitionId, epoch: u64, opened: u64) -> Self {
        Self {
            partition,
            epoch,
            opened,
            closed: Stop::default(),
            appended: Mutex::new(Appended {
                pending: VecDeque::new(),
                ids: None,
                unfinished: None,
            }),
            committed: AtomicU64::new(opened),
            first_pending: AtomicU64::new(u64::MAX),
            applied: AtomicU64::new(0),
            applied_rung: Notify::new(),
        }
    }

    /// Everything up to `seq` is committed; whether something of it is to be applied.
    pub(crate) fn commit(&self, seq: u64) -> bool {
        self.committed.fetch_max(seq, Ordering::SeqCst);
        self.first_pending.load(Ordering::SeqCst) <= seq
    }

    /// Something was appended; whether it is committed already.
    pub(crate) fn push(&self, appended: &mut Appended, seq: u64, entry: ObjectEntry) -> bool {
        if let Some(unfinished) = &mut appended.unfinished {
            note(unfinished, &entry.fact);
        }
        appended.pending.push_back((seq, entry));
        self.first_pending.fetch_min(seq, Ordering::SeqCst);
        self.committed.load(Ordering::SeqCst) >= seq
    }

    /// What is pending up to `seq` is applied.
    pub(crate) fn take(&self, appended: &mut Appended, seq: u64) {
        appended.pending.retain(|(at, _)| *at > seq);
        let first = appended.pending.front().map_or(u64::MAX, |(at, _)| *at);
        self.first_pending.store(first, Ordering::SeqCst);
        self.applied.fetch_max(seq, Ordering::SeqCst);
        self.applied_rung.notify_waiters();
    }

    /// Up to where everything is in this node's archive.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::SeqCst)
    }

    /// Waits until everything up to `seq` is applied; `false` if the reign ends before.
    pub(crate) async fn until(&self, seq: u64) -> bool {
        loop {
            let mut rung = std::pin::pin!(self.applied_rung.notified());
            rung.as_mut().enable();
            if self.applied() >= seq {
                return true;
            }
            tokio::select! { biased;
                () = rung => {}
                () = self.closed.stopped() => return self.applied() >= seq,
            }
        }
    }
}
