//! Each operation: what it answers, and when it is refused, with nothing written.

use bytes::Bytes;
use segment::archive::{
    Adler32, Closing, Done, Md5, Operation, Refused, Slice, UnifiedId, Versioning,
};

use crate::support::{
    Opened, all_values, closing, delete, delete_version, entire, folder, noise, open,
    open_with_collections, opening, part_opening, upload, upload_of,
};

/// Refuses `operation`, and shows that nothing was written: not to the files, and nobody sees anything.
#[track_caller]
fn refused(opened: &Opened, folder: &std::path::Path, operation: Operation, why: &Refused) {
    let written = || {
        opened.done(Operation::Sync);
        let files = all_values(folder).into_iter();
        files.map(|file| Md5::of(&std::fs::read(file).unwrap())).collect::<Vec<_>>()
    };
    let before = (written(), crate::support::everything(opened));
    assert_eq!(opened.perform(operation).as_ref(), Err(why));
    assert!(before == (written(), crate::support::everything(opened)), "something was written");
}

fn next(count: u64, sequence: u32, data: &'static [u8]) -> Operation {
    let slice = Slice::of(sequence, Bytes::from_static(data));
    Operation::Next { upload: upload(count), slice }
}

fn start(key: &str, count: u64, data: &'static [u8]) -> Operation {
    let slice = Slice::of(0, Bytes::from_static(data));
    Operation::Start { opening: opening("plain", key, count), slice }
}

fn finalise(count: u64, version: u64, data: &[u8]) -> Operation {
    Operation::Final { upload: upload(count), slice: None, closing: closing(version, data) }
}

fn cancel(count: u64) -> Operation {
    Operation::Cancel { upload: upload(count), time_ms: 1 }
}

#[test]
fn archive_key_entire_is_answered_after_the_sync() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    assert_eq!(opened.perform(entire("plain", "k", 10, b"bytes")), Ok(Done::Synced));
    opened.archive.abandon();
    drop(opened);
    assert_eq!(open(folder.path()).get("plain", "k").unwrap(), b"bytes");
}

#[test]
fn archive_key_start_next_and_final_are_answered_at_once_and_after_the_sync() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    assert_eq!(opened.perform(start("k", 1, b"one ")), Ok(Done::Written));
    assert_eq!(opened.perform(next(1, 1, b"two ")), Ok(Done::Written));
    assert!(opened.get("plain", "k").is_err());
    let slice = Some(Slice::of(2, Bytes::from_static(b"three")));
    let closing = closing(10, b"one two three");
    let last = Operation::Final { upload: upload(1), slice, closing };
    assert_eq!(opened.perform(last), Ok(Done::Synced));
    assert_eq!(opened.get("plain", "k").unwrap(), b"one two three");
}

#[test]
fn archive_key_cancel_gives_an_upload_up() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"one"));
    opened.done(cancel(1));
    let given_up = Refused::GivenUp("upload n1.7.1".to_owned());
    refused(&opened, folder.path(), next(1, 1, b"two"), &given_up);
    refused(&opened, folder.path(), finalise(1, 10, b"one"), &given_up);
    refused(&opened, folder.path(), start("k", 1, b"one"), &given_up);
    opened.done(cancel(1));
    drop(opened);
    let opened = open(folder.path());
    refused(&opened, folder.path(), finalise(1, 10, b"one"), &given_up);
    assert!(opened.get("plain", "k").is_err());
}

#[test]
fn destroy_key_is_answered_after_the_sync() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("kept", "k", 10, b"one"));
    opened.done(entire("kept", "k", 20, b"two"));
    opened.done(delete_version("kept", "k", 30, 20));
    assert_eq!(opened.get("kept", "k").unwrap(), b"one");
    opened.done(delete("kept", "k", 40));
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.versions("kept", "k"), [] as [u64; 0]);
    let unknown = Refused::UnknownVersion(UnifiedId(11));
    refused(&opened, folder.path(), delete_version("kept", "k", 50, 11), &unknown);
}

#[test]
fn writer_start_gives_up_what_earlier_lives_left_under_way() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("old", 1, b"old"));
    let mut late = opening("plain", "late", 2);
    late.upload = upload_of(6, 2);
    opened.done(entire("plain", "done", 10, b"done"));
    let node: hashring::NodeId = "n1".parse().unwrap();
    opened.done(Operation::WriterStart { node: node.clone(), boot: 8, time_ms: 1 });
    let fenced = |upload| Refused::Fenced { upload, boot: 8 };
    refused(&opened, folder.path(), finalise(1, 20, b"old"), &fenced(upload(1)));
    refused(&opened, folder.path(), next(1, 1, b"old"), &fenced(upload(1)));
    let slice = Slice::of(0, Bytes::from_static(b"x"));
    let entire = Operation::Entire { opening: late, slice, closing: closing(30, b"x") };
    refused(&opened, folder.path(), entire.clone(), &fenced(upload_of(6, 2)));
    // What was final stays so, and says so.
    let already = Refused::AlreadyFinal("upload n1.7.10".to_owned());
    refused(&opened, folder.path(), finalise(10, 40, b"done"), &already);
    assert_eq!(opened.get("plain", "done").unwrap(), b"done");
    // An earlier life that says it begins is late, and changes nothing.
    opened.done(Operation::WriterStart { node, boot: 7, time_ms: 2 });
    drop(opened);
    let opened = open(folder.path());
    refused(&opened, folder.path(), entire, &fenced(upload_of(6, 2)));
    let mut opening = opening("plain", "new", 1);
    opening.upload = upload_of(8, 1);
    let slice = Slice::of(0, Bytes::from_static(b"new"));
    opened.done(Operation::Entire { opening, slice, closing: closing(50, b"new") });
}

#[test]
fn a_collection_is_made_once_and_never_changed() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let create = |name: &str, versioning| {
        let name = name.parse().unwrap();
        opened.perform(Operation::CreateCollection { name, versioning, time_ms: 9 })
    };
    assert_eq!(create("plain", Versioning::Unversioned), Ok(Done::Synced));
    let exists = Refused::CollectionExists("plain".parse().unwrap());
    assert_eq!(create("plain", Versioning::Versioned), Err(exists));
    let unknown = Refused::UnknownCollection("none".parse().unwrap());
    for operation in [entire("none", "k", 1, b"x"), delete("none", "k", 2)] {
        refused(&opened, folder.path(), operation, &unknown);
    }
}

#[test]
fn wrong_sizes_and_digests_are_refused() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"one"));
    let good = Slice::of(1, Bytes::from_static(b"two"));
    let (md5, adler32) = (Md5::of(b"other"), Adler32::of(b"other"));
    let bad = [
        (Slice { size: 4, ..good.clone() }, Refused::SizeMismatch { expected: 4, found: 3 }),
        (Slice { md5, ..good.clone() }, Refused::Md5Mismatch { expected: md5, found: good.md5 }),
        (
            Slice { adler32, ..good.clone() },
            Refused::Adler32Mismatch { expected: adler32, found: good.adler32 },
        ),
    ];
    for (slice, why) in bad {
        let entire = Operation::Entire {
            opening: opening("plain", "other", 2),
            slice: slice.clone(),
            closing: closing(10, b"two"),
        };
        let next = Operation::Next { upload: upload(1), slice: slice.clone() };
        let closing = closing(10, b"onetwo");
        let last = Operation::Final { upload: upload(1), slice: Some(slice), closing };
        for operation in [entire, next, last] {
            refused(&opened, folder.path(), operation, &why);
        }
    }
    opened.written(Operation::Next { upload: upload(1), slice: good });
    opened.done(finalise(1, 10, b"onetwo"));
}

#[test]
fn a_final_that_does_not_fit_its_sequences_is_refused() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"one"));
    let whole = closing(10, b"one");
    let (md5, adler32) = (Md5::of(b"other"), Adler32::of(b"other"));
    let bad = [
        (Closing { size: 4, ..whole.clone() }, Refused::SizeMismatch { expected: 4, found: 3 }),
        (
            Closing { md5, ..whole.clone() },
            Refused::Md5Mismatch { expected: md5, found: whole.md5 },
        ),
        (
            Closing { adler32, ..whole.clone() },
            Refused::Adler32Mismatch { expected: adler32, found: whole.adler32 },
        ),
    ];
    for (closing, why) in bad {
        let operation = Operation::Final { upload: upload(1), slice: None, closing };
        refused(&opened, folder.path(), operation, &why);
    }
    // The MD5 of several sequences is the writer's own: only who saw them all can know it.
    opened.written(next(1, 1, b"two"));
    let last = Closing { md5, ..closing(10, b"onetwo") };
    opened.done(Operation::Final { upload: upload(1), slice: None, closing: last });
}

#[test]
fn sequences_come_in_order_and_none_is_missing() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let wrong = |expected, found| Refused::WrongOrder { expected, found };
    let slice = Slice::of(1, Bytes::from_static(b"one"));
    let late = Operation::Start { opening: opening("plain", "k", 1), slice };
    refused(&opened, folder.path(), late, &wrong(0, 1));
    opened.written(start("k", 1, b"one"));
    for (number, data) in [(0, b"one"), (2, b"two")] {
        refused(&opened, folder.path(), next(1, number, data), &wrong(1, number));
    }
    let slice = Some(Slice::of(2, Bytes::from_static(b"two")));
    let last = Operation::Final { upload: upload(1), slice, closing: closing(10, b"onetwo") };
    refused(&opened, folder.path(), last, &wrong(1, 2));
}

#[test]
fn what_is_unknown_busy_or_final_is_refused() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let unknown = Refused::UnknownSegment(upload(1));
    for operation in [next(1, 0, b"x"), finalise(1, 10, b"x"), cancel(1)] {
        refused(&opened, folder.path(), operation, &unknown);
    }
    opened.written(start("k", 1, b"one"));
    refused(&opened, folder.path(), start("k", 1, b"one"), &Refused::SegmentBusy(upload(1)));
    opened.done(finalise(1, 10, b"one"));
    let already = Refused::AlreadyFinal("upload n1.7.1".to_owned());
    for operation in [finalise(1, 10, b"one"), next(1, 1, b"two"), cancel(1), start("k", 1, b"one")]
    {
        refused(&opened, folder.path(), operation, &already);
    }
    // Another upload cannot become the same version.
    opened.written(start("k", 2, b"two"));
    let already = Refused::AlreadyFinal("version 10".to_owned());
    refused(&opened, folder.path(), finalise(2, 10, b"two"), &already);
    assert_eq!(opened.get("plain", "k").unwrap(), b"one");
}

#[test]
fn two_writers_of_one_key_do_not_meet() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"of one "));
    opened.written(start("k", 2, b"of two "));
    opened.written(next(1, 1, b"writer"));
    opened.written(next(2, 1, b"writers"));
    opened.done(finalise(2, 10, b"of two writers"));
    opened.done(finalise(1, 20, b"of one writer"));
    assert_eq!(opened.get("plain", "k").unwrap(), b"of one writer");
    drop(opened);
    std::fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert_eq!(open(folder.path()).get("plain", "k").unwrap(), b"of one writer");
}

#[test]
fn what_is_too_large_is_refused() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let large = Slice::of(0, noise(1, (10 << 20) + 1));
    let operation = Operation::Start { opening: opening("plain", "k", 1), slice: large };
    let (max, found) = (10 << 20, (10 << 20) + 1);
    assert_eq!(
        opened.perform(operation),
        Err(Refused::TooLarge { what: "a sequence", max, found })
    );
    let mut meta = closing(10, b"x");
    meta.meta = vec![("k".to_owned(), "v".repeat(2048))];
    let slice = Slice::of(0, Bytes::from_static(b"x"));
    let operation = Operation::Entire { opening: opening("plain", "k", 1), slice, closing: meta };
    let why = Refused::TooLarge { what: "metadata", max: 2048, found: 2049 };
    refused(&opened, folder.path(), operation, &why);
    let slice = Slice::of(0, Bytes::from_static(b"x"));
    let opening = part_opening("plain", "k", 1, 10_001);
    let why = Refused::TooLarge { what: "parts", max: 10_000, found: 10_001 };
    refused(&opened, folder.path(), Operation::Start { opening, slice }, &why);
    let none = Operation::Start {
        opening: crate::support::opening("plain", "k", 1),
        slice: Slice::of(0, Bytes::new()),
    };
    refused(&opened, folder.path(), none, &Refused::SizeMismatch { expected: 1, found: 0 });
}

#[test]
fn no_more_than_256_uploads_are_under_way() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for count in 1..=256 {
        opened.written(start("k", count, b"x"));
    }
    refused(&opened, folder.path(), start("k", 257, b"x"), &Refused::TooManyUploads(256));
    opened.done(cancel(3));
    opened.written(start("k", 257, b"x"));
}

#[test]
fn after_its_end_the_archive_says_so() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.written(start("k", 1, b"x"));
    let ended = opened.archive.close();
    assert_eq!((ended.active, ended.lost), (1, 0));
    let stopped = opened.perform(Operation::Sync);
    assert!(matches!(stopped, Err(Refused::Stopped(_))), "{stopped:?}");
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.found.given_up, 0, "its end has said so");
    opened.written(start("k", 2, b"x"));
    opened.done(Operation::Sync);
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.found.given_up, 1);
    let unknown = Refused::UnknownSegment(upload(2));
    refused(&opened, folder.path(), finalise(2, 10, b"x"), &unknown);
}
