//! One record of a value file: what it says of itself, and how it is told from anything else.
//!
//! ```text
//!  0  4  magic "CRNR"
//!  4  1  version, 1
//!  5  1  kind: 1 entry, 2 promise, 3 cut, 4 commit, 5 mark, 6 doubt, 7 base, 8 released; of the archive 16 piece, 17 sequence,
//!        18 fact, 19 footer
//!  6  2  partition
//!  8  4  length of the body
//! 12  4  since: bytes from the start of the batch to this record
//! 16  8  epoch
//! 24  8  seq
//! 32 16  chain
//! 48  4  crc32c of where it stands (store, file number, offset) and of bytes 0 to 47
//! 52  4  crc32c of the same and of the body
//! 56     body, then zeros up to a multiple of 8
//! ```
//!
//! The place is part of the checksum, so a record that is copied, misdirected or left over from another
//! file is no record. `since` is what recovery lives on: a batch is begun only after the one before it
//! was synced, so a record that is whole vouches for everything before its batch.

use hashring::PartitionId;

use crate::Chain;

/// Bytes of a record before its body.
pub(crate) const HEAD_BYTES: usize = 56;
/// A record begins at a multiple of this.
pub(crate) const ALIGN: u64 = 8;
/// No body is longer; well above what one frame between nodes carries.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"CRNR";
const VERSION: u8 = 1;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry; the body is its payload.
    Entry,
    /// A promise; `seq` is the boot, the body the node.
    Promise,
    /// Everything after `seq` is dropped.
    Cut,
    /// Everything up to `seq` is committed.
    Commit,
    /// Nothing but its vouching for what is before it.
    Mark,
    /// A start found that something is missing, of this `epoch` or a lower one.
    Doubt,
    /// The log begins behind this entry.
    Base,
    /// Value files before number `seq` are needed no more.
    Released,
    /// Of the archive: bytes of a sequence. `epoch` is the sequence, `seq` which piece, `chain` the upload.
    Piece,
    /// Of the archive: the pieces before it are a sequence.
    Sequence,
    /// Of the archive: something is so from now on.
    Fact,
    /// Of the archive: the file is closed.
    Footer,
}

/// A file as its records know it: the start of their checksums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

/// Everything of a record but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) partition: u16,
    pub(crate) length: u32,
    pub(crate) since: u32,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) chain: Chain,
    head_crc: u32,
    body_crc: u32,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRecord {
    /// They do not verify.
    Broken,
    /// They verify, and this version does not know them.
    Newer,
}

/// What a record says, before it has a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) partition: u16,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) chain: Chain,
    pub(crate) body: &'a [u8],
}

impl Seed {
    pub(crate) fn new(store: u64, number: u32) -> Self {
        let crc = crc32c::crc32c(&store.to_le_bytes());
        Self(crc32c::crc32c_append(crc, &u64::from(number).to_le_bytes()))
    }

    /// Of a file of the archive: no log takes its records for its own.
    pub(crate) fn of_archive(store: u64, number: u32) -> Self {
        Self(crc32c::crc32c_append(Self::new(store, number).0, b"archive"))
    }

    fn at(self, offset: u64) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_le_bytes())
    }
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Entry,
        Self::Promise,
        Self::Cut,
        Self::Commit,
        Self::Mark,
        Self::Doubt,
        Self::Base,
        Self::Released,
        Self::Piece,
        Self::Sequence,
        Self::Fact,
        Self::Footer,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Promise => 2,
            Self::Cut => 3,
            Self::Commit => 4,
            Self::Mark => 5,
            Self::Doubt => 6,
            Self::Base => 7,
            Self::Released => 8,
            Self::Piece => 16,
            Self::Sequence => 17,
            Self::Fact => 18,
            Self::Footer => 19,
        }
    }
}

impl<'a> Draft<'a> {
    /// A record without a body.
    pub(crate) fn bare(kind: Kind, partition: PartitionId, epoch: u64, seq: u64) -> Self {
        Self { kind, partition: partition.0, epoch, seq, chain: Chain::default(), body: &[] }
    }

    /// What [`Draft::write`] will add.
    pub(crate) fn size(&self) -> u64 {
        size(self.body.len())
    }

    /// Appends the record to `out`. `offset` is where it will stand in its file, `since` how far it is
    /// from the start of its batch.
    pub(crate) fn write(&self, seed: Seed, offset: u64, since: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.kind.code()]);
        out.extend_from_slice(&self.partition.to_le_bytes());
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&since.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.chain.0);
        let head = crc32c::crc32c_append(seed.at(offset), out.get(start..).unwrap_or_default());
        out.extend_from_slice(&head.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c_append(head, self.body).to_le_bytes());
        out.extend_from_slice(self.body);
        out.resize(start + usize::try_from(self.size()).unwrap_or(HEAD_BYTES), 0);
    }
}

impl Head {
    /// Reads a head that stands at `offset`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn read(bytes: &[u8], seed: Seed, offset: u64) -> Result<Self, NoRecord> {
        let (fields, rest) = bytes.split_first_chunk::<48>().ok_or(NoRecord::Broken)?;
        if !fields.starts_with(&MAGIC) {
            return Err(NoRecord::Broken);
        }
        let head_crc = u32_at(rest, 0);
        if crc32c::crc32c_append(seed.at(offset), fields) != head_crc {
            return Err(NoRecord::Broken);
        }
        let [version, code] = array(fields, 4);
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
        let kind = kind.filter(|_| version == VERSION).ok_or(NoRecord::Newer)?;
        Ok(Self {
            kind,
            partition: u16::from_le_bytes(array(fields, 6)),
            length: u32_at(fields, 8),
            since: u32_at(fields, 12),
            epoch: u64::from_le_bytes(array(fields, 16)),
            seq: u64::from_le_bytes(array(fields, 24)),
            chain: Chain(array(fields, 32)),
            head_crc,
            body_crc: u32_at(rest, 4),
        })
    }

    /// Whether `body` is what was written.
    pub(crate) fn vouches(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes()
            && crc32c::crc32c_append(self.head_crc, body) == self.body_crc
    }

    /// Its checksums: what stands for the whole record in a hash over many.
    pub(crate) fn checksums(&self) -> [u32; 2] {
        [self.head_crc, self.body_crc]
    }

    /// Length of the body.
    pub(crate) fn body_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Bytes of the whole record.
    pub(crate) fn size(&self) -> u64 {
        size(self.body_bytes())
    }
}

/// Bytes of a record with such a body.
fn size(body: usize) -> u64 {
    let plain = u64::try_from(HEAD_BYTES.saturating_add(body)).unwrap_or(u64::MAX);
    plain.div_ceil(ALIGN).saturating_mul(ALIGN)
}

/// `N` bytes from `at`; zeros where there are none.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
    found.unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAFT: Draft<'static> = Draft {
        kind: Kind::Entry,
        partition: 7,
        epoch: 3,
        seq: 9,
        chain: Chain([5; 16]),
        body: b"hello",
    };

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        DRAFT.write(Seed::new(1, 2), 64, 0, &mut bytes);
        bytes
    }

    #[test]
    fn a_record_is_read_back_where_it_was_written() {
        let bytes = written();
        let head = Head::read(&bytes, Seed::new(1, 2), 64).unwrap();
        assert_eq!((head.partition, head.epoch, head.seq, head.length), (7, 3, 9, 5));
        assert_eq!((head.chain, head.size()), (DRAFT.chain, 64));
        assert!(head.vouches(&bytes[HEAD_BYTES..HEAD_BYTES + 5]));
    }

    #[test]
    fn a_record_in_another_place_is_no_record() {
        let bytes = written();
        for (store, number, offset) in [(2, 2, 64), (1, 3, 64), (1, 2, 72)] {
            let read = Head::read(&bytes, Seed::new(store, number), offset);
            assert_eq!(read, Err(NoRecord::Broken));
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let whole = written();
        for bit in 0..(HEAD_BYTES + 5) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let head = Head::read(&bytes, Seed::new(1, 2), 64);
            let good = head.is_ok_and(|head| head.vouches(&bytes[HEAD_BYTES..HEAD_BYTES + 5]));
            assert!(!good, "bit {bit}");
        }
    }
}
