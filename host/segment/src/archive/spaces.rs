//! The folders that value files of the archive are in.
//!
//! ```text
//! HOME/spaces            which spaces there are
//! ROOT/3/space           a marker: whose space it is, and which
//! ROOT/3/678/12345678    value file 12345678 of space 3
//! ```
//!
//! A disk that is not mounted looks like an empty folder. That is why a space once used must have its
//! marker, and one that is gone or belongs to somebody else refuses the start: nothing is ever made up for
//! what may only be out of sight.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hashring::NodeId;

use crate::archive::OpenError;
use crate::disk::{Disk, sync_folder};
use crate::record::array;

/// Where a space is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceConfig {
    /// Its number, for ever.
    pub id: u32,
    /// The folder it is in.
    pub root: PathBuf,
}

/// The spaces of a node, checked.
#[derive(Debug)]
pub(crate) struct Spaces {
    roots: BTreeMap<u32, PathBuf>,
    reserve_bytes: u64,
}

const MARKER: &str = "space";
const MARKER_MAGIC: [u8; 8] = *b"CRLNSPAC";
const LIST: &str = "spaces";
const LIST_MAGIC: [u8; 8] = *b"CRLNSPCS";
const VERSION: u32 = 1;
/// So many folders share the files of a space.
const FOLDERS: u32 = 1000;

/// Where a value file is.
pub(crate) fn file_path(root: &Path, space: u32, file: u32) -> PathBuf {
    let folder = root.join(space.to_string()).join(format!("{:03}", file % FOLDERS));
    folder.join(format!("{file:08}"))
}

impl Spaces {
    /// Checks all spaces, and makes those that were never there.
    pub(crate) fn open(
        home: &Path,
        node: &NodeId,
        store: u64,
        reserve_bytes: u64,
        configured: &[SpaceConfig],
    ) -> Result<Self, OpenError> {
        let list = home.join(LIST);
        let known = read_list(&list)?;
        let mut roots = BTreeMap::new();
        for space in configured {
            if roots.insert(space.id, space.root.clone()).is_some() {
                return Err(OpenError::SpaceTwice { space: space.id });
            }
        }
        if let Some(space) = known.iter().find(|known| !roots.contains_key(known)) {
            return Err(OpenError::SpaceNotConfigured { space: *space });
        }
        if roots.is_empty() {
            return Err(OpenError::NoSpaces);
        }
        for (id, root) in &roots {
            let mark = Mark { store, space: *id, node: node.clone() };
            check(&root.join(id.to_string()), &mark, known.contains(id))?;
        }
        let all: BTreeSet<u32> = roots.keys().copied().collect();
        if all != known {
            let numbers = all.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
            replace(&list, &framed(LIST_MAGIC, &numbers)).map_err(|source| disk(&list, source))?;
        }
        Ok(Self { roots, reserve_bytes })
    }

    /// The space with the most room above its reserve; `None` if none has any.
    pub(crate) fn roomiest(&self, on: &dyn Disk) -> Option<u32> {
        let free = self.roots.iter().filter_map(|(id, root)| {
            let space = on.space(root).inspect_err(|error| {
                tracing::warn!(%error, space = id, "the room of a space of the archive is not known");
            });
            let left = space.ok()?.free.checked_sub(self.reserve_bytes)?;
            (left > 0).then_some((left, *id))
        });
        // The lowest of several alike, so that what happens can be foreseen.
        free.min_by_key(|(left, id)| (u64::MAX - left, *id)).map(|(_, id)| id)
    }

    /// Bytes free above the reserve, in all spaces together. One whose room cannot be told has none.
    pub(crate) fn room(&self, on: &dyn Disk) -> u64 {
        let free = self.roots.values().filter_map(|root| on.space(root).ok());
        let left = free.map(|space| space.free.saturating_sub(self.reserve_bytes));
        left.fold(0, u64::saturating_add)
    }

    /// The space with the lowest number.
    pub(crate) fn first(&self) -> u32 {
        self.roots.keys().next().copied().unwrap_or(0)
    }

    /// Whether a space has room above its reserve.
    pub(crate) fn has_room(&self, on: &dyn Disk, space: u32) -> bool {
        let root = self.roots.get(&space);
        let found = root.and_then(|root| on.space(root).ok());
        found.is_none_or(|found| found.free > self.reserve_bytes)
    }

    /// Where a value file of a space is.
    pub(crate) fn path(&self, space: u32, file: u32) -> Option<PathBuf> {
        self.roots.get(&space).map(|root| file_path(root, space, file))
    }

    /// All value files and the spaces they are in. Removes files that never got their name.
    pub(crate) fn files(&self) -> Result<BTreeMap<u32, u32>, OpenError> {
        let mut files = BTreeMap::new();
        for (space, root) in &self.roots {
            let space_folder = root.join(space.to_string());
            for folder in subfolders(&space_folder)? {
                for file in numbers(&folder).map_err(|source| disk(&folder, source))? {
                    if files.insert(file, *space).is_some() {
                        return Err(OpenError::FileTwice { file, folder });
                    }
                }
            }
        }
        Ok(files)
    }
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let listed = || -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<PathBuf>>>()
    };
    let mut found = listed().map_err(|source| disk(folder, source))?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".new") {
            fs::remove_file(entry.path())?;
        } else if let Ok(number) = name.parse() {
            found.push(number);
        }
    }
    Ok(found)
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    store: u64,
    space: u32,
    node: NodeId,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.store.to_le_bytes().to_vec();
        body.extend_from_slice(&self.space.to_le_bytes());
        body.extend_from_slice(self.node.as_str().as_bytes());
        framed(MARKER_MAGIC, &body)
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let node = std::str::from_utf8(body.get(12..)?).ok()?.parse().ok()?;
        let (store, space) = (array(body, 0), array(body, 8));
        Some(Self { store: u64::from_le_bytes(store), space: u32::from_le_bytes(space), node })
    }
}

/// A space's folder must be ours and writable; one that was never used becomes ours.
fn check(folder: &Path, wanted: &Mark, known: bool) -> Result<(), OpenError> {
    let marker = folder.join(MARKER);
    match fs::read(&marker) {
        Ok(bytes) => {
            let body = unframed(&marker, MARKER_MAGIC, &bytes)?;
            let found = Mark::decode(body);
            let found = found.ok_or_else(|| OpenError::Damaged { file: marker.clone() })?;
            if found != *wanted {
                return Err(OpenError::ForeignSpace {
                    folder: folder.to_owned(),
                    space: found.space,
                    node: found.node,
                });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && known => {
            return Err(OpenError::SpaceMissing { folder: folder.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &marker, wanted)?,
        Err(source) => return Err(disk(&marker, source)),
    }
    let probe = folder.join("space.probe");
    let written = File::create(&probe).and_then(|_made| fs::remove_file(&probe));
    written.map_err(|source| OpenError::ReadOnly { folder: folder.to_owned(), source })
}

fn make(folder: &Path, marker: &Path, wanted: &Mark) -> Result<(), OpenError> {
    let read_only = |source| OpenError::ReadOnly { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(read_only)?;
    let used = fs::read_dir(folder).map_err(|source| disk(folder, source))?.next().is_some();
    if used {
        return Err(OpenError::SpaceMissing { folder: folder.to_owned() });
    }
    replace(marker, &wanted.encode()).map_err(read_only)?;
    let parent = folder.parent().unwrap_or(folder);
    sync_folder(parent).map_err(|source| disk(parent, source))
}

fn read_list(list: &Path) -> Result<BTreeSet<u32>, OpenError> {
    match fs::read(list) {
        Ok(bytes) => {
            let body = unframed(list, LIST_MAGIC, &bytes)?;
            Ok(body.chunks_exact(4).map(|id| u32::from_le_bytes(array(id, 0))).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(disk(list, source)),
    }
}

/// Magic, version, checksum of everything else, contents.
fn framed(magic: [u8; 8], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn unframed<'a>(file: &Path, magic: [u8; 8], bytes: &'a [u8]) -> Result<&'a [u8], OpenError> {
    let damaged = || OpenError::Damaged { file: file.to_owned() };
    let (head, rest) = bytes.split_first_chunk::<12>().ok_or_else(damaged)?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let whole = crc32c::crc32c_append(crc32c::crc32c(head), body).to_le_bytes() == *crc;
    if !whole || !head.starts_with(&magic) {
        return Err(damaged());
    }
    if u32::from_le_bytes(array(head, 8)) != VERSION {
        return Err(OpenError::Newer { file: file.to_owned(), offset: 0 });
    }
    Ok(body)
}

/// Replaces a small file as a whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn disk(file: &Path, source: io::Error) -> OpenError {
    OpenError::Disk { file: file.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_path_rule() {
        let path = |space, file| file_path(Path::new("repo"), space, file);
        assert_eq!(path(3, 12_345_678), Path::new("repo/3/678/12345678"));
        assert_eq!(path(3, 7), Path::new("repo/3/007/00000007"));
    }
}
