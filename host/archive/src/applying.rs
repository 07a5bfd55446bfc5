//! The log of each partition, taken over into this node's archive.
//!
//! What this node appends as primary it knows: committed entries are applied from memory, those of all
//! partitions together, with one sync. What others appended is read from this node's own log, and is only
//! believed if its chain is that of what is known to be committed: a disk can lag behind, and then something
//! withdrawn still stands there. Taking over the same twice changes nothing.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use model::encode::is_object;
use replication::core::Role;
use segment::archive::{Adopted, Applied, Operation, Refused};
use segment::{LogEnd, LogEntry};

use crate::entry::ObjectEntry;
use crate::meters;
use crate::reign::Reign;
use crate::shared::{Shared, locked};

/// How often the logs of partitions that others lead are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon what could not be applied is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Entries and bytes of one page of a log.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes that are applied at once: about a second of a slow disk.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// How far it is known is written down when it would cost so many entries to find out again.
const MARK_EVERY: u64 = 4096;

/// Why a log was not taken over up to what is committed.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    /// The disk does not have all of it yet, or something else. Nothing more was applied; it is tried again.
    #[error("the log does not hold everything that is committed yet")]
    Behind,
    /// A newer version wrote it. What is before it was applied; a newer node can go on.
    #[error("entry {seq} is of a newer version")]
    Strange {
        /// Which.
        seq: u64,
    },
    /// The archive did not take it. What is before it was applied; it is tried again.
    #[error("the archive did not take it: {0}")]
    Refused(Refused),
}

/// Applies what this node appended, as it is committed.
pub(crate) async fn apply(shared: Arc<Shared>) {
    loop {
        shared.ready_rung.notified().await;
        while !locked(&shared.ready).is_empty() {
            if !apply_ready(&shared).await {
                runtime::sleep(AGAIN).await;
            }
        }
    }
}

/// Applies what there is; whether that could be done.
async fn apply_ready(shared: &Shared) -> bool {
    let mut entries = Vec::new();
    let mut done: Vec<(Arc<Reign>, u64)> = Vec::new();
    let mut bytes = 0;
    let mut applied = Vec::new();
    while bytes < BATCH_BYTES_MAX {
        let Some(partition) = locked(&shared.ready).pop_first() else { break };
        let Some(reign) = shared.reign_now(partition) else { continue };
        let committed = reign.committed.load(std::sync::atomic::Ordering::SeqCst);
        if reign.applied() < reign.opened {
            // It is read from the log first, and rings when that is done.
            continue;
        }
        let appended = reign.appended.lock().await;
        let mut upto = committed;
        for (seq, entry) in appended.pending.iter().filter(|(seq, _)| *seq <= committed) {
            if bytes >= BATCH_BYTES_MAX {
                upto = seq - 1;
                locked(&shared.ready).insert(partition);
                break;
            }
            bytes += 1024 + entry.data.as_ref().map_or(0, bytes::Bytes::len);
            entries.push(entry.clone().adopted());
        }
        drop(appended);
        applied.extend(mark(shared, partition, upto));
        done.push((reign, upto));
    }
    let answer = shared.perform(Operation::Adopt { entries, applied }).await;
    if let Err(refused) = answer {
        tracing::warn!(%refused, "what is committed is not in the archive yet: tried again");
        let mut ready = locked(&shared.ready);
        ready.extend(done.iter().map(|(reign, _)| reign.partition));
        return false;
    }
    for (reign, upto) in done {
        let mut appended = reign.appended.lock().await;
        reign.take(&mut appended, upto);
    }
    if shared.engine.owed() > 0 {
        shared.owing_rung.notify_one();
    }
    true
}

/// How far a partition's log is known, if everything up to `upto` is.
fn mark(shared: &Shared, partition: PartitionId, upto: u64) -> Option<Applied> {
    let end = shared.replication.view(partition).committed?;
    let known = shared.engine.applied(partition.0).seq;
    let further = end.seq <= upto && end.seq > known;
    further.then_some(Applied { partition: partition.0, end })
}

impl Shared {
    /// See [`crate::Archive::kept`].
    pub(crate) async fn kept(&self, partition: PartitionId) -> u64 {
        let applied = self.applied_to(partition).await;
        if self.engine.has_all_entire(partition.0) { applied } else { 0 }
    }

    /// Up to which entry of its log the objects of a partition are known here; 0 before they are.
    pub(crate) async fn applied_to(&self, partition: PartitionId) -> u64 {
        match self.reign_now(partition) {
            Some(reign) => {
                // Nothing is appended meanwhile: what is pending is all there is that is not applied.
                let appended = reign.appended.lock().await;
                if reign.applied() < reign.opened {
                    return 0;
                }
                let committed = reign.committed.load(std::sync::atomic::Ordering::SeqCst);
                let first = appended.pending.front().map_or(u64::MAX, |(seq, _)| *seq);
                committed.min(first.saturating_sub(1))
            }
            None => match self.catching_up.get(usize::from(partition.0)) {
                Some(looked) => looked.lock().await.seq.max(self.engine.applied(partition.0).seq),
                None => 0,
            },
        }
    }

    /// Behind which entry of its log nothing of the objects of a partition can be here: only what is committed is taken
    /// over.
    pub(crate) fn applied_at_most(&self, partition: PartitionId) -> u64 {
        let committed = self.replication.view(partition).committed.map_or(0, |end| end.seq);
        let reign = self.reign_now(partition);
        let led = reign.map_or(0, |it| it.committed.load(std::sync::atomic::Ordering::SeqCst));
        committed.max(led).max(self.engine.applied(partition.0).seq)
    }
}

/// Takes over everything before a reign, which then decides. Tried until it is done or the reign is over.
pub(crate) async fn open(shared: &Shared, reign: &Reign) {
    let began = runtime::now();
    while shared.engine.applied(reign.partition.0).seq < reign.opened {
        let view = shared.replication.view(reign.partition);
        match catch_up(shared, reign.partition).await {
            Ok(()) => {}
            Err(error) => {
                let (partition, epoch) = (reign.partition, reign.epoch);
                tracing::debug!(%partition, epoch, %error, "objects are not served yet");
            }
        }
        if shared.engine.applied(reign.partition.0).seq < reign.opened {
            // Either the disk or the view is behind.
            tokio::select! { biased;
                () = shared.replication.view_changed(reign.partition, &view) => {}
                () = runtime::sleep(AGAIN) => {}
            }
        }
    }
    let mut appended = reign.appended.lock().await;
    reign.take(&mut appended, reign.opened);
    drop(appended);
    shared.is_ready(reign.partition);
    let (partition, epoch) = (reign.partition, reign.epoch);
    let ms = (runtime::now() - began).as_millis();
    tracing::trace!(%partition, epoch, ms, "objects are served");
}

/// Takes over what others append, and notes how far this node's own partitions are.
pub(crate) async fn follow(shared: Arc<Shared>) {
    loop {
        runtime::sleep(LOOK_EVERY).await;
        // Also without bulk: it learns how long that takes without.
        shared.pace.look(|| (shared.replication.log_syncs(), shared.replication.commits()));
        shared.buffers.handle_timeout(runtime::now());
        let mut marks = Vec::new();
        for partition in shared.replication.partitions().all() {
            let view = shared.replication.view(partition);
            let Some(committed) = view.committed else { continue };
            let known = shared.engine.applied(partition.0).seq;
            // What it gave back it does not take over again from the log that it still has.
            let gave_back = view.role == Role::Retired && known == 0;
            if committed.seq <= known || view.role == Role::Outside || gave_back {
                continue;
            }
            if let Some(reign) = shared.reign_now(partition) {
                let upto = reign.applied();
                let first = reign.first_pending.load(std::sync::atomic::Ordering::SeqCst);
                let nothing = upto >= reign.opened && first > committed.seq;
                if nothing && committed.seq - known >= MARK_EVERY {
                    marks.push(Applied { partition: partition.0, end: committed });
                }
                continue;
            }
            if let Err(error) = catch_up(&shared, partition).await {
                tracing::debug!(%partition, %error, "objects of the log are not taken over yet");
            }
        }
        if !marks.is_empty() {
            let entries = Vec::new();
            drop(shared.perform(Operation::Adopt { entries, applied: marks }).await);
        }
        meters::owed(shared.engine.owed());
        if shared.engine.owed() > 0 {
            shared.owing_rung.notify_one();
        }
    }
}

/// Takes over everything that is committed from this node's own log.
async fn catch_up(shared: &Shared, partition: PartitionId) -> Result<(), NotApplied> {
    let Some(one) = shared.catching_up.get(usize::from(partition.0)) else { return Ok(()) };
    let mut looked = one.lock().await;
    shared.engine.keep(partition.0);
    // Cannot be an error: nobody closes it.
    let _turn = shared.catch_ups.acquire().await;
    let view = shared.replication.view(partition);
    let target = view.committed.ok_or(NotApplied::Behind)?;
    // What held no objects is not written down each time, and not read again either.
    let applied = shared.engine.applied(partition.0);
    let known = if looked.seq > applied.seq { *looked } else { applied };
    if target.seq <= known.seq {
        return Ok(());
    }
    let mut at = known;
    let mut first = Some(page(shared, partition, at, target).await?);
    let alone =
        first.as_ref().and_then(|page| page.last()).is_none_or(|last| last.seq >= target.seq);
    match &first {
        Some(page) if page.is_empty() => {}
        Some(page) if alone => {
            is_committed(follows(known, page, base(shared, partition))?, target)?;
        }
        _ => verify(shared, partition, known, target).await?,
    }
    while at.seq < target.seq {
        let page = match first.take() {
            Some(page) => page,
            None => page(shared, partition, at, target).await?,
        };
        at = page.last().map_or(target, |last| LogEnd {
            epoch: last.epoch,
            seq: last.seq,
            chain: last.chain,
        });
        let mut entries: Vec<Adopted> = Vec::new();
        for logged in page.iter().filter(|logged| is_object(&logged.payload)) {
            let seq = logged.seq;
            let entry = ObjectEntry::decode(&logged.payload).map_err(|_strange| {
                meters::strange();
                NotApplied::Strange { seq }
            })?;
            entries.push(entry.adopted());
        }
        let far = at.seq - shared.engine.applied(partition.0).seq;
        if entries.is_empty() && at.seq < target.seq && far < MARK_EVERY {
            continue;
        }
        let applied = vec![Applied { partition: partition.0, end: at }];
        let answer = shared.perform(Operation::Adopt { entries, applied }).await;
        answer.map_err(NotApplied::Refused)?;
    }
    *looked = at;
    Ok(())
}

/// Whether the log on this node's disk is what is committed, up to `target`.
async fn verify(
    shared: &Shared,
    partition: PartitionId,
    from: LogEnd,
    target: LogEnd,
) -> Result<(), NotApplied> {
    let mut at = from;
    while at.seq < target.seq {
        let page = page(shared, partition, at, target).await?;
        if page.is_empty() {
            return Ok(());
        }
        at = follows(at, &page, base(shared, partition))?;
    }
    is_committed(at, target)
}

/// Up to where a log's entries may have been written anew.
fn base(shared: &Shared, partition: PartitionId) -> u64 {
    shared.replication.base(partition).map_or(0, |base| base.place.seq)
}

/// Where a page ends that follows `at`.
fn follows(mut at: LogEnd, page: &[LogEntry], base: u64) -> Result<LogEnd, NotApplied> {
    for LogEntry { epoch, seq, chain, payload } in page {
        // What is missing was let go, and only what is committed is. What is below a base may be written otherwise, and
        // was verified when it was taken.
        if *seq > base && *seq == at.seq + 1 && at.chain.next(*epoch, *seq, payload) != *chain {
            return Err(NotApplied::Behind);
        }
        at = LogEnd { epoch: *epoch, seq: *seq, chain: *chain };
    }
    Ok(at)
}

/// Whether what was read up to `at` is what is committed.
fn is_committed(at: LogEnd, target: LogEnd) -> Result<(), NotApplied> {
    if at == target { Ok(()) } else { Err(NotApplied::Behind) }
}

/// Some entries behind `at`, not beyond `target`; none, if all of them were let go.
async fn page(
    shared: &Shared,
    partition: PartitionId,
    at: LogEnd,
    target: LogEnd,
) -> Result<Vec<LogEntry>, NotApplied> {
    let left = usize::try_from(target.seq - at.seq).unwrap_or(usize::MAX).min(PAGE_ENTRIES_MAX);
    let read = shared.replication.read(partition, at.seq + 1, left, PAGE_BYTES_MAX).await;
    let mut page: Vec<LogEntry> = read.ok_or(NotApplied::Behind)?;
    let there = match page.first() {
        Some(first) => first.seq > at.seq,
        // The log ends where it begins, and nothing is kept between.
        None => shared.replication.base(partition).is_some_and(|base| base.place.seq >= target.seq),
    };
    if !there {
        return Err(NotApplied::Behind);
    }
    page.retain(|logged| logged.seq <= target.seq);
    Ok(page)
}
