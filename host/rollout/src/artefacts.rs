//! The components this node keeps, by their digests.
//!
//! One file each in a folder of the node's own: `DIGEST.wasm`, and `DIGEST.sig` beside it with the signatures
//! it came with. A file appears whole or not at all, and what is read is checked against its name, so
//! that nothing here is ever believed. What no generation names any more goes when room is needed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use crate::Digest;

/// The largest component that is taken: Python's are about 18 MiB.
pub const ARTEFACT_BYTES_MAX: usize = 64 << 20;

/// Most that are kept: every plugin with its past, and some that were pushed and never swapped in.
const FILES_MAX: usize = 256;
/// Most bytes that are kept: a hundred components of Python's size.
const BYTES_MAX: u64 = 2 << 30;

/// Bytes of a signature of ed25519.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// Most signatures of one component: one for each name that it runs under. Of more the oldest go.
const SIGNATURES_MAX: usize = 16;

/// How the name of a file ends until everything is in it.
const UNFINISHED: &str = "new";

/// A component cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// It is too big. Nothing was written; its author leaves something out.
    #[error("{bytes} bytes are more than the {ARTEFACT_BYTES_MAX} that a component may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Everything that is kept is live or can be rolled back to. Nothing was written; roll plugins back or
    /// keep fewer generations.
    #[error("{files} components of {bytes} bytes are kept and all of them are in use")]
    NoRoom {
        /// How many there are.
        files: usize,
        /// Their size.
        bytes: u64,
    },
    /// The disk did not take it. Nothing is left of it; see the cause.
    #[error("{}", .path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A component and what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artefact {
    pub(crate) component: Bytes,
    /// One after the other.
    pub(crate) signatures: Option<Bytes>,
}

/// A piece of a component's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) total: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signatures: Option<Vec<u8>>,
}

/// A folder of components. Its functions block.
#[derive(Debug)]
pub(crate) struct Artefacts {
    folder: PathBuf,
}

impl Artefacts {
    /// Opens the folder, makes it, and removes what a crash left half written.
    pub(crate) fn open(folder: &Path) -> Result<Self, ArtefactError> {
        let disk = |source| ArtefactError::Disk { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(disk)?;
        let artefacts = Self { folder: folder.to_owned() };
        for path in artefacts.paths(UNFINISHED) {
            fs::remove_file(&path)
                .map_err(|source| ArtefactError::Disk { path: path.clone(), source })?;
        }
        Ok(artefacts)
    }

    /// Keeps a component; `in_use` are never removed for it. Returns whether it was new.
    pub(crate) fn keep(
        &self,
        artefact: &Artefact,
        digest: Digest,
        in_use: &BTreeSet<Digest>,
    ) -> Result<bool, ArtefactError> {
        let bytes = artefact.component.len();
        if bytes > ARTEFACT_BYTES_MAX {
            return Err(ArtefactError::TooLarge { bytes });
        }
        let known = self.read(digest).is_some();
        if !known {
            self.make_room(u64::try_from(bytes).unwrap_or(u64::MAX), in_use)?;
            self.write(&self.path(digest, "wasm"), &artefact.component)?;
        }
        // A component that was pushed without a signature, or for another name, can be pushed again with it.
        if let Some(more) = &artefact.signatures {
            let before = self.signatures(digest).unwrap_or_default();
            let all = joined(&before, more);
            if all != before {
                self.write(&self.path(digest, "sig"), &all)?;
            }
        }
        Ok(!known)
    }

    /// A component, if it is here and sound.
    pub(crate) fn read(&self, digest: Digest) -> Option<Artefact> {
        let path = self.path(digest, "wasm");
        let component = read_at_most(&path, ARTEFACT_BYTES_MAX)?;
        if Digest::of(&component) != digest {
            tracing::error!(path = %path.display(), "a component is damaged: it is fetched again");
            // Best effort: it is never believed anyway.
            drop(fs::remove_file(&path));
            return None;
        }
        let signatures = self.signatures(digest).map(Bytes::from);
        Some(Artefact { component: component.into(), signatures })
    }

    /// At most `most` bytes of a component from `offset` on, not checked: whoever puts the pieces together
    /// does that.
    pub(crate) fn piece(&self, digest: Digest, offset: u64, most: usize) -> Option<Piece> {
        let mut file = File::open(self.path(digest, "wasm")).ok()?;
        let total = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(most).ok()?).read_to_end(&mut bytes).ok()?;
        Some(Piece { total, bytes, signatures: self.signatures(digest) })
    }

    fn signatures(&self, digest: Digest) -> Option<Vec<u8>> {
        read_at_most(&self.path(digest, "sig"), SIGNATURES_MAX * SIGNATURE_BYTES)
    }

    fn path(&self, digest: Digest, kind: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{kind}"))
    }

    fn make_room(&self, more: u64, in_use: &BTreeSet<Digest>) -> Result<(), ArtefactError> {
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for path in self.paths("wasm") {
            let Ok(about) = fs::metadata(&path) else { continue };
            let written = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            kept.push((written, about.len(), path));
        }
        kept.sort();
        let mut files = kept.len();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        let full =
            |files: usize, bytes: u64| files >= FILES_MAX || bytes.saturating_add(more) > BYTES_MAX;
        for (_, size, path) in kept {
            if !full(files, bytes) {
                break;
            }
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if name.parse().is_ok_and(|digest| in_use.contains(&digest)) {
                continue;
            }
            fs::remove_file(&path)
                .map_err(|source| ArtefactError::Disk { path: path.clone(), source })?;
            // Most have none.
            drop(fs::remove_file(path.with_extension("sig")));
            files -= 1;
            bytes -= size;
        }
        if full(files, bytes) { Err(ArtefactError::NoRoom { files, bytes }) } else { Ok(()) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ArtefactError> {
        let unfinished =
            path.with_extension(format!("{:016x}.{UNFINISHED}", rand::random::<u64>()));
        let written = replace(path, &unfinished, &[bytes]);
        written.map_err(|source| ArtefactError::Disk { path: path.to_owned(), source })
    }

    fn paths(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let ends = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
        entries.map(|entry| entry.path()).filter(ends).collect()
    }
}

/// Writes `parts` to `unfinished`, syncs it, renames it to `path` and syncs the folder: after a crash there
/// is the whole file or the one before.
pub(crate) fn replace(path: &Path, unfinished: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::create(unfinished)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part));
    let renamed =
        written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(unfinished, path));
    if renamed.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(unfinished));
    }
    renamed?;
    File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The file's bytes; `None` if it is not there, cannot be read, or is longer.
pub(crate) fn read_at_most(path: &Path, most: usize) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).ok()?.saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= most).then_some(bytes)
}

/// These signatures and those, each once, the oldest first.
fn joined(before: &[u8], more: &[u8]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = before.chunks(SIGNATURE_BYTES).collect();
    for signature in more.chunks(SIGNATURE_BYTES) {
        if !all.contains(&signature) {
            all.push(signature);
        }
    }
    let beyond = all.len().saturating_sub(SIGNATURES_MAX);
    all.drain(..beyond);
    all.concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use bytes::Bytes;

    use super::{Artefact, ArtefactError, Artefacts, FILES_MAX, SIGNATURE_BYTES, SIGNATURES_MAX};
    use crate::Digest;

    fn artefact(text: &str) -> (Artefact, Digest) {
        let component = Bytes::copy_from_slice(text.as_bytes());
        let digest = Digest::of(&component);
        (Artefact { component, signatures: None }, digest)
    }

    #[test]
    fn what_was_kept_comes_back_whole_and_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Artefacts::open(folder.path()).unwrap();
        let (mut one, digest) = artefact("one two three");
        assert!(kept.read(digest).is_none() && kept.piece(digest, 0, 4).is_none());
        assert!(kept.keep(&one, digest, &BTreeSet::new()).unwrap());
        assert_eq!(kept.read(digest).as_ref(), Some(&one));
        one.signatures = Some(Bytes::from_static(b"signed"));
        assert!(!kept.keep(&one, digest, &BTreeSet::new()).unwrap(), "it is known");
        assert_eq!(kept.read(digest), Some(one));
        let piece = kept.piece(digest, 4, 5).unwrap();
        assert_eq!((piece.total, &piece.bytes[..]), (13, &b"two t"[..]));
        assert_eq!(piece.signatures.as_deref(), Some(&b"signed"[..]));
        assert!(kept.piece(digest, 13, 5).unwrap().bytes.is_empty());
    }

    #[test]
    fn each_name_that_a_component_runs_under_has_its_signature_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Artefacts::open(folder.path()).unwrap();
        let (mut one, digest) = artefact("one");
        for by in [1, 2, 1, 2] {
            one.signatures = Some(Bytes::from(vec![by; SIGNATURE_BYTES]));
            kept.keep(&one, digest, &BTreeSet::new()).unwrap();
        }
        let both = [[1; SIGNATURE_BYTES], [2; SIGNATURE_BYTES]].concat();
        assert_eq!(kept.read(digest).unwrap().signatures.as_deref(), Some(&both[..]));
        for by in 3..=20 {
            one.signatures = Some(Bytes::from(vec![by; SIGNATURE_BYTES]));
            kept.keep(&one, digest, &BTreeSet::new()).unwrap();
        }
        let signatures = kept.read(digest).unwrap().signatures.unwrap();
        assert_eq!((signatures.len(), signatures[0]), (SIGNATURES_MAX * SIGNATURE_BYTES, 5));
    }

    #[test]
    fn what_is_damaged_or_half_written_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Artefacts::open(folder.path()).unwrap();
        let (one, digest) = artefact("one");
        kept.keep(&one, digest, &BTreeSet::new()).unwrap();
        let path = folder.path().join(format!("{digest}.wasm"));
        fs::write(&path, "onE").unwrap();
        assert!(kept.read(digest).is_none());
        assert!(kept.keep(&one, digest, &BTreeSet::new()).unwrap(), "it can be written again");
        fs::write(folder.path().join("x.1.new"), "half").unwrap();
        let kept = Artefacts::open(folder.path()).unwrap();
        assert!(!folder.path().join("x.1.new").exists());
        assert!(kept.read(digest).is_some());
    }

    #[test]
    fn the_oldest_that_nothing_names_make_room_and_those_in_use_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Artefacts::open(folder.path()).unwrap();
        let (first, used) = artefact("0");
        kept.keep(&first, used, &BTreeSet::new()).unwrap();
        let mut in_use = BTreeSet::from([used]);
        for index in 1..=FILES_MAX {
            let (more, digest) = artefact(&index.to_string());
            kept.keep(&more, digest, &in_use).unwrap();
        }
        assert_eq!(kept.paths("wasm").len(), FILES_MAX);
        assert!(kept.read(used).is_some());
        for path in kept.paths("wasm") {
            in_use.insert(path.file_stem().unwrap().to_str().unwrap().parse().unwrap());
        }
        let (more, digest) = artefact("more");
        let full = kept.keep(&more, digest, &in_use);
        assert!(matches!(full, Err(ArtefactError::NoRoom { files: FILES_MAX, .. })), "{full:?}");
    }
}
