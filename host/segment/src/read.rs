//! Reading entries back: find where they stand, read them, verify every one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;

use crate::base_file::{self, BaseError, BaseFile};
use crate::ledger::{Location, PartitionLog};
use crate::log::Shared;
use crate::record::{BODY_BYTES_MAX, HEAD_BYTES, Head, Kind, Seed};
use crate::value_file;
use crate::{LogConfig, LogEnd, LogEntry, measure};

/// So many value files are kept open for reading; a read goes mostly to the last ones.
const FILES_MAX: usize = 64;

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What stands there is not what was written. Nothing was changed; another member has the entry.
    #[error(
        "{file} is damaged at byte {offset}: entry {seq} of partition {partition} does not verify"
    )]
    Damaged {
        /// The value file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// Whose entry.
        partition: PartitionId,
        /// Which.
        seq: u64,
    },
    /// The disk refused. It may be read again.
    #[error("{file} at byte {offset}")]
    Disk {
        /// The value file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The index could not be read. It may be read again; if it is damaged, the next start builds it anew.
    #[error("the index, for entry {seq} of partition {partition}")]
    Index {
        /// Whose entry.
        partition: PartitionId,
        /// Which.
        seq: u64,
        /// The cause.
        #[source]
        source: db::Error,
    },
    /// The index lacks the entry. Nothing is lost: the next start builds it anew.
    #[error("the index lacks entry {seq} of partition {partition}")]
    NotIndexed {
        /// Whose entry.
        partition: PartitionId,
        /// Which.
        seq: u64,
    },
}

/// See [`Log::read`](crate::Log::read).
pub(crate) fn read(
    shared: &Shared,
    partition: PartitionId,
    from: u64,
    entries_max: usize,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, ReadError> {
    steady(shared, partition, |shared| {
        attempt(shared, partition, from.max(1), entries_max, bytes_max)
    })
}

/// Reads again what could not be read, as long as the log got another beginning meanwhile: then what was
/// looked for may be gone from where it stood.
fn steady<T>(
    shared: &Shared,
    partition: PartitionId,
    read: impl Fn(&Shared) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let root = || shared.ledger().partition(partition).map(|log| log.root);
    let mut before = root();
    loop {
        let done = read(shared);
        let now = root();
        match &done {
            Err(_) if now != before => before = now,
            Err(error) => {
                told(shared, error);
                return done;
            }
            Ok(_) => return done,
        }
    }
}

/// Remembers what is wrong.
fn told(shared: &Shared, error: &ReadError) {
    match error {
        ReadError::Damaged { seq, partition, .. } => {
            tracing::error!(%error, "damage in the log");
            measure::damage();
            // The record or the row is wrong; a scan of the value files will show which.
            let indexed = |log: &PartitionLog| (log.root.seq + 1..=log.base.seq).contains(seq);
            if shared.ledger().partition(*partition).is_some_and(indexed) {
                shared.distrust_index();
            }
        }
        ReadError::NotIndexed { .. } if shared.index.is_some() => shared.distrust_index(),
        ReadError::NotIndexed { .. } | ReadError::Disk { .. } | ReadError::Index { .. } => {}
    }
}

fn attempt(
    shared: &Shared,
    partition: PartitionId,
    from: u64,
    entries_max: usize,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, ReadError> {
    // One look at the ledger: what is indexed meanwhile is in what was taken here.
    let (root, base, tail) = {
        let ledger = shared.ledger();
        let Some(log) = ledger.partition(partition) else { return Ok(Vec::new()) };
        // Under the same lock: it is opened, and stays so when another one replaces it.
        let root = (from <= log.root.seq).then(|| (log.root, shared.bases().of(partition)));
        (root, log.base.seq, bounded(log.locations(from), entries_max, bytes_max))
    };
    let (mut entries, mut next) = (Vec::new(), from);
    if let Some((root, file)) = root {
        let (kept, all) = below(shared, (partition, from), root, file, (entries_max, bytes_max))?;
        let taken: usize = kept.iter().map(|entry| entry.payload.len()).sum();
        if !all || kept.len() >= entries_max || (taken > 0 && taken >= bytes_max) {
            return Ok(kept);
        }
        next = root.seq.saturating_add(1);
        entries = kept;
    }
    let taken: usize = entries.iter().map(|entry| entry.payload.len()).sum();
    let (entries_max, bytes_max) = (entries_max - entries.len(), bytes_max - taken);
    let mut locations = Vec::new();
    if next <= base {
        locations = indexed(shared, partition, next, base, entries_max)?;
    }
    locations.extend(tail);
    // At least one is given whatever the bounds say, and there is one already.
    let next = locations.first().and_then(|(_, it)| usize::try_from(it.length).ok());
    if !entries.is_empty() && next.is_some_and(|length| length > bytes_max) {
        return Ok(entries);
    }
    for (seq, location) in bounded(locations.into_iter(), entries_max, bytes_max) {
        let file = open(shared, location.at.file).map_err(|source| ReadError::Disk {
            file: value_file::path(&shared.config.folder, location.at.file),
            offset: location.at.offset,
            source,
        })?;
        entries.push(entry(&file, &shared.config, partition, seq, location)?);
    }
    Ok(entries)
}

/// What is kept of a log before it begins.
fn below(
    shared: &Shared,
    (partition, from): (PartitionId, u64),
    root: LogEnd,
    file: Option<Arc<BaseFile>>,
    (entries_max, bytes_max): (usize, usize),
) -> Result<(Vec<LogEntry>, bool), ReadError> {
    let path = || base_file::path(&shared.config.folder, partition, root.seq);
    // Of all of it: where in the file it is does not matter, none of it can be trusted.
    let damaged = |file| ReadError::Damaged { file, offset: 0, partition, seq: root.seq };
    // Why it is not open was told at the start.
    let file = file.ok_or_else(|| damaged(path()))?;
    file.entries(from, entries_max, bytes_max).map_err(|error| match error {
        BaseError::Disk { path, source } => ReadError::Disk { file: path, offset: 0, source },
        error => {
            tracing::error!(%error, "what is kept of a log cannot be read");
            damaged(path())
        }
    })
}

/// Locations are looked at so many at a time.
const WEIGH_ENTRIES: u64 = 1024;

/// See [`Log::weigh`](crate::Log::weigh).
pub(crate) fn weigh(
    shared: &Shared,
    partition: PartitionId,
    entries_max: u64,
    bytes_max: u64,
) -> Result<u64, ReadError> {
    steady(shared, partition, |shared| weigh_once(shared, partition, entries_max, bytes_max))
}

fn weigh_once(
    shared: &Shared,
    partition: PartitionId,
    entries_max: u64,
    bytes_max: u64,
) -> Result<u64, ReadError> {
    let (root, base, tail) = {
        let ledger = shared.ledger();
        let Some(log) = ledger.partition(partition) else { return Ok(0) };
        let tail: Vec<u32> = log.tail.iter().map(|location| location.length).collect();
        (log.root.seq, log.base.seq, tail)
    };
    let end = base.saturating_add(u64::try_from(tail.len()).unwrap_or(u64::MAX));
    let lowest = end.saturating_sub(entries_max).max(root);
    let (mut at, mut left) = (end, bytes_max);
    let mut fits = |length: &u32| {
        let more = left.checked_sub(u64::from(*length));
        left = more.unwrap_or(0);
        more.is_some()
    };
    for length in tail.iter().rev() {
        if at <= lowest || !fits(length) {
            return Ok(at);
        }
        at -= 1;
    }
    while at > lowest {
        let from = at.saturating_sub(WEIGH_ENTRIES).max(lowest);
        let found = indexed(shared, partition, from + 1, at, usize::MAX)?;
        for (_, location) in found.iter().rev() {
            if !fits(&location.length) {
                return Ok(at);
            }
            at -= 1;
        }
    }
    Ok(at)
}

/// Locations out of the index.
fn indexed(
    shared: &Shared,
    partition: PartitionId,
    from: u64,
    until: u64,
    entries_max: usize,
) -> Result<Vec<(u64, Location)>, ReadError> {
    let Some(index) = &shared.index else {
        return Err(ReadError::NotIndexed { partition, seq: from });
    };
    let found = index.locations(partition, from, until, entries_max);
    let found = found.map_err(|source| ReadError::Index { partition, seq: from, source })?;
    let wanted = usize::try_from(until - from).map_or(usize::MAX, |more| more.saturating_add(1));
    if found.len() < wanted.min(entries_max) {
        let seq = from.saturating_add(u64::try_from(found.len()).unwrap_or(0));
        return Err(ReadError::NotIndexed { partition, seq });
    }
    Ok(found)
}

/// As many as the bounds allow, and at least one.
fn bounded(
    locations: impl Iterator<Item = (u64, Location)>,
    entries_max: usize,
    bytes_max: usize,
) -> Vec<(u64, Location)> {
    let mut left = bytes_max;
    let mut first = true;
    let fits = |(_, location): &(u64, Location)| {
        let bytes = usize::try_from(location.length).unwrap_or(usize::MAX);
        let fits = first || bytes <= left;
        first = false;
        left = left.saturating_sub(bytes);
        fits
    };
    locations.take(entries_max).take_while(fits).collect()
}

/// Reads one entry and verifies that it is the one that was looked for.
pub(crate) fn entry(
    file: &File,
    config: &LogConfig,
    partition: PartitionId,
    seq: u64,
    location: Location,
) -> Result<LogEntry, ReadError> {
    let offset = location.at.offset;
    let path = || value_file::path(&config.folder, location.at.file);
    let disk = |source| ReadError::Disk { file: path(), offset, source };
    let damaged = || ReadError::Damaged { file: path(), offset, partition, seq };
    let length = usize::try_from(location.length).unwrap_or(usize::MAX);
    // A row of the index may say anything; no file has room for this.
    if length > BODY_BYTES_MAX {
        return Err(damaged());
    }
    let mut record = vec![0; HEAD_BYTES.saturating_add(length)];
    match file.read_exact_at(&mut record, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
        read => read.map_err(disk)?,
    }
    let seed = Seed::new(config.store, location.at.file);
    let head = Head::read(&record, seed, offset).map_err(|_no_record| damaged())?;
    let payload = Bytes::from(record).slice(HEAD_BYTES..);
    let expected = head.kind == Kind::Entry
        && head.partition == partition.0
        && (head.epoch, head.seq, head.chain) == (location.epoch, seq, location.chain)
        && head.vouches(&payload);
    if !expected {
        return Err(damaged());
    }
    Ok(LogEntry { epoch: head.epoch, seq, chain: head.chain, payload })
}

/// A value file, opened if it is not.
fn open(shared: &Shared, number: u32) -> io::Result<Arc<File>> {
    if let Some(file) = shared.files().get(&number) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(File::open(value_file::path(&shared.config.folder, number))?);
    let mut files = shared.files();
    if files.len() >= FILES_MAX {
        // The oldest: the last one is always needed.
        files.pop_first();
    }
    files.insert(number, Arc::clone(&file));
    Ok(file)
}
