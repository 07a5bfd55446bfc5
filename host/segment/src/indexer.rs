//! The thread that writes the index, so that the writing thread never waits for SQLite.
//!
//! Once a second it takes what is committed and not indexed from the ledger, writes it in one
//! transaction, and only then lets the ledger forget it: a reader finds every entry in one of the two. The
//! checkpoint is before the first record that the index does not contain.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use db::Error;
use hashring::PartitionId;

use crate::LogEnd;
use crate::index::{self, Row};
use crate::ledger::{Doubt, Ledger, Location, Moved, PartitionLog, Position};
use crate::log::Shared;
use crate::{LogOp, bases, value_file};

/// How often is looked for something to index.
const EVERY: Duration = Duration::from_secs(1);
/// After a failure, as on a full disk, less often.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// In so many rounds is looked again whether value files can go, though no log has another beginning.
const LOOK_ROUNDS: u32 = 16;

/// So many entries are taken at once: the ledger is locked meanwhile, some 100 µs.
const ROUND_ENTRIES_MAX: usize = 4096;
/// So many locations share a row, which makes a row cost little an entry.
const BLOCK_ENTRIES_MAX: u64 = 64;

/// Tells the thread to end.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    ending: Mutex<Option<Last>>,
    rung: Condvar,
}

/// What is done before the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Everything that can be is indexed.
    Round,
    /// Nothing.
    Nothing,
}

/// The state of the indexing thread.
pub(crate) struct Indexer {
    shared: Arc<Shared>,
    writer: db::Writer,
    /// The rows as they were written last.
    rows: BTreeMap<PartitionId, Row>,
    /// The last block of each partition, while it can take more: its first seq and its bytes.
    blocks: BTreeMap<PartitionId, Block>,
    /// From where a start would scan.
    checkpoint: Position,
    /// Value files before this one were said to be needed no more.
    asked: u32,
    /// And those before this one were removed.
    removed: u32,
    /// How often was looked.
    rounds: u32,
}

#[derive(Clone, Debug, Default)]
struct Block {
    first: u64,
    count: u64,
    bytes: Vec<u8>,
}

/// What one round writes.
struct Round {
    parts: Vec<Part>,
    checkpoint: Position,
    /// There is more than one round takes.
    more: bool,
}

struct Part {
    partition: PartitionId,
    /// The base when the round began.
    before: LogEnd,
    lowered: bool,
    moved: Moved,
    locations: Vec<Location>,
    epochs: Vec<(u64, u64)>,
    row: Row,
}

impl Bell {
    pub(crate) fn end(&self, last: Last) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        self.rung.notify_all();
    }

    fn wait(&self, patience: Duration) -> Option<Last> {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(ending, patience, |ending| ending.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Indexer {
    pub(crate) fn new(shared: Arc<Shared>, writer: db::Writer) -> Self {
        Self {
            shared,
            writer,
            rows: BTreeMap::new(),
            blocks: BTreeMap::new(),
            checkpoint: Position::default(),
            asked: 0,
            removed: 0,
            rounds: 0,
        }
    }

    /// Indexes until it is told to end.
    pub(crate) fn run(mut self) {
        let mut patience = EVERY;
        loop {
            let ending = self.shared.bell.wait(patience);
            if ending == Some(Last::Nothing) {
                return;
            }
            patience = EVERY;
            while let Some(round) = self.round() {
                match self.write(round) {
                    Ok(More::Yes) => {}
                    Ok(More::No) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the index could not be written; it is tried again");
                        if error.is_damage() {
                            self.shared.distrust_index();
                            return;
                        }
                        patience = AFTER_FAILURE;
                        break;
                    }
                }
            }
            self.give_back();
            if ending.is_some() {
                return;
            }
        }
    }

    /// Removes files that nobody needs, and has the writer say which value files are such.
    fn give_back(&mut self) {
        let (stale, released) = self.shared.bases().take_stale();
        let folder = &self.shared.config.folder;
        if !stale.is_empty() || released > self.removed {
            self.removed = released;
            bases::remove(self.shared.disk.as_ref(), folder, stale, released);
        }
        self.rounds = self.rounds.wrapping_add(1);
        let moved = self.shared.bases().take_moved();
        // What was needed when a log began later may not be needed any more when others have gone on.
        let again = self.rounds.is_multiple_of(LOOK_ROUNDS) && self.shared.bases().are_any();
        if !moved && !again {
            return;
        }
        let first = value_file::present(folder).unwrap_or_default().first().copied();
        match (first, self.needed()) {
            (Some(first), Ok(Some(needed))) if needed > first.max(self.asked) => {
                self.asked = needed;
                // A log that has too much to do is asked with the next base; one that has ended needs nothing.
                drop(self.shared.queue.submit(0, vec![LogOp::Release { file: needed }]));
            }
            (_, Err(error)) => tracing::warn!(%error, "which value files can go is not known"),
            _ => {}
        }
    }

    /// The first value file that something needs: an entry of a log, or the next start. `None` while a
    /// log is in doubt: what is known to be missing may only stand there.
    fn needed(&self) -> Result<Option<u32>, Error> {
        let mut first = self.checkpoint.file;
        let mut indexed = Vec::new();
        {
            let ledger = self.shared.ledger();
            for (partition, log) in ledger.iter() {
                if log.doubt != Doubt::None {
                    return Ok(None);
                }
                let held = log.tail.front().map(|location| location.at.file);
                first = held.map_or(first, |held| held.min(first));
                if log.base.seq > log.root.seq {
                    indexed.push((partition, log.root.seq + 1));
                }
            }
        }
        for (partition, seq) in indexed {
            let Some(location) = self.shared.indexed(partition, seq)? else { return Ok(None) };
            first = first.min(location.at.file);
        }
        Ok(Some(first))
    }

    /// Takes what is to be written; `None` if there is nothing new.
    fn round(&self) -> Option<Round> {
        let ledger = self.shared.ledger();
        let mut left = ROUND_ENTRIES_MAX;
        let mut parts = Vec::new();
        let mut more = false;
        for (partition, log) in ledger.iter() {
            let part = part(partition, log, left);
            left -= part.locations.len();
            more |= left == 0;
            if part.lowered
                || part.moved != Moved::Not
                || self.rows.get(&partition) != Some(&part.row)
            {
                parts.push(part);
            }
        }
        let checkpoint = checkpoint(&ledger, &parts);
        (!parts.is_empty()).then_some(Round { parts, checkpoint, more })
    }

    fn write(&mut self, mut round: Round) -> Result<More, Error> {
        let store = self.shared.config.store;
        let shared = Arc::clone(&self.shared);
        let blocks = &mut self.blocks;
        let written = self.writer.transaction(|tx| {
            for part in &mut round.parts {
                if part.lowered {
                    index::cut(tx, part.partition, part.before.seq)?;
                    blocks.remove(&part.partition);
                    let base = shared.indexed(part.partition, part.before.seq)?;
                    part.row.base.chain = base.map(|base| base.chain).unwrap_or_default();
                }
                if part.moved == Moved::Away {
                    index::cut(tx, part.partition, 0)?;
                    blocks.remove(&part.partition);
                }
                let block = blocks.entry(part.partition).or_default();
                write_locations(tx, part, block)?;
                for epoch in &part.epochs {
                    index::write_epoch(tx, part.partition, *epoch)?;
                }
                if part.moved != Moved::Not {
                    let LogEnd { epoch, seq, .. } = part.row.root;
                    index::forget(tx, part.partition, (epoch, seq))?;
                }
                index::write_row(tx, part.partition, &part.row)?;
            }
            index::write_checkpoint(tx, store, round.checkpoint)
        });
        if written.is_err() {
            // Nobody knows which blocks the file has: later ones begin anew.
            self.blocks.clear();
        }
        written?;
        self.checkpoint = round.checkpoint;
        self.forget(&round);
        Ok(if round.more { More::Yes } else { More::No })
    }

    /// Lets the ledger forget what the index has now.
    fn forget(&mut self, round: &Round) {
        let mut ledger = self.shared.ledger();
        for part in &round.parts {
            let log = ledger.partition_mut(part.partition);
            self.rows.remove(&part.partition);
            // Lowered meanwhile: the next round cuts what this one wrote.
            // Or it begins elsewhere by now.
            let is_other = log.base.seq != part.before.seq || log.root != part.row.root;
            if is_other || log.lowered != part.lowered {
                self.blocks.remove(&part.partition);
                continue;
            }
            log.tail.drain(..part.locations.len().min(log.tail.len()));
            log.base = part.row.base;
            log.lowered = false;
            log.moved = Moved::Not;
            self.rows.insert(part.partition, part.row.clone());
        }
    }
}

/// Whether another round follows at once.
enum More {
    Yes,
    No,
}

/// What is to be written of one partition: at most `left` entries.
fn part(partition: PartitionId, log: &PartitionLog, left: usize) -> Part {
    let committed = log.commit.saturating_sub(log.base.seq);
    // A cut below the base is written by itself, and what follows it in the next round.
    let committed = if log.lowered { 0 } else { usize::try_from(committed).unwrap_or(usize::MAX) };
    let locations: Vec<Location> = log.tail.iter().take(committed.min(left)).copied().collect();
    let count = u64::try_from(locations.len()).unwrap_or(0);
    let seq = log.base.seq.saturating_add(count);
    let base = locations.last().map_or(log.base, |last| LogEnd {
        epoch: last.epoch,
        seq,
        chain: last.chain,
    });
    // Those of a log that begins elsewhere are written anew.
    let from = if log.moved == Moved::Not { log.base.seq } else { 0 };
    let inside = |(_, first): &&(u64, u64)| *first > from && *first <= seq;
    Part {
        partition,
        before: log.base,
        lowered: log.lowered,
        moved: log.moved,
        epochs: log.epochs.iter().filter(inside).copied().collect(),
        row: Row {
            base,
            // What stands before the first entry that stays in memory is indexed, or was cut.
            applied: log.tail.get(locations.len()).map_or(log.touched, |next| next.at),
            commit: log.commit,
            promise: log.promise.clone(),
            missing: (log.doubt != Doubt::None).then_some(log.known),
            root: log.root,
        },
        locations,
    }
}

/// The place before the first record that the index will not contain after a round.
fn checkpoint(ledger: &Ledger, parts: &[Part]) -> Position {
    let taken: BTreeMap<_, _> =
        parts.iter().map(|part| (part.partition, part.locations.len())).collect();
    let left = |(partition, log): (PartitionId, &PartitionLog)| {
        log.tail.get(taken.get(&partition).copied().unwrap_or(0)).map(|location| location.at)
    };
    ledger.iter().filter_map(left).fold(ledger.synced, Position::min)
}

/// Fills the partition's last block, and begins others when it is full.
fn write_locations(tx: &db::Transaction<'_>, part: &Part, block: &mut Block) -> Result<(), Error> {
    let mut seq = part.before.seq;
    let mut rest = part.locations.iter().peekable();
    while rest.peek().is_some() {
        let continues = block.count > 0 && block.first.saturating_add(block.count) == seq + 1;
        if !continues || block.count >= BLOCK_ENTRIES_MAX {
            *block = Block { first: seq + 1, ..Block::default() };
        }
        while block.count < BLOCK_ENTRIES_MAX {
            let Some(location) = rest.next() else { break };
            index::encode(location, &mut block.bytes);
            block.count += 1;
            seq += 1;
        }
        index::write_block(tx, part.partition, block.first, &block.bytes)?;
    }
    Ok(())
}
