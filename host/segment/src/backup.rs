//! A copy of a node's data folder that can be verified by itself, and a folder made of one.
//!
//! ```text
//! files/      the folder's files, under the names they had
//! manifest    what they are, written last: a copy without it is none
//! ```
//!
//! It is taken of a folder that no process uses, so that everything in it is of one moment. What can be made
//! anew is left out: indexes, compiled plugins, what an earlier store of the node held.
//!
//! What a folder promised to others after the copy was taken the copy does not know. So one that is made of it
//! takes one of two roads ([`Road`]): in a cluster that goes on it is a new store, whose word counts for nothing
//! until it was given everything again; and if none goes on, all copies together found another cluster, with
//! numbers that lie far above everything that was ever promised.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use hashring::{NodeId, Position};
use runtime::KeptFile;
use serde::{Deserialize, Serialize};

use crate::archive::{OpenError, outside};
use crate::backup_copy::{Digest, copy, digest};
use crate::disk::sync_folder;
use crate::folder::Folder;
use crate::identity::{Identity, random};

const MAGIC: [u8; 8] = *b"CRLNBKUP";
const VERSION: u32 = 1;
/// A line of some 100 bytes for each file: for more than there are in any folder.
const MANIFEST_BYTES_MAX: usize = 256 << 20;
/// A life of a folder that is restored lies so far above the last one: the folder it was copied from may have had
/// lives since, in which it gave out names.
const LIVES_AHEAD: u64 = 1 << 32;

/// A copy of a data folder.
#[derive(Clone, Debug)]
pub struct Backup {
    path: PathBuf,
    manifest: Manifest,
}

/// What it is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// Unix milliseconds.
    made_ms: u64,
    node: NodeId,
    store: u64,
    boot: u64,
    partitions: u16,
    cluster: Option<u64>,
    positions: Vec<u128>,
    /// By name, rising.
    files: Vec<Entry>,
    /// What stood in the registry, if it was asked: keys and values.
    registry: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    digest: Digest,
}

/// What becomes of a folder that is made of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// It returns to a cluster that went on: as a new store that has promised nothing, without the logs. What the
    /// archive held stays beside the new one, and is as good as any copy as far as it verifies.
    Member,
    /// Nobody of its cluster went on: it is one of those who found this one.
    Founder {
        /// Its number.
        cluster: u64,
    },
}

/// Why there is no copy, or no folder made of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something already. Nothing was changed; name an empty folder, or one that is not there.
    #[error("{path} is not empty")]
    NotEmpty {
        /// Where.
        path: PathBuf,
    },
    /// The copy would be in what is copied. Nothing was changed; name a folder elsewhere.
    #[error("{path} is inside the data folder")]
    Inside {
        /// Where.
        path: PathBuf,
    },
    /// There is no manifest: it is no copy, or one that was not finished. Nothing was changed.
    #[error("{path} is no backup, or one that was not finished")]
    NoBackup {
        /// Where.
        path: PathBuf,
    },
    /// The manifest does not verify, or is of another version. Nothing was changed; take another copy.
    #[error("{path}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is not what the manifest says, or is not there, or should not be. Nothing was restored; take
    /// another copy.
    #[error("{path} is not what was copied: {what}")]
    Differs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It is a copy of another node. Nothing was changed; name the right one.
    #[error("the backup is of node {found}, and this is {wanted}")]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who wants it.
        wanted: NodeId,
    },
    /// It is of a cluster with another number of partitions. Nothing was changed.
    #[error("the backup is of a cluster with {found} partitions, and this has {wanted}")]
    OtherPartitions {
        /// The number it was made with.
        found: u16,
        /// The number that is wanted.
        wanted: u16,
    },
    /// It is not known where all value files are, or a disk with some is not there. Nothing was copied; mount it.
    #[error("the spaces of its archive")]
    Spaces(#[from] OpenError),
    /// The disk refused. What was written so far is not used by anything.
    #[error("{path}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Backup {
    /// Copies a folder to `to`, with what stands in the registry. When this returns the copy would survive a
    /// loss of power. It blocks for as long as reading and writing everything takes.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn create(
        folder: &Folder,
        to: &Path,
        registry: Vec<(String, Vec<u8>)>,
    ) -> Result<Self, BackupError> {
        let from = folder.path();
        let real = |path: &Path| fs::canonicalize(path).map_err(|source| failed(path, source));
        make_empty(to)?;
        let spaces = spaces(from, folder.store())?;
        for copied in spaces.iter().map(|(space, _)| space.as_path()).chain([from]) {
            if real(to)?.starts_with(real(copied)?) {
                // Empty, and perhaps made just now; if it stays it is nothing.
                drop(fs::remove_dir(to));
                return Err(BackupError::Inside { path: to.to_owned() });
            }
        }
        let mut files = Vec::new();
        for (source, name) in kept(from, folder.store(), &spaces)? {
            let beside = to.join("files").join(&name);
            make(beside.parent().unwrap_or(to))?;
            let digest = copy(&source, &beside).map_err(|error| failed(&source, error))?;
            let name = name.to_string_lossy().into_owned();
            files.push(Entry { name, digest });
        }
        sync_below(to)?;
        let manifest = Manifest {
            made_ms: runtime::wall_ms(),
            node: folder.node().clone(),
            store: folder.store(),
            boot: folder.boot(),
            partitions: folder.partitions(),
            cluster: folder.cluster(),
            positions: folder.positions().iter().map(|position| position.0).collect(),
            files,
            registry,
        };
        // Plain data into memory: nothing can fail.
        let body = postcard::to_stdvec(&manifest).unwrap_or_default();
        manifest_file(to).replace(&body).map_err(|source| failed(to, source))?;
        Ok(Self { path: to.to_owned(), manifest })
    }

    /// Opens a copy; its files are not looked at yet.
    ///
    /// # Errors
    /// [`BackupError::NoBackup`], [`BackupError::Manifest`].
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let file = manifest_file(path);
        let wrong = |source| BackupError::Manifest { path: file.path().to_owned(), source };
        let no_backup = || BackupError::NoBackup { path: path.to_owned() };
        let body = file.read().map_err(wrong)?.ok_or_else(no_backup)?;
        let broken = |_broken| wrong(io::ErrorKind::InvalidData.into());
        let manifest: Manifest = postcard::from_bytes(&body).map_err(broken)?;
        // A name says where something is written: it must not lead out of the folder.
        let plain = |entry: &Entry| {
            let mut parts = Path::new(&entry.name).components();
            !entry.name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if !manifest.files.iter().all(plain) {
            return Err(wrong(io::ErrorKind::InvalidData.into()));
        }
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// Reads everything and compares it with the manifest. Says how many files and bytes that were.
    ///
    /// # Errors
    /// [`BackupError::Differs`], [`BackupError::Disk`].
    pub fn verify(&self) -> Result<(usize, u64), BackupError> {
        let files = self.path.join("files");
        for entry in &self.manifest.files {
            let path = files.join(&entry.name);
            match digest(&path) {
                Ok(found) if found == entry.digest => {}
                Ok(_) => return Err(BackupError::Differs { path, what: "it was changed" }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(BackupError::Differs { path, what: "it is gone" });
                }
                Err(source) => return Err(BackupError::Disk { path, source }),
            }
        }
        let known: BTreeSet<&str> =
            self.manifest.files.iter().map(|entry| entry.name.as_str()).collect();
        let there = walk(&files)?;
        if let Some(name) = there.iter().find(|name| !known.contains(&*name.to_string_lossy())) {
            let path = files.join(name);
            return Err(BackupError::Differs { path, what: "it was not copied" });
        }
        Ok((self.manifest.files.len(), self.bytes()))
    }

    /// Makes a data folder of it, for a node with this name in a cluster of so many partitions. There must be
    /// none; after an error there is none.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn restore(
        &self,
        to: &Path,
        node: &NodeId,
        partitions: u16,
        road: Road,
    ) -> Result<(), BackupError> {
        let Manifest { node: found, partitions: of, .. } = &self.manifest;
        if found != node {
            let (found, wanted) = (found.clone(), node.clone());
            return Err(BackupError::OtherNode { found, wanted });
        }
        if *of != partitions {
            return Err(BackupError::OtherPartitions { found: *of, wanted: partitions });
        }
        self.verify()?;
        make_empty(to)?;
        let mut beside = to.as_os_str().to_owned();
        beside.push(".restoring");
        let new = PathBuf::from(beside);
        // What an earlier attempt left was never a data folder.
        match fs::remove_dir_all(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(&new, source)),
        }
        make(&new)?;
        for entry in self.manifest.files.iter().filter(|entry| road.takes(&entry.name)) {
            let (source, beside) =
                (self.path.join("files").join(&entry.name), new.join(&entry.name));
            make(beside.parent().unwrap_or(&new))?;
            let copied = copy(&source, &beside).map_err(|error| failed(&source, error))?;
            if copied != entry.digest {
                return Err(BackupError::Differs { path: source, what: "it was changed" });
            }
        }
        sync_below(&new)?;
        let identity = self.identity(road).map_err(|source| failed(&new, source))?;
        identity.write(&new).map_err(|source| failed(&new, source))?;
        fs::rename(&new, to).map_err(|source| failed(to, source))?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        sync_folder(parent).map_err(|source| failed(parent, source))
    }

    fn identity(&self, road: Road) -> io::Result<Identity> {
        let Manifest { node, store, boot, partitions, cluster, positions, .. } = &self.manifest;
        let (store, boot, cluster) = match road {
            Road::Member => (random()?, 0, *cluster),
            Road::Founder { cluster } => (*store, boot.saturating_add(LIVES_AHEAD), Some(cluster)),
        };
        let (node, partitions) = (node.clone(), *partitions);
        let positions = positions.iter().map(|position| Position(*position)).collect();
        Ok(Identity { node, store, boot, partitions, cluster, positions })
    }

    /// Of which node.
    pub fn node(&self) -> &NodeId {
        &self.manifest.node
    }

    /// Of which of its stores.
    pub fn store(&self) -> u64 {
        self.manifest.store
    }

    /// Of which cluster, if that was known.
    pub fn cluster(&self) -> Option<u64> {
        self.manifest.cluster
    }

    /// How many partitions that has.
    pub fn partitions(&self) -> u16 {
        self.manifest.partitions
    }

    /// When it was taken, in Unix milliseconds.
    pub fn made_ms(&self) -> u64 {
        self.manifest.made_ms
    }

    /// How many bytes its files have.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|entry| entry.digest.bytes).sum()
    }

    /// What stood in the registry.
    pub fn registry(&self) -> &[(String, Vec<u8>)] {
        &self.manifest.registry
    }
}

impl Road {
    /// Whether a file is of use on this road: what a new store would not read is not restored.
    fn takes(self, name: &str) -> bool {
        let of = |folder: &str| Path::new(name).starts_with(folder);
        self != Self::Member || !["logs", "evidence", "scrub"].into_iter().any(of)
    }
}

/// The folders outside of a data folder in which the archive of a store has value files, each with the name that it
/// has in a copy: there they are below the data folder, as whoever restores it may have other disks.
fn spaces(folder: &Path, store: u64) -> Result<Vec<(PathBuf, PathBuf)>, BackupError> {
    let name = Path::new("archive").join(format!("{store:016x}"));
    let found = outside(&folder.join(&name))?;
    if let Some((folder, _)) = found.iter().find(|(folder, _)| !folder.is_dir()) {
        return Err(OpenError::SpaceMissing { folder: folder.clone() }.into());
    }
    Ok(found.into_iter().map(|(folder, space)| (folder, name.join(space))).collect())
}

/// The files that belong into a copy of a data folder and of those outside of it: where they are and their names,
/// which rise.
fn kept(
    folder: &Path,
    store: u64,
    spaces: &[(PathBuf, PathBuf)],
) -> Result<Vec<(PathBuf, PathBuf)>, BackupError> {
    let mut found: Vec<_> =
        kept_inside(folder, store)?.into_iter().map(|name| (folder.join(&name), name)).collect();
    for (space, named) in spaces {
        let mut files = walk(space)?;
        files.retain(|file| !is_new(file));
        found.extend(files.into_iter().map(|file| (space.join(&file), named.join(file))));
    }
    found.sort_by(|(_, name), (_, other)| name.cmp(other));
    Ok(found)
}

/// A file that never got its name.
fn is_new(file: &Path) -> bool {
    file.extension().is_some_and(|last| last == "new")
}

fn kept_inside(folder: &Path, store: u64) -> Result<Vec<PathBuf>, BackupError> {
    let archive = PathBuf::from("archive").join(format!("{store:016x}"));
    let mut names = walk(folder)?;
    names.retain(|name| {
        let top = name.components().next().map(|top| top.as_os_str().to_string_lossy());
        let top = top.unwrap_or_default();
        let last = name.file_name().unwrap_or_default().to_string_lossy();
        let others = top.starts_with("logs.") || (top == "archive" && !name.starts_with(&archive));
        let anew =
            matches!(&*top, "lock" | "identity" | "registry" | "registry.cache" | "compiled")
                || last.starts_with("index.")
                || is_new(name);
        !others && !anew
    });
    Ok(names)
}

/// All files below a folder, by name, rising.
fn walk(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|source| failed(&path, source))?,
        };
        for entry in entries {
            let entry = entry.map_err(|source| failed(&path, source))?;
            let name = inner.join(entry.file_name());
            match entry.file_type().map_err(|source| failed(&path, source))? {
                kind if kind.is_dir() => folders.push(name),
                kind if kind.is_file() => found.push(name),
                _ => {
                    let what = "it is neither a file nor a folder";
                    return Err(BackupError::Differs { path: folder.join(name), what });
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the names of everything below a folder survive a loss of power.
fn sync_below(folder: &Path) -> Result<(), BackupError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        sync_folder(&path).map_err(|source| failed(&path, source))?;
        for entry in fs::read_dir(&path).map_err(|source| failed(&path, source))? {
            let entry = entry.map_err(|source| failed(&path, source))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Makes a folder, or finds it empty.
fn make_empty(folder: &Path) -> Result<(), BackupError> {
    make(folder)?;
    let used = fs::read_dir(folder).map_err(|source| failed(folder, source))?.next().is_some();
    if used {
        return Err(BackupError::NotEmpty { path: folder.to_owned() });
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))
}

fn manifest_file(folder: &Path) -> KeptFile {
    KeptFile::new(folder.join("manifest"), MAGIC, VERSION, MANIFEST_BYTES_MAX)
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::Disk { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When this breaks, backups that were taken before cannot be read any more.
    #[test]
    fn a_manifest_has_the_bytes_it_always_had() {
        let digest = Digest { bytes: 7, sha256: [8; 32] };
        let manifest = Manifest {
            made_ms: 1,
            node: "n1".parse().unwrap(),
            store: 2,
            boot: 3,
            partitions: 4,
            cluster: Some(5),
            positions: vec![6],
            files: vec![Entry { name: "f".to_owned(), digest }],
            registry: vec![("k".to_owned(), vec![9])],
        };
        let bytes = postcard::to_stdvec(&manifest).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let sha256 = "08".repeat(32);
        assert_eq!(hex, format!("01026e310203040105010601016607{sha256}01016b0109"));
        assert_eq!(postcard::from_bytes::<Manifest>(&bytes).unwrap(), manifest);
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest { bytes: 0, sha256: [0; 32] };
        for name in ["", "../x", "/etc/x", "a/../../x", "./x"] {
            let manifest = Manifest {
                made_ms: 1,
                node: "n1".parse().unwrap(),
                store: 2,
                boot: 3,
                partitions: 4,
                cluster: None,
                positions: Vec::new(),
                files: vec![Entry { name: name.to_owned(), digest }],
                registry: Vec::new(),
            };
            let body = postcard::to_stdvec(&manifest).unwrap();
            manifest_file(folder.path()).replace(&body).unwrap();
            let refused = Backup::open(folder.path()).map(drop);
            assert!(matches!(refused, Err(BackupError::Manifest { .. })), "{name}: {refused:?}");
        }
    }
}
