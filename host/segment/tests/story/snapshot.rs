//! Snapshots: replaced as a whole, verified when they are read, and no part of the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hashring::PartitionId;
use segment::{
    Chain, Disk, Kept, Log, LogConfig, LogEnd, Reserve, SNAPSHOT_PART_BYTES_MAX, Snapshot,
    SnapshotError,
};

use crate::broken_disk::faulty;
use crate::support::{Opened, append, config, folder, follow, open, open_on, quick_folder};

const FILE: u64 = 1 << 20;
const P: PartitionId = PartitionId(2);

fn place(seq: u64) -> LogEnd {
    LogEnd { epoch: 3, seq, chain: Chain([7; 16]) }
}

fn write(log: &Log, place: LogEnd, parts: &[&[u8]]) -> Result<(), SnapshotError> {
    let bytes = parts.iter().map(|part| part.len() as u64).sum();
    let mut draft = log.draft(P, place, bytes)?;
    parts.iter().try_for_each(|part| draft.put(part))?;
    draft.finish()
}

fn snapshot(place: LogEnd, parts: &[&'static [u8]]) -> Snapshot {
    let parts = parts.iter().map(|part| Bytes::from_static(part)).collect();
    Snapshot { place, parts }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("002.snapshot")
}

fn read(opened: &Opened) -> Option<Snapshot> {
    opened.log.snapshot(P).unwrap()
}

#[test]
fn a_snapshot_is_read_back_also_by_the_next_process() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    assert_eq!((read(&log), log.log.kept(P)), (None, None));
    write(&log.log, place(9), &[b"one", b"two"]).unwrap();
    assert_eq!(read(&log), Some(snapshot(place(9), &[b"one", b"two"])));
    drop(log);
    let log = open(config(folder.path(), FILE));
    let bytes = fs::metadata(file(folder.path())).unwrap().len();
    assert_eq!(log.log.kept(P), Some(Kept { seq: 9, bytes }));
    assert_eq!(log.log.kept(PartitionId(1)), None);
    assert_eq!(read(&log), Some(snapshot(place(9), &[b"one", b"two"])));
    write(&log.log, place(20), &[]).unwrap();
    assert_eq!(read(&log), Some(snapshot(place(20), &[])), "it replaces the one before");
}

/// The process dies while it writes one: the one before is there, and the remains are cleared away.
#[test]
fn one_that_was_not_finished_changes_nothing() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    write(&log.log, place(9), &[b"one"]).unwrap();
    let mut draft = log.log.draft(P, place(20), 3).unwrap();
    draft.put(b"two").unwrap();
    let left = fs::read(folder.path().join("002.snapshot.new")).unwrap();
    assert_eq!(read(&log), Some(snapshot(place(9), &[b"one"])));
    drop(draft);
    drop(log);
    fs::write(folder.path().join("002.snapshot.new"), left).unwrap();
    let log = open(config(folder.path(), FILE));
    assert_eq!(read(&log), Some(snapshot(place(9), &[b"one"])));
    assert!(!folder.path().join("002.snapshot.new").exists());
}

#[test]
fn no_flipped_bit_and_no_missing_or_additional_byte_goes_unseen() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    write(&log.log, place(9), &[b"one", b"three"]).unwrap();
    let path = file(folder.path());
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let read = log.log.snapshot(P);
        assert!(matches!(read, Err(SnapshotError::Damaged { .. })), "{what}: {read:?}");
    };
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&bytes, &format!("bit {bit}"));
    }
    for length in 0..whole.len() {
        refused(&whole[..length], &format!("{length} bytes"));
    }
    refused(&[whole.as_slice(), &[0]].concat(), "a byte more");
    assert_eq!(log.log.kept(P), None, "another one is wanted");
    write(&log.log, place(9), &[b"again"]).unwrap();
    assert_eq!(read(&log), Some(snapshot(place(9), &[b"again"])));
}

/// Parts of two snapshots of one partition do not mix.
#[test]
fn a_part_of_another_snapshot_is_damage() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    let path = file(folder.path());
    write(&log.log, place(9), &[b"one"]).unwrap();
    let one = fs::read(&path).unwrap();
    write(&log.log, place(10), &[b"two"]).unwrap();
    let two = fs::read(&path).unwrap();
    fs::write(&path, [&one[..64], &two[64..]].concat()).unwrap();
    assert!(matches!(log.log.snapshot(P), Err(SnapshotError::Damaged { .. })));
}

#[test]
fn those_of_other_folders_partitions_and_versions_are_named_and_left() {
    let (mine, other) = (quick_folder(), quick_folder());
    let log = open(config(other.path(), FILE));
    write(&log.log, place(9), &[b"one"]).unwrap();
    let bytes = fs::read(file(other.path())).unwrap();
    let mut newer = bytes.clone();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..60]).to_le_bytes();
    newer[60..64].copy_from_slice(&crc);
    fs::write(mine.path().join("001.snapshot"), &bytes).unwrap();
    fs::write(file(mine.path()), &newer).unwrap();
    let stored = LogConfig { store: 9, ..config(mine.path(), FILE) };
    let log = open(stored);
    assert_eq!((log.log.kept(P), log.log.kept(PartitionId(1))), (None, None));
    assert!(matches!(log.log.snapshot(P), Err(SnapshotError::Newer { .. })));
    let foreign = log.log.snapshot(PartitionId(1)).unwrap_err();
    assert!(foreign.to_string().contains("001.snapshot"), "{foreign}");
    assert!(matches!(foreign, SnapshotError::Foreign { .. }));
    assert_eq!(fs::read(file(mine.path())).unwrap(), newer);
}

/// A disk that fails under a snapshot costs the snapshot: the one before it stays, and so does the log.
#[test]
fn a_disk_that_refuses_one_keeps_the_one_before() {
    let (folder, disk) = (folder(), faulty());
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path(), FILE));
    write(&log.log, place(9), &[b"one"]).unwrap();
    for fault in [&disk.sync_fails, &disk.write_fails] {
        let mut draft = log.log.draft(P, place(20), 3).unwrap();
        draft.put(b"two").unwrap();
        fault.store(true, Ordering::SeqCst);
        assert!(matches!(draft.finish(), Err(SnapshotError::Disk { .. })));
        fault.store(false, Ordering::SeqCst);
        assert_eq!(read(&log), Some(snapshot(place(9), &[b"one"])));
        assert!(!folder.path().join("002.snapshot.new").exists());
    }
    let entries = follow(&[], 1, &[b"goes on"]);
    log.write(vec![append(0, entries)]);
}

#[test]
fn none_is_begun_that_would_come_near_the_reserve() {
    let (folder, disk) = (folder(), faulty());
    let config = LogConfig { reserve: Reserve::Bytes(400), ..config(folder.path(), FILE) };
    let log = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config);
    disk.free.store(600, Ordering::SeqCst);
    assert!(log.log.draft(P, place(9), 100).is_ok());
    assert!(matches!(log.log.draft(P, place(9), 101), Err(SnapshotError::Full { bytes: 101 })));
    assert_eq!(read(&log), None);
}

#[test]
fn parts_have_bounds() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    let mut draft = log.log.draft(P, place(9), 0).unwrap();
    for bytes in [0, SNAPSHOT_PART_BYTES_MAX + 1] {
        let refused = draft.put(&vec![0; bytes]);
        assert!(matches!(refused, Err(SnapshotError::Part { bytes: told }) if told == bytes));
    }
    let path = file(folder.path());
    draft.finish().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[64..68].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(matches!(log.log.snapshot(P), Err(SnapshotError::Damaged { .. })));
}

/// The bytes of a real one: when this breaks, those on disks are no longer read.
#[test]
fn it_has_the_bytes_it_always_had() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    write(&log.log, place(9), &[b"one", b"two"]).unwrap();
    let bytes = fs::read(file(folder.path())).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../golden/snapshot.v1.hex").trim());
}
