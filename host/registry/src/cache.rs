//! What the registry last said, kept on this node's disk for when it cannot be asked.
//!
//! ```text
//! file = "CRLNRGCH", version u32 (1), length of the body u32, crc32c u32 of all before and the body, body
//! body = written u64 (Unix milliseconds), record*
//! record = key length u16, key, version u64, data length u32, data
//! ```
//!
//! It is for showing: who was on the ring, and how long ago that was known. Nothing is ever decided by
//! it, so a file that is missing, damaged or of another version is the same as none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::{MEMBERS, PARTITIONS, POSITIONS, Value};

const MAGIC: &[u8; 8] = b"CRLNRGCH";
const VERSION: u32 = 1;
/// Magic, version, length, checksum.
const HEAD: usize = 20;
/// A file beyond this is not ours: 65,536 records of some hundred bytes are a third of it.
const BYTES_MAX: u64 = 128 << 20;

/// What the kept records' keys begin with.
pub(crate) const PREFIXES: [&str; 3] = [POSITIONS, MEMBERS, PARTITIONS];

/// The ring, its members and the partitions as the registry last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastKnown {
    /// By key.
    pub records: Vec<(String, Value)>,
    /// When the registry was last known to say so: Unix milliseconds, by this machine's clock then.
    pub written_ms: u64,
}

impl LastKnown {
    /// How long ago that was, in milliseconds, as far as this machine's clock can tell; for display.
    pub fn age_ms(&self) -> u64 {
        runtime::wall_ms().saturating_sub(self.written_ms)
    }

    /// Those whose key begins with `prefix`.
    pub fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let records = self.records.iter().map(|(key, value)| (key.as_str(), value));
        records.filter(move |(key, _)| key.starts_with(prefix))
    }

    /// Reads a file. `None`: there is none that can be used, which the log tells if it is damaged.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let bytes = match bytes_of(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the last known ring cannot be read");
                }
                return None;
            }
        };
        let known = decode(&bytes);
        if known.is_none() {
            tracing::warn!(
                path = %path.display(),
                "the file with the last known ring is damaged or of another version: it is not used, \
                 and replaced when the registry answers"
            );
        }
        known
    }

    /// Replaces the file as a whole; after a crash there is the one before or this one.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        File::open(folder)?.sync_all()
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = self.written_ms.to_le_bytes().to_vec();
        for (key, value) in &self.records {
            // Keys are bounded to 1,024 bytes, data to 1,000,000, where they were put.
            body.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
            body.extend(key.as_bytes());
            body.extend(value.version.to_le_bytes());
            body.extend(u32::try_from(value.data.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(&value.data);
        }
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&file), &body);
        file.extend(crc.to_le_bytes());
        file.extend(body);
        file
    }
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > BYTES_MAX {
        return Err(io::Error::other(format!("{length} bytes are too many")));
    }
    std::fs::read(path)
}

fn decode(bytes: &[u8]) -> Option<LastKnown> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (covered, crc) = head.split_at_checked(HEAD - 4)?;
    let (magic, rest) = covered.split_at_checked(MAGIC.len())?;
    let (version, length) = rest.split_at_checked(4)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let sound = magic == MAGIC
        && number(version)? == VERSION
        && usize::try_from(number(length)?).ok()? == body.len()
        && number(crc)? == crc32c::crc32c_append(crc32c::crc32c(covered), body);
    if !sound {
        return None;
    }
    let mut body = body;
    let written_ms = u64::from_le_bytes(take(&mut body, 8)?.try_into().ok()?);
    let mut records = Vec::new();
    while !body.is_empty() {
        let length = usize::from(u16::from_le_bytes(take(&mut body, 2)?.try_into().ok()?));
        let key = String::from_utf8(take(&mut body, length)?.to_vec()).ok()?;
        let version = u64::from_le_bytes(take(&mut body, 8)?.try_into().ok()?);
        let length = usize::try_from(number(take(&mut body, 4)?)?).ok()?;
        records.push((key, Value { data: take(&mut body, length)?.to_vec(), version }));
    }
    Some(LastKnown { records, written_ms })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> LastKnown {
        let record =
            |key: &str, version| (key.to_owned(), Value { data: key.as_bytes().to_vec(), version });
        let records = vec![record("hashring/00", 0), record("members/a", 7)];
        LastKnown { records, written_ms: runtime::wall_ms() }
    }

    #[test]
    fn it_comes_back_whole_and_knows_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/registry.cache");
        assert_eq!(LastKnown::read(&path), None);
        let mut first = known();
        first.written_ms -= 5000;
        first.write(&path).unwrap();
        let back = LastKnown::read(&path).unwrap();
        assert_eq!(back, first);
        assert!(back.age_ms() >= 5000, "{}", back.age_ms());
        assert_eq!(back.list("members/").count(), 1);
        known().write(&path).unwrap();
        assert!(LastKnown::read(&path).unwrap().written_ms > first.written_ms);
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.cache");
        let whole = known().encode();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(LastKnown::read(&path), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(LastKnown::read(&path), None, "changed at {at}");
        }
    }
}
