//! Entry, version 4: the byte 4, then the entry in postcard, and nothing after it.
//!
//! The same as version 3 with one more answer behind those that it has: what Twilio was told.

use super::DecodeError;
use crate::Entry;

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 4;

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
    use crate::{Answer, Change, ChatToken, Entry, Remembered};

    fn entry() -> Entry {
        let answer = Answer::Twiml { text: "<Response><Hangup/></Response>".into() };
        let (sender, key) = ("system".into(), "twilio 00".into());
        Entry {
            chat: ChatToken([9; 16]),
            turn: 2,
            time_ms: 300,
            changes: vec![Change::ChatAttr { name: "calls".into(), value: "1".into() }],
            remembered: Some(Remembered { sender, key, body_hash: [3; 32], answer }),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v4.hex").trim();
        assert_eq!(hex(&encode(&entry()).unwrap()), golden);
    }

    #[test]
    fn what_was_encoded_is_read_back() {
        assert_eq!(decode(&encode(&entry()).unwrap()), Ok(entry()));
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = encode(&entry()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
