//! What the registry last said, kept on this node's disk for when it cannot be asked.
//!
//! ```text
//! file = kept file, "CRLNRGCH", version 1
//! body = written u64 (Unix milliseconds), record*
//! record = key length u16, key, version u64, data length u32, data
//! ```
//!
//! It is for showing: who was on the ring, and how long ago that was known. Nothing is ever decided by
//! it, so a file that is missing, damaged or of another version is the same as none.

use std::io;
use std::path::Path;

use runtime::KeptFile;

use crate::{MEMBERS, PARTITIONS, POSITIONS, Value};

const MAGIC: &[u8; 8] = b"CRLNRGCH";
const VERSION: u32 = 1;
/// A file beyond this is not ours: 65,536 records of some hundred bytes are a third of it.
const BYTES_MAX: usize = 128 << 20;

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
        let known = file(path).read().and_then(|body| {
            let damaged = || io::Error::from(io::ErrorKind::InvalidData);
            body.map(|body| decode(&body).ok_or_else(damaged)).transpose()
        });
        known.unwrap_or_else(|error| {
            tracing::warn!(
                path = %path.display(), %error,
                "the file with the last known ring cannot be used, and is replaced when the registry answers"
            );
            None
        })
    }

    /// Replaces the file as a whole; after a crash there is the one before or this one.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        file(path).replace(&self.encode())
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
        body
    }
}

fn file(path: &Path) -> KeptFile {
    KeptFile::new(path, *MAGIC, VERSION, BYTES_MAX)
}

fn decode(mut body: &[u8]) -> Option<LastKnown> {
    let body = &mut body;
    let written_ms = u64::from_le_bytes(take(body, 8)?.try_into().ok()?);
    let mut records = Vec::new();
    while !body.is_empty() {
        let length = usize::from(u16::from_le_bytes(take(body, 2)?.try_into().ok()?));
        let key = String::from_utf8(take(body, length)?.to_vec()).ok()?;
        let version = u64::from_le_bytes(take(body, 8)?.try_into().ok()?);
        let length = u32::from_le_bytes(take(body, 4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        records.push((key, Value { data: take(body, length)?.to_vec(), version }));
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
    fn a_body_cut_anywhere_is_none_or_has_fewer_records() {
        let whole = known().encode();
        for cut in 0..whole.len() {
            let part = decode(&whole[..cut]);
            assert!(part.is_none_or(|part| part.records.len() < 2), "cut at {cut}");
        }
    }
}
