//! Logs that begin later than with their first entry: what is kept of the rest, what is given back, and what a
//! start makes of each step on the way there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hashring::PartitionId;
use segment::{Base, BaseError, BaseTaken, LogConfig, LogEnd, LogEntry, LogOp, ReadError};

use crate::support::{
    Opened, PATIENCE, append, commit, config, cut, follow, image, open, promise, quick_folder,
    values,
};

const P: PartitionId = PartitionId(1);
/// A small file, so that there are several.
pub(crate) const FILE: u64 = 16 << 10;

/// What a partition should be: everything it ever had that stands, where it begins, and what is kept below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) base: LogEnd,
    pub(crate) kept: BTreeSet<u64>,
    pub(crate) promise: u64,
}

impl Model {
    pub(crate) fn place(&self, seq: u64) -> LogEnd {
        let Some(at) = seq.checked_sub(1) else { return LogEnd::default() };
        let entry = &self.entries[usize::try_from(at).unwrap()];
        LogEnd { epoch: entry.epoch, seq, chain: entry.chain }
    }

    pub(crate) fn end(&self) -> LogEnd {
        self.place(self.entries.len() as u64)
    }

    pub(crate) fn more(&mut self, epoch: u64, payloads: &[&[u8]]) -> Vec<LogEntry> {
        let more = follow(&self.entries, epoch, payloads);
        self.entries.extend(more.clone());
        more
    }

    /// What reading gives.
    pub(crate) fn there(&self) -> Vec<LogEntry> {
        let there = |it: &&LogEntry| it.seq > self.base.seq || self.kept.contains(&it.seq);
        self.entries.iter().filter(there).cloned().collect()
    }

    pub(crate) fn trim(&mut self, base: u64, kept: impl Fn(u64) -> bool) {
        let before = std::mem::take(&mut self.kept);
        let stood = |seq: &u64| *seq > self.base.seq || before.contains(seq);
        self.kept = (1..=base).filter(stood).filter(|seq| kept(*seq)).collect();
        self.base = self.place(base);
    }
}

/// All entries of a partition, in small pieces.
fn read_all(log: &Opened, partition: PartitionId) -> Vec<LogEntry> {
    let mut all: Vec<LogEntry> = Vec::new();
    loop {
        let from = all.last().map_or(1, |last| last.seq + 1);
        let more = log.log.read(partition, from, 7, 1000).unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

pub(crate) fn is(log: &Opened, partition: PartitionId, model: &Model) {
    assert_eq!(read_all(log, partition), model.there());
    let base = log.log.base(partition).map(|base| base.place).unwrap_or_default();
    assert_eq!(base, model.base);
}

pub(crate) fn restores(log: &Opened, partition: PartitionId, model: &Model) {
    assert_eq!(log.recovered.damages, []);
    let found = log.recovered.partitions.get(&partition).cloned().unwrap_or_default();
    assert_eq!((found.end, found.base), (model.end(), model.base));
    assert_eq!(found.promise.map_or(0, |promise| promise.epoch), model.promise);
    assert!(!found.damaged);
    assert!(found.commit >= model.base.seq);
    let mut epochs: Vec<(u64, u64)> = Vec::new();
    if model.base.seq > 0 {
        epochs.push((model.base.epoch, model.base.seq));
    }
    for entry in model.entries.iter().filter(|entry| entry.seq > model.base.seq) {
        if epochs.last().is_none_or(|(epoch, _)| *epoch < entry.epoch) {
            epochs.push((entry.epoch, entry.seq));
        }
    }
    assert_eq!(found.epochs, epochs);
    is(log, partition, model);
}

/// Writes what is kept beside.
fn draft(log: &Opened, partition: PartitionId, model: &Model) -> Base {
    let mut draft = log.log.draft_base(partition, model.base, 1000).unwrap();
    draft.part(b"what was made of it").unwrap();
    draft.part(&[7; 3000]).unwrap();
    for entry in model.there().iter().filter(|entry| entry.seq <= model.base.seq) {
        draft.entry(entry).unwrap();
    }
    draft.finish().unwrap()
}

/// The log begins there.
pub(crate) fn trim(log: &Opened, partition: PartitionId, model: &Model) -> Base {
    let base = draft(log, partition, model);
    log.write(vec![LogOp::Base { partition, base: model.base }]);
    base
}

/// A log with 200 committed entries of two epochs, in several files.
fn written(folder: &Path) -> (Opened, Model) {
    let log = open(config(folder, FILE));
    let mut model = Model { promise: 3, ..Model::default() };
    let text = |number: u64| format!("entry {number} {}", "x".repeat(300));
    for number in 1..=200 {
        let epoch = if number <= 90 { 2 } else { 3 };
        let entries = model.more(epoch, &[text(number).as_bytes()]);
        log.write(vec![append(1, entries)]);
    }
    log.write(vec![promise(1, 3), commit(1, 200)]);
    (log, model)
}

pub(crate) fn without_index(folder: &Path) {
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _not_there = fs::remove_file(folder.join(name));
    }
}

/// Names in a folder that end so.
fn names(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect();
    names.sort();
    names
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let until = runtime::now() + PATIENCE;
    while !is_so() {
        assert!(runtime::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_trimmed_log_has_what_is_kept_and_goes_on() {
    let folder = quick_folder();
    let (log, mut model) = written(folder.path());
    let before = read_all(&log, P);
    model.trim(150, |seq| seq.is_multiple_of(10));
    let base = trim(&log, P, &model);
    assert_eq!((base.place, base.entries), (model.base, 15));
    is(&log, P, &model);
    let parts = log.log.base_parts(P).unwrap().unwrap();
    assert_eq!(parts.place, model.base);
    assert_eq!(parts.parts, [Bytes::from_static(b"what was made of it"), vec![7; 3000].into()]);
    // From in between, and over the border.
    let read = log.log.read(P, 143, 3, usize::MAX).unwrap();
    assert_eq!(read, [before[149].clone(), before[150].clone(), before[151].clone()]);
    assert_eq!(log.log.read(P, 11, 1, 1).unwrap(), [before[19].clone()]);
    let entries = model.more(5, &[b"more", b"and more"]);
    log.write(vec![append(1, entries)]);
    model.trim(180, |seq| seq > 100);
    trim(&log, P, &model);
    is(&log, P, &model);
    drop(log);
    for forgets in [false, true, true] {
        if forgets {
            without_index(folder.path());
        }
        let log = open(config(folder.path(), FILE));
        restores(&log, P, &model);
        log.log.abandon();
    }
    assert_eq!(names(folder.path(), ".base").len(), 1, "the one before is gone");
}

/// Each step of trimming, as a crash leaves it: the log is what it was until the record is on the disk.
#[test]
fn a_crash_at_any_step_leaves_the_log_as_it_was_or_as_it_is_to_be() {
    let folder = quick_folder();
    let (log, mut model) = written(folder.path());
    model.trim(100, |seq| seq.is_multiple_of(3));
    trim(&log, P, &model);
    let before = model.clone();
    model.trim(170, |seq| seq.is_multiple_of(2));
    let checks = |model: &Model, what: &str| {
        for forgets in [false, true] {
            let copy = image(folder.path());
            if forgets {
                without_index(copy.path());
            }
            let log = open(config(copy.path(), FILE));
            restores(&log, P, model);
            assert_eq!(names(copy.path(), ".base").len(), 1, "{what}");
            assert!(names(copy.path(), ".base.new").is_empty(), "{what}");
        }
    };
    let mut half = log.log.draft_base(P, model.base, 1000).unwrap();
    half.part(b"half").unwrap();
    checks(&before, "it is being written");
    drop(half);
    checks(&before, "it is given up");
    draft(&log, P, &model);
    assert_eq!(names(folder.path(), ".base").len(), 2);
    checks(&before, "it is written");
    is(&log, P, &before);
    log.write(vec![LogOp::Base { partition: P, base: model.base }]);
    checks(&model, "it counts");
}

#[test]
fn value_files_that_no_log_needs_are_given_back() {
    let folder = quick_folder();
    let (log, mut model) = written(folder.path());
    // Another partition with a promise, and one log that is not trimmed.
    let mut other = Model { promise: 4, ..Model::default() };
    let entries = other.more(4, &[b"other"]);
    log.write(vec![promise(2, 4), append(2, entries), commit(2, 1)]);
    let files = || names(folder.path(), ".values").len();
    let many = files();
    assert!(many > 4, "{many} files");
    model.trim(195, |seq| seq > 60);
    trim(&log, P, &model);
    until("files stay", || !values(folder.path(), 1).exists());
    until("too many stay", || files() <= 2);
    let entries = model.more(6, &[&[1; 500], &[2; 500]]);
    log.write(vec![append(1, entries), commit(1, 202)]);
    is(&log, P, &model);
    drop(log);
    for forgets in [false, true, true, false] {
        if forgets {
            without_index(folder.path());
        }
        let log = open(config(folder.path(), FILE));
        restores(&log, P, &model);
        restores(&log, PartitionId(2), &other);
        log.log.abandon();
    }
    // A file that was needed is missed, and what was given back is not.
    without_index(folder.path());
    let first = names(folder.path(), ".values").remove(0);
    if files() > 1 {
        fs::remove_file(first).unwrap();
        let log = open(config(folder.path(), FILE));
        assert!(!log.recovered.damages.is_empty());
        assert!(log.recovered.partitions[&P].damaged);
    }
}

#[test]
fn what_is_needed_elsewhere_keeps_its_file() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    let mut slow = Model::default();
    let entries = slow.more(1, &[b"slow"]);
    log.write(vec![append(2, entries), commit(2, 1)]);
    drop(log);
    let (log, mut model) = written(folder.path());
    model.trim(199, |_| false);
    trim(&log, P, &model);
    let after = follow(&slow.entries, 1, &[b"more"]);
    slow.entries.extend(after.clone());
    log.write(vec![append(2, after), commit(2, 2)]);
    drop(log);
    let log = open(config(folder.path(), FILE));
    restores(&log, PartitionId(2), &slow);
    restores(&log, P, &model);
    assert!(values(folder.path(), 1).exists());
    slow.trim(1, |_| true);
    trim(&log, PartitionId(2), &slow);
    until("it stays", || !values(folder.path(), 1).exists());
    is(&log, PartitionId(2), &slow);
    is(&log, P, &model);
}

/// Another folder takes what the first one's log stands on.
fn pieces(log: &Opened, bytes_max: usize) -> (Base, Vec<Bytes>) {
    let (base, _) = log.log.base_piece(P, 0, 1).unwrap();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < base.bytes {
        let (_, piece) = log.log.base_piece(P, at, bytes_max).unwrap();
        at += piece.len() as u64;
        pieces.push(piece);
    }
    (base, pieces)
}

fn other_store(folder: &Path) -> LogConfig {
    LogConfig { store: 0xbeef, ..config(folder, FILE) }
}

#[test]
fn a_log_that_is_given_goes_on_where_it_was_interrupted_and_counts_when_the_record_is_there() {
    let (folder, taker) = (quick_folder(), quick_folder());
    let (log, mut model) = written(folder.path());
    model.trim(180, |seq| seq.is_multiple_of(7));
    trim(&log, P, &model);
    let (base, pieces) = pieces(&log, 1000);
    assert!(pieces.len() > 5);
    // The taker has another log, of which nothing is committed.
    let mut old = Model { promise: 1, ..Model::default() };
    let mut there = open(other_store(taker.path()));
    let entries = old.more(1, &[b"of", b"its", b"own"]);
    there.write(vec![promise(1, 1), append(1, entries)]);
    let mut at = 0;
    for (number, piece) in pieces.iter().enumerate() {
        if number == 3 {
            drop(there);
            there = open(other_store(taker.path()));
            restores(&there, P, &old);
        }
        // What comes twice, or too early, changes nothing.
        let early = there.log.take_base(P, base, at + 50, piece).unwrap();
        assert_eq!(early, BaseTaken::Some(at));
        let taken = there.log.take_base(P, base, at, piece).unwrap();
        at += piece.len() as u64;
        let whole = number + 1 == pieces.len();
        assert_eq!(taken, if whole { BaseTaken::All } else { BaseTaken::Some(at) });
        is(&there, P, &old);
    }
    assert_eq!(there.log.take_base(P, base, at, b"").unwrap(), BaseTaken::All, "asked again");
    let copy = image(taker.path());
    restores(&open(other_store(copy.path())), P, &old);
    there.write(vec![cut(1, 0), LogOp::Base { partition: P, base: model.base }]);
    let mut taken = Model { entries: model.entries[..180].to_vec(), promise: 1, ..model.clone() };
    is(&there, P, &taken);
    taken.entries = model.entries.clone();
    there.write(vec![append(1, model.entries[180..].to_vec())]);
    is(&there, P, &taken);
    assert_eq!(there.log.base_parts(P).unwrap(), log.log.base_parts(P).unwrap());
    drop(there);
    for forgets in [false, true] {
        if forgets {
            without_index(taker.path());
        }
        let there = open(other_store(taker.path()));
        restores(&there, P, &taken);
        there.log.abandon();
    }
}

#[test]
fn what_was_taken_wrong_is_taken_again() {
    let (folder, taker) = (quick_folder(), quick_folder());
    let (log, mut model) = written(folder.path());
    model.trim(180, |seq| seq.is_multiple_of(7));
    trim(&log, P, &model);
    let (base, pieces) = pieces(&log, 4000);
    let there = open(other_store(taker.path()));
    let mut at = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let mut bytes = piece.to_vec();
        if number == 1 {
            bytes[99] ^= 1;
        }
        let taken = there.log.take_base(P, base, at, &bytes).unwrap();
        at += piece.len() as u64;
        let whole = number + 1 == pieces.len();
        assert_eq!(taken, BaseTaken::Some(if whole { 0 } else { at }));
    }
    at = 0;
    for piece in &pieces {
        there.log.take_base(P, base, at, piece).unwrap();
        at += piece.len() as u64;
    }
    assert_eq!(there.log.take_base(P, base, at, b"").unwrap(), BaseTaken::All);
    // Longer than it was said to be.
    let longer = Base { place: LogEnd { seq: 190, ..base.place }, bytes: 10, ..base };
    let taken = there.log.take_base(P, longer, 0, &[1; 11]).unwrap();
    assert_eq!(taken, BaseTaken::Some(0));
}

#[test]
fn a_flipped_bit_is_never_read_as_something_else() {
    let folder = quick_folder();
    let (log, mut model) = written(folder.path());
    model.trim(180, |seq| seq.is_multiple_of(30));
    trim(&log, P, &model);
    drop(log);
    let path = names(folder.path(), ".base").remove(0);
    let whole = fs::read(&path).unwrap();
    let above = model.entries[180..].to_vec();
    for at in (0..whole.len()).step_by(37).chain(0..64).chain(whole.len() - 48..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let log = open(config(folder.path(), FILE));
        let end = log.recovered.partitions[&P].end;
        assert_eq!(end, model.end(), "the log does not suffer");
        assert_eq!(log.log.read(P, 181, 100, usize::MAX).unwrap(), above);
        for seq in [1, 30, 31, 60, 150, 180] {
            match log.log.read(P, seq, 1, 1) {
                Ok(read) => {
                    let kept = model.there();
                    let expected = kept.iter().find(|entry| entry.seq >= seq);
                    assert_eq!(read.first(), expected, "byte {at}");
                }
                Err(ReadError::Damaged { file, .. }) => assert_eq!(file, path),
                Err(error) => panic!("{error}"),
            }
        }
        let expected = [Bytes::from_static(b"what was made of it"), vec![7; 3000].into()];
        match log.log.base_parts(P) {
            Ok(parts) => assert_eq!(parts.unwrap().parts, expected, "byte {at}"),
            Err(BaseError::Damaged { .. } | BaseError::Gone { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        log.log.abandon();
    }
    fs::remove_file(&path).unwrap();
    let log = open(config(folder.path(), FILE));
    assert_eq!(log.recovered.damages[0].partition, Some(P));
    assert!(log.log.read(P, 1, 1, 1).is_err() && log.log.base_parts(P).is_err());
    assert_eq!(log.log.read(P, 181, 100, usize::MAX).unwrap(), above);
}

#[test]
fn where_a_log_may_begin_is_told_by_entries_and_by_bytes() {
    let folder = quick_folder();
    let (log, mut model) = written(folder.path());
    let length = model.entries[150].payload.len() as u64;
    for _look in 0..2 {
        assert_eq!(log.log.weigh(P, 10, u64::MAX).unwrap(), 190);
        assert_eq!(log.log.weigh(P, 1000, u64::MAX).unwrap(), model.base.seq);
        assert_eq!(log.log.weigh(P, 1000, 5 * length).unwrap(), 195);
        assert_eq!(log.log.weigh(PartitionId(3), 10, 10).unwrap(), 0);
        // With most of it in the index, and a beginning.
        model.trim(120, |_| false);
        trim(&log, P, &model);
        until("it is indexed", || log.log.read(P, 121, 1, 1).is_ok());
    }
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/base.v1.hex");

#[test]
fn a_base_file_of_version_1_is_written_as_it_always_was() {
    let folder = quick_folder();
    let log = open(config(folder.path(), FILE));
    let mut model = Model::default();
    let entries = model.more(2, &[b"hello", b"", b"12345678"]);
    log.write(vec![append(1, entries), commit(1, 3)]);
    model.trim(3, |seq| seq != 2);
    let mut draft = log.log.draft_base(P, model.base, 10).unwrap();
    draft.part(b"a part").unwrap();
    model.there().iter().for_each(|entry| draft.entry(entry).unwrap());
    draft.finish().unwrap();
    let bytes = fs::read(names(folder.path(), ".base").remove(0)).unwrap();
    let lines = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    let found: String = lines.collect();
    // A new version gets a file of its own; this one is written once: GOLDEN_WRITE=1.
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::write(GOLDEN, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(GOLDEN).unwrap());
}
