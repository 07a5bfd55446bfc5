//! What is written is read back, now and after a restart.

use std::collections::BTreeMap;

use crate::support::{append, apply, commit, config, cut, folder, follow, open, promise};

const FILE: u64 = 1 << 20;

#[test]
fn entries_promises_and_cuts_are_there_after_a_restart() {
    let folder = folder();
    let mut model = BTreeMap::new();
    let log = open(config(folder.path(), FILE));
    let first = follow(&[], 1, &[b"a", b"bb", b"ccc"]);
    let kept = &first[..2];
    let ops = [
        promise(0, 1),
        append(0, first.clone()),
        append(3, follow(&[], 2, &[b"other", b""])),
        promise(0, 5),
        cut(0, 2),
        append(0, follow(kept, 5, &[b"new", b"newer"])),
        commit(0, 3),
    ];
    for op in ops {
        apply(&mut model, &op);
        log.write(vec![op]);
    }
    log.holds(&model);
    drop(log);
    let log = open(config(folder.path(), FILE));
    log.restored(&model);
    log.holds(&model);
    assert_eq!(log.recovered.damages, []);
    assert_eq!(log.recovered.cut_bytes, 0);
    assert_eq!(log.recovered.partitions[&hashring::PartitionId(0)].commit, 3);
}

#[test]
fn a_log_that_was_abandoned_keeps_everything_that_was_confirmed() {
    let folder = folder();
    let mut model = BTreeMap::new();
    let log = open(config(folder.path(), FILE));
    for number in 0..20_u8 {
        let last = model.entry(1).or_insert_with(crate::support::Expected::default);
        let op = append(1, follow(&last.entries, 1, &[&[number; 100]]));
        apply(&mut model, &op);
        log.write(vec![op]);
    }
    log.log.abandon();
    drop(log);
    let log = open(config(folder.path(), FILE));
    log.restored(&model);
    log.holds(&model);
    assert_eq!(log.recovered.damages, []);
}

#[test]
fn files_roll_over_before_they_become_too_large() {
    let folder = folder();
    let mut model = BTreeMap::new();
    let log = open(config(folder.path(), 4096));
    for number in 0..100_u8 {
        let last = model.entry(2).or_insert_with(crate::support::Expected::default);
        let op = append(2, follow(&last.entries, 1, &[&[number; 100], &[number; 50]]));
        apply(&mut model, &op);
        log.submit(vec![op]);
    }
    // Larger than a file may be: it has one for itself.
    let large = vec![7; 10_000];
    let op = append(2, follow(&model[&2].entries, 1, &[&large]));
    apply(&mut model, &op);
    log.write(vec![op]);
    log.holds(&model);
    drop(log);
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if file.path().extension().is_some_and(|extension| extension == "values") {
            files += 1;
            let bytes = file.metadata().unwrap().len();
            assert!(bytes <= 4096 || bytes > 10_000, "{bytes} bytes");
        }
    }
    assert!(files > 5, "{files} files");
    let log = open(config(folder.path(), 4096));
    log.restored(&model);
    log.holds(&model);
    assert_eq!(log.recovered.damages, []);
}
