//! The index: where committed entries stand, in SQLite, so that a start reads only the end of the log and
//! memory holds only its tail.
//!
//! It is behind the value files, never before them: a row is written after the sync of what it points to,
//! and everything it does not contain is found again by scanning from its checkpoint. What it says is
//! verified against the record whenever it is used. An index that is damaged, of another store or of
//! another version is set aside, and the value files are scanned from the start.

use std::fs;
use std::path::{Path, PathBuf};

use db::{Error, OpenError, Reader, Schema, Transaction, Value, Writer, set_aside};
use hashring::PartitionId;

use crate::ledger::{Doubt, Ledger, Location, PartitionLog, Position};
use crate::record::array;
use crate::{Chain, LogConfig, LogEnd, Promise};

const SCHEMA: Schema = Schema {
    application_id: 0x4352_4c4e,
    migrations: &[
        "
        CREATE TABLE checkpoint (
            id INTEGER PRIMARY KEY CHECK (id = 1), store INTEGER NOT NULL,
            file INTEGER NOT NULL, offset INTEGER NOT NULL) STRICT;
        CREATE TABLE partitions (
            partition INTEGER PRIMARY KEY,
            epoch INTEGER NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL,
            file INTEGER NOT NULL, offset INTEGER NOT NULL, committed INTEGER NOT NULL,
            promise_epoch INTEGER, promise_node TEXT, promise_boot INTEGER,
            missing_epoch INTEGER, missing_seq INTEGER) STRICT;
        CREATE TABLE epochs (
            partition INTEGER NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL,
            PRIMARY KEY (partition, epoch)) STRICT, WITHOUT ROWID;
        CREATE TABLE entries (id INTEGER PRIMARY KEY, locations BLOB NOT NULL) STRICT;
    ",
        "
        CREATE TABLE roots (
            partition INTEGER PRIMARY KEY,
            epoch INTEGER NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL) STRICT;
    ",
    ],
};

const FILE: &str = "index.sqlite";
/// Its presence asks the next start to build the index anew.
const DISTRUSTED: &str = "index.distrusted";
/// Bits of an id of `entries` that are the seq; the partition is above them.
const SEQ_BITS: u32 = 47;
/// Bytes of a location in a block.
const LOCATION_BYTES: usize = 40;

/// Finds locations, from any thread.
#[derive(Debug)]
pub(crate) struct Index {
    reader: Reader,
    distrusted: PathBuf,
}

/// What an index says at the start.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) ledger: Ledger,
    pub(crate) checkpoint: Position,
}

/// An opened index.
pub(crate) struct Opened {
    pub(crate) index: Index,
    pub(crate) writer: Writer,
    pub(crate) loaded: Loaded,
}

/// Opens the index of a folder. `None` if there can be none now, as on a full disk: then everything is
/// kept in memory, and the next start tries again.
pub(crate) fn open(config: &LogConfig) -> Option<Opened> {
    let path = config.folder.join(FILE);
    let distrusted = config.folder.join(DISTRUSTED);
    let anew = |reason: &dyn std::fmt::Display| {
        tracing::warn!(%reason, path = %path.display(), "the index is built anew");
        set_aside(&path)
    };
    if distrusted.exists() {
        anew(&"a row did not match its record").and_then(|()| fs::remove_file(&distrusted)).ok()?;
    }
    let mut last = None;
    for _attempt in 0..2 {
        match attempt(&path, config) {
            Ok((writer, loaded)) => {
                let index = Index { reader: Reader::new(&path), distrusted };
                return Some(Opened { index, writer, loaded });
            }
            Err(OpenError::Refused { path, source }) => {
                last = Some(OpenError::Refused { path, source });
                break;
            }
            Err(error) => {
                anew(&error).ok()?;
                last = Some(error);
            }
        }
    }
    let reason = last.map(|error| error.to_string()).unwrap_or_default();
    tracing::warn!(%reason, "there is no index; every place is kept in memory");
    None
}

/// Opens the index again after it was set aside.
pub(crate) fn rebuild(config: &LogConfig, opened: Opened) -> Option<Opened> {
    let path = config.folder.join(FILE);
    drop(opened);
    tracing::warn!(path = %path.display(), "the index does not fit the value files");
    set_aside(&path).ok()?;
    open(config)
}

fn attempt(path: &Path, config: &LogConfig) -> Result<(Writer, Loaded), OpenError> {
    let mut writer = Writer::open(path, &SCHEMA)?;
    let loaded = writer.transaction(|tx| load(tx, config.store));
    match loaded {
        Ok(Some(loaded)) => Ok((writer, loaded)),
        Ok(None) => Err(OpenError::Foreign { path: path.to_owned() }),
        Err(source) => Err(OpenError::Damaged { path: path.to_owned(), what: source.to_string() }),
    }
}

/// Everything but the locations; `None` if it is the index of another store.
fn load(tx: &Transaction<'_>, store: u64) -> Result<Option<Loaded>, Error> {
    let checkpoint = tx.query("SELECT store, file, offset FROM checkpoint", &[], |row| {
        Ok((row.integer(0)?, Position { file: file(row.integer(1)?), offset: row.integer(2)? }))
    })?;
    let Some((found, checkpoint)) = checkpoint.first().copied() else {
        return Ok(Some(Loaded::default()));
    };
    if found != store {
        return Ok(None);
    }
    let mut ledger = Ledger::default();
    let logs = tx.query("SELECT * FROM partitions", &[], |row| {
        let promise =
            match (row.optional_integer(7)?, row.optional_text(8)?, row.optional_integer(9)?) {
                (Some(epoch), Some(node), Some(boot)) => {
                    node.parse().ok().map(|node| Promise { epoch, node, boot })
                }
                _ => None,
            };
        let missing = row.optional_integer(10)?.zip(row.optional_integer(11)?);
        let applied = Position { file: file(row.integer(4)?), offset: row.integer(5)? };
        let log = PartitionLog {
            base: LogEnd {
                epoch: row.integer(1)?,
                seq: row.integer(2)?,
                chain: Chain(array(&row.bytes(3)?, 0)),
            },
            applied,
            touched: applied,
            commit: row.integer(6)?,
            promise,
            doubt: if missing.is_some() { Doubt::Missing } else { Doubt::None },
            known: missing.unwrap_or_default(),
            ..PartitionLog::default()
        };
        Ok((partition(row.integer(0)?), log))
    })?;
    for (partition, log) in logs {
        *ledger.partition_mut(partition) = log;
    }
    let roots = tx.query("SELECT partition, epoch, seq, chain FROM roots", &[], |row| {
        let (epoch, seq) = (row.integer(1)?, row.integer(2)?);
        let root = LogEnd { epoch, seq, chain: Chain(array(&row.bytes(3)?, 0)) };
        Ok((partition(row.integer(0)?), root))
    })?;
    for (id, root) in roots {
        ledger.partition_mut(id).root = root;
    }
    let sql = "SELECT partition, epoch, first FROM epochs ORDER BY partition, epoch";
    for (id, epoch, first) in tx
        .query(sql, &[], |row| Ok((partition(row.integer(0)?), row.integer(1)?, row.integer(2)?)))?
    {
        ledger.partition_mut(id).epochs.push((epoch, first));
    }
    Ok(Some(Loaded { ledger, checkpoint }))
}

impl Index {
    /// The locations of entries `from` to `until`, at most so many. Fewer are found only if the index is
    /// not whole.
    pub(crate) fn locations(
        &self,
        partition: PartitionId,
        from: u64,
        until: u64,
        entries_max: usize,
    ) -> Result<Vec<(u64, Location)>, Error> {
        let zero = key(partition, 0);
        let sql = "SELECT id, locations FROM entries WHERE id BETWEEN coalesce(
                (SELECT max(id) FROM entries WHERE id BETWEEN ?1 AND ?2), ?2) AND ?3
            ORDER BY id LIMIT ?4";
        let limit = u64::try_from(entries_max).unwrap_or(u64::MAX).min(until - from + 1);
        let last = from.saturating_add(limit) - 1;
        let values = [zero, key(partition, from), key(partition, last), limit + 1];
        let blocks = self.reader.query(sql, &values.map(Value::Integer), |row| {
            Ok((row.integer(0)?.saturating_sub(zero), row.bytes(1)?))
        })?;
        let mut found: Vec<(u64, Location)> = Vec::new();
        for (first, block) in blocks {
            // A block may end in what was cut and written anew since; the later block is right.
            found.truncate(found.partition_point(|(seq, _)| *seq < first));
            let locations = block.chunks_exact(LOCATION_BYTES).map(decode);
            found.extend((first..).zip(locations).filter(|(seq, _)| (from..=last).contains(seq)));
        }
        let whole = (from..).zip(&found).take_while(|(expected, (seq, _))| expected == seq).count();
        found.truncate(whole);
        Ok(found)
    }

    /// Remembers that the index is wrong, so that the next start builds it anew.
    pub(crate) fn distrust(&self) {
        if let Err(error) = fs::write(&self.distrusted, []) {
            tracing::warn!(%error, "could not remember that the index is wrong");
        }
    }
}

/// What a round of indexing writes about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) base: LogEnd,
    pub(crate) applied: Position,
    pub(crate) commit: u64,
    pub(crate) promise: Option<Promise>,
    pub(crate) missing: Option<(u64, u64)>,
    /// The log begins behind it.
    pub(crate) root: LogEnd,
}

/// Writes one partition's row.
pub(crate) fn write_row(tx: &Transaction<'_>, id: PartitionId, row: &Row) -> Result<(), Error> {
    let optional = |number: Option<u64>| number.map_or(Value::Null, Value::Integer);
    let promise = row.promise.as_ref();
    tx.execute(
        "INSERT OR REPLACE INTO partitions VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        &[
            Value::Integer(u64::from(id.0)),
            Value::Integer(row.base.epoch),
            Value::Integer(row.base.seq),
            Value::Bytes(&row.base.chain.0),
            Value::Integer(u64::from(row.applied.file)),
            Value::Integer(row.applied.offset),
            Value::Integer(row.commit),
            optional(promise.map(|promise| promise.epoch)),
            promise.map_or(Value::Null, |promise| Value::Text(promise.node.as_str())),
            optional(promise.map(|promise| promise.boot)),
            optional(row.missing.map(|(epoch, _)| epoch)),
            optional(row.missing.map(|(_, seq)| seq)),
        ],
    )?;
    if row.root.seq == 0 {
        return Ok(());
    }
    let root = [
        Value::Integer(u64::from(id.0)),
        Value::Integer(row.root.epoch),
        Value::Integer(row.root.seq),
        Value::Bytes(&row.root.chain.0),
    ];
    tx.execute("INSERT OR REPLACE INTO roots VALUES (?1, ?2, ?3, ?4)", &root)
}

/// Forgets the entries up to `seq`, as far as whole rows have no others, and the epochs before `epoch`.
pub(crate) fn forget(
    tx: &Transaction<'_>,
    partition: PartitionId,
    (epoch, seq): (u64, u64),
) -> Result<(), Error> {
    let ids = [key(partition, 0), key(partition, seq.saturating_add(1))].map(Value::Integer);
    // The row before the last one that begins at or before the next entry may have that one too.
    tx.execute(
        "DELETE FROM entries WHERE id BETWEEN ?1 AND ?2 AND id <
            (SELECT max(id) FROM entries WHERE id BETWEEN ?1 AND ?2)",
        &ids,
    )?;
    let values = [u64::from(partition.0), epoch].map(Value::Integer);
    tx.execute("DELETE FROM epochs WHERE partition = ?1 AND epoch < ?2", &values)
}

/// Writes where an epoch begins.
pub(crate) fn write_epoch(
    tx: &Transaction<'_>,
    partition: PartitionId,
    (epoch, first): (u64, u64),
) -> Result<(), Error> {
    let values = [u64::from(partition.0), epoch, first].map(Value::Integer);
    tx.execute("INSERT OR REPLACE INTO epochs VALUES (?1, ?2, ?3)", &values)
}

/// Writes the locations of entries from `first` on.
pub(crate) fn write_block(
    tx: &Transaction<'_>,
    partition: PartitionId,
    first: u64,
    block: &[u8],
) -> Result<(), Error> {
    let values = [Value::Integer(key(partition, first)), Value::Bytes(block)];
    tx.execute("INSERT OR REPLACE INTO entries VALUES (?1, ?2)", &values)
}

/// Forgets everything after `after`.
pub(crate) fn cut(tx: &Transaction<'_>, partition: PartitionId, after: u64) -> Result<(), Error> {
    let ids = [key(partition, after.saturating_add(1)), key(partition, MAX_SEQ)];
    tx.execute("DELETE FROM entries WHERE id BETWEEN ?1 AND ?2", &ids.map(Value::Integer))?;
    let values = [u64::from(partition.0), after].map(Value::Integer);
    tx.execute("DELETE FROM epochs WHERE partition = ?1 AND first > ?2", &values)
}

/// Writes from where a start must scan.
pub(crate) fn write_checkpoint(
    tx: &Transaction<'_>,
    store: u64,
    at: Position,
) -> Result<(), Error> {
    let values = [store, u64::from(at.file), at.offset].map(Value::Integer);
    tx.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2, ?3)", &values)
}

/// Adds a location to a block.
pub(crate) fn encode(location: &Location, block: &mut Vec<u8>) {
    block.extend_from_slice(&location.epoch.to_le_bytes());
    block.extend_from_slice(&location.chain.0);
    block.extend_from_slice(&location.at.offset.to_le_bytes());
    block.extend_from_slice(&location.at.file.to_le_bytes());
    block.extend_from_slice(&location.length.to_le_bytes());
}

fn decode(bytes: &[u8]) -> Location {
    Location {
        epoch: u64::from_le_bytes(array(bytes, 0)),
        chain: Chain(array(bytes, 8)),
        at: Position {
            offset: u64::from_le_bytes(array(bytes, 24)),
            file: u32::from_le_bytes(array(bytes, 32)),
        },
        length: u32::from_le_bytes(array(bytes, 36)),
    }
}

const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

fn key(partition: PartitionId, seq: u64) -> u64 {
    (u64::from(partition.0) << SEQ_BITS) | seq.min(MAX_SEQ)
}

fn partition(number: u64) -> PartitionId {
    PartitionId(u16::try_from(number).unwrap_or(u16::MAX))
}

fn file(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
