//! Snapshot files: what the floors above have made of a partition's log up to one entry, so that they need
//! not read the log from its first entry again.
//!
//! ```text
//! header  0  8  magic "CRLNSNAP"
//!         8  4  version, 1
//!        12  2  partition
//!        14  2  zeros
//!        16  8  store
//!        24  8  epoch  ┐
//!        32  8  seq    ├ the place in the log
//!        40 16  chain  ┘
//!        56  4  zeros
//!        60  4  crc32c of bytes 0 to 59
//! part       4  length, at least 1
//!            4  crc32c of bytes 60 to 63, of the part's number (8 bytes, from 0) and of its bytes
//!            n  its bytes
//! end        4  0
//!            4  crc32c of the same, with the number of parts
//! ```
//!
//! One file a partition, `<partition>.snapshot` beside the value files, replaced as a whole: written beside,
//! synced, renamed, the folder synced. So a file with that name is whole unless the disk changed it. It is
//! only a shortcut: it may be deleted, and whoever reads it compares its place with the log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;

use crate::disk::{is_full, sync_folder};
use crate::log::Shared;
use crate::{Chain, LogConfig, LogEnd, measure};

const MAGIC: [u8; 8] = *b"CRLNSNAP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const PART_HEAD_BYTES: usize = 8;
const SUFFIX: &str = ".snapshot";

/// The longest part: the largest chat is far smaller, and a length that is not true sets nothing aside
/// beyond this.
pub const SNAPSHOT_PART_BYTES_MAX: usize = 16 << 20;

/// A snapshot is synced whenever so much of it was written: a sync of the log that meets one of these waits
/// for no more than this, and what the system would write out by itself never piles up.
const SYNC_BYTES: usize = 1 << 20;

/// What was made of a log up to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is in it.
    pub place: LogEnd,
    /// What it says; only whoever wrote them knows what they mean.
    pub parts: Vec<Bytes>,
}

/// What is known of a snapshot without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The last entry that is in it.
    pub seq: u64,
    /// How long the file is.
    pub bytes: u64,
}

/// Why there is no snapshot to be used, or none could be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what was written. It was left as it is, and the next one replaces it; the log has
    /// everything.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it. It was left as it is, and the next one replaces it; the log has everything.
    #[error("{} was written by a newer version", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It is of another data folder or another partition. It was left as it is, and the next one replaces
    /// it; the log has everything.
    #[error("{} is not of this data folder and partition", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It would take room that promises and seals must find. Nothing was written; it is tried again later.
    #[error("no room for a snapshot of {bytes} bytes above storage.reserve")]
    Full {
        /// How long it would be.
        bytes: u64,
    },
    /// A part is empty or too long: a bug. Nothing was written; the snapshot before it stays.
    #[error("a part of a snapshot has {bytes} bytes")]
    Part {
        /// How many.
        bytes: usize,
    },
    /// The disk refused. The snapshot before it, if there is one, stays; see the cause.
    #[error("{}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl SnapshotError {
    /// In one word, for counting.
    fn word(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::Newer { .. } => "newer",
            Self::Foreign { .. } => "foreign",
            Self::Full { .. } => "full",
            Self::Part { .. } => "part",
            Self::Disk { .. } => "disk",
        }
    }

    /// Counts a snapshot that was there and could not be used.
    fn counted(self) -> Self {
        measure::snapshot_ignored(self.word());
        self
    }
}

/// A snapshot that is being written. Dropping it leaves the one before it as it is.
pub struct SnapshotDraft {
    shared: Arc<Shared>,
    partition: PartitionId,
    place: LogEnd,
    seed: [u8; 4],
    file: File,
    length: u64,
    synced: u64,
    parts: u64,
    done: bool,
}

/// The header's fields that are compared.
struct Header {
    partition: PartitionId,
    store: u64,
    place: LogEnd,
}

impl SnapshotDraft {
    /// Begins one that will have about `bytes` bytes.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        partition: PartitionId,
        place: LogEnd,
        bytes: u64,
    ) -> Result<Self, SnapshotError> {
        let path = new_path(&shared.config, partition);
        let disk = |source| SnapshotError::Disk { path: path.clone(), source };
        let space = shared.disk.space(&shared.config.folder).map_err(disk)?;
        if !shared.config.reserve.leaves(space, bytes) {
            return Err(SnapshotError::Full { bytes });
        }
        let header = Header { partition, store: shared.config.store, place }.encode();
        let file = File::create(&path).map_err(disk)?;
        let seed = seed(&header);
        let mut draft = Self {
            shared,
            partition,
            place,
            seed,
            file,
            length: 0,
            synced: 0,
            parts: 0,
            done: false,
        };
        draft.write(&header)?;
        Ok(draft)
    }

    /// Writes one part more. Blocks on the disk.
    ///
    /// # Errors
    /// [`SnapshotError`]; drop the draft.
    pub fn put(&mut self, part: &[u8]) -> Result<(), SnapshotError> {
        if part.is_empty() || part.len() > SNAPSHOT_PART_BYTES_MAX {
            return Err(SnapshotError::Part { bytes: part.len() });
        }
        self.record(part)?;
        self.parts += 1;
        let due = u64::try_from(SYNC_BYTES).unwrap_or(u64::MAX);
        if self.length - self.synced >= due { self.sync() } else { Ok(()) }
    }

    /// Makes it the partition's snapshot. Blocks on the disk; when this returns, it would survive a loss of
    /// power.
    ///
    /// # Errors
    /// [`SnapshotError`]; the one before it, or this one, is there as a whole.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        self.record(&[])?;
        self.sync()?;
        let config = &self.shared.config;
        let path = path(config, self.partition);
        fs::rename(new_path(config, self.partition), &path)
            .and_then(|()| sync_folder(&config.folder))
            .map_err(|source| self.failed(source))?;
        self.done = true;
        let kept = Kept { seq: self.place.seq, bytes: self.length };
        self.shared.kept().insert(self.partition, kept);
        measure::snapshot_written(self.length);
        Ok(())
    }

    fn record(&mut self, part: &[u8]) -> Result<(), SnapshotError> {
        let mut record = Vec::with_capacity(PART_HEAD_BYTES + part.len());
        record.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
        record.extend_from_slice(&check(self.seed, self.parts, part).to_le_bytes());
        record.extend_from_slice(part);
        self.write(&record)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let written = self.shared.disk.write(&self.file, bytes, self.length);
        written.map_err(|source| self.failed(source))?;
        self.length += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        self.shared.disk.sync(&self.file).map_err(|source| self.failed(source))?;
        self.synced = self.length;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SnapshotError {
        if is_full(&source) {
            return SnapshotError::Full { bytes: self.length };
        }
        SnapshotError::Disk { path: new_path(&self.shared.config, self.partition), source }
    }
}

impl Drop for SnapshotDraft {
    fn drop(&mut self) {
        // What is left of it is removed by the next start, too.
        if !self.done {
            drop(fs::remove_file(new_path(&self.shared.config, self.partition)));
        }
    }
}

impl std::fmt::Debug for SnapshotDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotDraft").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.partition.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.store.to_le_bytes());
        bytes.extend_from_slice(&self.place.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.place.seq.to_le_bytes());
        bytes.extend_from_slice(&self.place.chain.0);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        header
    }

    /// `Err(true)`: by a newer version.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, bool> {
        let (fields, crc) = bytes.split_at(HEADER_BYTES - 4);
        let mut fields = Fields(fields);
        let whole = crc32c::crc32c(fields.0).to_le_bytes() == crc;
        if !whole || fields.take() != Some(MAGIC) {
            return Err(false);
        }
        if fields.take().map(u32::from_le_bytes) != Some(VERSION) {
            return Err(true);
        }
        fields.header().ok_or(false)
    }
}

/// Bytes still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn header(&mut self) -> Option<Header> {
        let partition = PartitionId(u16::from_le_bytes(self.take()?));
        let [_, _] = self.take()?;
        let store = u64::from_le_bytes(self.take()?);
        let epoch = u64::from_le_bytes(self.take()?);
        let seq = u64::from_le_bytes(self.take()?);
        let chain = Chain(self.take()?);
        Some(Header { partition, store, place: LogEnd { epoch, seq, chain } })
    }
}

/// The snapshot of a partition, if there is one; verified, but not compared with the log.
pub(crate) fn read(
    config: &LogConfig,
    partition: PartitionId,
) -> Result<Option<Snapshot>, SnapshotError> {
    let path = path(config, partition);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|source| SnapshotError::Disk { path: path.clone(), source }),
    };
    let read = file.and_then(|file| whole(io::BufReader::new(file), config, partition, &path));
    read.map(Some).map_err(SnapshotError::counted)
}

fn whole(
    mut from: impl Read,
    config: &LogConfig,
    partition: PartitionId,
    path: &Path,
) -> Result<Snapshot, SnapshotError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged { path: path.to_owned() },
        _ => SnapshotError::Disk { path: path.to_owned(), source: error },
    };
    let damaged = || SnapshotError::Damaged { path: path.to_owned() };
    let (header, seed) = header(&mut from, path)?;
    if (header.partition, header.store) != (partition, config.store) {
        return Err(SnapshotError::Foreign { path: path.to_owned() });
    }
    let mut parts = Vec::new();
    for number in 0.. {
        let (mut length, mut crc) = ([0; 4], [0; 4]);
        from.read_exact(&mut length).map_err(failed)?;
        from.read_exact(&mut crc).map_err(failed)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > SNAPSHOT_PART_BYTES_MAX {
            return Err(damaged());
        }
        let mut part = vec![0; length];
        from.read_exact(&mut part).map_err(failed)?;
        if check(seed, number, &part).to_le_bytes() != crc {
            return Err(damaged());
        }
        if length == 0 {
            break;
        }
        parts.push(Bytes::from(part));
    }
    match from.read(&mut [0]).map_err(failed)? {
        0 => Ok(Snapshot { place: header.place, parts }),
        _ => Err(damaged()),
    }
}

/// The header, and what its parts are checked with.
fn header(from: &mut impl Read, path: &Path) -> Result<(Header, [u8; 4]), SnapshotError> {
    let path = || path.to_owned();
    let mut bytes = [0; HEADER_BYTES];
    match from.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(SnapshotError::Damaged { path: path() });
        }
        read => read.map_err(|source| SnapshotError::Disk { path: path(), source })?,
    }
    match Header::decode(&bytes) {
        Ok(header) => Ok((header, seed(&bytes))),
        Err(true) => Err(SnapshotError::Newer { path: path() }),
        Err(false) => Err(SnapshotError::Damaged { path: path() }),
    }
}

/// Which snapshots there are, by their headers. Removes what an interrupted one left.
pub(crate) fn find(config: &LogConfig) -> io::Result<BTreeMap<PartitionId, Kept>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(&config.folder)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".snapshot.new") {
            fs::remove_file(file.path())?;
            continue;
        }
        let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
        let Some(partition) = number.map(PartitionId) else { continue };
        let header = File::open(file.path()).map(|mut opened| header(&mut opened, &file.path()));
        // What is wrong with one is told when somebody wants to use it.
        let Ok(Ok((header, _))) = header else { continue };
        if (header.partition, header.store) == (partition, config.store) {
            let bytes = file.metadata()?.len();
            found.insert(partition, Kept { seq: header.place.seq, bytes });
        }
    }
    Ok(found)
}

fn seed(header: &[u8; HEADER_BYTES]) -> [u8; 4] {
    header.last_chunk().copied().unwrap_or_default()
}

fn check(seed: [u8; 4], number: u64, part: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&seed), &number.to_le_bytes());
    crc32c::crc32c_append(crc, part)
}

fn path(config: &LogConfig, partition: PartitionId) -> PathBuf {
    config.folder.join(format!("{:03}{SUFFIX}", partition.0))
}

fn new_path(config: &LogConfig, partition: PartitionId) -> PathBuf {
    config.folder.join(format!("{:03}{SUFFIX}.new", partition.0))
}
