//! Disks that fail, that are full, that wait, and one that takes a picture at every step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use segment::{Disk, Space, SystemDisk};
use tempfile::TempDir;

use crate::support::folder;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A disk that does as it is told.
#[derive(Default)]
pub(crate) struct Faulty {
    pub(crate) sync_fails: AtomicBool,
    pub(crate) write_fails: AtomicBool,
    pub(crate) no_room: AtomicBool,
    /// How large a file can become; 0: as large as it wants to.
    pub(crate) file_max: AtomicU64,
    /// What is free, by the name of the folder; all that is not named has a GiB.
    pub(crate) free: Mutex<Vec<(String, u64)>>,
    pub(crate) syncs: AtomicU64,
    /// The name of a file that cannot be removed.
    pub(crate) stays: Mutex<Option<String>>,
    /// While it is shut no sync returns.
    gate: Mutex<bool>,
    opened: Condvar,
}

fn refuse(flag: &AtomicBool, error: i32) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(error)) } else { Ok(()) }
}

impl Faulty {
    pub(crate) fn shut(&self) {
        *self.gate.lock().unwrap() = true;
    }

    pub(crate) fn unlock(&self) {
        *self.gate.lock().unwrap() = false;
        self.opened.notify_all();
    }

    pub(crate) fn set_free(&self, free: &[(&str, u64)]) {
        let free = free.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes));
        *self.free.lock().unwrap() = free.collect();
    }
}

impl Disk for Faulty {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        refuse(&self.write_fails, EIO)?;
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let shut = self.gate.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        self.syncs.fetch_add(1, Ordering::SeqCst);
        refuse(&self.sync_fails, EIO)?;
        SystemDisk.sync(file)
    }

    fn allocate(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        refuse(&self.no_room, ENOSPC)?;
        let max = self.file_max.load(Ordering::SeqCst);
        if max > 0 && to > max {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        SystemDisk.allocate(file, from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let stays = self.stays.lock().unwrap();
        if stays.as_ref().is_some_and(|name| file.ends_with(name)) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        SystemDisk.remove(file)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let name = folder.file_name().unwrap().to_string_lossy();
        let free = self.free.lock().unwrap();
        let free = free.iter().find(|(of, _)| *of == name).map_or(1 << 30, |(_, bytes)| *bytes);
        Ok(Space { total: 1 << 40, free })
    }
}

/// A disk that takes a picture of a folder before everything that is done to it: what a kill would leave.
pub(crate) struct Camera {
    folder: PathBuf,
    pub(crate) pictures: Mutex<Vec<(String, TempDir)>>,
}

impl Camera {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), pictures: Mutex::default() }
    }

    fn click(&self, what: &str) {
        let copy = folder();
        copy_all(&self.folder, copy.path());
        self.pictures.lock().unwrap().push((what.to_owned(), copy));
    }
}

impl Disk for Camera {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.click(&format!("write of {} at {offset}", bytes.len()));
        // A write may be torn: half of it is there.
        let half = bytes.len() / 2;
        SystemDisk.write(file, &bytes[..half], offset)?;
        self.click(&format!("half a write of {} at {offset}", bytes.len()));
        SystemDisk.write(file, &bytes[half..], offset + half as u64)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.click("sync");
        SystemDisk.sync(file)
    }

    fn allocate(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        self.click("allocate");
        SystemDisk.allocate(file, from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.click("remove");
        SystemDisk.remove(file)
    }
}

/// Copies a folder with everything below it. Holes stay holes.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let beside = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &beside);
        } else {
            fs::copy(&path, &beside).unwrap();
        }
    }
}

/// A file system of its own, of 8 MiB, which can be filled without anybody else noticing.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount one.
    pub(crate) fn mount() -> Option<Self> {
        let folder = folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "carillon-test"]).arg(folder.path());
        let mounted = mount.output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is; the file that has it.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
