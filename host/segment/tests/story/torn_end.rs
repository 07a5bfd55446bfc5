//! A crash in the middle of the last batch: what was confirmed stays, and the rest is as if it had never
//! been.

use std::collections::BTreeMap;
use std::fs;

use segment::LogOp;

use crate::support::{
    Expected, append, apply, config, end_of_records, follow, image, open, promise, quick_folder,
    values,
};

const FILE: u64 = 1 << 20;

/// A log of two batches, abandoned so that the last one is not marked: the model after each operation of
/// the last batch, the quick_folder, and where the last batch begins and ends.
struct Crash {
    folder: tempfile::TempDir,
    models: Vec<BTreeMap<u16, Expected>>,
    begins: usize,
    ends: usize,
}

fn crash() -> Crash {
    let folder = quick_folder();
    let mut model = BTreeMap::new();
    let log = open(config(folder.path(), FILE));
    let confirmed = [
        append(0, follow(&[], 1, &[b"one", b"two"])),
        promise(1, 3),
        append(1, follow(&[], 3, &[b"three"])),
    ];
    for op in &confirmed {
        apply(&mut model, op);
    }
    log.write(confirmed.to_vec());
    let begins = end_of_records(&fs::read(values(folder.path(), 1)).unwrap());
    let mut models = vec![model.clone()];
    let mut last: Vec<LogOp> = Vec::new();
    for (number, op) in [
        append(0, follow(&model[&0].entries, 1, &[b"a longer payload than that of the others"])),
        append(1, follow(&model[&1].entries, 3, &[b"five"])),
        promise(0, 9),
        append(0, vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        apply(&mut model, &op);
        if number < 3 {
            models.push(model.clone());
        }
        last.push(op);
    }
    // Before the writer has marked the first batch by itself, so that this batch is the mark.
    log.write(last);
    log.log.abandon();
    let ends = end_of_records(&fs::read(values(folder.path(), 1)).unwrap());
    Crash { folder, models, begins, ends }
}

/// Opens what a crash left: it must be one of the models, and go on working.
fn check(crash: &Crash, folder: &std::path::Path, cut_at: usize) {
    let log = open(config(folder, FILE));
    assert_eq!(log.recovered.damages, [], "cut at {cut_at}");
    let held = |model: &&BTreeMap<u16, Expected>| {
        model.iter().all(|(partition, expected)| {
            let restored = log.recovered.partitions.get(&hashring::PartitionId(*partition));
            let restored = restored.cloned().unwrap_or_default();
            restored.end.seq == expected.entries.len() as u64
                && restored.promise == expected.promise
        })
    };
    let mut model = crash.models.iter().find(held).unwrap().clone();
    log.restored(&model);
    log.holds(&model);
    // What follows is shorter than what was torn, so remains of that would now stand behind it.
    let op = append(0, follow(&model[&0].entries, 9, &[b"x"]));
    apply(&mut model, &op);
    log.write(vec![op]);
    let again = image(folder);
    log.holds(&model);
    drop(log);
    for folder in [folder, again.path()] {
        let log = open(config(folder, FILE));
        assert_eq!((&log.recovered.damages[..], log.recovered.cut_bytes), (&[][..], 0));
        log.restored(&model);
        log.holds(&model);
    }
}

#[test]
fn a_batch_torn_at_any_byte_is_cut_there() {
    let crash = crash();
    for at in (crash.begins..=crash.ends).step_by(4) {
        let copy = image(crash.folder.path());
        let path = values(copy.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at..].fill(0);
        fs::write(&path, bytes).unwrap();
        check(&crash, copy.path(), at);
    }
}

#[test]
fn a_batch_of_which_only_later_pieces_were_written_is_cut_at_the_first_hole() {
    let crash = crash();
    for at in (crash.begins..crash.ends).step_by(8) {
        let copy = image(crash.folder.path());
        let path = values(copy.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let until = (at + 24).min(crash.ends);
        bytes[at..until].fill(0);
        fs::write(&path, bytes).unwrap();
        check(&crash, copy.path(), at);
    }
}

#[test]
fn a_recovery_that_is_interrupted_begins_again() {
    let crash = crash();
    let copy = image(crash.folder.path());
    let path = values(copy.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[crash.begins + 90] ^= 1;
    fs::write(&path, bytes).unwrap();
    // Recovered, and killed before anything else.
    open(config(copy.path(), FILE)).log.abandon();
    check(&crash, copy.path(), 90);
}
