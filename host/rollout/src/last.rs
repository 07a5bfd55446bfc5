//! What was live on this node when it last was told, kept on its disk.
//!
//! ```text
//! file = "CRLNLIVE", version u32 (1), length of the record u32, crc32c u32 of all before and the record, record
//! ```
//!
//! The record is the JSON of the registry. A node that starts while the registry cannot be asked begins
//! with it; and it remembers which number a node has had, should the registry have been put back to an
//! earlier one. A file that does not verify is the same as none.

use std::path::{Path, PathBuf};

use crate::artefacts::{read_at_most, replace};
use crate::record::LiveSet;

const MAGIC: &[u8; 8] = b"CRLNLIVE";
const VERSION: u32 = 1;
/// Magic, version, length, checksum.
const HEAD: usize = 20;
/// As the registry bounds a value.
const BYTES_MAX: usize = 1_000_000 + HEAD;

/// The file.
#[derive(Debug)]
pub(crate) struct LastKnown {
    path: PathBuf,
}

impl LastKnown {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { path: folder.join("live") }
    }

    /// What it says, if anything. Blocks.
    pub(crate) fn read(&self) -> Option<LiveSet> {
        let bytes = read_at_most(&self.path, BYTES_MAX)?;
        let known = record(&bytes).and_then(|record| LiveSet::decode(record).ok());
        if known.is_none() {
            let path = self.path.display();
            tracing::warn!(%path, "the file of live plugins is damaged or of another version: not used");
        }
        known
    }

    /// Replaces it. Blocks.
    pub(crate) fn write(&self, live: &LiveSet) -> std::io::Result<()> {
        let body = live.encode();
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &body);
        head.extend(crc.to_le_bytes());
        replace(&self.path, &self.path.with_extension("new"), &[&head, &body])
    }
}

fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (covered, crc) = head.split_at_checked(HEAD - 4)?;
    let (magic, rest) = covered.split_at_checked(MAGIC.len())?;
    let (version, length) = rest.split_at_checked(4)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let sound = magic == MAGIC
        && number(version)? == VERSION
        && usize::try_from(number(length)?).ok()? == body.len()
        && number(crc)? == crc32c::crc32c_append(crc32c::crc32c(covered), body);
    sound.then_some(body)
}

#[cfg(test)]
mod tests {
    use super::LastKnown;
    use crate::Digest;
    use crate::record::LiveSet;

    #[test]
    fn it_comes_back_whole_and_cut_or_changed_anywhere_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let last = LastKnown::new(folder.path());
        assert_eq!(last.read(), None);
        let set = LiveSet::first(1, [("p".to_owned(), Digest::of(b"p"), "1".to_owned())]);
        last.write(&set).unwrap();
        assert_eq!(last.read(), Some(set));
        let whole = std::fs::read(&last.path).unwrap();
        for at in 0..whole.len() {
            std::fs::write(&last.path, &whole[..at]).unwrap();
            assert_eq!(last.read(), None, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            std::fs::write(&last.path, &changed).unwrap();
            assert_eq!(last.read(), None, "changed at {at}");
        }
    }
}
