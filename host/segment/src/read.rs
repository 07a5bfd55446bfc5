//! Reading entries back: find where they stand, read them, verify every one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;

use crate::LogEntry;
use crate::ledger::Location;
use crate::log::Shared;
use crate::record::{HEAD_BYTES, Head, Kind, Seed};
use crate::value_file;

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
}

/// See [`Log::read`](crate::Log::read).
pub(crate) fn read(
    shared: &Shared,
    partition: PartitionId,
    from: u64,
    entries_max: usize,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, ReadError> {
    let locations = locate(shared, partition, from.max(1), entries_max, bytes_max);
    let mut entries = Vec::with_capacity(locations.len());
    for (seq, location) in locations {
        entries.push(entry(shared, partition, seq, location)?);
    }
    Ok(entries)
}

/// Where the entries stand that a read returns.
fn locate(
    shared: &Shared,
    partition: PartitionId,
    from: u64,
    entries_max: usize,
    bytes_max: usize,
) -> Vec<(u64, Location)> {
    let ledger = shared.ledger();
    let Some(log) = ledger.partition(partition) else { return Vec::new() };
    bounded(log.locations(from), entries_max, bytes_max)
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
fn entry(
    shared: &Shared,
    partition: PartitionId,
    seq: u64,
    location: Location,
) -> Result<LogEntry, ReadError> {
    let offset = location.at.offset;
    let path = || value_file::path(&shared.config.folder, location.at.file);
    let disk = |source| ReadError::Disk { file: path(), offset, source };
    let damaged = || ReadError::Damaged { file: path(), offset, partition, seq };
    let file = open(shared, location.at.file).map_err(disk)?;
    let length = usize::try_from(location.length).unwrap_or(usize::MAX);
    let mut record = vec![0; HEAD_BYTES.saturating_add(length)];
    match file.read_exact_at(&mut record, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
        read => read.map_err(disk)?,
    }
    let seed = Seed::new(shared.config.store, location.at.file);
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
