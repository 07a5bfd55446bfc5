//! Base files: everything that is kept of a partition's log up to one entry, once the log begins there.
//!
//! ```text
//! header  0  8  magic "CRLNBASE"
//!         8  4  version, 1
//!        12  2  partition
//!        14  2  zeros
//!        16  8  store
//!        24  8  epoch  ┐
//!        32  8  seq    ├ the base: the last entry that is not in the log any more
//!        40 16  chain  ┘
//!        56  4  zeros
//!        60  4  crc32c of bytes 0 to 59
//! then the contents, the same on every node that has this base of the same log:
//! part       4  length, at least 1
//!            4  crc32c of the epoch, the seq and the chain of the base, of the part's number (8 bytes, from
//!               0) and of its bytes
//!            n  its bytes
//! end        4  0, 4 crc32c of the same, with the number of parts
//! entry      8  epoch, 8 seq, 16 chain, 4 length of the payload
//!            4  crc32c of the epoch, the seq and the chain of the base, of the bytes before and of the payload
//!            n  payload
//! places     for each entry 8 seq and 8 where it begins, counted from the start of the contents
//! foot       8  where the places begin, 8 how many there are
//!           32  SHA-256 of the contents before
//! ```
//!
//! A file has its name only when all of it is on the disk, and counts from the record in a value file on that
//! says that the log begins there. Until then the log is what it was.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hashring::PartitionId;
use sha2::{Digest, Sha256};

use crate::header::HEADER_BYTES;
use crate::record::array;
use crate::{Chain, LogConfig, LogEnd, LogEntry, SNAPSHOT_PART_BYTES_MAX};

const MAGIC: [u8; 8] = *b"CRLNBASE";
const VERSION: u32 = 1;
pub(crate) const SUFFIX: &str = ".base";
/// Before the bytes of a part.
const PART_HEAD: usize = 8;
/// Before the payload of an entry.
const ENTRY_HEAD: usize = 40;
/// One of the places.
const PLACE: u64 = 16;
/// What ends the contents.
const FOOT: u64 = 48;

/// What is known of a base file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The last entry that is not in the log any more.
    pub place: LogEnd,
    /// How long the contents are.
    pub bytes: u64,
    /// How many entries are kept.
    pub entries: u64,
    /// The SHA-256 at their end. Equal digests of equal places are equal contents.
    pub digest: [u8; 32],
}

/// An opened base file.
#[derive(Debug)]
pub(crate) struct BaseFile {
    pub(crate) base: Base,
    pub(crate) path: PathBuf,
    file: File,
    /// Where the places begin in the contents.
    places: u64,
}

/// Why there is no base file of a place.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It is not what was written, or not of this folder, partition and place. It was left as it is.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it. It was left as it is; start that version again.
    #[error("{} was written by a newer version", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It would take room that promises and seals must find. It is tried again later.
    #[error("no room for a base of {bytes} bytes above storage.reserve")]
    Full {
        /// How long it would be.
        bytes: u64,
    },
    /// The log has another base by now, or none. Ask again.
    #[error("the log of partition {partition} has no such base any more")]
    Gone {
        /// Whose.
        partition: PartitionId,
    },
    /// A part is empty or too long, or entries do not rise: a bug. Nothing was changed.
    #[error("what is to be kept of partition {partition} makes no sense at {seq}")]
    Strange {
        /// Whose.
        partition: PartitionId,
        /// At which entry.
        seq: u64,
    },
    /// The disk refused. What was there stays.
    #[error("{}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Where the base file of a place is.
pub(crate) fn path(folder: &Path, partition: PartitionId, seq: u64) -> PathBuf {
    folder.join(format!("{:03}-{seq:016x}{SUFFIX}", partition.0))
}

/// The header of a file with this base.
pub(crate) fn header(config: &LogConfig, partition: PartitionId, place: LogEnd) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&partition.0.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&config.store.to_le_bytes());
    bytes.extend_from_slice(&place_bytes(place));
    crate::header::sealed(bytes)
}

fn place_bytes(place: LogEnd) -> Vec<u8> {
    let mut bytes = place.epoch.to_le_bytes().to_vec();
    bytes.extend_from_slice(&place.seq.to_le_bytes());
    bytes.extend_from_slice(&place.chain.0);
    bytes
}

/// The start of the checksums in the contents.
pub(crate) fn seed(place: LogEnd) -> u32 {
    crc32c::crc32c(&place_bytes(place))
}

/// A part as it stands in the contents; an empty one ends them.
pub(crate) fn part(seed: u32, number: u64, part: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &number.to_le_bytes()), part);
    let mut bytes = u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(part);
    bytes
}

/// An entry as it stands in the contents.
pub(crate) fn entry(seed: u32, entry: &LogEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_HEAD.saturating_add(entry.payload.len()));
    bytes.extend_from_slice(&entry.epoch.to_le_bytes());
    bytes.extend_from_slice(&entry.seq.to_le_bytes());
    bytes.extend_from_slice(&entry.chain.0);
    let length = u32::try_from(entry.payload.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes), &entry.payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&entry.payload);
    bytes
}

/// What ends the contents, but for the digest.
pub(crate) fn foot(places: u64, entries: u64) -> Vec<u8> {
    [places.to_le_bytes(), entries.to_le_bytes()].concat()
}

impl BaseFile {
    /// Opens the file of a base: header and foot are looked at, and what is between when it is read.
    ///
    /// # Errors
    /// [`BaseError`].
    pub(crate) fn open(
        config: &LogConfig,
        partition: PartitionId,
        place: LogEnd,
    ) -> Result<Self, BaseError> {
        Self::open_at(path(&config.folder, partition, place.seq), config, partition, place)
    }

    /// The same of a file that has not got its name.
    pub(crate) fn open_at(
        path: PathBuf,
        config: &LogConfig,
        partition: PartitionId,
        place: LogEnd,
    ) -> Result<Self, BaseError> {
        let disk = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                BaseError::Damaged { path: path.clone() }
            }
            _ => BaseError::Disk { path: path.clone(), source },
        };
        let file = File::open(&path).map_err(disk)?;
        let length = file.metadata().map_err(disk)?.len();
        let damaged = || BaseError::Damaged { path: path.clone() };
        match crate::header::read(&file, &MAGIC, VERSION) {
            Ok(fields) if header(config, partition, place).starts_with(&fields) => {}
            Err(crate::header::NoHeader::Newer) => {
                return Err(BaseError::Newer { path: path.clone() });
            }
            Err(crate::header::NoHeader::Disk(source)) => return Err(disk(source)),
            Ok(_) | Err(crate::header::NoHeader::Broken) => return Err(damaged()),
        }
        let bytes = length.saturating_sub(HEADER_BYTES);
        let mut foot = [0; 48];
        let foot_at = length.checked_sub(FOOT).ok_or_else(damaged)?;
        file.read_exact_at(&mut foot, foot_at).map_err(disk)?;
        let places = u64::from_le_bytes(array(&foot, 0));
        let entries = u64::from_le_bytes(array(&foot, 8));
        let fits = entries
            .checked_mul(PLACE)
            .and_then(|all| places.checked_add(all))
            .and_then(|end| end.checked_add(FOOT));
        if fits != Some(bytes) {
            return Err(damaged());
        }
        let base = Base { place, bytes, entries, digest: array(&foot, 16) };
        Ok(Self { base, path, file, places })
    }

    /// The parts, verified.
    ///
    /// # Errors
    /// [`BaseError`].
    pub(crate) fn parts(&self) -> Result<Vec<Bytes>, BaseError> {
        let seed = seed(self.base.place);
        let mut at = 0_u64;
        let mut parts = Vec::new();
        for number in 0.. {
            let head = self.read(at, PART_HEAD)?;
            let length = usize::try_from(u32::from_le_bytes(array(&head, 0))).unwrap_or(usize::MAX);
            if length > SNAPSHOT_PART_BYTES_MAX {
                return Err(self.damaged());
            }
            let whole = self.read(at, PART_HEAD.saturating_add(length))?;
            let bytes = whole.slice(PART_HEAD..);
            if part(seed, number, &bytes) != whole {
                return Err(self.damaged());
            }
            if length == 0 {
                break;
            }
            at = at.saturating_add(u64::try_from(whole.len()).unwrap_or(u64::MAX));
            parts.push(bytes);
        }
        Ok(parts)
    }

    /// Entries that are kept, from seq `from` on, within bounds but at least one if there is any; and whether
    /// these are all.
    ///
    /// # Errors
    /// [`BaseError`].
    pub(crate) fn entries(
        &self,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<LogEntry>, bool), BaseError> {
        let (mut low, mut high) = (0, self.base.entries);
        while low < high {
            let middle = low.midpoint(high);
            if self.place(middle)?.0 < from {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        let mut left = bytes_max;
        for number in low..self.base.entries {
            if found.len() >= entries_max {
                return Ok((found, false));
            }
            let (seq, at) = self.place(number)?;
            let entry = self.entry(seq, at)?;
            if entry.payload.len() > left && !found.is_empty() {
                return Ok((found, false));
            }
            left = left.saturating_sub(entry.payload.len());
            found.push(entry);
        }
        Ok((found, true))
    }

    fn place(&self, number: u64) -> Result<(u64, u64), BaseError> {
        let at = number.saturating_mul(PLACE).saturating_add(self.places);
        let bytes = self.read(at, 16)?;
        Ok((u64::from_le_bytes(array(&bytes, 0)), u64::from_le_bytes(array(&bytes, 8))))
    }

    fn entry(&self, seq: u64, at: u64) -> Result<LogEntry, BaseError> {
        let head = self.read(at, ENTRY_HEAD)?;
        let length = u32::from_le_bytes(array(&head, 32));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = self.read(at, ENTRY_HEAD.saturating_add(length))?;
        let found = LogEntry {
            epoch: u64::from_le_bytes(array(&head, 0)),
            seq: u64::from_le_bytes(array(&head, 8)),
            chain: Chain(array(&head, 16)),
            payload: whole.slice(ENTRY_HEAD..),
        };
        let good = found.seq == seq && entry(seed(self.base.place), &found) == whole;
        if good { Ok(found) } else { Err(self.damaged()) }
    }

    /// Bytes of the contents, to be sent to another node.
    ///
    /// # Errors
    /// [`BaseError`].
    pub(crate) fn piece(&self, at: u64, bytes_max: usize) -> Result<Bytes, BaseError> {
        let left = usize::try_from(self.base.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        self.read(at, left.min(bytes_max))
    }

    /// Reads all of it and verifies every byte against the digest.
    ///
    /// # Errors
    /// [`BaseError`].
    pub(crate) fn verify(&self) -> Result<(), BaseError> {
        let disk = |source| BaseError::Disk { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(disk)?;
        let mut header = [0; 64];
        file.read_exact(&mut header).map_err(disk)?;
        let mut left = self.base.bytes.saturating_sub(32);
        let mut hash = Sha256::new();
        let mut window = vec![0; 1 << 20];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(window.len());
            let read = file.read(window.get_mut(..most).unwrap_or_default()).map_err(disk)?;
            if read == 0 {
                return Err(self.damaged());
            }
            hash.update(window.get(..read).unwrap_or_default());
            left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let same = <[u8; 32]>::from(hash.finalize()) == self.base.digest;
        if same { Ok(()) } else { Err(self.damaged()) }
    }

    fn read(&self, at: u64, length: usize) -> Result<Bytes, BaseError> {
        let end = u64::try_from(length).ok().and_then(|length| at.checked_add(length));
        if end.is_none_or(|end| end > self.base.bytes) {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at.saturating_add(HEADER_BYTES));
        read.map_err(|source| BaseError::Disk { path: self.path.clone(), source })?;
        Ok(Bytes::from(bytes))
    }

    fn damaged(&self) -> BaseError {
        BaseError::Damaged { path: self.path.clone() }
    }
}

/// Removes base files that no log begins with, and what interrupted ones left.
pub(crate) fn tidy(folder: &Path, needed: impl Fn(PartitionId, u64) -> bool) -> io::Result<()> {
    for found in fs::read_dir(folder)? {
        let found = found?;
        let name = found.file_name();
        let Some(name) = name.to_str() else { continue };
        let base = name.strip_suffix(SUFFIX).and_then(|name| name.split_once('-'));
        let base = base.and_then(|(partition, seq)| {
            Some((PartitionId(partition.parse().ok()?), u64::from_str_radix(seq, 16).ok()?))
        });
        let orphan = base.is_some_and(|(partition, seq)| !needed(partition, seq));
        if orphan || name.ends_with(".base.new") {
            fs::remove_file(found.path())?;
        }
    }
    Ok(())
}
