//! Reading entries back: find where they stand, read them, verify every one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;

use crate::ledger::Location;
use crate::log::Shared;
use crate::record::{BODY_BYTES_MAX, HEAD_BYTES, Head, Kind, Seed};
use crate::value_file;
use crate::{LogConfig, LogEntry, measure};

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
    let from = from.max(1);
    // One look at the ledger: what is indexed meanwhile is in what was taken here.
    let (base, tail) = {
        let ledger = shared.ledger();
        let Some(log) = ledger.partition(partition) else { return Ok(Vec::new()) };
        (log.base.seq, bounded(log.locations(from), entries_max, bytes_max))
    };
    let mut locations = Vec::new();
    if from <= base {
        locations = indexed(shared, partition, from, base, entries_max)?;
    }
    locations.extend(tail);
    let mut entries = Vec::with_capacity(locations.len());
    for (seq, location) in bounded(locations.into_iter(), entries_max, bytes_max) {
        let file = open(shared, location.at.file).map_err(|source| ReadError::Disk {
            file: value_file::path(&shared.config.folder, location.at.file),
            offset: location.at.offset,
            source,
        })?;
        let read = entry(&file, &shared.config, partition, seq, location);
        if let Err(error @ ReadError::Damaged { .. }) = &read {
            tracing::error!(%error, "damage in the log");
            measure::damage();
            // The record or the row is wrong; a scan of the value files will show which.
            if seq <= base {
                shared.distrust_index();
            }
        }
        entries.push(read?);
    }
    Ok(entries)
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
        shared.distrust_index();
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
