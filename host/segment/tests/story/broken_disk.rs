//! A disk that fails, and one that is full.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashring::PartitionId;
use segment::{Disk, LogConfig, Notice, Reserve, Space, SubmitError, SystemDisk};

use crate::support::{PATIENCE, append, config, folder, follow, open, open_on, promise};

const FILE: u64 = 1 << 20;

/// A disk that does as it is told.
#[derive(Default)]
pub(crate) struct Faulty {
    pub(crate) sync_fails: AtomicBool,
    pub(crate) write_fails: AtomicBool,
    no_room: AtomicBool,
    pub(crate) free: AtomicU64,
}

fn refuse(flag: &AtomicBool, error: i32) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(error)) } else { Ok(()) }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl Disk for Faulty {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        refuse(&self.write_fails, EIO)?;
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        refuse(&self.sync_fails, EIO)?;
        SystemDisk.sync(file)
    }

    fn allocate(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        refuse(&self.no_room, ENOSPC)?;
        SystemDisk.allocate(file, from, to)
    }

    fn space(&self, _folder: &Path) -> io::Result<Space> {
        Ok(Space { total: 1000 << 20, free: self.free.load(Ordering::SeqCst) })
    }
}

pub(crate) fn faulty() -> Arc<Faulty> {
    let disk = Faulty::default();
    disk.free.store(1000 << 20, Ordering::SeqCst);
    Arc::new(disk)
}

fn fails_once(fault: impl Fn(&Faulty) -> &AtomicBool) {
    let (folder, disk) = (folder(), faulty());
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), FILE));
    let first = follow(&[], 1, &[b"confirmed"]);
    log.write(vec![append(0, first.clone())]);
    fault(&disk).store(true, Ordering::SeqCst);
    let second = follow(&first, 1, &[b"never confirmed"]);
    log.submit(vec![append(0, second)]);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    let Notice::Failed { text } = notice else { panic!("{notice:?}") };
    assert!(text.contains("00000001.values"), "{text}");
    // Healed or not: nobody knows what is on the disk, so nothing is taken any more. The writer is gone,
    // and with it the one who could tell anything.
    fault(&disk).store(false, Ordering::SeqCst);
    log.notices.recv_timeout(PATIENCE).unwrap_err();
    assert_eq!(log.log.submit(9, vec![promise(0, 4)]), Err(SubmitError::Stopped));
    assert_eq!(log.entries(0), first);
    drop(log);
    let log = open(config(folder.path(), FILE));
    assert_eq!(log.recovered.damages, []);
    assert_eq!(log.entries(0)[..1], first);
}

/// S25. A sync fails: nobody knows what is on the disk, and the log ends.
#[test]
fn after_a_failed_sync_nothing_is_confirmed_or_taken() {
    fails_once(|disk| &disk.sync_fails);
}

#[test]
fn after_a_failed_write_nothing_is_confirmed_or_taken() {
    fails_once(|disk| &disk.write_fails);
}

#[test]
fn an_entry_that_leaves_a_hole_is_never_written() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    let entries = follow(&[], 1, &[b"one", b"two"]);
    log.submit(vec![append(0, entries[1..].to_vec())]);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Failed { .. }), "{notice:?}");
}

#[test]
fn without_room_what_waits_keeps_its_order_and_reads_go_on() {
    let (folder, disk) = (folder(), faulty());
    // So small that the second batch needs another file.
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), 4096));
    let mut entries = follow(&[], 1, &[&[1; 3000]]);
    log.write(vec![append(0, entries.clone())]);
    disk.no_room.store(true, Ordering::SeqCst);
    let mut last = 0;
    for number in 0..10_u8 {
        let more = follow(&entries, 1, &[&[number; 900]]);
        last = log.submit(vec![append(0, more.clone())]);
        entries.extend(more);
    }
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Full(true)), "{notice:?}");
    assert_eq!(log.log.read(PartitionId(0), 1, 10, 100).unwrap(), entries[..1]);
    disk.no_room.store(false, Ordering::SeqCst);
    let mut told = Vec::new();
    loop {
        match log.notices.recv_timeout(PATIENCE).unwrap() {
            Notice::Written { ticket } if ticket == last => break,
            notice => told.push(notice),
        }
    }
    let room = |notice: &Notice| matches!(notice, Notice::Full(false));
    if !told.iter().any(room) {
        let notice = log.notices.recv_timeout(PATIENCE).unwrap();
        assert!(room(&notice), "{notice:?}");
    }
    assert_eq!(log.entries(0), entries);
    drop(log);
    assert_eq!(open(config(folder.path(), 4096)).entries(0), entries);
}

#[test]
fn a_log_without_room_can_be_closed() {
    let (folder, disk) = (folder(), faulty());
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), 4096));
    disk.no_room.store(true, Ordering::SeqCst);
    log.submit(vec![append(0, follow(&[], 1, &[&[1; 3900], &[1; 3900]]))]);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Full(true)), "{notice:?}");
    drop(log);
    assert_eq!(open(config(folder.path(), 4096)).recovered.damages, []);
}

#[test]
fn a_disk_below_its_reserve_is_told_before_it_is_full() {
    let (folder, disk) = (folder(), faulty());
    let config = LogConfig { reserve: Reserve::Percent(5), ..config(folder.path(), FILE) };
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config);
    disk.free.store(40 << 20, Ordering::SeqCst);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Full(true)), "{notice:?}");
    // Promises, seals and opening entries still find room.
    log.write(vec![promise(0, 7), append(0, follow(&[], 7, &[b"opening"]))]);
    disk.free.store(400 << 20, Ordering::SeqCst);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Full(false)), "{notice:?}");
}

#[test]
fn a_queue_that_is_full_gives_the_operations_back() {
    let (folder, disk) = (folder(), faulty());
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), 4096));
    disk.no_room.store(true, Ordering::SeqCst);
    log.submit(vec![append(0, follow(&[], 1, &[&[1; 3900], &[1; 3900]]))]);
    let notice = log.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(notice, Notice::Full(true)), "{notice:?}");
    let refused = (2..1 << 20).find_map(|ticket| log.log.submit(ticket, vec![promise(0, 1)]).err());
    assert_eq!(refused, Some(SubmitError::Busy(vec![promise(0, 1)])));
}
