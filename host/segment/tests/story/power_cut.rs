//! Loss of power: of what was written since the last sync any piece may be on the disk or not. What was
//! confirmed is there, nothing counts as damage, and the log goes on.

use std::fs::{DirEntry, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use segment::{Disk, LogEntry, Notice, SubmitError, SystemDisk};

use crate::support::{append, commit, config, follow, image, open, open_on, quick_folder};

/// A disk writes this much or nothing of it.
const SECTOR: u64 = 512;
const FILE: u64 = 32 << 10;

/// A disk that remembers what a loss of power could undo.
#[derive(Default)]
struct Volatile {
    unsynced: Mutex<Vec<Unsynced>>,
    sync_fails: AtomicBool,
}

/// A part of a write since the last sync, in one sector.
struct Unsynced {
    inode: u64,
    offset: u64,
    before: Vec<u8>,
    /// Its sync failed: memory has it and counts it as written, so no later sync brings it to the disk,
    /// only another write to the sector.
    forgotten: bool,
}

impl Disk for Volatile {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap();
        let inode = file.metadata()?.ino();
        let (first, end) = (offset / SECTOR, offset + bytes.len() as u64);
        for old in unsynced.iter_mut().filter(|old| old.inode == inode) {
            old.forgotten &= !(first..=end / SECTOR).contains(&(old.offset / SECTOR));
        }
        let mut at = offset;
        while at < end {
            let until = ((at / SECTOR + 1) * SECTOR).min(end);
            let mut before = vec![0; usize::try_from(until - at).unwrap()];
            file.read_at(&mut before, at)?;
            unsynced.push(Unsynced { inode, offset: at, before, forgotten: false });
            at = until;
        }
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap();
        let inode = file.metadata()?.ino();
        if self.sync_fails.load(Ordering::SeqCst) {
            unsynced.iter_mut().for_each(|write| write.forgotten |= write.inode == inode);
            return Err(io::Error::from_raw_os_error(5));
        }
        unsynced.retain(|write| write.inode != inode || write.forgotten);
        Ok(())
    }
}

/// Throws dice that can be thrown again.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What the disk would hold if the power were cut now.
fn cut_power(disk: &Volatile, folder: &std::path::Path, dice: &mut Dice) -> tempfile::TempDir {
    // Held, so that the writer stands still while it happens.
    let unsynced = disk.unsynced.lock().unwrap();
    let copy = image(folder);
    // The index is none of this disk's business.
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _not_there = std::fs::remove_file(copy.path().join(name));
    }
    for write in unsynced.iter().rev() {
        let mut files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        // A file that was not finished is gone again.
        let written =
            |file: &DirEntry| file.metadata().is_ok_and(|found| found.ino() == write.inode);
        let Some(file) = files.find(written) else { continue };
        let path = copy.path().join(file.file_name());
        let Ok(file) = File::options().write(true).open(path) else { continue };
        if dice.next(2) == 0 {
            file.write_all_at(&write.before, write.offset).unwrap();
        }
    }
    copy
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut folder = quick_folder();
    let mut entries: [Vec<LogEntry>; 2] = [Vec::new(), Vec::new()];
    for _power in 0..4 {
        let disk = Arc::new(Volatile::default());
        let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), FILE));
        // After each ticket: how many entries each partition has.
        let mut tickets = vec![(0, [entries[0].len(), entries[1].len()])];
        for _submission in 0..dice.next(12) {
            let partition = usize::from(dice.next(2) == 0);
            let id = u16::try_from(partition).unwrap();
            let length = usize::try_from(dice.next(2500)).unwrap();
            let payload = vec![u8::try_from(dice.next(256)).unwrap(); length];
            let more = follow(&entries[partition], 1, &[&payload, b"x"]);
            entries[partition].extend(more.clone());
            let ops = vec![append(id, more), commit(id, 1)];
            tickets.push((log.submit(ops), [entries[0].len(), entries[1].len()]));
        }
        let wait = usize::try_from(dice.next(tickets.len() as u64)).unwrap();
        if wait > 0 {
            log.written(tickets[wait].0);
        }
        let mut confirmed = tickets[wait].1;
        let copy = if dice.next(2) == 0 {
            let copy = cut_power(&disk, folder.path(), &mut dice);
            log.log.abandon();
            copy
        } else {
            // Only the process dies, of a failed sync. What its successor finds it may tell to others
            // before the power is cut: it must not have been in memory alone.
            disk.sync_fails.store(true, Ordering::SeqCst);
            let more = follow(&entries[0], 1, &[b"last"]);
            entries[0].extend(more.clone());
            // What was queued before may have met the bad sync already: then this is refused.
            let refused = log.log.submit(u64::MAX, vec![append(0, more)]).err();
            assert!(
                matches!(refused, None | Some(SubmitError::Stopped)),
                "{refused:?} SEED={seed}"
            );
            let failed = |notice| matches!(notice, Notice::Failed { .. });
            assert!(log.notices.iter().any(failed), "SEED={seed}");
            drop(log);
            disk.sync_fails.store(false, Ordering::SeqCst);
            let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), FILE));
            confirmed = [0, 1].map(|partition| log.entries(partition).len());
            log.log.abandon();
            cut_power(&disk, folder.path(), &mut dice)
        };
        folder = copy;
        let log = open(config(folder.path(), FILE));
        assert_eq!(log.recovered.damages, [], "SEED={seed}");
        for ((partition, written), confirmed) in (0..).zip(&mut entries).zip(confirmed) {
            let found = log.entries(partition);
            assert!(found.len() >= confirmed, "SEED={seed}: {} of {confirmed}", found.len());
            assert_eq!(found[..], written[..found.len()], "SEED={seed}");
            written.truncate(found.len());
        }
        log.log.abandon();
    }
}

/// S25, second part. The power is cut.
#[test]
fn a_loss_of_power_takes_nothing_that_was_confirmed() {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..100).for_each(run),
    }
}
