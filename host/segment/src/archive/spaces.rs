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
//! what may only be out of sight. Only a space that can be seen to hold nothing may be left out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use hashring::NodeId;

use crate::Reserve;
use crate::archive::OpenError;
use crate::archive::marker::{Known, Mark};
use crate::disk::{Disk, sync_folder};

/// Where a space is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceConfig {
    /// Its number, for ever.
    pub id: u32,
    /// The folder it is in.
    pub root: PathBuf,
    /// Whether new value files go there; those that it has stay in any case.
    pub takes: bool,
}

/// The spaces of a node, checked.
#[derive(Debug)]
pub(crate) struct Spaces {
    spaces: BTreeMap<u32, Space>,
    reserve: Reserve,
}

#[derive(Debug)]
struct Space {
    root: PathBuf,
    takes: bool,
    /// Which file system it is on: the room of one counts once.
    device: u64,
}

/// So many folders share the files of a space.
const FOLDERS: u32 = 1000;

/// Where a value file is.
pub(crate) fn file_path(root: &Path, space: u32, file: u32) -> PathBuf {
    let folder = root.join(space.to_string()).join(format!("{:03}", file % FOLDERS));
    folder.join(format!("{file:08}"))
}

/// Whose spaces they are.
pub(crate) struct Owner<'a> {
    /// The archive's own folder.
    pub(crate) home: &'a Path,
    pub(crate) node: &'a NodeId,
    pub(crate) store: u64,
}

impl Spaces {
    /// Checks all spaces, and makes those that were never there.
    pub(crate) fn open(
        owner: &Owner<'_>,
        reserve: Reserve,
        configured: &[SpaceConfig],
    ) -> Result<Self, OpenError> {
        let known = Known::read(owner.home)?;
        let mut spaces = BTreeMap::new();
        let (mut now, mut next) = (BTreeMap::new(), known.next);
        for config in check_all(owner, &known, configured)? {
            let SpaceConfig { id, root, takes } = config.clone();
            let folder = root.join(id.to_string());
            make(&folder, &owner.mark(id))?;
            let device = fs::metadata(&folder).map_err(|source| disk(&folder, source))?.dev();
            // Where it is may be written as seen from where the process happens to run.
            now.insert(id, Some(std::path::absolute(&root).unwrap_or_else(|_| root.clone())));
            next = next.max(id.saturating_add(1));
            spaces.insert(id, Space { root, takes, device });
        }
        for id in known.spaces.keys().filter(|id| !now.contains_key(id)) {
            tracing::info!(
                space = id,
                "a space holds nothing and is configured no more: it is let go"
            );
        }
        let now = Known { next, spaces: now };
        if now != known {
            now.write(owner.home)?;
        }
        Ok(Self { spaces, reserve })
    }

    /// What [`Spaces::open`] would refuse, without making anything.
    pub(crate) fn look(owner: &Owner<'_>, configured: &[SpaceConfig]) -> Result<(), OpenError> {
        check_all(owner, &Known::read(owner.home)?, configured).map(drop)
    }

    /// The space with the most room above its reserve; `None` if none has any.
    pub(crate) fn roomiest(&self, on: &dyn Disk) -> Option<u32> {
        let free = self.taking().filter_map(|(id, space)| {
            let left = self.left(on, space).inspect_err(|error| {
                tracing::warn!(%error, space = id, "the room of a space of the archive is not known");
            });
            left.ok().filter(|left| *left > 0).map(|left| (left, id))
        });
        // The lowest of several alike, so that what happens can be foreseen.
        free.min_by_key(|(left, id)| (u64::MAX - left, *id)).map(|(_, id)| id)
    }

    /// Bytes free above the reserve, on all disks together. One whose room cannot be told has none.
    pub(crate) fn room(&self, on: &dyn Disk) -> u64 {
        let mut disks = BTreeMap::new();
        for (_, space) in self.taking() {
            let left = self.left(on, space).unwrap_or(0);
            let most: &mut u64 = disks.entry(space.device).or_default();
            *most = left.max(*most);
        }
        disks.into_values().fold(0, u64::saturating_add)
    }

    /// The first space of those that take new files.
    pub(crate) fn first(&self) -> u32 {
        let all = self.spaces.keys().copied();
        self.taking().map(|(id, _)| id).chain(all).next().unwrap_or(0)
    }

    /// Whether a space has room above its reserve.
    pub(crate) fn has_room(&self, on: &dyn Disk, space: u32) -> bool {
        let found = self.spaces.get(&space).and_then(|space| self.left(on, space).ok());
        found.is_none_or(|left| left > 0)
    }

    /// Bytes free on the disk of each space, the reserve among them, where that can be told.
    pub(crate) fn free(&self, on: &dyn Disk) -> Vec<(u32, Option<u64>)> {
        let free =
            |(id, space): (&u32, &Space)| (*id, on.space(&space.root).ok().map(|found| found.free));
        self.spaces.iter().map(free).collect()
    }

    /// Where a value file of a space is.
    pub(crate) fn path(&self, space: u32, file: u32) -> Option<PathBuf> {
        self.spaces.get(&space).map(|space_of| file_path(&space_of.root, space, file))
    }

    /// All value files and the spaces they are in. Removes files that never got their name.
    pub(crate) fn files(&self) -> Result<BTreeMap<u32, u32>, OpenError> {
        let mut files = BTreeMap::new();
        for (id, space) in &self.spaces {
            for folder in subfolders(&space.root.join(id.to_string()))? {
                let found = listed(&folder).map_err(|source| disk(&folder, source))?;
                for path in found.unnamed {
                    fs::remove_file(&path).map_err(|source| disk(&path, source))?;
                }
                for file in found.numbers {
                    if files.insert(file, *id).is_some() {
                        return Err(OpenError::FileTwice { file, folder });
                    }
                }
            }
        }
        Ok(files)
    }

    fn taking(&self) -> impl Iterator<Item = (u32, &Space)> {
        self.spaces.iter().filter(|(_, space)| space.takes).map(|(id, space)| (*id, space))
    }

    /// Bytes above the reserve.
    fn left(&self, on: &dyn Disk, space: &Space) -> io::Result<u64> {
        let found = on.space(&space.root)?;
        Ok(found.free.saturating_sub(self.reserve.of(found)))
    }
}

impl Owner<'_> {
    fn mark(&self, space: u32) -> Mark {
        Mark { store: self.store, space, node: self.node.clone() }
    }
}

/// All that are configured, if they may be used as they are and none is missing.
fn check_all<'a>(
    owner: &Owner<'_>,
    known: &Known,
    configured: &'a [SpaceConfig],
) -> Result<Vec<&'a SpaceConfig>, OpenError> {
    let mut all = BTreeMap::new();
    for space in configured {
        if let Some(before) = all.insert(space.id, space) {
            return Err(twice(space.id, &before.root, &space.root));
        }
    }
    for (id, root) in known.spaces.iter().filter(|(id, _)| !all.contains_key(id)) {
        if !holds_nothing(root.as_deref(), &owner.mark(*id)) {
            let folder = root.clone().unwrap_or_else(|| owner.home.to_owned());
            return Err(OpenError::SpaceNotConfigured { space: *id, folder });
        }
    }
    if all.is_empty() {
        return Err(OpenError::NoSpaces);
    }
    for (id, space) in &all {
        let folder = space.root.join(id.to_string());
        check(&folder, &owner.mark(*id), known.spaces.contains_key(id))?;
    }
    Ok(all.into_values().collect())
}

/// Whether a space that is configured no more is there to be seen, and empty.
fn holds_nothing(root: Option<&Path>, mark: &Mark) -> bool {
    let Some(root) = root else { return false };
    let folder = root.join(mark.space.to_string());
    let is_it = matches!(Mark::read(&folder), Ok(Some(found)) if found == *mark);
    let empty = |folder: &PathBuf| listed(folder).is_ok_and(|found| found.numbers.is_empty());
    is_it && subfolders(&folder).is_ok_and(|folders| folders.iter().all(empty))
}

/// A space's folder must be ours; one that was never used must be empty, or not there.
fn check(folder: &Path, wanted: &Mark, known: bool) -> Result<(), OpenError> {
    let missing = || OpenError::SpaceMissing { folder: folder.to_owned() };
    match Mark::read(folder)? {
        Some(found) if found == *wanted => Ok(()),
        Some(Mark { space, node, .. }) => {
            Err(OpenError::ForeignSpace { folder: folder.to_owned(), space, node })
        }
        None if known => Err(missing()),
        None => match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(missing()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(OpenError::ReadOnly { folder: folder.to_owned(), source: error })
            }
            Ok(false) | Err(_) => Ok(()),
        },
    }
}

/// Makes a space that is not there, and sees that it can be written.
fn make(folder: &Path, wanted: &Mark) -> Result<(), OpenError> {
    let read_only = |source| OpenError::ReadOnly { folder: folder.to_owned(), source };
    if Mark::read(folder)?.is_none() {
        let new = folder.ancestors().take_while(|path| !path.exists()).count();
        fs::create_dir_all(folder).map_err(read_only)?;
        wanted.write(folder).map_err(read_only)?;
        for parent in folder.ancestors().skip(1).take(new) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync_folder(parent).map_err(|source| disk(parent, source))?;
        }
    }
    let probe = folder.join("space.probe");
    File::create(&probe).and_then(|_made| fs::remove_file(&probe)).map_err(read_only)
}

pub(crate) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let listed = || -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<PathBuf>>>()
    };
    let mut found = listed().map_err(|source| disk(folder, source))?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

/// What is in one of the folders that share the files of a space.
#[derive(Default)]
struct Listed {
    numbers: Vec<u32>,
    /// Files that never got their name.
    unnamed: Vec<PathBuf>,
}

fn listed(folder: &Path) -> io::Result<Listed> {
    let mut found = Listed::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".new") {
            found.unnamed.push(entry.path());
        } else if let Ok(number) = name.parse() {
            found.numbers.push(number);
        }
    }
    Ok(found)
}

/// Why a space cannot be in two folders. What is one folder under two names is no copy, and must not be removed.
pub(crate) fn twice(space: u32, before: &Path, root: &Path) -> OpenError {
    let (other, folder) = (before.join(space.to_string()), root.join(space.to_string()));
    match (Place::of(&other), Place::of(&folder)) {
        (Some(one), Some(same)) if one == same => OpenError::FolderTwice { folder, other },
        _ => OpenError::SpaceTwice { space, folder },
    }
}

/// Where a path leads, whatever it is called: two that are equal are one folder, be it that it is not there yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What is there of it.
    device: u64,
    inode: u64,
    /// And what is to be made below that.
    rest: Vec<OsString>,
}

impl Place {
    /// `None` if that cannot be told: who uses the path says why.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let (mut there, mut rest) = (PathBuf::new(), Vec::new());
        for part in std::path::absolute(path).ok()?.components() {
            if rest.is_empty() && there.join(part).exists() {
                there.push(part);
            } else if part != Component::ParentDir {
                rest.push(part.as_os_str().to_owned());
            } else if rest.pop().is_none() {
                return None;
            }
        }
        let found = fs::metadata(&there).ok()?;
        Some(Self { device: found.dev(), inode: found.ino(), rest })
    }
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
