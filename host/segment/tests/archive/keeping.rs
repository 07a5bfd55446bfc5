//! Compaction and scrub.

use std::fs;

use segment::archive::{Keeping, Operation, ReadError, Slice};

use crate::support::{
    DAY, HOUR, PATIENCE, all_values, closing, config, delete, entire, everything, folder, noise,
    open, open_with_collections, opening, try_open, upload, values,
};

#[test]
fn hidden_bytes_go_after_an_hour_and_tombstones_after_the_grace() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 10, &noise(1, 9000)));
    opened.done(delete("plain", "k", 20));
    drop(opened);
    let opened = open(folder.path());
    let compact = |now| opened.archive.compact(now).unwrap();
    assert_eq!(compact(HOUR + 19).files, 0);
    let done = compact(HOUR + 20);
    assert_eq!((done.files, done.segments), (1, 1));
    // The tombstone is still there: a late copy stays hidden.
    opened.done(entire("plain", "k", 15, b"late"));
    assert!(matches!(opened.get("plain", "k"), Err(ReadError::NotFound)));
    drop(opened);
    let opened = open(folder.path());
    let compact = |now| opened.archive.compact(now).unwrap();
    compact(11 * DAY);
    compact(11 * DAY);
    // Now nothing is left of the key but its collection's.
    let left: u64 =
        all_values(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(left < 600, "{left} bytes");
    assert_eq!(opened.versions("plain", "k"), [] as [u64; 0]);
    drop(opened);
    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert_eq!(open(folder.path()).versions("plain", "k"), [] as [u64; 0]);
}

#[test]
fn the_small_files_that_starts_leave_are_put_together() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    for number in 0..6_u64 {
        let opened = open(folder.path());
        opened.done(entire("plain", &format!("k{number}"), 10 + number, &noise(number, 20_000)));
    }
    let opened = open(folder.path());
    let before = everything(&opened);
    assert_eq!(all_values(folder.path()).len(), 7);
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 7);
    assert_eq!(all_values(folder.path()).len(), 1);
    // One alone is not copied again and again.
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 0);
    assert_eq!(everything(&opened), before);
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.found.scanned, 0);
    assert_eq!(everything(&opened), before);
}

/// All rows of all files were judged again for each file that was made.
#[test]
fn a_pass_looks_at_each_file_once_however_many_it_makes() {
    const FILES: u64 = 6;
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for number in 0..FILES {
        let version = 10 + 10 * number;
        opened.done(entire("plain", &format!("k{number}"), version, &noise(version, 600_000)));
        opened.done(entire("plain", "waste", version + 1, &noise(version + 1, 350_000)));
    }
    opened.done(delete("plain", "waste", 1000));
    drop(opened);
    let opened = open(folder.path());
    let files = all_values(folder.path()).len();
    let done = opened.archive.compact(DAY).unwrap();
    assert_eq!((done.looked, done.files), (files, files));
    assert!(all_values(folder.path()).len() as u64 >= FILES, "each of them made another");
    for number in 0..FILES {
        let version = 10 + 10 * number;
        assert_eq!(opened.get("plain", &format!("k{number}")).unwrap(), noise(version, 600_000));
    }
}

#[test]
fn a_file_that_an_upload_under_way_is_in_is_left_alone() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let (first, second) = (noise(1, 600_000), noise(2, 600_000));
    let slice = Slice::of(0, first.clone());
    opened.written(Operation::Start { opening: opening("plain", "k", 1), slice });
    let slice = Slice::of(1, second.clone());
    opened.written(Operation::Next { upload: upload(1), slice });
    opened.done(Operation::Sync);
    // The first file is closed and, as far as rows go, nearly empty.
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 0);
    let whole = [first, second].concat();
    let closing = closing(10, &whole);
    opened.done(Operation::Final { upload: upload(1), slice: None, closing });
    assert!(opened.get("plain", "k").unwrap() == whole);
    drop(opened);
    let opened = open(folder.path());
    opened.archive.compact(DAY).unwrap();
    assert!(opened.get("plain", "k").unwrap() == whole);
}

#[test]
fn what_is_being_read_may_move() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = opened.put_many("plain", "k", 10, &[1000, 1000, 1000]);
    opened.done(entire("plain", "waste", 20, &noise(2, 90_000)));
    opened.done(delete("plain", "waste", 30));
    drop(opened);
    let opened = open(folder.path());
    let (plain, key) = ("plain".parse().unwrap(), "k".parse().unwrap());
    let mut reading = opened.archive.read(&plain, &key, None).unwrap();
    let mut found = reading.next_sequence().unwrap().unwrap().to_vec();
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 1);
    assert!(!values(folder.path(), 1).exists());
    while let Some(more) = reading.next_sequence().unwrap() {
        found.extend_from_slice(&more);
    }
    assert!(found == data);
}

#[test]
fn a_scrub_goes_on_where_it_stopped_and_finds_what_is_broken() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for number in 0..6_u64 {
        opened.done(entire("plain", &format!("k{number}"), 10 + number, &noise(number, 400_000)));
    }
    drop(opened);
    let files = all_values(folder.path());
    assert_eq!(files.len(), 3);
    let total: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len() - 64 - 136).sum();
    let opened = open(folder.path());
    let mut read = 0;
    let mut complete = false;
    let mut steps = 0;
    while !complete {
        let done = opened.archive.scrub(300_000).unwrap();
        (read, complete, steps) = (read + done.bytes, done.complete, steps + 1);
        assert_eq!(done.damages, 0);
    }
    assert_eq!(read, total);
    assert!(steps > 5);
    let before = opened.archive.scrub(1_500_000).unwrap().bytes;
    opened.done(Operation::Sync);
    drop(opened);
    // A bit of the last file goes; the scrub has not come to it.
    let mut bytes = fs::read(&files[2]).unwrap();
    bytes[500] ^= 1;
    fs::write(&files[2], bytes).unwrap();
    let opened = open(folder.path());
    let rest = opened.archive.scrub(u64::MAX).unwrap();
    assert_eq!((before + rest.bytes, rest.damages, rest.complete), (total, 1, true));
    assert_eq!(opened.archive.damages()[0].file, files[2]);
}

#[test]
fn the_keeper_scrubs_by_itself_and_ends_with_the_archive() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 10, &noise(1, 5000)));
    drop(opened);
    let file = values(folder.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut config = config(folder.path());
    config.keeping = Some(Keeping { bytes_per_second: 10 << 20 });
    let opened = try_open(config).unwrap();
    let began = runtime::now();
    while opened.archive.damages().is_empty() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    drop(opened);
}
