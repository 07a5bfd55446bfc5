//! A base file that is being written, from the log of this node.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hashring::PartitionId;
use sha2::{Digest, Sha256};

use crate::base_file::{self, Base, BaseError, BaseFile};
use crate::disk::{is_full, sync_folder};
use crate::log::Shared;
use crate::{LogEnd, LogEntry, SNAPSHOT_PART_BYTES_MAX, measure};

/// Written and synced in pieces of this size, so that no sync of the log waits long for one.
const PIECE_BYTES: usize = 1 << 20;

/// A base file that is being written: parts first, then entries. Dropping it leaves everything as it is.
pub struct BaseDraft {
    shared: Arc<Shared>,
    partition: PartitionId,
    place: LogEnd,
    path: PathBuf,
    file: File,
    seed: u32,
    hash: Sha256,
    piece: Vec<u8>,
    /// Bytes of the file so far, the piece not among them.
    written: u64,
    parts: u64,
    /// Where each entry stands in the contents.
    places: Vec<(u64, u64)>,
    ended: bool,
    done: bool,
}

impl BaseDraft {
    /// Begins one that will have about `bytes` bytes.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        partition: PartitionId,
        place: LogEnd,
        bytes: u64,
    ) -> Result<Self, BaseError> {
        let path = shared.config.folder.join(format!("{:03}.base.new", partition.0));
        let disk = |source| BaseError::Disk { path: path.clone(), source };
        let space = shared.disk.space(&shared.config.folder).map_err(disk)?;
        if !shared.config.reserve.leaves(space, bytes) {
            return Err(BaseError::Full { bytes });
        }
        let file = File::create(&path).map_err(disk)?;
        let piece = base_file::header(&shared.config, partition, place);
        Ok(Self {
            shared,
            partition,
            place,
            path,
            file,
            seed: base_file::seed(place),
            hash: Sha256::new(),
            piece,
            written: 0,
            parts: 0,
            places: Vec::new(),
            ended: false,
            done: false,
        })
    }

    /// Adds a part of what the floors above made of the log up to the base. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`]; drop the draft.
    pub fn part(&mut self, part: &[u8]) -> Result<(), BaseError> {
        if part.is_empty() || part.len() > SNAPSHOT_PART_BYTES_MAX || self.ended {
            return Err(self.strange(0));
        }
        self.add(&base_file::part(self.seed, self.parts, part))?;
        self.parts += 1;
        Ok(())
    }

    /// Adds an entry that is kept: after all parts, and in their order. Blocks on the disk.
    ///
    /// # Errors
    /// [`BaseError`]; drop the draft.
    pub fn entry(&mut self, entry: &LogEntry) -> Result<(), BaseError> {
        let before = self.places.last().map_or(0, |(seq, _)| *seq);
        if entry.seq <= before || entry.seq > self.place.seq {
            return Err(self.strange(entry.seq));
        }
        self.end_parts()?;
        self.places.push((entry.seq, self.contents()));
        self.add(&base_file::entry(self.seed, entry))
    }

    /// Gives it its name. Blocks on the disk; when this returns it would survive a loss of power, and the
    /// log can begin there.
    ///
    /// # Errors
    /// [`BaseError`]; what was there stays.
    pub fn finish(mut self) -> Result<Base, BaseError> {
        self.end_parts()?;
        let places = self.contents();
        for (seq, at) in std::mem::take(&mut self.places) {
            self.add(&[seq.to_le_bytes(), at.to_le_bytes()].concat())?;
        }
        let entries = self.contents().saturating_sub(places) / 16;
        self.add(&base_file::foot(places, entries))?;
        let digest: [u8; 32] = self.hash.clone().finalize().into();
        self.piece.extend_from_slice(&digest);
        self.flush()?;
        let config = &self.shared.config;
        let path = base_file::path(&config.folder, self.partition, self.place.seq);
        let renamed = fs::rename(&self.path, &path).and_then(|()| sync_folder(&config.folder));
        renamed.map_err(|source| BaseError::Disk { path, source })?;
        self.done = true;
        let file = BaseFile::open(config, self.partition, self.place)?;
        let base = file.base;
        measure::base_written(base.bytes);
        self.shared.bases().prepare(self.partition, file);
        Ok(base)
    }

    fn end_parts(&mut self) -> Result<(), BaseError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.add(&base_file::part(self.seed, self.parts, &[]))
    }

    /// How long the contents are so far.
    fn contents(&self) -> u64 {
        let piece = u64::try_from(self.piece.len()).unwrap_or(u64::MAX);
        self.written.saturating_add(piece).saturating_sub(crate::header::HEADER_BYTES)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), BaseError> {
        self.hash.update(bytes);
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BaseError> {
        let (disk, bytes) = (&self.shared.disk, self.piece.as_slice());
        let written = disk.write(&self.file, bytes, self.written);
        written.and_then(|()| disk.sync(&self.file)).map_err(|source| self.failed(source))?;
        self.written += u64::try_from(self.piece.len()).unwrap_or(0);
        self.piece.clear();
        Ok(())
    }

    fn failed(&self, source: io::Error) -> BaseError {
        if is_full(&source) {
            return BaseError::Full { bytes: self.contents() };
        }
        BaseError::Disk { path: self.path.clone(), source }
    }

    fn strange(&self, seq: u64) -> BaseError {
        BaseError::Strange { partition: self.partition, seq }
    }
}

impl Drop for BaseDraft {
    fn drop(&mut self) {
        // What is left of it is removed by the next start, too.
        if !self.done {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl std::fmt::Debug for BaseDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaseDraft").field("place", &self.place).finish_non_exhaustive()
    }
}
