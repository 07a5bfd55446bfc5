//! A place in a chat's messages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// After which message a reader stands: the epoch of the entry that carried it, and the message's own
/// number in its chat (1, 2, 3 … without gaps; 0 is before the first). Compared as a pair. Opaque to
/// clients: they see `EPOCH-SEQ` in hex and may only compare for equality.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cursor {
    /// Epoch of the entry.
    pub epoch: u64,
    /// Number of the message in its chat.
    pub seq: u64,
}

/// The text is not a cursor this node could have given out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, seq) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self { epoch: hex(epoch)?, seq: hex(seq)? })
    }
}

fn hex(text: &str) -> Result<u64, InvalidCursor> {
    let plain = (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !plain {
        return Err(InvalidCursor);
    }
    u64::from_str_radix(text, 16).map_err(|_overflow| InvalidCursor)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.epoch, self.seq)
    }
}
