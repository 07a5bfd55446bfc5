//! What this node owes: it fetches what it lacks, and what is broken, from others that have it.
//!
//! Under the original name, with the original sequences: so a copy that was mended is like every other. What
//! was fetched is believed when each sequence is the one that the entry's digests vouch for. That goes for what an
//! earlier store of this node left, too, which is nearer than any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hashring::NodeId;
use segment::archive::{Debt, Operation, SEQUENCE_BYTES_MAX, Slice, Table, Told};

use crate::Part;
use crate::leading::part;
use crate::meters;
use crate::place;
use crate::request::Name;
use crate::shared::Shared;
use crate::source::{Lacks, Source};

/// So many segments are looked at before the next look, and then the next ones.
const DEBTS_MAX: usize = 64;
/// So long it rests when nobody could help, and when nothing is known to be owed.
const AGAIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Pays, until the node stops.
pub(crate) async fn pay(shared: Arc<Shared>) {
    let engine = shared.engine.clone();
    if let Some(Err(error)) = runtime::blocking(move || engine.find_debts()).await {
        tracing::error!(%error, "what is owed cannot be found out: reading tells");
    }
    loop {
        let engine = shared.engine.clone();
        let debts = match runtime::blocking(move || engine.debts(DEBTS_MAX)).await {
            Some(Ok(debts)) => debts,
            Some(Err(error)) => {
                tracing::error!(%error, "what is owed cannot be looked up");
                Vec::new()
            }
            None => return,
        };
        meters::owed(shared.engine.owed());
        let mut paid = 0;
        for debt in &debts {
            match pay_one(&shared, debt).await {
                Ok(sequences) => {
                    paid += 1;
                    meters::mended(sequences);
                }
                Err(why) => {
                    tracing::debug!(upload = %debt.made.upload, why, "a segment is owed still");
                }
            }
        }
        let rest = if debts.is_empty() { LOOK_EVERY } else { AGAIN };
        if paid == 0 {
            tokio::select! { biased;
                () = shared.owing_rung.notified(), if debts.is_empty() => {}
                () = runtime::sleep(rest) => {}
            }
        }
    }
}

/// Fetches what a segment lacks, from the first who has it; how many sequences that were is told.
async fn pay_one(shared: &Arc<Shared>, debt: &Debt) -> Result<u64, String> {
    let made = &debt.made;
    let part = part(made);
    let name = Name { collection: made.at.collection.clone(), key: made.at.key.clone() };
    let partition = place::of_name(shared.replication.partitions(), &name);
    let partition = partition.map_err(|refusal| refusal.to_string())?;
    let members = shared.replication.view(partition).ensemble.clone();
    let mut others: VecDeque<NodeId> = shared.holders(&part, &members);
    others.retain(|node| *node != shared.node);
    let mut why = "nobody else should have it".to_owned();
    let mut missing: Vec<u32> = Vec::new();
    let mut paid = 0;
    for number in debt.missing.iter().copied() {
        match left_here(shared, debt, number).await {
            Some(slice) => paid += mend(shared, debt, slice).await?,
            None => missing.push(number),
        }
    }
    if missing.is_empty() {
        return Ok(paid);
    }
    for node in others {
        while let Some(number) = missing.first().copied() {
            match fetch(shared, &node, debt, &part, number).await {
                Ok(slice) => {
                    paid += mend(shared, debt, slice).await?;
                    missing.remove(0);
                }
                Err(Lacks(lacks)) => {
                    why = lacks;
                    break;
                }
            }
        }
        if missing.is_empty() {
            return Ok(paid);
        }
    }
    Err(why)
}

async fn mend(shared: &Shared, debt: &Debt, slice: Slice) -> Result<u64, String> {
    let upload = debt.made.upload.clone();
    let mended = shared.perform(Operation::Mend { upload, slice }).await;
    mended.map(|_done| 1).map_err(|refused| refused.to_string())
}

/// What all sequences together are.
fn sum(table: &[Told]) -> Table {
    table
        .iter()
        .fold(Table::EMPTY, |sum, told| sum.with(u64::from(told.size), told.md5, told.adler32))
}

/// One sequence of a segment, if an earlier store of this node has all of it.
async fn left_here(shared: &Arc<Shared>, debt: &Debt, number: u32) -> Option<Slice> {
    let earlier = shared.earlier.get().filter(|earlier| !earlier.is_empty())?.clone();
    let made = debt.made.clone();
    let kib = u32::try_from(SEQUENCE_BYTES_MAX / 1024).unwrap_or(u32::MAX);
    // Cannot be an error: nobody closes it.
    let _room = shared.held_kib.acquire_many(kib).await;
    let look = move || {
        earlier.iter().find_map(|archive| {
            let reading = archive.part(made.clone()).ok()?;
            let table = reading.table();
            let told = table.get(usize::try_from(number).ok()?)?;
            if sum(&table) != made.table {
                return None;
            }
            // All of it: so its digests are verified as well.
            let data = reading.read(number, 0..told.size).ok()?;
            let (md5, adler32, size) = (told.md5, told.adler32, u64::from(told.size));
            Some(Slice { sequence: number, data, size, md5, adler32 })
        })
    };
    runtime::blocking(look).await.flatten()
}

/// One sequence of a segment.
async fn fetch(
    shared: &Arc<Shared>,
    node: &NodeId,
    debt: &Debt,
    part: &Part,
    number: u32,
) -> Result<Slice, Lacks> {
    // Where it lies follows from the sizes of those before it, which only the table tells.
    let none = 0..0;
    let table = Source::open(shared, node, &debt.made.at, part, none).await?.table;
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    let (Some(before), Some(told)) = (table.get(..at), table.get(at)) else {
        return Err(Lacks(format!("node {node} tells of fewer sequences")));
    };
    if sum(&table) != debt.made.table {
        return Err(Lacks(format!("node {node} tells of other sequences")));
    }
    let begins: u64 = before.iter().map(|told| u64::from(told.size)).sum();
    let size = usize::try_from(told.size).unwrap_or(usize::MAX);
    let room = u32::try_from(size / 1024 + 1).unwrap_or(u32::MAX);
    // Cannot be an error: nobody closes it.
    let _room = shared.held_kib.acquire_many(room).await;
    let range = begins..begins + u64::from(told.size);
    let mut source = Source::open(shared, node, &debt.made.at, part, range).await?;
    let mut data = BytesMut::with_capacity(size);
    while let Some(piece) = source.next().await {
        let piece = piece?;
        if data.len() + piece.len() > size {
            return Err(Lacks(format!("node {node} gives too much")));
        }
        data.extend_from_slice(&piece);
    }
    let (md5, adler32, size) = (told.md5, told.adler32, u64::from(told.size));
    // It is verified when it is written.
    Ok(Slice { sequence: number, data: data.freeze(), size, md5, adler32 })
}
