//! A value file of the archive: header, records, footer.
//!
//! ```text
//!  0  8  magic "CRLNDATA"
//!  8  4  version, 1
//! 12  4  space
//! 16  8  store
//! 24  8  number of the file
//! 32  8  when it was made, Unix milliseconds
//! 40 20  zeros
//! 60  4  crc32c of bytes 0 to 59
//! 64     records; the last one of a closed file is its footer
//! ```
//!
//! What is written between two syncs is one batch in the sense of [`crate::record`]: a record vouches for
//! everything before its batch. While the file is open there is always room for the footer behind its
//! records, so closing it needs no room; and it is made as long as its records when it is closed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::footer::{FOOTER_BYTES, Footer, Tally};
use crate::disk::{Disk, is_full, sync_folder};
use crate::header::{self, HEADER_BYTES, NoHeader};
use crate::record::{Draft, Kind, Seed, array};
use crate::value_file::MARK_BYTES;
use crate::{Chain, ledger::Position};

/// So much room is taken ahead: so many bytes come in a fraction of a second of bulk.
const AHEAD_BYTES: u64 = 64 << 20;
/// Behind the records there is always room for this: a footer, and what tells a file that was cut short.
pub(crate) const TAIL_BYTES: u64 = FOOTER_BYTES + MARK_BYTES;

const MAGIC: [u8; 8] = *b"CRLNDATA";
const VERSION: u32 = 1;
/// Room is taken in multiples of this when there is little.
const STEP_BYTES: u64 = 1 << 20;

/// What a file says of itself at its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) space: u32,
    pub(crate) store: u64,
    pub(crate) number: u32,
    pub(crate) made_ms: u64,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) header: Header,
    pub(crate) file: Arc<File>,
    pub(crate) tally: Tally,
    seed: Seed,
    /// Everything before this is written.
    end: u64,
    /// Everything before this is synced.
    synced: u64,
    allocated: u64,
    bytes_max: u64,
    /// What is not written yet.
    buffer: Vec<u8>,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.space.to_le_bytes());
        bytes.extend_from_slice(&self.store.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.number).to_le_bytes());
        bytes.extend_from_slice(&self.made_ms.to_le_bytes());
        header::sealed(bytes)
    }

    pub(crate) fn read(file: &File) -> Result<Self, NoHeader> {
        let fields = &header::read(file, &MAGIC, VERSION)?;
        let number = u64::from_le_bytes(array(fields, 24));
        Ok(Self {
            space: u32::from_le_bytes(array(fields, 12)),
            store: u64::from_le_bytes(array(fields, 16)),
            number: u32::try_from(number).map_err(|_too_large| NoHeader::Broken)?,
            made_ms: u64::from_le_bytes(array(fields, 32)),
        })
    }
}

impl DataFile {
    /// Makes a file that is on the disk when this returns, under its name with `.new` behind it:
    /// [`publish`] gives it its name. After an error there is none.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        header: Header,
        bytes_max: u64,
    ) -> io::Result<Self> {
        let new = new_path(path);
        let made = Self::write_header(disk, &new, header, bytes_max);
        if made.is_err() {
            // It may not even exist; the next start removes what is left.
            drop(fs::remove_file(&new));
        }
        made
    }

    fn write_header(
        disk: &dyn Disk,
        new: &Path,
        header: Header,
        bytes_max: u64,
    ) -> io::Result<Self> {
        let folder = new.parent().unwrap_or(new);
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            folder.parent().map_or(Ok(()), sync_folder)?;
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(new)?;
        let mut made = Self {
            header,
            file: Arc::new(file),
            tally: Tally::default(),
            seed: Seed::of_archive(header.store, header.number),
            end: HEADER_BYTES,
            synced: HEADER_BYTES,
            allocated: 0,
            bytes_max,
            buffer: Vec::new(),
        };
        made.take_room(disk, 0)?;
        disk.write(&made.file, &header.encode(), 0)?;
        disk.sync(&made.file)?;
        Ok(made)
    }

    /// Whether records of so many bytes may go into this file. A file takes at least one run, however
    /// large that is.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        let next = self.next();
        next == HEADER_BYTES
            || next.saturating_add(bytes).saturating_add(TAIL_BYTES) <= self.bytes_max
    }

    /// Sees to it that the disk has room for so many bytes more.
    pub(crate) fn take_room(&mut self, disk: &dyn Disk, bytes: u64) -> io::Result<()> {
        let needed = self.next().saturating_add(bytes).saturating_add(TAIL_BYTES);
        if needed <= self.allocated {
            return Ok(());
        }
        let ahead = self.allocated.saturating_add(AHEAD_BYTES).min(self.bytes_max);
        let frugal = needed.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES);
        let mut last = Ok(());
        for to in [ahead, frugal.min(self.bytes_max), needed] {
            if to < needed {
                continue;
            }
            last = disk.allocate(&self.file, self.allocated, to);
            match &last {
                Ok(()) => {
                    self.allocated = to;
                    return last;
                }
                // It may have taken part of it, which is then missed elsewhere.
                Err(error) if is_full(error) => self.file.set_len(self.allocated)?,
                Err(_) => return last,
            }
        }
        last
    }

    /// Appends a record, for which there is room, and says where it stands.
    pub(crate) fn append(&mut self, draft: Draft<'_>) -> Position {
        let offset = self.next();
        let since = u32::try_from(offset - self.synced).unwrap_or(u32::MAX);
        let at = self.buffer.len();
        draft.write(self.seed, offset, since, &mut self.buffer);
        self.tally.record(array(&self.buffer, at + 48));
        Position { file: self.header.number, offset }
    }

    /// Where the next record will stand.
    pub(crate) fn next(&self) -> u64 {
        self.end.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX))
    }

    /// How much is not synced.
    pub(crate) fn unsynced(&self) -> u64 {
        self.next().saturating_sub(self.synced)
    }

    /// Writes what is appended.
    pub(crate) fn flush(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        disk.write(&self.file, &self.buffer, self.end)?;
        self.end = self.next();
        self.buffer.clear();
        Ok(())
    }

    /// Writes and syncs what is appended.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.unsynced() == 0 {
            return Ok(());
        }
        self.flush(disk)?;
        disk.sync(&self.file)?;
        self.synced = self.end;
        Ok(())
    }

    /// Closes the file: everything synced, then the footer, then its length. What it returns is what
    /// the footer says.
    pub(crate) fn close(mut self, disk: &dyn Disk, now_ms: u64) -> io::Result<Footer> {
        self.sync(disk)?;
        let footer = self.tally.footer(self.end, now_ms);
        let body = footer.encode();
        self.append(Draft {
            kind: Kind::Footer,
            partition: 0,
            epoch: 0,
            seq: 0,
            chain: Chain::default(),
            body: &body,
        });
        self.sync(disk)?;
        self.file.set_len(self.end)?;
        self.file.sync_all()?;
        Ok(footer)
    }

    /// Goes on with a file that was left open: its records end at `end`, and everything before is synced.
    pub(crate) fn reopened(file: File, header: Header, end: u64, tally: Tally) -> io::Result<Self> {
        let allocated = file.metadata()?.len();
        Ok(Self {
            header,
            file: Arc::new(file),
            tally,
            seed: Seed::of_archive(header.store, header.number),
            end,
            synced: end,
            allocated,
            bytes_max: u64::MAX,
            buffer: Vec::new(),
        })
    }
}

/// Gives a new file its name.
pub(crate) fn publish(path: &Path) -> io::Result<()> {
    fs::rename(new_path(path), path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// The name of a file that is not whole yet.
fn new_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    /// A record without a body has 56 bytes.
    fn record() -> Draft<'static> {
        let (kind, chain) = (Kind::Fact, Chain::default());
        Draft { kind, partition: 0, epoch: 0, seq: 0, chain, body: &[] }
    }

    #[test]
    fn the_vector_of_rolling_over() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header { space: 3, store: 1, number: 7, made_ms: 0 };
        // Room for 104 bytes of records, the footer apart.
        let bytes_max = HEADER_BYTES + TAIL_BYTES + 104;
        let path = folder.path().join("3/007/00000007");
        let mut file = DataFile::create(&SystemDisk, &path, header, bytes_max).unwrap();
        // The first takes as much room as it needs.
        assert!(file.takes(1000));
        file.append(record());
        assert!(file.takes(48));
        assert!(!file.takes(49));
    }

    #[test]
    fn a_closed_file_is_as_long_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header { space: 3, store: 1, number: 7, made_ms: 0 };
        let path = folder.path().join("3/007/00000007");
        let mut file = DataFile::create(&SystemDisk, &path, header, 1 << 20).unwrap();
        file.append(record());
        let footer = file.close(&SystemDisk, 9).unwrap();
        publish(&path).unwrap();
        assert_eq!((footer.end, footer.records), (HEADER_BYTES + 56, 1));
        let file = File::open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), footer.end + FOOTER_BYTES);
        let seed = Seed::of_archive(1, 7);
        assert_eq!(Footer::read(&file, seed).unwrap(), Some(footer));
        assert_eq!(Header::read(&file).unwrap(), header);
    }
}
