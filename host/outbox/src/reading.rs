//! Events from the log: those that are not cut yet, and those that a transaction names.

use std::sync::Arc;

use hashring::PartitionId;
use model::encode;
use model::{Cursor, EventPlace};
use transaction::{Cutting, Event};

use crate::desk::Desk;

/// Entries and bytes of one page of the log.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Pages that are looked through for one transaction: what is in between concerns others, and the place
/// reached is written down, so that the next look begins there.
const PAGES_MAX: usize = 64;

/// Fills `cutting` with what is committed; whether the log could be read.
pub(crate) async fn fill(
    desk: &dyn Desk,
    partition: PartitionId,
    cutting: &mut Cutting,
    committed: u64,
) -> bool {
    for _page in 0..PAGES_MAX {
        let next = cutting.next().max(1);
        if next > committed {
            return true;
        }
        let left = usize::try_from(committed - next + 1).unwrap_or(usize::MAX);
        let entries_max = left.min(PAGE_ENTRIES_MAX);
        let page = desk.read(partition, next, entries_max, PAGE_BYTES_MAX).await;
        // Below its base a log has holes: what nobody reads again is gone.
        let Some(page) = page.filter(|page| !page.is_empty()) else { return false };
        for logged in page.iter().filter(|logged| logged.seq <= committed) {
            match encode::decode(&logged.payload) {
                Ok(entry) if !cutting.take(logged.epoch, logged.seq, &entry) => return true,
                Ok(_) => {}
                // Not of a chat.
                Err(_other) => cutting.pass(logged.seq),
            }
        }
        if page.iter().all(|logged| logged.seq > committed) {
            cutting.pass(committed);
        }
        tokio::task::yield_now().await;
    }
    true
}

/// Those of `places` that are still there, each with its number in the list. `None` when the log cannot be read.
pub(crate) async fn events(
    desk: &dyn Desk,
    partition: PartitionId,
    places: &[EventPlace],
) -> Option<Vec<(usize, Event)>> {
    let last = places.last()?.seq;
    let mut found = Vec::with_capacity(places.len());
    let mut page = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let known = page.iter().any(|(seq, _, _)| *seq == place.seq);
        if !known {
            page = read(desk, partition, place.seq, last.max(place.seq)).await?;
        }
        let entry = page.iter().find(|(seq, epoch, _)| (*seq, *epoch) == (place.seq, place.epoch));
        let index = usize::try_from(place.index).unwrap_or(usize::MAX);
        let Some((_, _, Some(entry))) = entry else { continue };
        if let Some(message) = entry.messages().nth(index) {
            let cursor = Cursor { epoch: place.epoch, seq: place.number };
            let message = Arc::clone(message);
            found.push((number, Event { chat: entry.chat, cursor, message }));
        }
    }
    Some(found)
}

type Page = Vec<(u64, u64, Option<model::Entry>)>;

/// Entries from `from` on, and no further than `last`.
async fn read(desk: &dyn Desk, partition: PartitionId, from: u64, last: u64) -> Option<Page> {
    let left = usize::try_from(last - from + 1).unwrap_or(usize::MAX);
    let page = desk.read(partition, from, left.min(PAGE_ENTRIES_MAX), PAGE_BYTES_MAX).await?;
    // Nothing at all: it is not on this disk yet. Something later: it is gone.
    page.first()?;
    let decoded = |logged: segment::LogEntry| {
        (logged.seq, logged.epoch, encode::decode(&logged.payload).ok())
    };
    Some(page.into_iter().map(decoded).collect())
}
