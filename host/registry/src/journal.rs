//! The file behind the embedded registry: every accepted write, in order.
//!
//! ```text
//! file   = "CRLNREG1", frame*
//! frame  = "RGF1", number u64, length u32, crc32c u32 (of number, length and body), body
//! body   = op*
//! op     = 1 (put), key length u16, key, version u64, data length u32, data
//!        | 2 (delete), key length u16, key, version u64
//! ```
//!
//! One frame is one batch, written and synced before the next begins. So only the last frame can be
//! torn, and is cut; a broken frame with a good one behind it is damage, and reported with its offset.
//! A rewrite (compaction) goes to a new file, is synced, renamed, and the folder synced.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::Value;

const MAGIC: &[u8; 8] = b"CRLNREG1";
const FRAME: &[u8; 4] = b"RGF1";
const HEAD: usize = 20;
/// Below this size a journal is not worth rewriting.
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// What the journal brings back, and where the next frame goes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    number: u64,
    bytes: u64,
    compacted_bytes: u64,
}

/// One accepted write.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put { key: String, version: u64, data: Vec<u8> },
    Delete { key: String, version: u64 },
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. Nothing was changed; stop the other one, or give this one a folder
    /// of its own.
    #[error("registry folder {path} is in use by another process")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not a journal of this version. Nothing was changed; an operator decides.
    #[error("{path} is not a registry journal of version 1")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Bytes changed on the disk. Nothing was changed; restore the file, or remove the cluster's data.
    #[error(
        "registry journal {path} is damaged at byte {offset}: good records follow a broken one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the broken frame begins.
        offset: u64,
    },
    /// The disk refused. Nothing is known to be changed; see the cause.
    #[error("registry journal {path}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Journal {
    /// Opens or creates the journal in `folder` and returns what it holds.
    pub(crate) fn open(folder: &Path) -> Result<(Self, BTreeMap<String, Value>), OpenError> {
        let path = folder.join("registry.journal");
        let disk = |source| OpenError::Disk { path: path.clone(), source };
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes).map_err(disk)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(disk(error)),
        }
        // A crash between creating the file and writing its magic leaves a prefix of it.
        let fresh = bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes);
        if !fresh && !bytes.starts_with(MAGIC) {
            return Err(OpenError::Foreign { path });
        }
        let mut values = BTreeMap::new();
        let mut number = 0;
        let mut at = MAGIC.len().min(bytes.len());
        while let Some((found, body, end)) = frame(&bytes, at, number) {
            let Some(ops) = decode(body) else { break };
            ops.into_iter().for_each(|op| apply(&mut values, op));
            number = found;
            at = end;
        }
        if (at + 1..bytes.len()).any(|later| frame(&bytes, later, number).is_some()) {
            return Err(OpenError::Damaged { path, offset: offset(at) });
        }
        if at < bytes.len() {
            tracing::warn!(path = %path.display(), offset = at, "cut the torn end of the registry journal");
        }
        let mut journal = Self::rewrite(folder, &path, &values, number).map_err(disk)?;
        journal.path = path;
        Ok((journal, values))
    }

    /// Appends one batch and returns when it would survive a crash.
    pub(crate) fn append(&mut self, ops: &[Op]) -> io::Result<()> {
        let bytes = encode(self.number + 1, ops);
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.number += 1;
        self.bytes += offset(bytes.len());
        Ok(())
    }

    /// Writes the journal anew when it has grown to several times what it holds.
    pub(crate) fn compact_if_large(&mut self, values: &BTreeMap<String, Value>) -> io::Result<()> {
        if self.bytes < COMPACT_BYTES_MIN.max(4 * self.compacted_bytes) {
            return Ok(());
        }
        let path = self.path.clone();
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        *self = Self::rewrite(&folder, &path, values, self.number)?;
        Ok(())
    }

    fn rewrite(
        folder: &Path,
        path: &Path,
        values: &BTreeMap<String, Value>,
        number: u64,
    ) -> io::Result<Self> {
        let mut bytes = MAGIC.to_vec();
        let ops: Vec<_> = values
            .iter()
            .map(|(key, value)| Op::Put {
                key: key.clone(),
                version: value.version,
                data: value.data.clone(),
            })
            .collect();
        bytes.extend(encode(number + 1, &ops));
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(folder)?.sync_all()?;
        let bytes = offset(bytes.len());
        Ok(Self { path: path.to_owned(), file, number: number + 1, bytes, compacted_bytes: bytes })
    }
}

/// Puts `op` into `values`.
pub(crate) fn apply(values: &mut BTreeMap<String, Value>, op: Op) {
    match op {
        Op::Put { key, version, data } => {
            values.insert(key, Value { data, version });
        }
        Op::Delete { key, .. } => {
            values.remove(&key);
        }
    }
}

fn encode(number: u64, ops: &[Op]) -> Vec<u8> {
    let mut body = Vec::new();
    for op in ops {
        let (kind, key, version) = match op {
            Op::Put { key, version, .. } => (1_u8, key, version),
            Op::Delete { key, version } => (2_u8, key, version),
        };
        body.push(kind);
        // Keys are bounded to 1,024 bytes, data to 1,000,000, where they come in.
        body.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        body.extend(key.as_bytes());
        body.extend(version.to_le_bytes());
        if let Op::Put { data, .. } = op {
            body.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(data);
        }
    }
    let mut covered = number.to_le_bytes().to_vec();
    covered.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&covered), &body);
    let mut frame = FRAME.to_vec();
    frame.extend(covered);
    frame.extend(crc.to_le_bytes());
    frame.extend(body);
    frame
}

/// The frame at `at`, if a good one with a number above `after` begins there: number, body, end.
fn frame(bytes: &[u8], at: usize, after: u64) -> Option<(u64, &[u8], usize)> {
    let head = bytes.get(at..at + HEAD)?.strip_prefix(FRAME.as_slice())?;
    let (covered, crc) = head.split_at_checked(12)?;
    let (number, length) = covered.split_at_checked(8)?;
    let number = u64::from_le_bytes(number.try_into().ok()?);
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let end = (at + HEAD).checked_add(length)?;
    let body = bytes.get(at + HEAD..end)?;
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    let good = number > after && crc32c::crc32c_append(crc32c::crc32c(covered), body) == crc;
    good.then_some((number, body, end))
}

fn decode(mut body: &[u8]) -> Option<Vec<Op>> {
    let mut ops = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        body = rest;
        let length = usize::from(u16::from_le_bytes(take(&mut body, 2)?.try_into().ok()?));
        let key = String::from_utf8(take(&mut body, length)?.to_vec()).ok()?;
        let version = u64::from_le_bytes(take(&mut body, 8)?.try_into().ok()?);
        ops.push(match kind {
            1 => {
                let length = u32::from_le_bytes(take(&mut body, 4)?.try_into().ok()?);
                let data = take(&mut body, usize::try_from(length).ok()?)?.to_vec();
                Op::Put { key, version, data }
            }
            2 => Op::Delete { key, version },
            _ => return None,
        });
    }
    Some(ops)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}
