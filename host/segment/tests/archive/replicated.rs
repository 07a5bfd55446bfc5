//! What a node's archive does for others: it holds uploads, adopts what the log decides, and mends what it owes.

use bytes::Bytes;
use segment::archive::{
    Adopted, Applied, Closing, Done, Fact, Operation, Refused, Slice, UnifiedId, Versioning,
};
use segment::{Chain, LogEnd};

use crate::support::{
    Opened, closing, entire, folder, noise, open, open_with_collections, opening, upload,
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
    let held = opened.archive.held(10).unwrap();
    assert_eq!(held.iter().map(|held| &held.upload).collect::<Vec<_>>(), [&upload(1)]);
    assert!(opened.get("plain", "k").is_err(), "nobody has decided");
    // What is decided elsewhere needs no bytes of it.
    opened.done(adopt(decided(1, &data), None, 1));
    assert_eq!(opened.get("plain", "k").unwrap(), data);
    assert_eq!((opened.archive.held(10).unwrap(), owed(&opened)), (Vec::new(), 0));
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
