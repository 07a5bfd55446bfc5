//! The base files of a running log: which counts, which waits to, and what is to be given back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashring::PartitionId;

use crate::base_file::{Base, BaseFile};
use crate::disk::{Disk, sync_folder};
use crate::{LogEnd, measure, value_file};

/// What is known of base files.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    current: BTreeMap<PartitionId, Arc<BaseFile>>,
    /// On the disk, and no record says yet that they count.
    prepared: BTreeMap<PartitionId, Arc<BaseFile>>,
    /// Base files that others have replaced.
    stale: Vec<PathBuf>,
    /// A log has another beginning than when it was last looked whether value files can go.
    moved: bool,
    /// Value files before this one are needed no more, and a record on the disk says so.
    released: u32,
}

impl Bases {
    /// Of a start.
    pub(crate) fn new(current: BTreeMap<PartitionId, Arc<BaseFile>>) -> Self {
        let moved = !current.is_empty();
        Self { current, moved, ..Self::default() }
    }

    /// What a partition's log begins with.
    pub(crate) fn of(&self, partition: PartitionId) -> Option<Arc<BaseFile>> {
        self.current.get(&partition).map(Arc::clone)
    }

    /// A file is on the disk.
    pub(crate) fn prepare(&mut self, partition: PartitionId, file: BaseFile) {
        let before = self.prepared.insert(partition, Arc::new(file));
        let current = self.current.get(&partition).map(|file| file.base.place.seq);
        let unused = before.filter(|before| {
            let seq = before.base.place.seq;
            current != Some(seq)
                && self.prepared.get(&partition).is_none_or(|now| now.base.place.seq != seq)
        });
        self.stale.extend(unused.map(|unused| unused.path.clone()));
    }

    /// What is on the disk for a partition, and does not count yet.
    pub(crate) fn prepared(&self, partition: PartitionId) -> Option<Base> {
        self.prepared.get(&partition).map(|file| file.base)
    }

    /// A record on the disk says that a log begins with it.
    pub(crate) fn begin(&mut self, partition: PartitionId, base: LogEnd) {
        let prepared = self.prepared.remove(&partition);
        match prepared.filter(|file| file.base.place == base) {
            Some(file) => {
                let before = self.current.insert(partition, file);
                let before = before.filter(|before| before.base.place != base);
                self.stale.extend(before.map(|before| before.path.clone()));
                self.moved = true;
            }
            None => tracing::error!(%partition, seq = base.seq, "a log begins without a base file"),
        }
    }

    /// A record on the disk says that files before this one are not needed.
    pub(crate) fn released(&mut self, file: u32) {
        self.released = self.released.max(file);
    }

    /// Whether any log begins later than with its first entry.
    pub(crate) fn are_any(&self) -> bool {
        !self.current.is_empty()
    }

    /// Whether a log has another beginning since this was asked last.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// What can be removed: base files, and value files before a number.
    pub(crate) fn take_stale(&mut self) -> (Vec<PathBuf>, u32) {
        (std::mem::take(&mut self.stale), self.released)
    }
}

/// Removes what nobody needs. What cannot be removed is only room; a start, or the next time, tries again.
pub(crate) fn remove(disk: &dyn Disk, folder: &Path, bases: Vec<PathBuf>, released: u32) {
    let remove = |path: &Path| {
        let removed = disk.remove(path);
        if let Err(error) = &removed {
            tracing::warn!(%error, path = %path.display(), "a file that is not needed stays");
        }
        removed.is_ok()
    };
    for path in bases {
        remove(&path);
    }
    let numbers = value_file::present(folder).unwrap_or_default();
    // The oldest first, and none after one that stays: those that are there are always the last ones.
    let mut gone = 0_u64;
    for number in numbers.into_iter().take_while(|number| *number < released) {
        if !remove(&value_file::path(folder, number)) {
            break;
        }
        gone += 1;
    }
    if gone > 0 {
        measure::value_files_released(gone);
        tracing::info!(files = gone, first = released, "value files were given back");
        if let Err(error) = sync_folder(folder) {
            tracing::warn!(%error, "the removal of files is not synced yet");
        }
    }
}
