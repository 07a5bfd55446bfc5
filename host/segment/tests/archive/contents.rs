//! What goes in comes out: the count first, then each sequence in order.

use bytes::Bytes;
use segment::archive::{
    Adler32, Closing, Md5, Opening, Operation, ReadError, Slice, UnifiedId, Versioning,
};

use crate::support::{
    at, closing, delete, entire, folder, noise, open, open_with_collections, opening, upload,
};

/// The example that the design goes back to: one segment of one sequence, later one of many, then a
/// tombstone.
#[test]
fn collection_1001_key_aaa_bbb_ccc_segment_42() {
    let folder = folder();
    let opened = open(folder.path());
    let name: segment::archive::CollectionName = "1001".parse().unwrap();
    let versioning = Versioning::Versioned;
    opened.done(Operation::CreateCollection { name: name.clone(), versioning, time_ms: 1 });
    let data = noise(42, 1024);
    let opening = Opening {
        upload: upload(1),
        collection: name.clone(),
        key: "aaa/bbb/ccc".parse().unwrap(),
        part: 0,
        segment_number: 42,
    };
    let key = opening.key.clone();
    let slice = Slice::of(0, data.clone());
    let one = Operation::Entire { opening: opening.clone(), slice, closing: closing(10, &data) };
    opened.done(one);

    let mut reading = opened.archive.read(&name, &key, None).unwrap();
    assert_eq!(reading.count(), 1);
    assert_eq!(reading.listed().parts[0].segment_number, 42);
    assert_eq!(reading.next_sequence().unwrap(), Some(data));
    assert_eq!(reading.next_sequence().unwrap(), None);

    let slices: Vec<Bytes> = (0..7).map(|number| noise(number, 100 + 1000 * 7)).collect();
    let whole = slices.concat();
    let opening = Opening { upload: upload(2), ..opening };
    opened.written(Operation::Start { opening, slice: Slice::of(0, slices[0].clone()) });
    for number in 1..6 {
        let slice = Slice::of(number, slices[number as usize].clone());
        opened.written(Operation::Next { upload: upload(2), slice });
    }
    let slice = Some(Slice::of(6, slices[6].clone()));
    let closing = closing(20, &whole);
    opened.done(Operation::Final { upload: upload(2), slice, closing });

    let mut reading = opened.archive.read(&name, &key, None).unwrap();
    assert_eq!(reading.count(), 7);
    for (number, slice) in slices.iter().enumerate() {
        assert_eq!(reading.next_sequence().unwrap().as_ref(), Some(slice));
        assert_eq!(reading.count(), 6 - number as u64);
    }
    assert_eq!(reading.next_sequence().unwrap(), None);
    assert_eq!(opened.versions("1001", "aaa/bbb/ccc"), [10, 20]);

    opened.done(delete("1001", "aaa/bbb/ccc", 30));
    let gone = opened.archive.read(&name, &key, None);
    assert!(matches!(gone, Err(ReadError::NotFound)), "{gone:?}");
}

#[test]
fn what_was_archived_survives_a_restart_and_the_loss_of_the_index() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "small", 10, b"some bytes"));
    let many = opened.put_many("kept", "many", 20, &[300_000, 262_144, 1, 524_289]);
    opened.done(entire("kept", "many", 30, b"newer"));
    opened.done(entire("plain", "gone", 40, b"bytes"));
    opened.done(delete("plain", "gone", 50));
    let before = crate::support::everything(&opened);
    assert_eq!(opened.archive.close(), segment::archive::Ended::default());
    drop(opened);

    let opened = open(folder.path());
    assert_eq!((opened.found.scanned, &opened.found.damages[..]), (0, &[][..]));
    assert_eq!(crate::support::everything(&opened), before);
    drop(opened);

    std::fs::remove_dir_all(folder.path().join("home")).unwrap();
    // The list of spaces went too, and the markers are still there.
    let opened = open(folder.path());
    assert_eq!(opened.found.scanned, opened.found.files);
    assert_eq!(opened.found.damages, []);
    assert_eq!(crate::support::everything(&opened), before);
    assert_eq!(opened.get_version("kept", "many", Some(20)).unwrap(), many);
}

#[test]
fn what_a_user_wants_to_be_kept_with_it_is_kept() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let meta = vec![("colour".to_owned(), "blue".to_owned()), ("leer".to_owned(), String::new())];
    let operation = Operation::Entire {
        opening: opening("plain", "k", 1),
        slice: Slice::of(0, Bytes::from_static(b"x")),
        closing: Closing { meta: meta.clone(), ..closing(5, b"x") },
    };
    opened.done(operation);
    drop(opened);
    let opened = open(folder.path());
    let (plain, key) = ("plain".parse().unwrap(), "k".parse().unwrap());
    let reading = opened.archive.read(&plain, &key, None).unwrap();
    let part = &reading.listed().parts[0];
    assert_eq!((&part.meta, part.time_ms), (&meta, 5));
    assert_eq!((part.md5, part.adler32), (Md5::of(b"x"), Adler32::of(b"x")));
}

#[test]
fn a_range_gives_exactly_its_bytes() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let sizes = [300_000, 262_144, 1, 262_145];
    let data = opened.put_many("plain", "k", 10, &sizes);
    let (plain, key) = ("plain".parse().unwrap(), "k".parse().unwrap());
    let size = data.len() as u64;
    let edges = [0, 1, 262_143, 262_144, 299_999, 300_000, 562_144, 562_145, size - 1];
    for from in edges {
        for to in edges.into_iter().chain([size, size + 10]).filter(|to| *to > from) {
            let reading = opened.archive.read(&plain, &key, None).unwrap();
            let mut found = Vec::new();
            reading.range(from..to, |bytes| found.extend_from_slice(&bytes)).unwrap();
            let place = |at: u64| usize::try_from(at.min(size)).unwrap();
            let wanted = &data[place(from)..place(to)];
            assert!(found == wanted, "{from}..{to}");
        }
    }
    for from in [size, size + 1, u64::MAX] {
        let reading = opened.archive.read(&plain, &key, None).unwrap();
        let beyond = reading.range(from..u64::MAX, |_| panic!("there is nothing"));
        assert!(matches!(beyond, Err(ReadError::Range { .. })), "{beyond:?}");
    }
}

#[test]
fn a_listing_is_in_the_order_of_bytes_and_goes_on_from_a_marker() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let keys = ["a", "a/b", "a0", "b", "ä", "z", "深"];
    for (number, key) in (1..).zip(keys) {
        opened.done(entire("plain", key, number, key.as_bytes()));
    }
    opened.done(delete("plain", "b", 90));
    let plain = "plain".parse().unwrap();
    let list = |prefix: &str, marker: Option<&str>, limit: usize| {
        let (listed, more) = opened.archive.list(&plain, prefix, marker, limit).unwrap();
        (listed.iter().map(|listed| listed.key.to_string()).collect::<Vec<_>>(), more)
    };
    let all = ["a", "a/b", "a0", "z", "ä", "深"].map(str::to_owned);
    assert_eq!(list("", None, 100), (all.to_vec(), false));
    assert_eq!(list("", None, 6), (all.to_vec(), false));
    assert_eq!(list("", None, 4), (all[..4].to_vec(), true));
    assert_eq!(list("", Some("a0"), 4), (all[3..].to_vec(), false));
    assert_eq!(list("a", None, 2), (all[..2].to_vec(), true));
    assert_eq!(list("a", Some("a/b"), 2), (all[2..3].to_vec(), false));
    assert_eq!(list("x", None, 2), (vec![], false));
    assert_eq!(list("", None, 0), (vec![], true));
    let unknown = opened.archive.list(&"none".parse().unwrap(), "", None, 1);
    assert!(matches!(unknown, Err(ReadError::UnknownCollection(_))), "{unknown:?}");
}

#[test]
fn a_versioned_key_shows_its_latest_and_keeps_the_others() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for (collection, seen) in [("plain", vec![20]), ("kept", vec![10, 20])] {
        let number = if collection == "plain" { 0 } else { 1 };
        opened.done(entire(collection, "k", 10 + number, b"first"));
        opened.done(entire(collection, "k", 20 + number, b"second"));
        assert_eq!(opened.get(collection, "k").unwrap(), b"second");
        let seen: Vec<u64> = seen.into_iter().map(|version| version + number).collect();
        assert_eq!(opened.versions(collection, "k"), seen);
    }
    let hidden = opened.get_version("plain", "k", Some(10));
    assert!(matches!(hidden, Err(ReadError::UnknownVersion(UnifiedId(10)))), "{hidden:?}");
    assert_eq!(opened.get_version("kept", "k", Some(11)).unwrap(), b"first");
}

#[test]
fn what_collections_hold_is_counted_once_and_comes_back_from_the_files() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "a", 10, &[1; 100]));
    opened.done(entire("plain", "b", 20, &[]));
    opened.done(entire("kept", "a", 30, &[1; 7]));
    opened.done(delete("plain", "a", 40));
    let usage = |opened: &crate::support::Opened| {
        let usage = opened.archive.usage().unwrap();
        ["plain", "kept"].map(|name| {
            let usage = usage[&name.parse().unwrap()];
            (usage.segments, usage.bytes)
        })
    };
    assert_eq!(usage(&opened), [(2, 100), (1, 7)]);
    opened.get("kept", "a").unwrap();
    assert_eq!(opened.archive.retrieved_bytes(), 7);
    drop(opened);
    std::fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert_eq!(usage(&open(folder.path())), [(2, 100), (1, 7)]);
}

#[test]
fn a_delete_of_a_key_that_was_never_there_is_kept_too() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(delete("plain", "k", 20));
    // A copy that comes late.
    opened.done(entire("plain", "k", 10, b"late"));
    assert!(matches!(opened.get("plain", "k"), Err(ReadError::NotFound)));
    opened.done(entire("plain", "k", 30, b"new"));
    assert_eq!(opened.get("plain", "k").unwrap(), b"new");
    let specific =
        Operation::Destroy { at: at("plain", "k", 40), target: Some(UnifiedId(25)), time_ms: 1 };
    let refused = segment::archive::Refused::UnknownVersion(UnifiedId(25));
    assert_eq!(opened.perform(specific), Err(refused));
}

/// What can be seen makes a shard's catalogue, and nothing else: not in which order it came, nor what is hidden.
#[test]
fn a_catalogue_is_of_what_can_be_seen_whatever_else_there_is() {
    let version = |shard: u64, count: u64| (5_u64 << 23) | (shard << 10) | count;
    let fill = |order: &[u64], hidden: bool| {
        let folder = folder();
        let opened = open_with_collections(folder.path());
        for number in order {
            let data = noise(*number, 5_000);
            opened.done(entire("kept", &format!("k{}", number % 3), version(3, *number), &data));
        }
        opened.done(entire("kept", "elsewhere", version(4, 1), b"bytes"));
        if hidden {
            opened.done(entire("kept", "gone", version(3, 100), b"bytes"));
            opened.done(delete("kept", "gone", version(3, 101)));
        }
        [3, 4, 5].map(|shard| opened.archive.catalogue(shard).unwrap())
    };
    let [three, four, none] = fill(&[1, 2, 3, 4, 5], false);
    assert_eq!((three.versions, four.versions, none.versions), (5, 1, 0));
    assert_eq!(none, segment::archive::Catalogue::default());
    assert_eq!(fill(&[5, 3, 1, 2, 4], true), [three, four, none]);
    let [less, ..] = fill(&[1, 2, 3, 4], false);
    assert_ne!(less.sum, three.sum);
}
