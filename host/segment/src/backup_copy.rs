//! One file, copied with its digest. Value files have room ahead of what is written; where there are only zeros the
//! copy has a hole.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// So much is read at a time.
const STEP: usize = 256 << 10;

/// What tells a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// Copies a file that is there to one that is not, and syncs that.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<Digest> {
    let made = File::options().write(true).create_new(true).open(to)?;
    let digest = read(from, |at, piece| {
        if piece.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        made.write_all_at(piece, at)
    })?;
    made.set_len(digest.bytes)?;
    made.sync_all()?;
    Ok(digest)
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> io::Result<Digest> {
    read(path, |_at, _piece| Ok(()))
}

fn read(path: &Path, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<Digest> {
    use sha2::Digest as _;
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; STEP];
    loop {
        let length = file.read(&mut buffer)?;
        let piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Ok(Digest { bytes, sha256: hash.finalize().into() });
        }
        hash.update(piece);
        take(bytes, piece)?;
        bytes += u64::try_from(length).unwrap_or(0);
    }
}
