//! Which number a folder has as a space.
//!
//! An operator names folders and no numbers: a disk may be mounted elsewhere tomorrow. The number stands in the
//! marker, below a folder for each store, so that what an earlier store left lies beside what there is.
//!
//! ```text
//! FOLDER/0123456789abcdef/3/space    space 3 of a store, in a folder that was named
//! HOME/spaces.d/1/space              one in the archive's own folder
//! ```
//!
//! The archive's own folder is a space where no other is named, and stays one while files are in it. What was copied there
//! from elsewhere, as a restored backup is, is found there too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hashring::NodeId;

use crate::archive::OpenError;
use crate::archive::marker::{Known, Mark};
use crate::archive::spaces::{Owner, Place, SpaceConfig, Spaces, subfolders, twice};

/// Below the archive's own folder.
const OWN: &str = "spaces.d";
/// The number of the space there, where no other was named from the beginning.
const OWN_SPACE: u32 = 1;

/// The folders that an operator named for value files, and whose they are to be.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// The archive's own folder, which need not be there.
    pub home: &'a Path,
    /// The node.
    pub node: &'a NodeId,
    /// Its store.
    pub store: u64,
    /// Those that were named; none: value files are in the archive's own folder.
    pub named: &'a [PathBuf],
}

impl Folders<'_> {
    /// All spaces of the archive: those that there are and a new one for each folder that has none.
    ///
    /// # Errors
    /// [`OpenError`]: a folder is another node's, or is named twice, or a space is in two. Nothing was changed.
    pub fn spaces(&self) -> Result<Vec<SpaceConfig>, OpenError> {
        let known = Known::read(self.home)?;
        let own = self.home.join(OWN);
        let mut found = BTreeMap::new();
        self.take(&mut found, &own, self.named.is_empty())?;
        let mut unmarked = Vec::new();
        self.refuse_two_names()?;
        for folder in self.named {
            self.refuse_others(folder)?;
            let root = absolute(&folder.join(format!("{:016x}", self.store)));
            if self.take(&mut found, &root, true)? == 0 {
                unmarked.push(root);
            }
        }
        // Those that are out of sight keep their number: who opens them says what is missing.
        for (id, root) in &known.spaces {
            if found.contains_key(id) {
                continue;
            }
            let root = root.as_ref().unwrap_or(&own);
            let named = unmarked.iter().position(|unmarked| unmarked == root);
            if named.is_some() || absolute(root) == absolute(&own) {
                found.insert(
                    *id,
                    SpaceConfig { id: *id, root: root.clone(), takes: named.is_some() },
                );
            }
            named.map(|at| unmarked.remove(at));
        }
        if self.named.is_empty() && !found.values().any(|space| space.takes) {
            unmarked.push(own);
        }
        let used = found.keys().chain(known.spaces.keys()).max().copied().unwrap_or(0);
        let mut next = known.next.max(used.saturating_add(1));
        if !self.named.is_empty() {
            next = next.max(OWN_SPACE + 1);
        }
        for (root, id) in unmarked.into_iter().zip(next..) {
            found.insert(id, SpaceConfig { id, root, takes: true });
        }
        Ok(found.into_values().collect())
    }

    /// What would keep the archive from being opened with these folders; nothing is made or changed. What only
    /// follows from another fault is not told.
    pub fn faults(&self) -> Vec<OpenError> {
        let alone = self.named.iter().filter_map(|folder| {
            let named = std::slice::from_ref(folder);
            Folders { named, ..*self }.spaces().err().or_else(|| unwritable(folder))
        });
        let faults: Vec<OpenError> = alone.collect();
        if !faults.is_empty() {
            return faults;
        }
        let owner = Owner { home: self.home, node: self.node, store: self.store };
        let together = self.spaces().and_then(|spaces| Spaces::look(&owner, &spaces));
        together.err().into_iter().collect()
    }

    /// Takes the spaces that are in `root`; how many there are.
    fn take(
        &self,
        found: &mut BTreeMap<u32, SpaceConfig>,
        root: &Path,
        takes: bool,
    ) -> Result<usize, OpenError> {
        let marked = marked(root)?;
        for (id, _) in &marked {
            let space = SpaceConfig { id: *id, root: root.to_owned(), takes };
            if let Some(before) = found.insert(*id, space) {
                return Err(twice(*id, &before.root, root));
            }
        }
        Ok(marked.len())
    }

    /// One folder under two names would be two spaces, and the second start would find each of them twice.
    fn refuse_two_names(&self) -> Result<(), OpenError> {
        let mut before: Vec<(Place, &PathBuf)> = Vec::new();
        for folder in self.named {
            let Some(place) = Place::of(folder) else { continue };
            if let Some((_, other)) = before.iter().find(|(known, _)| *known == place) {
                let (folder, other) = (folder.clone(), (*other).clone());
                return Err(OpenError::FolderTwice { folder, other });
            }
            before.push((place, folder));
        }
        Ok(())
    }

    /// A folder that another node has spaces in is not ours, whatever else is in it.
    fn refuse_others(&self, folder: &Path) -> Result<(), OpenError> {
        if !folder.is_dir() {
            return Ok(());
        }
        for store in subfolders(folder)? {
            for (_, folder) in marked(&store)? {
                if let Some(mark) = Mark::read(&folder)?
                    && mark.node != *self.node
                {
                    let Mark { space, node, .. } = mark;
                    return Err(OpenError::ForeignSpace { folder, space, node });
                }
            }
        }
        Ok(())
    }
}

impl SpaceConfig {
    /// The spaces of an archive that is only read: where they were last, or where a backup put them.
    ///
    /// # Errors
    /// [`OpenError`]: its list cannot be read.
    pub fn remembered(home: &Path) -> Result<Vec<Self>, OpenError> {
        let own = home.join(OWN);
        let mut known = Known::read(home)?.spaces;
        if known.is_empty() {
            known.insert(OWN_SPACE, None);
        }
        let space = |(id, root): (u32, Option<PathBuf>)| {
            let here = own.join(id.to_string()).exists();
            let root = root.filter(|_| !here).unwrap_or_else(|| own.clone());
            Self { id, root, takes: false }
        };
        Ok(known.into_iter().map(space).collect())
    }
}

/// The folders outside of an archive's own that its value files are in, each with its name below the latter.
pub(crate) fn outside(home: &Path) -> Result<Vec<(PathBuf, PathBuf)>, OpenError> {
    let inside =
        |root: &Path| root.ends_with(OWN) && root.parent().map(absolute) == Some(absolute(home));
    let spaces = SpaceConfig::remembered(home)?.into_iter().filter(|space| !inside(&space.root));
    let named = spaces.map(|SpaceConfig { id, root, .. }| {
        let id = id.to_string();
        (root.join(&id), Path::new(OWN).join(id))
    });
    Ok(named.collect())
}

/// The folders in `root` that are called as spaces are and have a marker.
fn marked(root: &Path) -> Result<Vec<(u32, PathBuf)>, OpenError> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for folder in subfolders(root)? {
        let id = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(id) = id
            && Mark::read(&folder)?.is_some()
        {
            found.push((id, folder));
        }
    }
    Ok(found)
}

/// Why a folder that is to have spaces cannot: it, or what is there of its path, cannot be written.
fn unwritable(folder: &Path) -> Option<OpenError> {
    let folder = absolute(folder);
    let there = folder.ancestors().find(|path| path.exists())?;
    let refused = |source| OpenError::ReadOnly { folder: there.to_owned(), source };
    if !there.is_dir() {
        return Some(refused(std::io::ErrorKind::NotADirectory.into()));
    }
    let may = rustix::fs::access(there, rustix::fs::Access::WRITE_OK);
    may.err().map(|error| refused(error.into()))
}

/// Where something is, whatever folder the process runs in.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
