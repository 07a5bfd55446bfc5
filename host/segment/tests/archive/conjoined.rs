//! Archives of several parts.

use bytes::Bytes;
use segment::archive::{Operation, ReadError, Refused, Slice, UnifiedId};

use crate::support::{
    Opened, at, closing, delete, entire, folder, open, open_with_collections, part_opening,
};

fn part(collection: &str, count: u64, part: u32, data: &'static [u8]) -> Operation {
    Operation::Entire {
        opening: part_opening(collection, "k", count, part),
        slice: Slice::of(0, Bytes::from_static(data)),
        closing: closing(20, data),
    }
}

fn start(collection: &str) -> Operation {
    Operation::StartConjoined { at: at(collection, "k", 20), time_ms: 1 }
}

fn finish(collection: &str, parts: u32) -> Operation {
    Operation::FinishConjoined { at: at(collection, "k", 20), parts, time_ms: 2 }
}

fn abort(collection: &str) -> Operation {
    Operation::AbortConjoined { at: at(collection, "k", 20), time_ms: 3 }
}

#[test]
fn start_and_finish_conjoined_make_one_version_of_all_parts_in_order() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(start("plain"));
    opened.done(start("plain"));
    opened.done(part("plain", 2, 2, b"second"));
    opened.done(part("plain", 1, 1, b"first "));
    assert!(matches!(opened.get("plain", "k"), Err(ReadError::NotFound)));
    opened.done(finish("plain", 2));
    opened.done(finish("plain", 2));
    let check = |opened: &Opened| {
        assert_eq!(opened.get("plain", "k").unwrap(), b"first second");
        assert_eq!(opened.versions("plain", "k"), [20]);
    };
    check(&opened);
    drop(opened);
    std::fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    check(&open(folder.path()));
}

#[test]
fn abort_conjoined_hides_it_before_and_after_the_finish() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for collection in ["plain", "kept"] {
        let count = if collection == "plain" { 1 } else { 2 };
        opened.done(start(collection));
        opened.done(part(collection, count, 1, b"part"));
        if collection == "kept" {
            opened.done(finish(collection, 1));
            assert_eq!(opened.get(collection, "k").unwrap(), b"part");
        }
        opened.done(abort(collection));
        opened.done(abort(collection));
        assert!(matches!(opened.get(collection, "k"), Err(ReadError::NotFound)));
    }
    let given_up = Err(Refused::GivenUp("version 20".to_owned()));
    assert_eq!(opened.perform(finish("plain", 1)), given_up);
    assert_eq!(opened.perform(part("plain", 3, 2, b"more")), given_up);
}

#[test]
fn a_finish_needs_all_parts_and_leaves_none_out() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let unknown = Err(Refused::UnknownVersion(UnifiedId(20)));
    assert_eq!(opened.perform(finish("plain", 1)), unknown);
    assert_eq!(opened.perform(abort("plain")), unknown);
    assert_eq!(opened.perform(part("plain", 1, 1, b"early")), unknown);
    opened.done(start("plain"));
    opened.done(part("plain", 1, 1, b"first"));
    opened.done(part("plain", 3, 3, b"third"));
    let wrong = |expected, found| Err(Refused::WrongOrder { expected, found });
    assert_eq!(opened.perform(finish("plain", 3)), wrong(2, 3));
    assert_eq!(opened.perform(finish("plain", 1)), wrong(1, 3));
    assert_eq!(opened.perform(finish("plain", 0)), wrong(1, 0));
    opened.done(part("plain", 2, 2, b"second"));
    opened.done(finish("plain", 3));
    let already = Err(Refused::AlreadyFinal("version 20".to_owned()));
    assert_eq!(opened.perform(finish("plain", 2)), already);
    assert_eq!(opened.perform(part("plain", 4, 4, b"more")), already);
    assert_eq!(opened.perform(part("plain", 5, 2, b"again")), already);
}

#[test]
fn a_plain_archive_and_a_conjoined_one_do_not_share_a_version() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 20, b"plain"));
    let already = Err(Refused::AlreadyFinal("version 20".to_owned()));
    assert_eq!(opened.perform(start("plain")), already);
    opened.done(Operation::StartConjoined { at: at("plain", "k", 30), time_ms: 1 });
    let wrong = Refused::WrongOrder { expected: 1, found: 0 };
    assert_eq!(opened.perform(entire("plain", "k", 30, b"plain")), Err(wrong));
}

#[test]
fn what_was_started_before_a_delete_and_finished_after_it_is_hidden() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(start("kept"));
    opened.done(part("kept", 1, 1, b"part"));
    opened.done(delete("kept", "k", 25));
    opened.done(finish("kept", 1));
    assert!(matches!(opened.get("kept", "k"), Err(ReadError::NotFound)));
}

#[test]
fn what_is_begun_and_neither_finished_nor_aborted_is_told_by_shard() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let begin = |key: &str, version: u64| {
        opened.done(Operation::StartConjoined { at: at("plain", key, version), time_ms: 1 });
    };
    let shard = |shard: u64, count: u64| (1 << 23) | (shard << 10) | count;
    begin("stays", shard(7, 1));
    begin("elsewhere", shard(8, 1));
    begin("aborted", shard(7, 2));
    let aborted = at("plain", "aborted", shard(7, 2));
    opened.done(Operation::AbortConjoined { at: aborted, time_ms: 3 });
    opened.done(start("plain"));
    opened.done(part("plain", 1, 1, b"part"));
    opened.done(finish("plain", 1));
    let unfinished = |shard: u16| opened.archive.unfinished(shard).unwrap();
    assert_eq!(unfinished(7), [at("plain", "stays", shard(7, 1))]);
    assert_eq!(unfinished(8), [at("plain", "elsewhere", shard(8, 1))]);
    assert_eq!(unfinished(0), [], "it is finished");
}
