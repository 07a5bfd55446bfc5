//! The disk under a node's archive: real files, and what a loss of power would take from them.
//!
//! What was written since the last sync is remembered with what stood there before. A process that dies leaves
//! it; a loss of power leaves any of its sectors, and not others.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;
use segment::{Disk, Space, SystemDisk};

/// A disk writes this much or nothing of it.
const SECTOR: u64 = 512;
/// As large as it says it is; nothing here fills it.
const BYTES: u64 = 1 << 40;

/// A disk that remembers what a loss of power could undo.
#[derive(Debug, Default)]
pub(crate) struct Volatile {
    /// In the order in which they were written to.
    unsynced: Mutex<Vec<Unsynced>>,
}

/// What was written to a file since its last sync.
#[derive(Debug)]
struct Unsynced {
    inode: u64,
    file: File,
    /// Parts of one sector each, with what stood there before.
    before: Vec<(u64, Vec<u8>)>,
}

impl Volatile {
    /// The power is lost, and comes back. Whether anything was.
    pub(crate) fn lose_power(&self, random: &mut StdRng) -> bool {
        let unsynced = std::mem::take(&mut *self.unsynced());
        let mut lost = false;
        for Unsynced { file, before, .. } in unsynced {
            for (offset, bytes) in before.iter().rev() {
                if random.random_bool(0.5) {
                    file.write_all_at(bytes, *offset).expect("it was written before");
                    lost = true;
                }
            }
        }
        lost
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Volatile {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        let inode = file.metadata()?.ino();
        if !unsynced.iter().any(|of| of.inode == inode) {
            unsynced.push(Unsynced { inode, file: file.try_clone()?, before: Vec::new() });
        }
        let of = unsynced.iter_mut().find(|of| of.inode == inode).expect("it is there");
        let (mut at, end) = (offset, offset + bytes.len() as u64);
        while at < end {
            let until = ((at / SECTOR + 1) * SECTOR).min(end);
            let mut before = vec![0; usize::try_from(until - at).unwrap_or_default()];
            // Behind the end there are zeros.
            let mut read = 0;
            while read < before.len() {
                match file.read_at(&mut before[read..], at + read as u64)? {
                    0 => break,
                    more => read += more,
                }
            }
            of.before.push((at, before));
            at = until;
        }
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let inode = file.metadata()?.ino();
        self.unsynced().retain(|of| of.inode != inode);
        Ok(())
    }

    fn allocate(&self, file: &File, _from: u64, to: u64) -> io::Result<()> {
        file.set_len(to)
    }

    fn space(&self, _folder: &std::path::Path) -> io::Result<Space> {
        Ok(Space { total: BYTES, free: BYTES / 2 })
    }
}
