//! Entry, version 3: the byte 3, then the entry in postcard, and nothing after it.
//!
//! The same as version 2 with one more change behind those that it has: that the chat is forgotten.

use super::DecodeError;
use crate::Entry;

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 3;

/// An entry's payload.
///
/// # Errors
/// [`DecodeError::TooLong`] when nobody would read it again.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, DecodeError> {
    super::write(KIND, entry)
}

/// The entry in a payload.
///
/// # Errors
/// [`DecodeError`]. Nothing that the bytes claim is believed before it is there.
pub fn decode(payload: &[u8]) -> Result<Entry, DecodeError> {
    super::read(KIND, payload)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::{Change, ChatToken, Entry};

    fn entry() -> Entry {
        let (chat, changes) = (ChatToken([9; 16]), vec![Change::Forget]);
        Entry { chat, turn: 7, time_ms: 300, changes, remembered: None }
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let hex: String =
            encode(&entry()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../../tests/golden/entry.v3.hex").trim());
    }

    #[test]
    fn what_was_encoded_is_read_back_and_every_cut_is_refused() {
        let bytes = encode(&entry()).unwrap();
        assert_eq!(decode(&bytes), Ok(entry()));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
