//! The few things the writer asks of a disk, so that a test can make them fail.
//!
//! The default of every method is the real thing. Only what can lose an acknowledged entry or run out of
//! room goes through here; reads do not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

/// How large a disk is and how much of it is free, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What a process without privileges can still take.
    pub free: u64,
}

/// What the writer does to a disk.
pub trait Disk: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system's. Part of it may have been written.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Returns when everything written to `file` would survive a loss of power.
    ///
    /// # Errors
    /// The system's. What was written since the last sync may be on the disk or not.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes `file` reach from `from` to `to` with zeros that have their room on the disk.
    ///
    /// # Errors
    /// The system's. The file may have become longer.
    fn allocate(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to.saturating_sub(from)) {
            // A file system without it: the room is then taken by writing, which can run out too.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(to),
            done => done.map_err(Into::into),
        }
    }

    /// Removes a file that something else has replaced.
    ///
    /// # Errors
    /// The system's. The file is still there.
    fn remove(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }

    /// The room on the disk of `folder`.
    ///
    /// # Errors
    /// The system's.
    fn space(&self, folder: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }
}

/// The disk as it is.
#[derive(Clone, Copy, Debug)]
pub struct SystemDisk;

impl Disk for SystemDisk {}

/// Whether an error means that there is no room, which may come back.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes what happened to the names in a folder survive a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
