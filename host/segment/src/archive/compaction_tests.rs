//! Compaction of a file that an upload turns out to be in.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::Reserve;
use crate::archive::{
    Adler32, Adopted, ArchiveConfig, At, Closing, Md5, Opening, Operation, Slice, SpaceConfig,
    Table, UnifiedId, Upload, Versioning,
};

/// An archive with a collection, and files of 1 MiB.
fn opened(folder: &std::path::Path) -> Archive {
    let config = ArchiveConfig {
        home: folder.join("home"),
        node: "n1".parse().unwrap(),
        store: 1,
        spaces: vec![SpaceConfig { id: 1, root: folder.join("data"), takes: true }],
        reserve: Reserve::Bytes(0),
        value_file_bytes_max: 1 << 20,
        idle_max: Duration::from_secs(1800),
        hidden_for: Duration::from_secs(3600),
        grace: Duration::from_secs(864_000),
        keeping: None,
    };
    let archive = Archive::open(config, |_text| {}).unwrap().0;
    let (name, versioning) = ("plain".parse().unwrap(), Versioning::Unversioned);
    archive.perform(Operation::CreateCollection { name, versioning, time_ms: 1 }).unwrap();
    archive
}

/// That an upload is under way in a file is looked at before it is compacted, and once more when the file is to go: in
/// between one may have begun. What was copied by then was a second copy, in a file that nobody knew, for ever.
#[test]
fn a_file_that_an_upload_turns_out_to_be_in_stays_and_the_copy_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let archive = opened(folder.path());
    let (whole, data) = (Bytes::from(vec![7; 1000]), Bytes::from(vec![8; 600_000]));
    let closing = |version: u64, data: &[u8]| Closing {
        version: UnifiedId(version),
        size: data.len() as u64,
        md5: Md5::of(data),
        adler32: Adler32::of(data),
        meta: Vec::new(),
        time_ms: version,
    };
    let upload = |count: u64| Upload { node: "n1".parse().unwrap(), boot: 1, count };
    let opening = |key: &str, count: u64| Opening {
        upload: upload(count),
        collection: "plain".parse().unwrap(),
        key: key.parse().unwrap(),
        part: 0,
        segment_number: 1,
    };
    let slice = Slice::of(0, whole.clone());
    let entire =
        Operation::Entire { opening: opening("whole", 1), slice, closing: closing(1, &whole) };
    archive.perform(entire).unwrap();
    let slice = |number: u32| Slice::of(number, data.clone());
    archive.perform(Operation::Start { opening: opening("k", 2), slice: slice(0) }).unwrap();
    // It goes on in the next file, and the first one is closed.
    archive.perform(Operation::Next { upload: upload(2), slice: slice(1) }).unwrap();
    archive.perform(Operation::Sync).unwrap();
    let shared = archive.shared();
    let rows = shared.index.files().unwrap();
    let [first] = &rows[..] else { panic!("{rows:?}") };
    assert!(shared.pinned().contains(&first.file), "a pass leaves it alone");

    let error = Copy::new(shared, &rows, 0).unwrap().compact(&Pace::free()).unwrap_err();
    assert!(matches!(error, KeepError::Busy), "{error}");
    let rows = shared.index.files().unwrap();
    assert_eq!(rows.len(), 2, "the copy is known: {rows:?}");
    let read = |key: &str| {
        let mut reading =
            archive.read(&"plain".parse().unwrap(), &key.parse().unwrap(), None).unwrap();
        let mut data = Vec::new();
        while let Some(sequence) = reading.next_sequence().unwrap() {
            data.extend_from_slice(&sequence);
        }
        data
    };
    assert_eq!(read("whole"), whole);
    let both = [&data[..], &data[..]].concat();
    let done = Operation::Final { upload: upload(2), slice: None, closing: closing(2, &both) };
    archive.perform(done).unwrap();
    assert!(read("k") == both);
    // Then what is left of the first file goes on its own, and nothing is lost.
    archive.perform(Operation::Sync).unwrap();
    archive.compact(0).unwrap();
    assert_eq!((read("whole"), read("k") == both), (whole.to_vec(), true));
}

/// What a node let go and has a part in again must not be collected by a compaction that began in between: it is taken
/// over once more from the log, and what is here counts as taken over.
#[test]
fn what_a_node_has_a_part_in_again_is_not_collected() {
    let folder = tempfile::tempdir().unwrap();
    let archive = opened(folder.path());
    let data = Bytes::from(vec![7; 1000]);
    let opening = Opening {
        upload: Upload { node: "n1".parse().unwrap(), boot: 1, count: 1 },
        collection: "plain".parse().unwrap(),
        key: "k".parse().unwrap(),
        part: 0,
        segment_number: 1,
    };
    // Of shard 5.
    let version = UnifiedId((9 << 23) | (5 << 10) | 1);
    let (md5, adler32) = (Md5::of(&data), Adler32::of(&data));
    let closing = Closing { version, size: 1000, md5, adler32, meta: Vec::new(), time_ms: 1 };
    let slice = Slice::of(0, data.clone());
    archive.perform(Operation::Entire { opening, slice, closing }).unwrap();
    assert_eq!((archive.has_any(5).unwrap(), archive.has_any(6).unwrap()), (true, false));
    drop(archive);
    let archive = opened(folder.path());
    let read = || {
        let (plain, key) = ("plain".parse().unwrap(), "k".parse().unwrap());
        archive.read(&plain, &key, None).and_then(|mut reading| reading.next_sequence())
    };
    archive.let_go(5).unwrap();
    let shared = archive.shared();
    let rows = shared.index.files().unwrap();
    let mut copy = Copy::new(shared, &rows, 0).unwrap();
    archive.keep(5);
    let error = copy.compact(&Pace::free()).unwrap_err();
    assert!(matches!(error, KeepError::Busy), "{error}");
    assert_eq!(read().unwrap(), Some(data.clone()));
    archive.compact(0).unwrap();
    assert_eq!(read().unwrap(), Some(data));
    archive.let_go(5).unwrap();
    assert_eq!(archive.compact(0).unwrap().segments, 1);
    assert!(read().is_err() && !archive.has_any(5).unwrap());
}

/// What a start gave up is waste for as long as nobody has made it final. If the log does so while its files are compacted
/// they stay: its bytes counted as here, and nothing would have been owed.
#[test]
fn what_becomes_final_while_it_is_compacted_stays() {
    let folder = tempfile::tempdir().unwrap();
    let archive = opened(folder.path());
    let data = Bytes::from(vec![8; 600_000]);
    let upload = Upload { node: "n1".parse().unwrap(), boot: 1, count: 2 };
    let at = At {
        collection: "plain".parse().unwrap(),
        key: "k".parse().unwrap(),
        version: UnifiedId(2),
    };
    let opening = Opening {
        upload: upload.clone(),
        collection: at.collection.clone(),
        key: at.key.clone(),
        part: 0,
        segment_number: 1,
    };
    let slice = |number: u32| Slice::of(number, data.clone());
    archive.perform(Operation::Start { opening, slice: slice(0) }).unwrap();
    archive.perform(Operation::Next { upload: upload.clone(), slice: slice(1) }).unwrap();
    archive.perform(Operation::Sync).unwrap();
    archive.abandon();
    drop(archive);
    let archive = opened(folder.path());
    let shared = archive.shared();
    let rows = shared.index.files().unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let mut copy = Copy::new(shared, &rows, 0).unwrap();
    copy.copy(&Pace::free()).unwrap();

    let whole = [&data[..], &data[..]].concat();
    let (md5, adler32) = (Md5::of(&data), Adler32::of(&data));
    let made = Final {
        upload,
        at: at.clone(),
        part: 0,
        segment_number: 1,
        coding: 0,
        hand_off: None,
        sequences: 2,
        size: 1_200_000,
        md5: Md5::of(&whole),
        adler32: Adler32::of(&whole),
        time_ms: 2,
        meta: Vec::new(),
        table: Table::EMPTY.with(600_000, md5, adler32).with(600_000, md5, adler32),
        repeat: None,
        holders: Vec::new(),
    };
    let decided = Adopted { fact: Fact::Final(made), collection: None, data: None };
    archive.perform(Operation::Adopt { entries: vec![decided], applied: Vec::new() }).unwrap();
    assert_eq!(archive.find_debts().unwrap(), 0);
    let footer = copy.finish().unwrap();
    let error = copy.replace(footer).unwrap_err();
    assert!(matches!(error, KeepError::Busy), "{error}");
    let read = || {
        let mut reading = archive.read(&at.collection, &at.key, None).unwrap();
        let mut data = Vec::new();
        while let Some(sequence) = reading.next_sequence().unwrap() {
            data.extend_from_slice(&sequence);
        }
        data
    };
    assert!(read() == whole);
    // The next pass knows of it.
    archive.compact(0).unwrap();
    assert!(read() == whole);
}
