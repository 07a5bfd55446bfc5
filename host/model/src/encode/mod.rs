//! Entries as bytes.
//!
//! The first byte says what a log entry's payload is: 0 is replication's opening record and not ours, [`OBJECT`]
//! is the archive's, 1 is [`v1`], 2 is [`v2`], 3 is [`v3`], 4 is [`v4`], 5 is [`v5`], 6 is [`v6`]. A later version gets its own number and its own
//! module, and decodes into today's [`Entry`]. An entry is written in the lowest version that can say it, so that a node
//! of the version before reads what it can understand. The bytes are described in `docs/formats.md`.

pub mod v1;
pub mod v2;
pub mod v3;
pub mod v4;
pub mod v5;
pub mod v6;

use crate::{ChatToken, Entry};

/// The longest payload that is read. An entry is one request's message and what handlers added to it,
/// each of them bounded far below; longer bytes are not ours.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Most entries are smaller, so that most need one allocation.
const ENTRY_BYTES_GUESS: usize = 768;

/// The first byte of an entry that is about objects of the archive, and no chat's.
pub const OBJECT: u8 = b'A';

/// Whether a log entry's payload is about objects of the archive.
pub fn is_object(payload: &[u8]) -> bool {
    payload.first() == Some(&OBJECT)
}

/// Bytes that are no entry of the version that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte is another one, or there is none. Another version may know it.
    #[error("not an entry of this version")]
    Kind,
    /// More bytes than an entry has. Nothing was set aside for them.
    #[error("an entry of {0} bytes")]
    TooLong(usize),
    /// The bytes end too early, say something impossible or go on after the end. Nothing of them is used.
    #[error("a broken entry: {0}")]
    Broken(String),
}

/// An entry's payload, in the lowest version that can say it.
///
/// # Errors
/// [`DecodeError::TooLong`] when nobody would read it again.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, DecodeError> {
    if v1::says(entry) {
        return write(v1::KIND, entry);
    }
    if v2::says(entry) {
        return write(v2::KIND, entry);
    }
    if v3::says(entry) {
        return write(v3::KIND, entry);
    }
    if v4::says(entry) {
        return write(v4::KIND, entry);
    }
    if v5::says(entry) { write(v5::KIND, entry) } else { v6::encode(entry) }
}

/// The entry in a payload of any version.
///
/// # Errors
/// [`DecodeError`]. Nothing that the bytes claim is believed before it is there.
pub fn decode(payload: &[u8]) -> Result<Entry, DecodeError> {
    match payload.first() {
        Some(&v1::KIND) => v1::decode(payload),
        Some(&v2::KIND) => v2::decode(payload),
        Some(&v3::KIND) => v3::decode(payload),
        Some(&v4::KIND) => v4::decode(payload),
        Some(&v5::KIND) => v5::decode(payload),
        Some(&v6::KIND) => v6::decode(payload),
        Some(_) | None => Err(DecodeError::Kind),
    }
}

/// The chat of an entry, whatever else is in it: what passes over the entries of other chats need not decode
/// them. `None`: it is no entry.
pub fn chat_of(payload: &[u8]) -> Option<ChatToken> {
    match payload.split_first()? {
        (&(v1::KIND | v2::KIND | v3::KIND | v4::KIND | v5::KIND | v6::KIND), rest) => {
            rest.first_chunk().copied().map(ChatToken)
        }
        _ => None,
    }
}

fn write(kind: u8, entry: &Entry) -> Result<Vec<u8>, DecodeError> {
    let broken = |error: postcard::Error| DecodeError::Broken(error.to_string());
    let mut bytes = Vec::with_capacity(ENTRY_BYTES_GUESS);
    bytes.push(kind);
    let bytes = postcard::to_extend(entry, bytes).map_err(broken)?;
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

fn read(kind: u8, payload: &[u8]) -> Result<Entry, DecodeError> {
    let rest = match payload.split_first() {
        Some((found, rest)) if *found == kind => rest,
        Some(_) | None => return Err(DecodeError::Kind),
    };
    if payload.len() > ENTRY_BYTES_MAX {
        return Err(DecodeError::TooLong(payload.len()));
    }
    let (entry, left) = postcard::take_from_bytes(rest)
        .map_err(|error: postcard::Error| DecodeError::Broken(error.to_string()))?;
    if !left.is_empty() {
        return Err(DecodeError::Broken(format!("{} bytes after the end", left.len())));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, chat_of, decode, encode, v1, v2, v3, v4, v5, v6};
    use crate::{Answer, Change, ChatToken, Entry, MessageId, Remembered};

    #[test]
    fn an_entry_is_written_in_the_lowest_version_that_can_say_it() {
        let entry = |change| Entry {
            chat: ChatToken([1; 16]),
            turn: 1,
            time_ms: 1,
            changes: vec![change],
            remembered: None,
        };
        let told = Remembered {
            sender: "system".into(),
            key: "twilio".into(),
            body_hash: [3; 32],
            answer: Answer::Twiml { text: "<Response/>".into() },
        };
        let id = MessageId([2; 16]);
        let redact = Change::Redact { id, number: 1, reason: String::new(), by: String::new() };
        for (entry, kind) in [
            (entry(Change::Start), v1::KIND),
            (entry(Change::Told { count: 1 }), v2::KIND),
            (entry(Change::Forget), v3::KIND),
            (entry(Change::Lineup(Default::default())), v3::KIND),
            (Entry { remembered: Some(told), ..entry(Change::Start) }, v4::KIND),
            (entry(Change::Planned(Default::default())), v4::KIND),
            (entry(Change::Kept { archive: None }), v4::KIND),
            (entry(redact), v5::KIND),
            (entry(Change::Detached { version: 7 }), v6::KIND),
        ] {
            let bytes = encode(&entry).unwrap();
            assert_eq!(bytes[0], kind);
            assert_eq!(chat_of(&bytes), Some(ChatToken([1; 16])));
            assert_eq!(decode(&bytes), Ok(entry));
        }
        assert_eq!(decode(&[0, 1]), Err(DecodeError::Kind));
        assert_eq!(decode(&[7, 1]), Err(DecodeError::Kind));
        assert_eq!(decode(&[]), Err(DecodeError::Kind));
        assert_eq!((chat_of(&[0; 40]), chat_of(&[1; 10])), (None, None));
    }
}
