//! What a node's archive does for others: it holds uploads, adopts what the log decides, and mends what it owes.

use std::path::Path;

use bytes::Bytes;
use segment::archive::{
    Adopted, Applied, Closing, Done, Fact, Operation, ReadError, Refused, Slice, UnifiedId,
    Versioning,
};
use segment::{Chain, LogEnd};

use crate::support::{
    Opened, all_values, closing, delete, entire, folder, noise, open, open_with_collections,
    opening, upload,
};

fn hold(count: u64, data: &[u8]) -> Operation {
    let closing = Closing { version: UnifiedId(0), ..closing(0, data) };
    Operation::Hold { upload: upload(count), opening: opening("plain", "k", count), closing }
}

fn start(count: u64, data: &Bytes) -> Operation {
    Operation::Start { opening: opening("plain", "k", count), slice: Slice::of(0, data.clone()) }
}

/// The fact that makes an upload a version, as a log brings it.
fn decided(version: u64, data: &[u8]) -> Fact {
    let elsewhere = folder();
    let opened = open_with_collections(elsewhere.path());
    opened.done(entire("plain", "k", version, data));
    let facts = opened.archive.facts_of_upload(&upload(version)).unwrap();
    facts.into_iter().find(|fact| matches!(fact, Fact::Final(_))).unwrap()
}

fn adopt(fact: Fact, data: Option<Bytes>, seq: u64) -> Operation {
    let collection = Some(("plain".parse().unwrap(), Versioning::Unversioned));
    let end = LogEnd { epoch: 1, seq, chain: Chain::default() };
    let applied = vec![Applied { partition: 3, end }];
    Operation::Adopt { entries: vec![Adopted { fact, collection, data }], applied }
}

fn owed(opened: &Opened) -> usize {
    opened.archive.debts(10).unwrap().len()
}

#[test]
fn hold_is_answered_after_the_sync_and_outlives_the_process() {
    let (folder, data) = (folder(), noise(1, 9000));
    let opened = open_with_collections(folder.path());
    opened.written(start(1, &data));
    let short = opened.perform(hold(1, &data[..10]));
    assert_eq!(short, Err(Refused::SizeMismatch { expected: 10, found: 9000 }));
    assert_eq!(opened.perform(hold(1, &data)), Ok(Done::Synced));
    assert_eq!(opened.perform(hold(1, &data)), Ok(Done::Synced), "again alike");
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    let held = opened.archive.held(10);
    assert_eq!(held.iter().map(|held| &held.upload).collect::<Vec<_>>(), [&upload(1)]);
    assert!(opened.get("plain", "k").is_err(), "nobody has decided");
    // What is decided elsewhere needs no bytes of it.
    opened.done(adopt(decided(1, &data), None, 1));
    assert_eq!(opened.get("plain", "k").unwrap(), data);
    assert_eq!((opened.archive.held(10), owed(&opened)), (Vec::new(), 0));
}

#[test]
fn adopt_is_answered_after_the_sync_and_changes_nothing_the_second_time() {
    let (folder, data) = (folder(), noise(2, 500));
    let opened = open_with_collections(folder.path());
    for seq in [7, 7] {
        assert_eq!(
            opened.perform(adopt(decided(10, &data), Some(data.clone()), seq)),
            Ok(Done::Synced)
        );
    }
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.get("plain", "k").unwrap(), data);
    assert_eq!(opened.versions("plain", "k"), [10]);
    assert_eq!(opened.archive.applied(3).seq, 7);
    assert_eq!(opened.archive.usage().unwrap()[&"plain".parse().unwrap()].segments, 1);
    // Bytes that are not those that were decided are not taken.
    let other = Some(noise(3, 500));
    opened.done(adopt(decided(20, &data), other, 8));
    assert_eq!(owed(&opened), 1);
}

#[test]
fn mend_puts_a_sequence_in_its_place_and_is_answered_after_the_sync() {
    let (folder, data) = (folder(), noise(4, 500));
    let opened = open_with_collections(folder.path());
    let mend = |sequence: u32| {
        let slice = Slice::of(sequence, data.clone());
        Operation::Mend { upload: upload(10), slice }
    };
    assert_eq!(opened.perform(mend(0)), Err(Refused::UnknownSegment(upload(10))));
    opened.done(adopt(decided(10, &data), None, 1));
    assert_eq!(owed(&opened), 1);
    assert!(opened.get("plain", "k").is_err(), "an error, and no shorter success");
    assert_eq!(opened.perform(mend(1)), Err(Refused::WrongOrder { expected: 0, found: 1 }));
    assert_eq!(opened.perform(mend(0)), Ok(Done::Synced));
    assert_eq!((opened.get("plain", "k").unwrap(), owed(&opened)), (data.to_vec(), 0));
    opened.archive.abandon();
    drop(opened);
    assert_eq!(open(folder.path()).get("plain", "k").unwrap(), data);
}

/// As if the process had been killed, with everything synced before; `rebuilt` without its index.
fn killed(opened: Opened, folder: &Path, rebuilt: bool) -> Opened {
    opened.done(Operation::Sync);
    opened.archive.abandon();
    drop(opened);
    if rebuilt {
        std::fs::remove_file(folder.join("home/index.sqlite")).unwrap();
    }
    open(folder)
}

/// All of an upload came, and the process ended before it was held. A start forgot where it stands, and an index that is
/// made anew found it: what the log had made final was fetched again, and was told in two ways if it was hidden before that.
#[test]
fn what_a_start_gave_up_is_here_if_the_log_makes_it_final() {
    let (folder, data) = (folder(), noise(5, 9000));
    let mut opened = open_with_collections(folder.path());
    opened.written(start(1, &data));
    opened.written(start(2, &data));
    opened = killed(opened, folder.path(), false);
    assert_eq!(opened.found.given_up, 2);
    let unknown = opened.perform(hold(1, &data));
    assert_eq!(unknown, Err(Refused::UnknownSegment(upload(1))), "it is not held");
    opened.done(adopt(decided(1, &data), None, 1));
    assert_eq!((owed(&opened), opened.get("plain", "k").unwrap()), (0, data.to_vec()));
    // The second one takes the place of the first, and is deleted.
    let Fact::Final(made) = decided(2, &data) else { panic!("it is one") };
    opened.done(delete("plain", "k", 3));
    opened.done(adopt(Fact::Final(made.clone()), None, 2));
    for rebuilt in [false, true] {
        assert_eq!(opened.archive.part(made.clone()).unwrap().table().len(), 1);
        assert!(matches!(opened.get("plain", "k"), Err(ReadError::NotFound)));
        assert_eq!(owed(&opened), 0);
        opened = killed(opened, folder.path(), rebuilt);
        assert_eq!(opened.found.given_up, 0, "it is known what became of both");
    }
}

/// Whoever begins anew may do so under the same name: what came before is no part of it.
#[test]
fn of_an_upload_that_begins_anew_nothing_of_before_counts() {
    let (folder, data) = (folder(), noise(6, 9000));
    let (long, last) = (noise(7, 8000), noise(8, 7000));
    let mut opened = open_with_collections(folder.path());
    for count in [1, 2] {
        opened.written(start(count, &long));
        let next = Operation::Next { upload: upload(count), slice: Slice::of(1, last.clone()) };
        opened.written(next);
    }
    opened = killed(opened, folder.path(), false);
    opened.written(start(1, &data));
    let closing = closing(1, &data);
    opened.done(Operation::Final { upload: upload(1), slice: None, closing });
    for rebuilt in [false, true] {
        assert_eq!(opened.get("plain", "k").unwrap(), data);
        opened = killed(opened, folder.path(), rebuilt);
        assert_eq!(opened.archive.find_debts().unwrap(), 0);
    }
    // Nor is it what the log decides of other bytes.
    opened.done(adopt(decided(2, &data), None, 2));
    let debts = opened.archive.debts(10).unwrap();
    assert_eq!(debts.iter().map(|debt| debt.missing.len()).collect::<Vec<_>>(), [1]);
    let slice = Slice::of(0, data.clone());
    opened.done(Operation::Mend { upload: upload(2), slice });
    assert_eq!((owed(&opened), opened.get("plain", "k").unwrap()), (0, data.to_vec()));
}

/// What nobody can pay, or decide, kept those behind it from being asked for: always the first 64 were told.
#[test]
fn debts_and_what_is_held_are_told_in_turn() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for count in 1..=5 {
        let Fact::Final(mut made) = decided(count, &noise(count, 500)) else { panic!("it is one") };
        // What is replaced is owed no more.
        made.at.key = format!("k{count}").parse().unwrap();
        opened.done(adopt(Fact::Final(made), None, count));
        let data = noise(count, 300);
        opened.written(start(10 + count, &data));
        opened.done(hold(10 + count, &data));
    }
    let owed = || -> Vec<u64> {
        let debts = opened.archive.debts(2).unwrap();
        debts.iter().map(|debt| debt.made.upload.count).collect()
    };
    assert_eq!([owed(), owed(), owed()], [[1, 2], [3, 4], [5, 1]]);
    let held =
        || -> Vec<u64> { opened.archive.held(2).iter().map(|held| held.upload.count).collect() };
    assert_eq!([held(), held(), held()], [[11, 12], [13, 14], [15, 11]]);
}

/// More than can be known at once, and nobody pays any: all the same each has its turn.
#[test]
fn of_more_debts_than_are_known_at_once_each_has_its_turn() {
    const DEBTS: u64 = 4096 + 500;
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let Fact::Final(made) = decided(1, &noise(1, 500)) else { panic!("it is one") };
    let facts = (1..=DEBTS).map(|count| {
        let mut made = made.clone();
        (made.upload.count, made.at.version) = (count, UnifiedId(count));
        made.at.key = format!("k{count}").parse().unwrap();
        Adopted { fact: Fact::Final(made), collection: None, data: None }
    });
    let entries: Vec<Adopted> = facts.collect();
    opened.done(Operation::Adopt { entries, applied: Vec::new() });
    let mut told = std::collections::BTreeSet::new();
    for _round in 0..2 * DEBTS.div_ceil(64) + 2 {
        let debts = opened.archive.debts(64).unwrap();
        told.extend(debts.iter().map(|debt| debt.made.upload.count));
    }
    assert_eq!(told.len() as u64, DEBTS);
}

/// What is undecided is kept in memory: the log's word takes it out, and so does a start.
#[test]
fn what_is_decided_is_held_no_more_and_not_after_a_start_either() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = noise(1, 300);
    for count in 1..=3 {
        opened.written(start(count, &data));
        opened.done(hold(count, &data));
    }
    let held = |opened: &Opened| -> Vec<u64> {
        opened.archive.held(10).iter().map(|held| held.upload.count).collect()
    };
    assert_eq!(held(&opened), [1, 2, 3]);
    opened.done(adopt(Fact::Cancelled { upload: upload(1), time_ms: 5 }, None, 1));
    opened.done(adopt(decided(2, &data), None, 2));
    assert_eq!(held(&opened), [3]);
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(held(&opened), [3]);
    let fence = Fact::WriterStarted { node: upload(3).node, boot: upload(3).boot + 1, time_ms: 6 };
    opened.done(adopt(fence, None, 3));
    assert_eq!(held(&opened), [] as [u64; 0]);
    drop(opened);
    assert_eq!(held(&open(folder.path())), [] as [u64; 0]);
}

/// A shard that was let go is collected with all that is known of it, and taken over from its beginning by whoever has a
/// part in it again.
#[test]
fn what_is_let_go_is_collected_and_can_be_taken_over_again() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let (data, newer) = (noise(1, 300_000), noise(2, 200_000));
    // Both replace each other: a floor left behind would hide them.
    opened.done(adopt(decided(1, &data), Some(data.clone()), 1));
    opened.done(adopt(decided(2, &newer), Some(newer.clone()), 2));
    assert_eq!(opened.archive.applied(3).seq, 2);
    drop(opened);
    let opened = open(folder.path());
    // The versions of these tests are of shard 0; partition 3 is what they say they are known up to.
    opened.archive.let_go(0).unwrap();
    opened.archive.let_go(3).unwrap();
    assert_eq!(opened.archive.applied(3).seq, 0);
    assert_eq!(opened.archive.compact(1).unwrap().segments, 2);
    let (plain, key) = ("plain".parse().unwrap(), "k".parse().unwrap());
    assert_eq!(opened.archive.facts(&plain, &key).unwrap(), []);
    let left: u64 =
        all_values(folder.path()).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!(left < 2000, "{left} bytes are left");
    opened.archive.keep(0);
    opened.done(adopt(decided(1, &data), Some(data.clone()), 1));
    opened.done(adopt(decided(2, &newer), Some(newer.clone()), 2));
    assert!(opened.get("plain", "k").unwrap() == newer);
}
