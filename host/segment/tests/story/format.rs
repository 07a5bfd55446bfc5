//! Files of version 1, byte by byte. A change here is a new version.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{
    append, apply, commit, config, cut, end_of_records, folder, follow, open, promise, values,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log.v1.hex");

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

/// One operation of every kind, and what they leave.
fn ops() -> Vec<segment::LogOp> {
    let first = follow(&[], 1, &[b"hello", b"", b"12345678"]);
    let second = follow(&first[..2], 3, &[b"instead"]);
    vec![promise(1, 1), append(1, first), cut(1, 2), promise(1, 3), append(1, second), commit(1, 3)]
}

#[test]
fn a_file_of_version_1_is_written_as_it_always_was() {
    let folder = folder();
    let log = open(config(folder.path(), 1 << 20));
    log.write(ops());
    log.log.abandon();
    let bytes = fs::read(values(folder.path(), 1)).unwrap();
    let found = hex(&bytes[..end_of_records(&bytes)]);
    // A new version gets a file of its own; this one is written once: GOLDEN_WRITE=1.
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::write(GOLDEN, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn a_file_of_version_1_is_read() {
    let folder = folder();
    let mut bytes = unhex(&fs::read_to_string(GOLDEN).unwrap());
    bytes.resize(1 << 16, 0);
    fs::write(values(folder.path(), 1), bytes).unwrap();
    let mut model = BTreeMap::new();
    ops().iter().for_each(|op| apply(&mut model, op));
    let log = open(config(folder.path(), 1 << 20));
    assert_eq!(log.recovered.damages, []);
    log.restored(&model);
    log.holds(&model);
    assert_eq!(log.recovered.partitions[&hashring::PartitionId(1)].commit, 3);
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_not_touched() {
    let folder = folder();
    let mut bytes = unhex(&fs::read_to_string(GOLDEN).unwrap());
    // The header's version, with its checksum made right again.
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    bytes.resize(1 << 16, 0);
    fs::write(values(folder.path(), 1), &bytes).unwrap();
    let opened = segment::Log::open(config(folder.path(), 1 << 20), |_| {});
    let error = opened.map(|(_, recovered)| recovered).unwrap_err();
    assert!(matches!(error, segment::OpenError::Newer { offset: 0, .. }), "{error}");
    assert_eq!(fs::read(values(folder.path(), 1)).unwrap(), bytes);
}
