//! Flipped bits and lost files: an error in words, never other bytes and never fewer.

use std::fs;
use std::path::Path;

use segment::archive::{Operation, ReadError, Slice};

use crate::disks::copy_all;
use crate::support::{
    Opened, all_values, config, delete, entire, everything, folder, noise, open,
    open_with_collections, try_open,
};

/// One object of three sequences, one small one, and one that was deleted; all files closed.
fn filled(folder: &Path) -> Vec<String> {
    let opened = open_with_collections(folder);
    opened.put_many("plain", "many", 10, &[2000, 3000, 17]);
    opened.done(entire("kept", "small", 20, &noise(9, 500)));
    opened.done(entire("plain", "gone", 30, b"gone"));
    opened.done(delete("plain", "gone", 40));
    let before = everything(&opened);
    drop(opened);
    before
}

fn flip(file: &Path, at: u64, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

/// What is read is what was written, or an error, and nothing that was deleted is seen.
fn never_wrong(opened: &Opened, what: &str) -> bool {
    never_wrong_but(opened, what, false)
}

fn never_wrong_but(opened: &Opened, what: &str, may_be_back: bool) -> bool {
    let many: Vec<u8> = [noise(1000, 2000), noise(1001, 3000), noise(1002, 17)].concat();
    let mut whole = true;
    for (collection, key, bytes) in
        [("plain", "many", &many[..]), ("kept", "small", &noise(9, 500)[..])]
    {
        match opened.get(collection, key) {
            Ok(found) => assert!(found == bytes, "other bytes: {what}"),
            Err(_) => whole = false,
        }
    }
    let gone = opened.get("plain", "gone");
    assert!(may_be_back || gone.is_err(), "what was deleted is back: {what}");
    whole
}

/// N8: the original no longer verified what it read.
#[test]
fn n8_no_flipped_bit_of_a_value_file_is_served() {
    let whole = folder();
    filled(whole.path());
    let files = all_values(whole.path());
    let length = fs::metadata(&files[0]).unwrap().len();
    assert_eq!(files.len(), 1);
    let mut noticed = 0;
    let positions: Vec<u64> = (0..length).step_by(37).chain(length - 136..length).collect();
    for (number, at) in positions.iter().enumerate() {
        let copy = folder();
        copy_all(whole.path(), copy.path());
        flip(&all_values(copy.path())[0], *at, u8::try_from(number % 8).unwrap());
        let what = format!("a bit of byte {at}");
        let opened = open(copy.path());
        let whole = never_wrong(&opened, &what);
        let scrubbed = opened.archive.scrub(u64::MAX).unwrap();
        assert!(whole || scrubbed.damages > 0, "{what}");
        noticed += u64::from(scrubbed.damages > 0);
        opened.archive.abandon();
        drop(opened);
        // And without the index, from the damaged file alone.
        fs::remove_file(copy.path().join("home/index.sqlite")).unwrap();
        if let Ok(opened) = try_open(config(copy.path())) {
            // What said that it was deleted may be what is broken: then at least that is told.
            let told = !opened.found.damages.is_empty();
            never_wrong_but(&opened, &format!("{what}, rebuilt"), told);
            opened.archive.abandon();
        }
    }
    // Only what pads a record or a header is not covered by anything.
    assert!(noticed * 100 >= positions.len() as u64 * 95, "{noticed} of {}", positions.len());
}

#[test]
fn damage_is_told_with_file_and_place_and_hits_only_what_it_hits() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = opened.put_many("plain", "many", 10, &[2000, 3000, 17]);
    opened.done(entire("kept", "small", 20, &noise(9, 500)));
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    let second = bytes.windows(16).position(|found| found == &data[2000..2016]).unwrap();
    flip(&file, second as u64 + 100, 3);
    let opened = open(folder.path());
    let (plain, key) = ("plain".parse().unwrap(), "many".parse().unwrap());
    let mut reading = opened.archive.read(&plain, &key, None).unwrap();
    assert_eq!(reading.next_sequence().unwrap().unwrap(), data[..2000]);
    let error = reading.next_sequence().unwrap_err();
    let ReadError::Damaged { sequence: 1, what, .. } = &error else { panic!("{error}") };
    assert!(what.contains("00000001"), "{what}");
    assert_eq!(opened.archive.damages()[0].file, file);
    assert_eq!(opened.get("kept", "small").unwrap(), noise(9, 500));
    // It is bytes that flipped: nothing is wrong with the index, and the next start does not read everything again.
    drop(opened);
    assert_eq!(open(folder.path()).found.scanned, 0);
}

/// Where nothing stands of what a row says, the row may be what is wrong: then a start reads everything.
#[test]
fn a_row_that_nothing_in_its_file_bears_out_is_not_believed_any_more() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("kept", "small", 20, &noise(9, 500)));
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let begins = bytes.windows(16).position(|found| found == &noise(9, 500)[..16]).unwrap();
    // Its piece, and the head of what closes it.
    bytes[begins..begins + 560].fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let opened = open(folder.path());
    assert!(opened.get("kept", "small").is_err());
    drop(opened);
    assert_eq!(open(folder.path()).found.scanned, 1);
}

/// The scrub keeps its place, so what it found must outlive the process too: it comes by again in a day.
#[test]
fn what_a_scrub_found_broken_is_owed_after_a_restart_until_it_is_mended() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let data = noise(9, 500);
    opened.done(entire("kept", "small", 20, &data));
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    let begins = bytes.windows(16).position(|found| found == &data[..16]).unwrap();
    flip(&file, begins as u64 + 100, 3);
    let opened = open(folder.path());
    assert_eq!(opened.archive.scrub(u64::MAX).unwrap().damages, 1);
    opened.done(Operation::Sync);
    opened.archive.abandon();
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.archive.find_debts().unwrap(), 1);
    let debts = opened.archive.debts(9).unwrap();
    assert_eq!(debts[0].missing.iter().copied().collect::<Vec<_>>(), [0]);
    let slice = Slice::of(0, data.clone());
    opened.done(Operation::Mend { upload: debts[0].made.upload.clone(), slice });
    assert_eq!(opened.get("kept", "small").unwrap(), data);
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.archive.find_debts().unwrap(), 0);
    // The old bytes are nobody's any more.
    opened.archive.scrub(u64::MAX).unwrap();
    assert_eq!(opened.archive.debts(9).unwrap(), []);
}

/// A broken record of a fact was blamed on the sequence before it, and a rebuilt index lacked it: what was deleted
/// would have been back.
#[test]
fn a_broken_record_of_a_fact_is_written_again_and_blamed_on_nobody() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "gone", 30, &noise(3, 500)));
    opened.done(entire("plain", "small", 20, &noise(9, 500)));
    opened.done(delete("plain", "gone", 40));
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    let last = bytes.windows(4).rposition(|found| found == b"gone").unwrap();
    flip(&file, last as u64, 3);
    let opened = open(folder.path());
    assert_eq!(opened.archive.scrub(u64::MAX).unwrap().damages, 1);
    opened.done(Operation::Sync);
    assert_eq!(opened.archive.debts(9).unwrap(), []);
    drop(opened);
    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    let opened = open(folder.path());
    assert!(opened.get("plain", "gone").is_err());
    assert_eq!(opened.get("plain", "small").unwrap(), noise(9, 500));
}

#[test]
fn a_value_file_that_vanished_is_told_and_what_was_in_it_is_damaged() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    let first = noise(1, 700_000);
    opened.done(entire("plain", "first", 10, &first));
    opened.done(entire("plain", "second", 20, &noise(2, 700_000)));
    drop(opened);
    let files = all_values(folder.path());
    assert_eq!(files.len(), 2);
    fs::remove_file(&files[1]).unwrap();
    let opened = open(folder.path());
    assert_eq!(opened.found.damages.len(), 1);
    assert_eq!(opened.found.damages[0].file, files[1]);
    assert!(opened.get("plain", "first").unwrap() == first);
    let error = opened.get("plain", "second").unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    // It is not written over: its number is not used again.
    opened.done(entire("plain", "third", 30, b"third"));
    assert!(!files[1].exists());
}

#[test]
fn a_file_that_lost_its_sequences_says_damaged_and_not_less() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    // The first sequence fills the first file; the rest and the final are in the second.
    opened.put_many("plain", "k", 10, &[900_000, 900_000]);
    drop(opened);
    let files = all_values(folder.path());
    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    // The collection was made in the first file, so it is made again.
    let opened = open(folder.path());
    opened.collections();
    let error = opened.get("plain", "k").unwrap_err();
    assert!(matches!(error, ReadError::Damaged { sequence: 0, .. }), "{error}");
}

#[test]
fn a_damaged_index_is_built_anew() {
    let whole = folder();
    let before = filled(whole.path());
    let index = whole.path().join("home/index.sqlite");
    let length = fs::metadata(&index).unwrap().len();
    let mut rebuilt = 0;
    for number in 0..120 {
        let copy = folder();
        copy_all(whole.path(), copy.path());
        flip(&copy.path().join("home/index.sqlite"), number * length / 120, (number % 8) as u8);
        let opened = open(copy.path());
        rebuilt += usize::from(opened.found.scanned > 0);
        // A row may be wrong in a way that only reading shows; then it is an error, and mended by the
        // next start.
        never_wrong(&opened, &format!("index, byte {}", number * length / 120));
        if everything(&opened) != before && copy.path().join("home/index.distrusted").exists() {
            drop(opened);
            let opened = open(copy.path());
            assert_eq!(everything(&opened), before);
        }
    }
    assert!(rebuilt > 0);
    // Not a database at all.
    fs::write(&index, b"nothing of the kind").unwrap();
    let opened = open(whole.path());
    assert_eq!(opened.found.damages, []);
    assert_eq!(everything(&opened), before);
}

#[test]
fn a_file_that_was_cut_short_is_told() {
    let whole = folder();
    filled(whole.path());
    let length = fs::metadata(&all_values(whole.path())[0]).unwrap().len();
    for kept in [length - 1, length - 136, length / 2, 100, 10, 0] {
        let copy = folder();
        copy_all(whole.path(), copy.path());
        let file = fs::File::options().write(true).open(&all_values(copy.path())[0]).unwrap();
        file.set_len(kept).unwrap();
        let opened = open(copy.path());
        assert!(!opened.found.damages.is_empty(), "{kept} of {length}");
        never_wrong(&opened, &format!("cut to {kept}"));
    }
}
