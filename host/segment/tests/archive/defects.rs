//! What the design that this goes back to got wrong, one story each. Those that concern several nodes are
//! told elsewhere; 7, 8, 14, 18 and 22 stand beside what they are about.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use segment::Disk;
use segment::archive::{Done, Operation, ReadError, Refused, Slice, UnifiedId};

use crate::disks::Faulty;
use crate::support::{
    DAY, PATIENCE, all_values, at, closing, config, delete, entire, everything, folder, noise,
    open, open_on, open_with_collections, opening, try_open, upload, values,
};

fn start(key: &str, count: u64, data: &'static [u8]) -> Operation {
    let slice = Slice::of(0, Bytes::from_static(data));
    Operation::Start { opening: opening("plain", key, count), slice }
}

fn finalise(count: u64, version: u64, data: &[u8]) -> Operation {
    Operation::Final { upload: upload(count), slice: None, closing: closing(version, data) }
}

/// N1: any bad message killed the writer.
#[test]
fn n1_nothing_that_is_refused_ends_the_writer() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let at = at("plain", "k", 99);
    let bad = vec![
        finalise(1, 10, b"never begun"),
        Operation::Next { upload: upload(1), slice: Slice::of(0, Bytes::from_static(b"x")) },
        Operation::Cancel { upload: upload(1), time_ms: 1 },
        entire("none", "k", 10, b"x"),
        Operation::Destroy { at: at.clone(), target: Some(UnifiedId(1)), time_ms: 1 },
        Operation::FinishConjoined { at: at.clone(), parts: 1, time_ms: 1 },
        Operation::FinishConjoined { at: at.clone(), parts: u32::MAX, time_ms: 1 },
        Operation::AbortConjoined { at, time_ms: 1 },
    ];
    for operation in bad {
        assert!(opened.perform(operation.clone()).is_err(), "{operation:?}");
    }
    opened.done(entire("plain", "k", 10, b"good"));
    let again = opened.perform(entire("plain", "k", 10, b"good"));
    assert_eq!(again, Err(Refused::AlreadyFinal("upload n1.7.10".to_owned())));
    assert_eq!(opened.get("plain", "k").unwrap(), b"good");
}

/// N2: an abort of a conjoined archive was always an error, and killed the writer.
#[test]
fn n2_a_conjoined_archive_can_be_aborted() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let at = at("plain", "k", 20);
    opened.done(Operation::StartConjoined { at: at.clone(), time_ms: 1 });
    opened.done(Operation::AbortConjoined { at, time_ms: 2 });
    opened.done(entire("plain", "k", 30, b"good"));
}

/// N3: a cancel between a final and its sync rolled back the whole batch and killed the writer. N4: it
/// withdrew what had been told to be final.
#[test]
fn n3_n4_a_cancel_right_behind_a_final_is_refused_and_hurts_nobody() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config(folder.path())).unwrap();
    opened.collections();
    opened.written(start("k", 1, b"one"));
    disk.shut();
    let (tell, answers) = channel();
    let operations = [
        Operation::Sync,
        entire("plain", "beside", 10, b"beside"),
        finalise(1, 20, b"one"),
        Operation::Cancel { upload: upload(1), time_ms: 1 },
        entire("plain", "behind", 30, b"behind"),
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        let tell = tell.clone();
        opened.archive.submit(operation, move |answer| tell.send((number, answer)).unwrap());
    }
    disk.unlock();
    let mut found: Vec<_> = (0..5).map(|_| answers.recv_timeout(PATIENCE).unwrap()).collect();
    found.sort_by_key(|(number, _)| *number);
    let already = Err(Refused::AlreadyFinal("upload n1.7.1".to_owned()));
    let done = Ok(Done::Synced);
    let expected = [done.clone(), done.clone(), done.clone(), already, done];
    assert_eq!(found.into_iter().map(|(_, answer)| answer).collect::<Vec<_>>(), expected);
    for (key, data) in [("k", "one"), ("beside", "beside"), ("behind", "behind")] {
        assert_eq!(opened.get("plain", key).unwrap(), data.as_bytes());
    }
}

/// N5: after a writer's restart its old uploads were cancelled on disk and not in memory, and could
/// become final all the same.
#[test]
fn n5_an_upload_of_an_earlier_life_never_becomes_final() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"one"));
    let node = "n1".parse().unwrap();
    opened.done(Operation::WriterStart { node, boot: 8, time_ms: 1 });
    let refused = opened.perform(finalise(1, 10, b"one"));
    assert_eq!(refused, Err(Refused::Fenced { upload: upload(1), boot: 8 }));
    assert!(matches!(opened.get("plain", "k"), Err(ReadError::NotFound)));
}

/// N6 and N26: an upload that went wrong stayed under way for ever.
#[test]
fn n6_n26_an_upload_of_which_nothing_comes_is_given_up() {
    let folder = folder();
    let mut config = config(folder.path());
    config.idle_max = Duration::from_millis(1);
    let opened = try_open(config).unwrap();
    opened.collections();
    opened.written(start("k", 1, b"one"));
    let began = runtime::now();
    let unknown = Err(Refused::UnknownSegment(upload(1)));
    let wrong = || Slice::of(7, Bytes::from_static(b"wrong"));
    while opened.perform(Operation::Next { upload: upload(1), slice: wrong() }) != unknown {
        assert!(began.elapsed() < PATIENCE);
    }
}

/// N9: no bytes were answered as stored, and nothing was.
#[test]
fn n9_no_bytes_are_an_archive_too() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "empty", 10, b""));
    let check = |opened: &crate::support::Opened| {
        let (plain, key) = ("plain".parse().unwrap(), "empty".parse().unwrap());
        let reading = opened.archive.read(&plain, &key, None).unwrap();
        assert_eq!((reading.count(), reading.listed().size), (0, 0));
        assert_eq!(opened.get("plain", "empty").unwrap(), b"");
    };
    check(&opened);
    drop(opened);
    std::fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    check(&open(folder.path()));
    // Only a whole one may be empty, and only one that says so.
    let opened = open(folder.path());
    let mut operation = entire("plain", "k", 20, b"");
    if let Operation::Entire { closing, .. } = &mut operation {
        closing.size = 1;
    }
    let refused = opened.perform(operation);
    assert_eq!(refused, Err(Refused::SizeMismatch { expected: 1, found: 0 }));
}

/// N10: a tombstone that was kept for somebody else never came to the archive it deletes, which came
/// back.
#[test]
fn n10_a_tombstone_hides_what_comes_after_it() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(delete("kept", "k", 20));
    opened.done(entire("kept", "k", 10, b"late"));
    assert!(matches!(opened.get("kept", "k"), Err(ReadError::NotFound)));
    opened.archive.compact(DAY).unwrap();
    drop(opened);
    std::fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert!(matches!(open(folder.path()).get("kept", "k"), Err(ReadError::NotFound)));
}

/// N11: what was moved lost its metadata, and its sequences were numbered anew.
#[test]
fn n11_what_is_moved_keeps_metadata_and_numbers() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = noise(1, 3000);
    let slices = [data.slice(..1000), data.slice(1000..2000), data.slice(2000..)];
    let opening = opening("plain", "k", 1);
    opened.written(Operation::Start { opening, slice: Slice::of(0, slices[0].clone()) });
    let slice = Slice::of(1, slices[1].clone());
    opened.written(Operation::Next { upload: upload(1), slice });
    let mut closing = closing(10, &data);
    closing.meta = vec![("colour".to_owned(), "blue".to_owned())];
    let slice = Some(Slice::of(2, slices[2].clone()));
    opened.done(Operation::Final { upload: upload(1), slice, closing });
    let listed = |opened: &crate::support::Opened| {
        opened.archive.versions(&"plain".parse().unwrap(), &"k".parse().unwrap()).unwrap()
    };
    let before = listed(&opened);
    opened.done(entire("plain", "waste", 20, &noise(2, 9000)));
    opened.done(delete("plain", "waste", 30));
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 1);
    assert!(!values(folder.path(), 1).exists());
    assert_eq!(listed(&opened), before);
    assert_eq!(before[0].parts[0].meta.len(), 1);
    assert_eq!(opened.get("plain", "k").unwrap(), data);
}

/// N12: a conjoined archive that was begun twice was there twice.
#[test]
fn n12_a_conjoined_archive_that_is_begun_twice_is_one() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let at = at("kept", "k", 20);
    for time_ms in [1, 2] {
        opened.done(Operation::StartConjoined { at: at.clone(), time_ms });
    }
    let opening = crate::support::part_opening("kept", "k", 1, 1);
    let slice = Slice::of(0, Bytes::from_static(b"part"));
    opened.done(Operation::Entire { opening, slice, closing: closing(20, b"part") });
    opened.done(Operation::FinishConjoined { at, parts: 1, time_ms: 3 });
    assert_eq!(opened.versions("kept", "k"), [20]);
}

/// N16: the original removed files inside an open transaction, and dropped what did not verify.
#[test]
fn n16_a_file_that_does_not_verify_is_kept_by_compaction() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = noise(1, 5000);
    opened.done(entire("plain", "k", 10, &data));
    opened.done(entire("plain", "waste", 20, &noise(2, 9000)));
    opened.done(delete("plain", "waste", 30));
    drop(opened);
    let file = values(folder.path(), 1);
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(16).position(|found| found == &data[..16]).unwrap();
    bytes[place + 2000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let opened = open(folder.path());
    let before = all_values(folder.path());
    let error = opened.archive.compact(DAY).unwrap_err();
    assert!(matches!(error, segment::archive::KeepError::Damaged { .. }), "{error}");
    assert_eq!(all_values(folder.path()), before);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    // It is left alone from now on, and what else there is can be compacted.
    assert_eq!(opened.archive.compact(DAY).unwrap().files, 0);
}

/// N17: the sweep for files that nothing points to looked in the wrong place.
#[test]
fn n17_a_file_that_the_index_does_not_know_is_read_and_not_removed() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 10, b"bytes"));
    let before = everything(&opened);
    drop(opened);
    let index = folder.path().join("home/index.sqlite");
    std::fs::remove_file(&index).unwrap();
    // What never got its name is nothing.
    let begun = values(folder.path(), 1).with_extension("new");
    std::fs::write(&begun, b"begun").unwrap();
    let opened = open(folder.path());
    assert_eq!(everything(&opened), before);
    assert!(!begun.exists());
}

/// N21: an empty value file was removed, and its row left.
#[test]
fn n21_a_start_that_writes_nothing_leaves_nothing() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    let before = all_values(folder.path());
    for _start in 0..3 {
        let opened = open(folder.path());
        opened.done(Operation::Sync);
        drop(opened);
    }
    assert_eq!(all_values(folder.path()), before);
    assert_eq!(open(folder.path()).found.files, 1);
}

/// N23: files were longer than their rows said, so every inspection was in doubt.
#[test]
fn n23_a_closed_file_is_as_long_as_its_footer_says() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.put_many("plain", "k", 10, &[700_000, 700_000]);
    drop(opened);
    for file in all_values(folder.path()) {
        let bytes = std::fs::read(file).unwrap();
        let footer = &bytes[bytes.len() - 80..];
        let end = u64::from_le_bytes(footer[..8].try_into().unwrap());
        assert_eq!(end + 136, bytes.len() as u64);
    }
}

/// N25: nobody was told that bytes were removed.
#[test]
fn n25_what_is_collected_is_told_and_no_longer_counted() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 10, &noise(1, 9000)));
    opened.done(delete("plain", "k", 20));
    let bytes = |opened: &crate::support::Opened| {
        opened.archive.usage().unwrap()[&"plain".parse().unwrap()].bytes
    };
    assert_eq!(bytes(&opened), 9000);
    drop(opened);
    let opened = open(folder.path());
    let done = opened.archive.compact(DAY).unwrap();
    assert_eq!(done.segments, 1);
    assert!(done.bytes_after < done.bytes_before - 9000);
    assert_eq!(bytes(&opened), 0);
}
