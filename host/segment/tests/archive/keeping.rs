//! Compaction and scrub.

use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use segment::archive::{Keeping, Operation, ReadError, Slice};

use crate::support::{
    DAY, PATIENCE, all_values, at, closing, config, delete, delete_version, entire, everything,
    folder, noise, open, open_with_collections, opening, part_opening, try_open, upload, values,
};

const HOUR: u64 = 60 * 60 * 1000;

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
    let began = std::time::Instant::now();
    while opened.archive.damages().is_empty() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    drop(opened);
}

/// Something that is done to a key.
#[derive(Clone, Debug)]
enum Step {
    Put { collection: bool, key: u8, size: usize },
    Delete { collection: bool, key: u8 },
    DeleteVersion { which: usize },
    Conjoined { collection: bool, key: u8, parts: u32, abort: bool },
    Compact { hours: u64 },
    Restart,
    Rebuild,
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = 0..3_u8;
    prop_oneof![
        6 => (any::<bool>(), key.clone(), 0..60_000_usize)
            .prop_map(|(collection, key, size)| Step::Put { collection, key, size }),
        2 => (any::<bool>(), key.clone()).prop_map(|(collection, key)| Step::Delete { collection, key }),
        3 => any::<usize>().prop_map(|which| Step::DeleteVersion { which }),
        2 => (any::<bool>(), key, 1..4_u32, any::<bool>())
            .prop_map(|(collection, key, parts, abort)| Step::Conjoined { collection, key, parts, abort }),
        3 => (1..400_u64).prop_map(|hours| Step::Compact { hours }),
        1 => Just(Step::Restart),
        1 => Just(Step::Rebuild),
    ]
}

fn run(steps: &[Step]) {
    let folder = folder();
    let with = |folder: &std::path::Path| {
        let mut config = config(folder);
        config.value_file_bytes_max = 150_000;
        try_open(config).unwrap()
    };
    let mut opened = with(folder.path());
    opened.collections();
    let (mut version, mut now) = (100, HOUR);
    let mut all: Vec<(&str, String, u64)> = Vec::new();
    let shown = |opened: &crate::support::Opened| -> Vec<String> {
        everything(opened).into_iter().filter(|line| !line.contains("Usage")).collect()
    };
    for step in steps {
        version += 1;
        let name = |collection: bool, key: u8| {
            (if collection { "plain" } else { "kept" }, format!("k{key}"))
        };
        let before = shown(&opened);
        match step {
            Step::Put { collection, key, size } => {
                let (collection, key) = name(*collection, *key);
                let data = noise(version, *size);
                let mut operation = entire(collection, &key, version, &data);
                if let Operation::Entire { closing, .. } = &mut operation {
                    closing.time_ms = now;
                }
                opened.done(operation);
                assert_eq!(opened.get(collection, &key).unwrap(), data);
                all.push((collection, key, version));
            }
            Step::Delete { collection, key } => {
                let (collection, key) = name(*collection, *key);
                let at = at(collection, &key, version);
                opened.done(Operation::Destroy { at, target: None, time_ms: now });
                assert_eq!(opened.versions(collection, &key), [] as [u64; 0]);
            }
            Step::DeleteVersion { which } => {
                if all.is_empty() {
                    continue;
                }
                let (collection, key, target) = all[which % all.len()].clone();
                let mut operation = delete_version(collection, &key, version, target);
                if let Operation::Destroy { time_ms, .. } = &mut operation {
                    *time_ms = now;
                }
                // It may be collected already.
                let _done = opened.perform(operation);
                assert!(!opened.versions(collection, &key).contains(&target));
            }
            Step::Conjoined { collection, key, parts, abort } => {
                let (collection, key) = name(*collection, *key);
                let at = at(collection, &key, version);
                opened.done(Operation::StartConjoined { at: at.clone(), time_ms: now });
                for part in 1..=*parts {
                    let data = Bytes::from(vec![7; 5000]);
                    let mut closing = closing(version, &data);
                    closing.time_ms = now;
                    let count = version * 1000 + u64::from(part);
                    let opening = part_opening(collection, &key, count, part);
                    let slice = Slice::of(0, data);
                    opened.done(Operation::Entire { opening, slice, closing });
                }
                opened.done(if *abort {
                    Operation::AbortConjoined { at, time_ms: now }
                } else {
                    Operation::FinishConjoined { at, parts: *parts, time_ms: now }
                });
                all.push((collection, key, version));
            }
            Step::Compact { hours } => {
                now += hours * HOUR;
                opened.archive.compact(now).unwrap();
                assert_eq!(shown(&opened), before);
            }
            Step::Restart | Step::Rebuild => {
                drop(opened);
                if matches!(step, Step::Rebuild) {
                    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
                }
                opened = with(folder.path());
                assert_eq!(opened.found.damages, []);
                assert_eq!(shown(&opened), before);
            }
        }
    }
    let before = everything(&opened);
    drop(opened);
    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert_eq!(everything(&with(folder.path())), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn keeping_changes_nothing_that_anybody_sees(steps in proptest::collection::vec(any_step(), 1..30)) {
        run(&steps);
    }
}
