//! Messages that are not in memory any more, from the log.
//!
//! A chat's entries stand among those of other chats of its partition. Places that are close together are
//! read in one go, entries between them included; far ones one by one.

use std::collections::HashMap;

use hashring::PartitionId;
use model::encode;
use model::{ChatToken, Entry};

use crate::Stored;
use crate::conversation::Found;
use crate::ledger::Ledger;
use crate::redacted::shown;

/// Places so many entries apart are read together: reading on costs less than asking again.
const GAP_MAX: u64 = 32;

/// Entries and bytes of one read.
const READ_ENTRIES_MAX: usize = 512;
const READ_BYTES_MAX: usize = 1 << 20;

/// The messages of a stretch, and how many had to be read. `None` when the log does not give them, which
/// is in the log of the node.
pub(crate) async fn fetch(
    ledger: &dyn Ledger,
    partition: PartitionId,
    token: ChatToken,
    found: Vec<Found>,
) -> Option<(Vec<Stored>, usize)> {
    let wanted: Vec<u64> = found
        .iter()
        .filter_map(|found| match found {
            Found::There { place, .. } => Some(place.entry),
            Found::Here(_) => None,
        })
        .collect();
    let mut entries = HashMap::new();
    for (first, last) in runs(&wanted) {
        read(ledger, partition, token, first..=last, &mut entries).await?;
    }
    let stored = found.into_iter().map(|found| match found {
        Found::Here(stored) => Some(stored),
        Found::There { cursor, place, why } => {
            let message = entries.get(&place.entry)?.messages().nth(place.index)?;
            Some(Stored { cursor, message: shown(message, why.as_ref()) })
        }
    });
    Some((stored.collect::<Option<Vec<Stored>>>()?, wanted.len()))
}

/// Entry `seq` of a partition's log, if it is this chat's.
pub(crate) async fn entry(
    ledger: &dyn Ledger,
    partition: PartitionId,
    token: ChatToken,
    seq: u64,
) -> Option<(u64, Entry)> {
    let page = ledger.read(partition, seq, 1, READ_BYTES_MAX).await?;
    let logged = page.into_iter().find(|logged| logged.seq == seq)?;
    let entry = encode::decode(&logged.payload).ok().filter(|entry| entry.chat == token)?;
    Some((logged.epoch, entry))
}

/// Entries of one chat between two places of the log.
async fn read(
    ledger: &dyn Ledger,
    partition: PartitionId,
    token: ChatToken,
    range: std::ops::RangeInclusive<u64>,
    entries: &mut HashMap<u64, Entry>,
) -> Option<()> {
    let mut next = *range.start();
    while next <= *range.end() {
        let left = usize::try_from(range.end() - next + 1).unwrap_or(READ_ENTRIES_MAX);
        let page = ledger.read(partition, next, left.min(READ_ENTRIES_MAX), READ_BYTES_MAX).await?;
        let last = page.last()?.seq;
        if last < next {
            return None;
        }
        for logged in page {
            // What is not an entry of ours, or of another chat, only stands between.
            if let Ok(entry) = encode::decode(&logged.payload)
                && entry.chat == token
            {
                entries.insert(logged.seq, entry);
            }
        }
        next = last + 1;
    }
    Some(())
}

/// The ranges to read for `wanted`, which rises.
fn runs(wanted: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for seq in wanted {
        match runs.last_mut() {
            Some((_, last)) if seq.saturating_sub(*last) <= GAP_MAX => *last = *seq,
            _ => runs.push((*seq, *seq)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn near_places_are_read_together() {
        assert_eq!(runs(&[1, 1, 2, 30, 70, 71]), [(1, 30), (70, 71)]);
        assert_eq!(runs(&[]), []);
    }
}
