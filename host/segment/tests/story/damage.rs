//! Bytes that change after a sync had confirmed them: told with their file and place, never cut, never
//! repaired.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hashring::PartitionId;
use segment::LogOp;

use crate::support::{
    Expected, append, apply, commit, config, cut, end_of_records, follow, open, promise,
    quick_folder, values,
};

const FILE: u64 = 1 << 20;

/// A stopped log with one record a batch, and where each record begins.
fn stopped(folder: &Path) -> (BTreeMap<u16, Expected>, Vec<usize>) {
    let zero = follow(&[], 1, &[b"one", b"two", b"three"]);
    let one = follow(&[], 1, &[b"uno", b"due"]);
    stopped_after(
        folder,
        vec![
            promise(0, 1),
            append(0, zero[..1].to_vec()),
            append(1, one[..1].to_vec()),
            append(0, zero[1..2].to_vec()),
            append(0, zero[2..].to_vec()),
            append(1, one[1..].to_vec()),
        ],
    )
}

fn stopped_after(folder: &Path, ops: Vec<LogOp>) -> (BTreeMap<u16, Expected>, Vec<usize>) {
    let mut model = BTreeMap::new();
    let mut places = vec![64];
    let log = open(config(folder, FILE));
    for op in ops {
        apply(&mut model, &op);
        log.write(vec![op]);
        places.push(end_of_records(&fs::read(values(folder, 1)).unwrap()));
    }
    drop(log);
    (model, places)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Without the index, so that the value files are scanned from the start.
fn without_index(folder: &Path) {
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with("index") {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

#[test]
fn every_flipped_byte_of_a_confirmed_record_is_told_with_its_place_and_left_as_it_is() {
    let original = quick_folder();
    let (model, places) = stopped(original.path());
    let whole = fs::read(values(original.path(), 1)).unwrap();
    // Padding is no part of a record.
    let padding = |at: usize, start: usize| {
        let length = u32::from_le_bytes(whole[start + 8..start + 12].try_into().unwrap());
        at - start >= 56 + usize::try_from(length).unwrap()
    };
    for window in places.windows(2) {
        for at in (window[0]..window[1]).step_by(3).filter(|at| !padding(*at, window[0])) {
            let folder = quick_folder();
            fs::write(values(folder.path(), 1), &whole).unwrap();
            flip(&values(folder.path(), 1), at);
            let log = open(config(folder.path(), FILE));
            let damage = &log.recovered.damages[0];
            assert_eq!(damage.file, values(folder.path(), 1));
            assert_eq!(damage.offset, window[0] as u64, "byte {at}");
            assert_eq!(log.recovered.cut_bytes, 0);
            // What is there is right; where something is missing, the partition says so.
            for (partition, expected) in &model {
                let found = log.entries(*partition);
                assert_eq!(found[..], expected.entries[..found.len()]);
                let damaged = log.recovered.partitions[&PartitionId(*partition)].damaged;
                assert!(damaged || found.len() == expected.entries.len(), "byte {at}: {damage:?}");
            }
            drop(log);
            let after = fs::read(values(folder.path(), 1)).unwrap();
            assert_eq!(after[window[0]..window[1]], {
                let mut expected = whole[window[0]..window[1]].to_vec();
                expected[at - window[0]] ^= 4;
                expected
            });
        }
    }
}

#[test]
fn damage_in_the_body_of_an_entry_stops_only_its_own_partition_at_the_entry_before() {
    let folder = quick_folder();
    let (model, places) = stopped(folder.path());
    without_index(folder.path());
    flip(&values(folder.path(), 1), places[3] + 57);
    let log = open(config(folder.path(), FILE));
    let damage = &log.recovered.damages[0];
    assert_eq!((damage.partition, damage.offset), (Some(PartitionId(0)), places[3] as u64));
    let hurt = &log.recovered.partitions[&PartitionId(0)];
    assert!(hurt.damaged);
    assert_eq!(hurt.end.seq, 1);
    assert!(!log.recovered.partitions[&PartitionId(1)].damaged);
    assert_eq!(log.entries(1), model[&1].entries);
    // The entries come again from elsewhere; until all of them have, it is damaged after a restart too.
    log.write(vec![append(0, model[&0].entries[1..2].to_vec())]);
    drop(log);
    without_index(folder.path());
    let log = open(config(folder.path(), FILE));
    assert!(log.recovered.partitions[&PartitionId(0)].damaged);
    log.write(vec![append(0, model[&0].entries[2..].to_vec())]);
    drop(log);
    for _start in 0..2 {
        let log = open(config(folder.path(), FILE));
        assert!(!log.recovered.partitions[&PartitionId(0)].damaged);
        assert_eq!(log.entries(0), model[&0].entries);
        drop(log);
        without_index(folder.path());
    }
}

#[test]
fn a_record_that_cannot_be_told_from_its_remains_puts_those_in_doubt_that_prove_nothing_after_it() {
    let folder = quick_folder();
    let (_, places) = stopped(folder.path());
    without_index(folder.path());
    // Entry 1 of partition 1, in its head. Partition 0 goes on after it, in the same life; 1 does not fit.
    flip(&values(folder.path(), 1), places[2] + 20);
    let log = open(config(folder.path(), FILE));
    let damaged = |id: u16| log.recovered.partitions[&PartitionId(id)].damaged;
    assert_eq!([0, 1, 2, 3].map(damaged), [false, true, true, true]);
}

#[test]
fn an_entry_of_another_history_does_not_continue_a_log_whose_cut_was_lost() {
    let folder = quick_folder();
    let old = follow(&[], 1, &[b"one", b"two"]);
    let new = follow(&old[..1], 2, &[b"zwei", b"drei"]);
    let (_, places) = stopped_after(
        folder.path(),
        vec![
            append(0, old.clone()),
            cut(0, 1),
            append(0, new[..1].to_vec()),
            append(0, new[1..].to_vec()),
        ],
    );
    without_index(folder.path());
    // The cut and what replaced entry 2: only the chain tells that entry 3 does not belong to "two".
    flip(&values(folder.path(), 1), places[1] + 30);
    flip(&values(folder.path(), 1), places[2] + 30);
    let log = open(config(folder.path(), FILE));
    assert!(log.recovered.partitions[&PartitionId(0)].damaged);
    assert_eq!(log.entries(0), old);
}

#[test]
fn a_doubt_outlives_a_restart_until_an_entry_of_a_later_epoch() {
    let folder = quick_folder();
    let (model, places) = stopped(folder.path());
    without_index(folder.path());
    // The last record, in its head: nobody can say whose it was. The mark behind it vouches for it.
    flip(&values(folder.path(), 1), places[5] + 20);
    let damaged = |log: &crate::support::Opened| log.recovered.partitions[&PartitionId(0)].damaged;
    let log = open(config(folder.path(), FILE));
    assert!(damaged(&log));
    let mut entries = model[&0].entries.clone();
    // On top of what may be missing: this proves nothing.
    let more = follow(&entries, 1, &[b"four"]);
    log.write(vec![append(0, more.clone())]);
    entries.extend(more);
    drop(log);
    for _with_and_without_index in 0..2 {
        let log = open(config(folder.path(), FILE));
        assert!(damaged(&log));
        drop(log);
        without_index(folder.path());
    }
    let log = open(config(folder.path(), FILE));
    log.write(vec![append(0, follow(&entries, 2, &[b"opening"]))]);
    drop(log);
    for _with_and_without_index in 0..2 {
        let log = open(config(folder.path(), FILE));
        assert!(!damaged(&log));
        drop(log);
        without_index(folder.path());
    }
}

#[test]
fn a_file_that_was_cut_short_is_damage_and_is_not_written_on() {
    let original = quick_folder();
    let (model, places) = stopped(original.path());
    let whole = fs::read(values(original.path(), 1)).unwrap();
    let end = end_of_records(&whole);
    for length in [64, 65, places[1], places[1] + 30, places[3] + 58, places[5], end, end + 55] {
        let folder = quick_folder();
        fs::write(values(folder.path(), 1), &whole[..length]).unwrap();
        for _start in 0..2 {
            let log = open(config(folder.path(), FILE));
            let found = &log.recovered.damages[0];
            assert_eq!(found.file, values(folder.path(), 1));
            let last = places.iter().copied().chain([end]).filter(|place| *place <= length).max();
            assert_eq!(found.offset, last.unwrap() as u64, "{length} bytes");
            for (partition, expected) in &model {
                let found = log.entries(*partition);
                assert_eq!(found[..], expected.entries[..found.len()]);
            }
            drop(log);
            assert_eq!(fs::read(values(folder.path(), 1)).unwrap(), whole[..length]);
            without_index(folder.path());
        }
    }
}

#[test]
fn the_index_knows_what_a_shortened_log_had() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    let mut model = BTreeMap::new();
    let op = append(0, follow(&[], 1, &[b"one", b"two", b"three"]));
    apply(&mut model, &op);
    log.write(vec![op, commit(0, 3)]);
    drop(log);
    // As if a file of yesterday had been put back: whole, and with room behind it.
    let path = values(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[64 + 64..].fill(0);
    fs::write(&path, bytes).unwrap();
    let log = open(config(folder.path(), FILE));
    assert!(log.recovered.partitions[&PartitionId(0)].damaged);
    assert_eq!(log.recovered.damages[0].file, path);
    assert_eq!(log.entries(0), model[&0].entries[..1]);
}

#[test]
fn a_missing_file_is_damage() {
    let folder = quick_folder();
    let log = open(config(folder.path(), 4096));
    let mut entries = Vec::new();
    for _ in 0..4 {
        let more = follow(&entries, 1, &[&[1; 1500], &[2; 1500]]);
        log.write(vec![append(0, more.clone())]);
        entries.extend(more);
    }
    drop(log);
    without_index(folder.path());
    fs::remove_file(values(folder.path(), 2)).unwrap();
    let log = open(config(folder.path(), 4096));
    assert_eq!(log.recovered.damages[0].file, values(folder.path(), 2));
    let hurt = &log.recovered.partitions[&PartitionId(0)];
    assert!(hurt.damaged && hurt.end.seq < 8);
    assert_eq!(log.entries(0), entries[..log.entries(0).len()]);
}

#[test]
fn value_files_that_are_all_gone_are_missed_by_the_index() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    log.write(vec![promise(0, 3), append(0, follow(&[], 3, &[b"one"])), commit(0, 1)]);
    drop(log);
    fs::remove_file(values(folder.path(), 1)).unwrap();
    let log = open(config(folder.path(), FILE));
    assert_eq!(log.recovered.damages[0].file, values(folder.path(), 1));
    let hurt = &log.recovered.partitions[&PartitionId(0)];
    assert!(hurt.damaged && hurt.end.seq == 0);
    drop(log);
    // The number is not used again, and the loss not forgotten.
    assert!(!values(folder.path(), 1).exists());
    let log = open(config(folder.path(), FILE));
    assert!(log.recovered.partitions[&PartitionId(0)].damaged);
}

#[test]
fn a_read_of_a_damaged_entry_tells_its_file_and_place() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    log.write(vec![append(0, follow(&[], 1, &[b"one", b"two"])), cut(1, 0)]);
    flip(&values(folder.path(), 1), 64 + 64 + 57);
    assert_eq!(log.log.read(PartitionId(0), 1, 1, 100).unwrap().len(), 1);
    let error = log.log.read(PartitionId(0), 1, 10, 100).unwrap_err().to_string();
    let path = values(folder.path(), 1).display().to_string();
    assert!(error.contains(&path) && error.contains("byte 128"), "{error}");
}
