//! Lets a partition's log begin later, once it is worth it: below that only what is read again stays, and nothing of what
//! was taken back, or of the bytes that entries about objects bring and that are kept with the objects.
//!
//! Done where chats are forgotten, by every node for itself, after a snapshot was kept. What the log stands on then is
//! folded anew from what it stood on before, entry by entry and each checked against its chain, so that two
//! nodes that let their logs begin at the same place keep the same bytes. The node itself still decides
//! whether that place is committed when the time comes.

use std::sync::Arc;

use hashring::PartitionId;
use replication::Anew;
use segment::{LogEnd, LogEntry, Snapshot};

use crate::chats::Shared;
use crate::config::Trim;
use crate::keeper::{NotKept, Weight, continues, fold_on};
use crate::ledger::Ledger;
use crate::loading::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use crate::snapshot;

/// It is worth it when what goes, in entries, is at least one for so many of those that are kept, which are all
/// written anew.
const KEPT_PER_ENTRY: u64 = 4;

/// Likewise where something was taken back that the log still has: its bytes are to go soon, at up to 16 times the
/// work.
const KEPT_PER_ENTRY_TAKEN_BACK: u64 = 16 * KEPT_PER_ENTRY;

/// Trims the log of a partition, if it is worth it.
pub(crate) async fn trim(shared: &Shared, partition: PartitionId, weight: &Weight) {
    let Some(trim) = shared.config.trim else { return };
    match trim_once(shared, partition, weight, trim).await {
        Ok(true) => shared.meters.trimmed.increment(1),
        Ok(false) => {}
        Err(why) => tracing::debug!(%partition, %why, "the log is not trimmed now"),
    }
}

async fn trim_once(
    shared: &Shared,
    partition: PartitionId,
    weight: &Weight,
    trim: Trim,
) -> Result<bool, NotKept> {
    let ledger = &*shared.ledger;
    let base = ledger.base(partition).unwrap_or_default();
    let view = ledger.view(partition);
    let weighed = ledger.weigh(partition, trim.entries, trim.bytes).await;
    let target = weighed.ok_or(NotKept::Behind)?.min(view.commit);
    let others = shared.others.get().cloned();
    if let Some(others) = &others
        && others.kept(partition).await < target
    {
        return Err(NotKept::Behind);
    }
    // What is committed must be known with its chain, to be compared with what stands on the disk.
    if view.committed.is_none() {
        return Err(NotKept::Behind);
    }
    let stays = view.end.saturating_sub(target);
    // What was taken back further on stays in the log itself for now.
    let taken_back = weight.redacted > base.place.seq && weight.redacted <= target;
    let kept = (base.entries, weight.kept);
    if !is_worth_it(target.saturating_sub(base.place.seq), stays, kept, taken_back) {
        return Ok(false);
    }
    let page = ledger.read(partition, target, 1, 1).await.ok_or(NotKept::Behind)?;
    let last = page.first().filter(|last| last.seq == target).ok_or(NotKept::Behind)?;
    let place = LogEnd { epoch: last.epoch, seq: last.seq, chain: last.chain };
    let mut folds = snapshot::of_base(ledger, partition).await;
    if folds.place != base.place {
        return Err(NotKept::Behind);
    }
    fold_on(shared, partition, &mut folds, place).await?;
    let mut parts = Vec::new();
    for part in snapshot::parts(&folds) {
        parts.push(part);
        tokio::task::yield_now().await;
    }
    let (kept, anew) = (folds.kept(), folds.anew());
    drop(folds);
    if let Some(committed) = view.committed.filter(|committed| committed.seq > place.seq) {
        leads_to(ledger, partition, place, committed).await?;
    }
    let anew: Anew = Arc::new(move |logged: &LogEntry| match &others {
        Some(others) if model::encode::is_object(&logged.payload) => others.anew(&logged.payload),
        _ => anew.payload(logged),
    });
    match ledger.trim(partition, Snapshot { place, parts }, kept, anew).await {
        true => Ok(true),
        false => Err(NotKept::Unwritten),
    }
}

/// The log goes on from `place` to what is known to be committed, chain and all: so it is the same log up to there
/// that the others have. What it stands on is compared with nothing any more.
async fn leads_to(
    ledger: &dyn Ledger,
    partition: PartitionId,
    mut place: LogEnd,
    committed: LogEnd,
) -> Result<(), NotKept> {
    while place.seq < committed.seq {
        let left = usize::try_from(committed.seq - place.seq).unwrap_or(usize::MAX);
        let entries_max = left.min(PAGE_ENTRIES_MAX);
        let page = ledger.read(partition, place.seq + 1, entries_max, PAGE_BYTES_MAX).await;
        let page = page.filter(|page| !page.is_empty()).ok_or(NotKept::Behind)?;
        for logged in page {
            if logged.seq != place.seq + 1 || !continues(place, &logged) {
                return Err(NotKept::Behind);
            }
            place = LogEnd { epoch: logged.epoch, seq: logged.seq, chain: logged.chain };
        }
        tokio::task::yield_now().await;
    }
    if place == committed { Ok(()) } else { Err(NotKept::Behind) }
}

/// Whether so many entries may go when so many stay in the log, and so many were and would be kept below it.
fn is_worth_it(go: u64, stay: u64, (were_kept, kept): (u64, u64), taken_back: bool) -> bool {
    let many = go > 0 && go.saturating_mul(2) >= stay;
    let per_entry = if taken_back { KEPT_PER_ENTRY_TAKEN_BACK } else { KEPT_PER_ENTRY };
    let enough = go.saturating_mul(per_entry) >= were_kept;
    // Half of what is kept is of chats that are forgotten by now.
    many && (enough || kept.saturating_mul(2) <= were_kept)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_log_is_trimmed_when_enough_goes_beside_what_stays_and_what_is_kept() {
        let is_worth_it = |go, stay, kept| super::is_worth_it(go, stay, kept, false);
        assert!(!is_worth_it(0, 0, (0, 0)), "nothing goes");
        assert!(!is_worth_it(4_999, 10_000, (0, 0)));
        assert!(is_worth_it(5_000, 10_000, (0, 0)));
        assert!(!is_worth_it(5_000, 10_000, (20_001, 25_000)), "too much is written anew");
        assert!(is_worth_it(5_000, 10_000, (20_000, 25_000)));
        assert!(is_worth_it(5_000, 10_000, (90_000, 45_000)), "half of it goes too");
        assert!(super::is_worth_it(5_000, 10_000, (320_000, 320_000), true), "bytes are to go");
        assert!(
            !super::is_worth_it(5_000, 10_000, (320_001, 320_001), true),
            "but not at any price"
        );
    }
}
