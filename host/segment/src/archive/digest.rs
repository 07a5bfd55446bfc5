//! What vouches for bytes from their writer to their reader: MD5 and Adler-32.
//!
//! They are not what protects a record on the disk (that is CRC-32C over place and contents); they are
//! what a client says of its bytes and gets back.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::record::array;

/// The MD5 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Md5(pub [u8; 16]);

/// The Adler-32 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Adler32(pub u32);

/// What the sequences of an upload are, one after another: a hash over their sizes and digests, so that who
/// has it knows each of them when it sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table(pub [u8; 16]);

/// MD5 and Adler-32 of bytes that come one after another.
#[derive(Clone)]
pub struct Digesting {
    md5: md5::Context,
    adler32: adler2::Adler32,
    size: u64,
}

const MODULUS: u64 = 65_521;
/// So much is taken at a time: what one digest has read is still near the processor when the next one comes to it.
const BLOCK_BYTES: usize = 32 << 10;

impl Table {
    /// Of no sequence.
    pub const EMPTY: Self = Self([0; 16]);

    /// With one more sequence behind.
    #[must_use]
    pub fn with(self, size: u64, md5: Md5, adler32: Adler32) -> Self {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(size.to_le_bytes())
            .chain_update(md5.0)
            .chain_update(adler32.0.to_le_bytes())
            .finalize();
        Self(array(&digest, 0))
    }
}

impl Digesting {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { md5: md5::Context::new(), adler32: adler2::Adler32::new(), size: 0 }
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digesting = Self::new();
        digesting.push(bytes);
        digesting
    }

    /// These bytes follow.
    pub fn push(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK_BYTES) {
            self.md5.consume(block);
            self.adler32.write_slice(block);
        }
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// These bytes follow; what they are by themselves is told.
    pub fn push_apart(&mut self, bytes: &[u8]) -> (Md5, Adler32) {
        if self.size == 0 {
            self.push(bytes);
            return self.clone().finish();
        }
        let mut apart = Self::new();
        for block in bytes.chunks(BLOCK_BYTES) {
            apart.push(block);
            self.md5.consume(block);
        }
        let size = apart.size;
        let (md5, adler32) = apart.finish();
        let joined = Adler32(self.adler32.checksum()).followed_by(adler32, size);
        self.adler32 = adler2::Adler32::from_checksum(joined.0);
        self.size = self.size.saturating_add(size);
        (md5, adler32)
    }

    /// How many there were.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Of all of them.
    pub fn finish(self) -> (Md5, Adler32) {
        (Md5(self.md5.finalize().0), Adler32(self.adler32.checksum()))
    }
}

impl Default for Digesting {
    fn default() -> Self {
        Self::new()
    }
}

impl Md5 {
    /// Of all of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(md5::compute(bytes).0)
    }
}

impl Adler32 {
    /// Of no bytes.
    pub const EMPTY: Self = Self(1);

    /// Of all of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(adler2::adler32_slice(bytes))
    }

    /// Of these bytes and, behind them, `length` others whose Adler-32 is `other`.
    #[must_use]
    pub fn followed_by(self, other: Self, length: u64) -> Self {
        let halves = |sum: Self| (u64::from(sum.0 & 0xffff), u64::from(sum.0 >> 16));
        let ((low, high), (other_low, other_high)) = (halves(self), halves(other));
        // Each sum begins at 1, so the second one's 1 is counted once too often; and the first low sum
        // is added to the high one at each of the other bytes.
        let joined = (low + other_low + MODULUS - 1) % MODULUS;
        let carried = (low + MODULUS - 1) % MODULUS * (length % MODULUS) % MODULUS;
        let high = (high + other_high + carried) % MODULUS;
        Self(u32::try_from(high << 16 | joined).unwrap_or(0))
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Digesting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digesting").field("size", &self.size).finish_non_exhaustive()
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Adler32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Adler32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_digests_are_the_ones_everybody_knows() {
        assert_eq!(Md5::of(b"").to_string(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(Adler32::of(b"Wikipedia").to_string(), "11e60398");
        assert_eq!(Adler32::of(b""), Adler32::EMPTY);
    }

    #[test]
    fn long_runs_are_put_together() {
        let (one, other) = (vec![0xff; 200_003], vec![0xfe; 131_071]);
        let joined = Adler32::of(&one).followed_by(Adler32::of(&other), 131_071);
        assert_eq!(joined, Adler32::of(&[one, other].concat()));
    }

    #[test]
    fn sequences_are_digested_apart_and_together() {
        let sequences = [vec![0xff; 70_001], Vec::new(), vec![0xfe; 131_071], vec![7]];
        let mut whole = Digesting::new();
        for sequence in &sequences {
            assert_eq!(whole.push_apart(sequence), (Md5::of(sequence), Adler32::of(sequence)));
        }
        let all = sequences.concat();
        assert_eq!(whole.size(), 201_073);
        assert_eq!(whole.finish(), (Md5::of(&all), Adler32::of(&all)));
    }

    proptest! {
        #[test]
        fn sums_of_pieces_are_put_together(
            one in proptest::collection::vec(any::<u8>(), 0..300),
            other in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let length = u64::try_from(other.len()).unwrap();
            let joined = Adler32::of(&one).followed_by(Adler32::of(&other), length);
            prop_assert_eq!(joined, Adler32::of(&[one, other].concat()));
        }
    }
}
