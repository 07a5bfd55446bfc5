//! A place on the ring.

use std::fmt;
use std::str::FromStr;

/// A 128-bit place on the ring, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u128);

/// The text is not 32 lower-case hex digits. Nothing was made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ring position is 32 lower-case hex digits")]
pub struct InvalidPosition;

impl Position {
    /// Where a key lives: its MD5, read as a big-endian integer.
    pub fn of_key(key: &[u8]) -> Self {
        #[expect(
            clippy::big_endian_bytes,
            reason = "the ring's definition: MD5 as a big-endian integer"
        )]
        Self(u128::from_be_bytes(md5::compute(key).0))
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let plain = text.len() == 32
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !plain {
            return Err(InvalidPosition);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_not_hex| InvalidPosition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
