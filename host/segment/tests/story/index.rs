//! The index is a convenience: with it, without it and with a broken one, the log is the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hashring::PartitionId;
use segment::LogOp;

use crate::support::{Expected, append, apply, commit, config, cut, folder, follow, open, promise};

const FILE: u64 = 64 << 10;
const FILES: [&str; 3] = ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"];

/// A stopped log with several files, most of it committed and so indexed.
fn stopped(folder: &Path) -> BTreeMap<u16, Expected> {
    let mut model = BTreeMap::new();
    let log = open(config(folder, FILE));
    for round in 0..40_u8 {
        let mut ops = vec![promise(u16::from(round % 4), u64::from(round / 8) + 1)];
        for partition in 0..3 {
            let expected: &Expected = model.entry(partition).or_default();
            let payload = vec![round; 200 * (usize::from(partition) + 1)];
            let epoch = u64::from(round / 8) + 1;
            let entries = follow(&expected.entries, epoch, &[&payload, b"and", &payload, b""]);
            let last = entries.last().unwrap().seq;
            ops.push(append(partition, entries));
            // Partition 2 commits nothing after a while: its tail holds the checkpoint back.
            if partition < 2 || round < 10 {
                ops.push(commit(partition, last - 1));
            }
        }
        for op in &ops {
            apply(&mut model, op);
        }
        log.write(ops);
    }
    // Cut what was never committed, and go on.
    for op in [cut(2, 60), append(2, follow(&model[&2].entries[..60], 9, &[b"another"]))] {
        apply(&mut model, &op);
        log.write(vec![op]);
    }
    log.holds(&model);
    drop(log);
    model
}

fn check(folder: &Path, model: &BTreeMap<u16, Expected>, entries: std::ops::RangeInclusive<u64>) {
    let log = open(config(folder, FILE));
    assert_eq!(log.recovered.damages, []);
    assert!(entries.contains(&log.recovered.entries), "{} entries scanned", log.recovered.entries);
    log.restored(model);
    log.holds(model);
}

#[test]
fn a_start_with_the_index_reads_only_the_end_of_the_log() {
    let folder = folder();
    let model = stopped(folder.path());
    // 480 entries in all, of which a fifth is not committed.
    check(folder.path(), &model, 1..=140);
    check(folder.path(), &model, 1..=140);
}

#[test]
fn a_deleted_index_is_built_anew() {
    let folder = folder();
    let model = stopped(folder.path());
    for file in FILES {
        let _not_there = fs::remove_file(folder.path().join(file));
    }
    check(folder.path(), &model, 400..=500);
    check(folder.path(), &model, 1..=140);
}

#[test]
fn a_corrupt_index_is_set_aside_and_built_anew() {
    for (from, step) in [(0, 1), (4096, 5), (100, 997)] {
        let folder = folder();
        let model = stopped(folder.path());
        let path = folder.path().join(FILES[0]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().skip(from).step_by(step).for_each(|byte| *byte ^= 0xa5);
        fs::write(&path, bytes).unwrap();
        check(folder.path(), &model, 400..=500);
        assert!(folder.path().join("index.sqlite.damaged").exists());
        check(folder.path(), &model, 1..=140);
    }
}

#[test]
fn an_index_of_another_log_is_not_believed() {
    let (one, other) = (folder(), folder());
    let model = stopped(one.path());
    let log = open(config(other.path(), FILE));
    log.write(vec![append(0, follow(&[], 1, &[b"other", b"log"])), commit(0, 2)]);
    drop(log);
    fs::copy(other.path().join(FILES[0]), one.path().join(FILES[0])).unwrap();
    let log = open(config(one.path(), FILE));
    log.restored(&model);
    log.holds(&model);
}

#[test]
fn an_old_index_is_caught_up() {
    let folder = folder();
    let log = open(config(folder.path(), FILE));
    let mut model = BTreeMap::new();
    let op = append(0, follow(&[], 1, &[b"one", b"two"]));
    apply(&mut model, &op);
    log.write(vec![op, commit(0, 2)]);
    drop(log);
    let old = fs::read(folder.path().join(FILES[0])).unwrap();
    let log = open(config(folder.path(), FILE));
    let op = append(0, follow(&model[&0].entries, 1, &[b"three"]));
    apply(&mut model, &op);
    log.write(vec![op, commit(0, 3)]);
    drop(log);
    fs::write(folder.path().join(FILES[0]), old).unwrap();
    check(folder.path(), &model, 1..=1);
}

/// S27. The index knows of more than the log has.
#[test]
fn a_log_that_is_begun_anew_below_the_index_is_that_after_every_restart() {
    let folder = folder();
    let mut model = BTreeMap::new();
    let log = open(config(folder.path(), FILE));
    // More than one row of the index, and then rows in other places.
    let payloads = [&b"old"[..]; 200];
    let op = append(0, follow(&[], 1, &payloads));
    apply(&mut model, &op);
    log.write(vec![op, commit(0, 200)]);
    drop(log);
    let log = open(config(folder.path(), FILE));
    for op in [cut(0, 10), append(0, follow(&model[&0].entries[..10], 4, &[&b"new"[..]; 100]))] {
        apply(&mut model, &op);
        log.write(vec![op]);
    }
    log.holds(&model);
    log.log.abandon();
    check(folder.path(), &model, 100..=100);
    let log = open(config(folder.path(), FILE));
    log.write(vec![commit(0, 105)]);
    drop(log);
    check(folder.path(), &model, 0..=5);
    check(folder.path(), &model, 0..=5);
}

/// A log that is taken back below what is indexed, and given the rest again, is damaged until an entry of
/// a later epoch; and nothing of what it was given again is lost by a start.
#[test]
fn a_log_that_was_taken_back_is_whole_again_with_a_later_epoch() {
    for (indexed, refilled) in [(true, true), (true, false), (false, true), (false, false)] {
        let folder = folder();
        let mut model = BTreeMap::new();
        let log = open(config(folder.path(), FILE));
        let entries = follow(&[], 3, &[&b"entry"[..]; 100]);
        let ops = [append(0, entries.clone()), commit(0, 100)];
        ops.iter().for_each(|op| apply(&mut model, op));
        log.write(ops.to_vec());
        if indexed {
            // A start in good order finds all of it in the index.
            drop(log);
        } else {
            log.log.abandon();
        }
        let log = open(config(folder.path(), FILE));
        let ops = vec![LogOp::Doubt { partition: PartitionId(0), epoch: 3 }, cut(0, 40)];
        ops.iter().for_each(|op| apply(&mut model, op));
        log.write(ops);
        if refilled {
            let again = append(0, entries[40..].to_vec());
            apply(&mut model, &again);
            log.write(vec![again]);
        }
        log.holds(&model);
        log.log.abandon();
        for _ in 0..2 {
            let log = open(config(folder.path(), FILE));
            assert_eq!(log.recovered.damages, []);
            log.restored(&model);
            log.holds(&model);
            assert!(log.recovered.partitions[&PartitionId(0)].damaged, "{indexed} {refilled}");
        }
        let log = open(config(folder.path(), FILE));
        let later = append(0, follow(&model[&0].entries, 4, &[b"later"]));
        apply(&mut model, &later);
        log.write(vec![later]);
        log.log.abandon();
        let log = open(config(folder.path(), FILE));
        log.restored(&model);
        log.holds(&model);
        assert!(!log.recovered.partitions[&PartitionId(0)].damaged, "{indexed} {refilled}");
    }
}
