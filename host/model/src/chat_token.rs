//! The name of a chat.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names one conversation: 128 random bits, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChatToken(pub [u8; 16]);

/// The text is not 32 lower-case hex digits. No chat can have this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a chat token is 32 lower-case hex digits")]
pub struct InvalidToken;

impl FromStr for ChatToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        hex16(text).map(Self).ok_or(InvalidToken)
    }
}

impl ChatToken {
    /// Its text, as bytes: the key that places the chat on the ring.
    pub fn key(self) -> [u8; 32] {
        digits32(self.0)
    }
}

impl fmt::Display for ChatToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(f, self.0)
    }
}

impl fmt::Debug for ChatToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes sixteen bytes as 32 lower-case hex digits, at once: it happens several times a message.
pub(crate) fn write_digits(f: &mut fmt::Formatter<'_>, bytes: [u8; 16]) -> fmt::Result {
    let digits = digits32(bytes);
    f.write_str(std::str::from_utf8(&digits).map_err(|_not_ascii| fmt::Error)?)
}

fn digits32(bytes: [u8; 16]) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        for (place, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *place = if half < 10 { b'0' + half } else { b'a' + half - 10 };
        }
    }
    digits
}

/// Sixteen bytes from 32 lower-case hex digits; anything else is `None`.
pub(crate) fn hex16(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    match ascii {
        b'0'..=b'9' => Some(ascii - b'0'),
        b'a'..=b'f' => Some(ascii - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::ChatToken;

    #[test]
    fn a_token_is_placed_by_its_text() {
        let token = ChatToken([0x0f, 0xa9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(token.key(), token.to_string().as_bytes());
        assert_eq!(token.to_string().parse(), Ok(token));
    }
}
