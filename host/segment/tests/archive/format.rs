//! Files of version 1, byte by byte. A change here is a new version.

use std::fs;

use bytes::Bytes;
use segment::archive::{Operation, Slice};

use crate::support::{
    Opened, at, closing, delete, delete_version, entire, everything, folder, open, part_opening,
    upload, values,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/archive.v1.hex");

fn hex(bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
}

/// One of every kind, but for the floor, which only compaction makes.
fn fill(opened: &Opened) {
    opened.collections();
    let mut first = entire("plain", "k", 10, b"hello");
    if let Operation::Entire { closing, .. } = &mut first {
        closing.meta = vec![("colour".to_owned(), "blue".to_owned())];
    }
    opened.done(first);
    opened.done(entire("kept", "empty", 11, b""));
    opened.done(entire("kept", "gone", 12, b"gone"));
    opened.done(delete_version("kept", "gone", 13, 12));
    opened.done(delete("kept", "never", 14));
    for version in [20, 21] {
        let at = at("kept", "parts", version);
        opened.done(Operation::StartConjoined { at: at.clone(), time_ms: 1 });
        let opening = part_opening("kept", "parts", version, 1);
        let slice = Slice::of(0, Bytes::from_static(b"part"));
        opened.done(Operation::Entire { opening, slice, closing: closing(version, b"part") });
        opened.done(if version == 20 {
            Operation::FinishConjoined { at, parts: 1, time_ms: 2 }
        } else {
            Operation::AbortConjoined { at, time_ms: 3 }
        });
    }
    let opening = part_opening("plain", "given up", 30, 0);
    let slice = Slice::of(0, Bytes::from_static(b"given up"));
    opened.written(Operation::Start { opening, slice });
    opened.done(Operation::Cancel { upload: upload(30), time_ms: 4 });
    opened.done(Operation::WriterStart { node: "n2".parse().unwrap(), boot: 9, time_ms: 5 });
}

/// The header says when it was made; the rest says nothing of the clock.
fn timeless(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[32..40].fill(0);
    let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate((last / 8 + 1) * 8);
    bytes
}

/// What a file of this version looks like when it is written now.
fn written() -> String {
    let folder = folder();
    let opened = open(folder.path());
    fill(&opened);
    opened.archive.abandon();
    drop(opened);
    hex(&timeless(fs::read(values(folder.path(), 1)).unwrap()))
}

/// The file as it was written once. A new version gets a file of its own: GOLDEN_WRITE=1.
fn golden() -> String {
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::write(GOLDEN, written()).unwrap();
    }
    fs::read_to_string(GOLDEN).unwrap()
}

#[test]
fn a_file_of_version_1_is_written_as_it_always_was() {
    assert_eq!(written(), golden());
}

#[test]
fn a_file_of_version_1_is_read() {
    let made = folder();
    let opened = open(made.path());
    fill(&opened);
    let expected = everything(&opened);
    drop(opened);
    let folder = folder();
    drop(open(folder.path()));
    let file = values(folder.path(), 1);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut bytes = unhex(&golden());
    bytes.resize(1 << 16, 0);
    fs::write(&file, bytes).unwrap();
    let opened = open(folder.path());
    assert_eq!((opened.found.scanned, &opened.found.damages[..]), (1, &[][..]));
    assert_eq!(everything(&opened), expected);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_touched() {
    let folder = folder();
    drop(open(folder.path()));
    let file = values(folder.path(), 1);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut bytes = unhex(&golden());
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    fs::write(&file, &bytes).unwrap();
    let error = crate::support::try_open(crate::support::config(folder.path())).err();
    let newer = segment::archive::OpenError::Newer { file: file.clone(), offset: 0 };
    assert_eq!(error.map(|error| error.to_string()), Some(newer.to_string()));
    assert_eq!(fs::read(&file).unwrap(), bytes);
}
