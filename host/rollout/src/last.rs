//! What was live on this node when it last was told, kept on its disk.
//!
//! A kept file, "CRLNLIVE", version 1. The record in it is the JSON of the registry. A node that starts while the registry cannot be asked begins
//! with it; and it remembers which number a node has had, should the registry have been put back to an
//! earlier one. A file that does not verify is the same as none.

use std::io;
use std::path::Path;

use runtime::KeptFile;

use crate::record::LiveSet;

const MAGIC: &[u8; 8] = b"CRLNLIVE";
const VERSION: u32 = 1;
/// As the registry bounds a value.
const BYTES_MAX: usize = 1_000_000;

/// The file.
#[derive(Debug)]
pub(crate) struct LastKnown {
    file: KeptFile,
}

impl LastKnown {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: KeptFile::new(folder.join("live"), *MAGIC, VERSION, BYTES_MAX) }
    }

    /// What it says, if anything. Blocks.
    pub(crate) fn read(&self) -> Option<LiveSet> {
        let known = self.file.read().and_then(|record| {
            let damaged = |_no_record| io::Error::from(io::ErrorKind::InvalidData);
            record.map(|record| LiveSet::decode(&record).map_err(damaged)).transpose()
        });
        known.unwrap_or_else(|error| {
            let path = self.file.path().display();
            tracing::warn!(%path, %error, "the file of live plugins is not used");
            None
        })
    }

    /// Replaces it. Blocks.
    pub(crate) fn write(&self, live: &LiveSet) -> io::Result<()> {
        self.file.replace(&live.encode())
    }
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
        let whole = std::fs::read(last.file.path()).unwrap();
        for at in 0..whole.len() {
            std::fs::write(last.file.path(), &whole[..at]).unwrap();
            assert_eq!(last.read(), None, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            std::fs::write(last.file.path(), &changed).unwrap();
            assert_eq!(last.read(), None, "changed at {at}");
        }
    }
}
