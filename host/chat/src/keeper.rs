//! Keeps a snapshot of every partition this node holds, so that whoever takes one over folds its tail only.
//!
//! Leaders and others do the same, one partition at a time and away from everything that is served: the
//! snapshot before and the entries since are folded anew, in memory that is given back. Chats that are in
//! memory because this node leads them are not touched, and a node that only follows keeps none.
//!
//! What is folded must be what is committed, and a disk can lag behind: something withdrawn may still stand
//! where the committed entry will. So every entry is checked against the chain, and the last one must be
//! the committed one, chain and all; otherwise nothing is kept and it is tried again later.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hashring::PartitionId;
use segment::{LogEnd, LogEntry, Snapshot};

use crate::chats::Shared;
use crate::fold::{Folds, Unfolded};
use crate::loading::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use crate::{snapshot, trimming};

/// How often it looks whether one is due: a partition that takes a thousand entries a second grows less than
/// a quarter of its due meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A snapshot is due when the tail is at least its length over this. Folding the tail then takes about as
/// long as reading the snapshot, so that more of them would not make a take-over much shorter; and what
/// is written for an entry stays within this on average.
const BYTES_PER_ENTRY: u64 = 512;

/// Why none was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// The disk has other entries there than were committed, or not all of them. It is tried again later.
    #[error("the log does not hold everything that is committed yet")]
    Behind,
    /// The log cannot be folded. It is tried again after as many entries as for any.
    #[error(transparent)]
    Unfolded(#[from] Unfolded),
    /// It could not be written, and the reason is in the log. It is tried again after as many entries.
    #[error("it could not be written")]
    Unwritten,
}

/// What a log would be if it were trimmed where a snapshot was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    /// About how many entries are read again, and so kept.
    pub(crate) kept: u64,
    /// The last one that took back what a message said; 0 if there is none.
    pub(crate) redacted: u64,
}

/// Looks now and then which partitions are in need of a snapshot, and keeps one of each. Until the node stops.
pub(crate) async fn keep(shared: &Shared) {
    // Below this seq a partition is in no need, as far as that is not known from its snapshot.
    let mut tried = HashMap::new();
    loop {
        runtime::sleep(LOOK_EVERY).await;
        let mut behind = HashSet::new();
        while let Some((partition, place)) = most_due(shared, &tried, &behind) {
            let began = runtime::now();
            match keep_one(shared, partition, place).await {
                Ok(kept) => {
                    shared.meters.snapshot_seconds.record(runtime::now() - began);
                    trimming::trim(shared, partition, &kept).await;
                }
                Err(NotKept::Behind) => {
                    behind.insert(partition);
                }
                Err(why) => {
                    tracing::warn!(%partition, seq = place.seq, %why, "no snapshot was kept");
                    tried.insert(partition, place.seq);
                }
            }
        }
    }
}

/// The partition whose tail is longest beside its due, if it is longer.
fn most_due(
    shared: &Shared,
    tried: &HashMap<PartitionId, u64>,
    behind: &HashSet<PartitionId>,
) -> Option<(PartitionId, LogEnd)> {
    let ledger = &shared.ledger;
    let partitions = ledger.partitions().all().filter(|partition| !behind.contains(partition));
    let due = partitions.filter_map(|partition| {
        let place = place(shared, partition)?;
        let (seq, bytes) = ledger.kept(partition).map_or((0, 0), |kept| (kept.seq, kept.bytes));
        let since = seq.max(tried.get(&partition).copied().unwrap_or(0));
        let wanted = shared.config.snapshot_entries.max(bytes / BYTES_PER_ENTRY).max(1);
        // In hundredths, so that large partitions do not always come first.
        let need = place.seq.saturating_sub(since).saturating_mul(100) / wanted;
        (need >= 100).then_some((need, partition, place))
    });
    let most = due.max_by_key(|(need, partition, _)| (*need, Reverse(*partition)));
    most.map(|(_, partition, place)| (partition, place))
}

/// Up to where a snapshot of it could be.
fn place(shared: &Shared, partition: PartitionId) -> Option<LogEnd> {
    let view = shared.ledger.view(partition);
    match shared.config.sabotage.believe_snapshots {
        true => Some(LogEnd { seq: view.end, ..LogEnd::default() }),
        false => view.committed,
    }
}

/// Keeps one.
async fn keep_one(
    shared: &Shared,
    partition: PartitionId,
    place: LogEnd,
) -> Result<Weight, NotKept> {
    let (ledger, sabotage) = (&*shared.ledger, shared.config.sabotage);
    let mut folds = snapshot::begin(ledger, partition, place.seq, sabotage).await;
    fold_on(shared, partition, &mut folds, place).await?;
    let place = folds.place;
    let mut parts = Vec::new();
    for part in snapshot::parts(&folds) {
        parts.push(part);
        tokio::task::yield_now().await;
    }
    let weight = Weight { kept: folds.kept_count(), redacted: folds.redacted() };
    drop(folds);
    match ledger.keep_snapshot(partition, Snapshot { place, parts }).await {
        true => Ok(weight),
        false => Err(NotKept::Unwritten),
    }
}

/// Folds everything up to `place`, if that is what stands in the log.
pub(crate) async fn fold_on(
    shared: &Shared,
    partition: PartitionId,
    folds: &mut Folds,
    place: LogEnd,
) -> Result<(), NotKept> {
    let (ledger, sabotage) = (&*shared.ledger, shared.config.sabotage);
    while folds.place.seq < place.seq {
        let began = runtime::now();
        let next = folds.next();
        let left = usize::try_from(place.seq - folds.place.seq).unwrap_or(usize::MAX);
        let entries_max = left.min(PAGE_ENTRIES_MAX);
        let page = ledger.read(partition, next, entries_max, PAGE_BYTES_MAX).await;
        let page = page.filter(|page| !page.is_empty()).ok_or(NotKept::Behind)?;
        for logged in page {
            if !continues(folds.place, &logged) && !sabotage.believe_snapshots {
                return Err(NotKept::Behind);
            }
            folds.apply(&logged, sabotage)?;
        }
        // Whatever is served goes first: at most every other moment is this task's.
        runtime::sleep(runtime::now() - began).await;
    }
    if folds.place != place && !sabotage.believe_snapshots {
        return Err(NotKept::Behind);
    }
    Ok(())
}

/// Whether an entry follows a place, by its chain.
pub(crate) fn continues(before: LogEnd, logged: &LogEntry) -> bool {
    let LogEntry { epoch, seq, chain, payload } = logged;
    before.chain.next(*epoch, *seq, payload) == *chain
}
