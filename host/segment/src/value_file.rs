//! A value file: its name, its header, its room.
//!
//! ```text
//!  0  8  magic "CRLNVALS"
//!  8  4  version, 1
//! 12  4  zeros
//! 16  8  store
//! 24  8  number of the file
//! 32  8  how far the records of the file before reach; 0 in the first
//! 40 20  zeros
//! 60  4  crc32c of bytes 0 to 59
//! 64     records, then zeros
//! ```
//!
//! A file gets its name when its header and its first stretch of room are on the disk, and only after
//! everything in the file before it is: so its name vouches for the whole file before, and a file without
//! room for a mark behind its last record was cut short by somebody else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, is_full, sync_folder};
use crate::header::{self, HEADER_BYTES, NoHeader};
use crate::record::{HEAD_BYTES, Seed, array};

/// Behind the last record there is always room for a mark.
pub(crate) const MARK_BYTES: u64 = 56;
/// So much room is taken ahead: large enough that it happens every few seconds at most.
pub(crate) const AHEAD_BYTES: u64 = 64 << 20;
/// Zeros are written behind a batch up to a multiple of this: enough for some hundred entries, and so
/// little that the sync which takes them along does not stand out.
const ZEROS_BYTES: u64 = 128 << 10;
/// Room is taken in multiples of this when there is little.
const STEP_BYTES: u64 = 1 << 20;

const _: () = assert!(HEAD_BYTES == 56, "a mark is a head without a body");

const MAGIC: [u8; 8] = *b"CRLNVALS";
const VERSION: u32 = 1;
const SUFFIX: &str = ".values";

/// What a value file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store: u64,
    pub(crate) number: u32,
    /// How far the records of the file before reach.
    pub(crate) previous_end: u64,
}

/// The file that is written.
#[derive(Debug)]
pub(crate) struct ValueFile {
    pub(crate) number: u32,
    pub(crate) file: Arc<File>,
    pub(crate) seed: Seed,
    /// Where the next record goes.
    pub(crate) end: u64,
    /// How long the file is.
    pub(crate) allocated: u64,
    /// How far it was ever written, be it with zeros.
    pub(crate) written: u64,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(16, 0);
        bytes.extend_from_slice(&self.store.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.number).to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        header::sealed(bytes)
    }

    pub(crate) fn read(file: &File) -> Result<Self, NoHeader> {
        let fields = &header::read(file, &MAGIC, VERSION)?;
        let number = u64::from_le_bytes(array(fields, 24));
        Ok(Self {
            store: u64::from_le_bytes(array(fields, 16)),
            number: u32::try_from(number).map_err(|_too_large| NoHeader::Broken)?,
            previous_end: u64::from_le_bytes(array(fields, 32)),
        })
    }
}

impl ValueFile {
    /// Makes a file that is on the disk, under its name, when this returns. After an error there is none,
    /// and it can be tried again.
    pub(crate) fn create(
        disk: &dyn Disk,
        folder: &Path,
        header: Header,
        room: Room,
    ) -> io::Result<Self> {
        let path = path(folder, header.number);
        let new = path.with_extension("values.new");
        let made = (|| {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&new)?;
            let mut made = Self {
                number: header.number,
                file: Arc::new(file),
                seed: Seed::new(header.store, header.number),
                end: HEADER_BYTES,
                allocated: 0,
                written: HEADER_BYTES,
            };
            made.take_room(disk, room)?;
            disk.write(&made.file, &header.encode(), 0)?;
            disk.sync(&made.file)?;
            fs::rename(&new, &path)?;
            sync_folder(folder)?;
            Ok(made)
        })();
        if made.is_err() {
            // It may not even exist; opening the log removes what is left.
            drop(fs::remove_file(&new));
        }
        made
    }

    /// Whether the file has room for `bytes` of records and a mark.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.end.saturating_add(bytes).saturating_add(MARK_BYTES) <= self.allocated
    }

    /// How many zeros to write behind a batch that ends at `end`. A batch that stays inside of what was
    /// written before changes nothing that the file system has a journal for, and its sync is cheaper.
    pub(crate) fn zeros_behind(&self, end: u64) -> usize {
        if end <= self.written {
            return 0;
        }
        let until = end.div_ceil(ZEROS_BYTES).saturating_mul(ZEROS_BYTES).min(self.allocated);
        usize::try_from(until.saturating_sub(end)).unwrap_or(0)
    }

    /// Sees to it that the file has room for `room.needed` bytes of records and a mark, and takes some
    /// ahead while it is at it.
    pub(crate) fn take_room(&mut self, disk: &dyn Disk, room: Room) -> io::Result<()> {
        if self.has_room(room.needed) {
            return Ok(());
        }
        let needed = self.end.saturating_add(room.needed).saturating_add(MARK_BYTES);
        let ahead = self.allocated.saturating_add(room.ahead).min(room.file_bytes_max);
        let frugal = needed.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES);
        let mut last = Ok(());
        for to in [ahead, frugal.min(room.file_bytes_max), needed] {
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
}

/// How much room is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Bytes of records that must fit.
    pub(crate) needed: u64,
    /// Bytes to take ahead if the disk has them.
    pub(crate) ahead: u64,
    /// The file should not become longer.
    pub(crate) file_bytes_max: u64,
}

/// Where the file of a number is.
pub(crate) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08}{SUFFIX}"))
}

/// The numbers of the files in a folder, rising. Removes files that never got their name: for a start, when
/// nobody makes any.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    for found in fs::read_dir(folder)? {
        let found = found?;
        if found.file_name().to_str().is_some_and(|name| name.ends_with(".values.new")) {
            fs::remove_file(found.path())?;
        }
    }
    present(folder)
}

/// The same, and removes nothing.
pub(crate) fn present(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        let name = found.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(number) = name.strip_suffix(SUFFIX).and_then(|text| text.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
