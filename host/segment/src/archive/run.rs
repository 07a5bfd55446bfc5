//! A sequence as it stands in a value file: its pieces, and behind them the record that closes it.
//!
//! All pieces but the last have the same size, so where a piece stands follows from where the first does.
//! A piece names its upload, sequence and number: bytes of another are never taken for it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::Chain;
use crate::archive::data_file::DataFile;
use crate::archive::fact::Sequence;
use crate::archive::{Adler32, Md5};
use crate::ledger::Position;
use crate::record::{ALIGN, Draft, HEAD_BYTES, Head, Kind, Seed};

/// A piece is at most so long: what has to be read and verified for a few bytes of it.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
const PIECE_RECORD_BYTES: u64 = (HEAD_BYTES + PIECE_BYTES) as u64;

const _: () = assert!(PIECE_RECORD_BYTES.is_multiple_of(ALIGN), "pieces stand without gaps");

/// What is wrong with a run.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Something else stands there, or nothing that verifies.
    Record {
        /// Where.
        offset: u64,
    },
    /// The records verify, and their bytes are not what the digests say.
    Digest,
    /// The file could not be read.
    Disk(io::Error),
}

/// Bytes of the pieces of a sequence with so many bytes of data.
pub(crate) fn pieces_bytes(size: u32) -> u64 {
    let piece = PIECE_BYTES as u64;
    let (whole, rest) = (u64::from(size) / piece, u64::from(size) % piece);
    let last = if rest == 0 { 0 } else { record_bytes(rest) };
    whole * PIECE_RECORD_BYTES + last
}

/// Bytes of a record with so long a body.
pub(crate) fn record_bytes(body: u64) -> u64 {
    body.saturating_add(HEAD_BYTES as u64).next_multiple_of(ALIGN)
}

/// Bytes of the whole run.
pub(crate) fn run_bytes(sequence: &Sequence, closing: &[u8]) -> u64 {
    pieces_bytes(sequence.size) + record_bytes(closing.len() as u64)
}

/// Appends a sequence to a file that has room for it, and says where it begins.
pub(crate) fn write(
    file: &mut DataFile,
    sequence: &Sequence,
    closing: &[u8],
    data: &[u8],
) -> Position {
    let start = Position { file: file.header.number, offset: file.next() };
    let chain = Chain(sequence.upload.fingerprint());
    for (seq, piece) in (0..).zip(data.chunks(PIECE_BYTES)) {
        let (kind, epoch) = (Kind::Piece, u64::from(sequence.number));
        file.append(Draft { kind, partition: 0, epoch, seq, chain, body: piece });
    }
    file.append(closing_record(sequence, closing, chain));
    file.tally.sequence();
    start
}

fn closing_record<'a>(sequence: &Sequence, closing: &'a [u8], chain: Chain) -> Draft<'a> {
    let epoch = u64::from(sequence.number);
    Draft { kind: Kind::Sequence, partition: 0, epoch, seq: 0, chain, body: closing }
}

/// Reads a whole sequence and verifies everything: each record, that it is the one that is wanted, and
/// both digests.
pub(crate) fn read(
    file: &File,
    seed: Seed,
    start: u64,
    sequence: &Sequence,
) -> Result<Vec<u8>, Broken> {
    let data = read_range(file, seed, start, sequence, 0..sequence.size)?;
    closes(file, seed, start, sequence)?;
    if Md5::of(&data) != sequence.md5 || Adler32::of(&data) != sequence.adler32 {
        return Err(Broken::Digest);
    }
    Ok(data)
}

/// Reads a part of a sequence, and verifies every piece that it touches.
pub(crate) fn read_range(
    file: &File,
    seed: Seed,
    start: u64,
    sequence: &Sequence,
    range: Range<u32>,
) -> Result<Vec<u8>, Broken> {
    let piece_bytes = u32::try_from(PIECE_BYTES).unwrap_or(u32::MAX);
    let chain = Chain(sequence.upload.fingerprint());
    let range = range.start..range.end.min(sequence.size);
    let mut data = Vec::with_capacity(range.len());
    let mut number = range.start / piece_bytes;
    while number * piece_bytes < range.end {
        let first = number * piece_bytes;
        let length = piece_bytes.min(sequence.size - first);
        let offset = start + u64::from(number) * PIECE_RECORD_BYTES;
        let wanted = (Kind::Piece, u64::from(sequence.number), u64::from(number), chain);
        let piece = record(file, seed, offset, length as usize, wanted)?;
        let from = range.start.saturating_sub(first) as usize;
        let until = (range.end - first).min(length) as usize;
        data.extend_from_slice(
            piece.get(HEAD_BYTES + from..HEAD_BYTES + until).unwrap_or_default(),
        );
        number += 1;
    }
    Ok(data)
}

/// Verifies that the record behind the pieces says what is known of the sequence.
fn closes(file: &File, seed: Seed, start: u64, sequence: &Sequence) -> Result<(), Broken> {
    let offset = start + pieces_bytes(sequence.size);
    let closing = sequence.encode();
    let chain = Chain(sequence.upload.fingerprint());
    let wanted = (Kind::Sequence, u64::from(sequence.number), 0, chain);
    let found = record(file, seed, offset, closing.len(), wanted)?;
    if found.get(HEAD_BYTES..) == Some(&closing[..]) {
        Ok(())
    } else {
        Err(Broken::Record { offset })
    }
}

/// Whether a run stands where it should, whatever became of some of its bytes: its end or its beginning does.
pub(crate) fn stands(file: &File, seed: Seed, start: u64, sequence: &Sequence) -> bool {
    let first = u32::try_from(PIECE_BYTES).unwrap_or(u32::MAX).min(sequence.size);
    closes(file, seed, start, sequence).is_ok()
        || (first > 0 && read_range(file, seed, start, sequence, 0..first).is_ok())
}

/// Whether a fact stands at a place.
pub(crate) fn has_fact(file: &File, seed: Seed, offset: u64, body: &[u8]) -> Result<(), Broken> {
    let wanted = (Kind::Fact, 0, 0, Chain::default());
    let found = record(file, seed, offset, body.len(), wanted)?;
    if found.get(HEAD_BYTES..) == Some(body) { Ok(()) } else { Err(Broken::Record { offset }) }
}

/// A record that verifies and is the one that is wanted, its head included.
fn record(
    file: &File,
    seed: Seed,
    offset: u64,
    length: usize,
    wanted: (Kind, u64, u64, Chain),
) -> Result<Vec<u8>, Broken> {
    let mut record = vec![0; HEAD_BYTES.saturating_add(length)];
    match file.read_exact_at(&mut record, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Broken::Record { offset });
        }
        read => read.map_err(Broken::Disk)?,
    }
    let head = Head::read(&record, seed, offset).ok();
    let body = record.get(HEAD_BYTES..).unwrap_or_default();
    let good = head.is_some_and(|head| {
        (head.kind, head.epoch, head.seq, head.chain) == wanted && head.vouches(body)
    });
    if good { Ok(record) } else { Err(Broken::Record { offset }) }
}
