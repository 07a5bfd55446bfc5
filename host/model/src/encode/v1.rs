//! Entry, version 1: the byte 1, then the entry in postcard, and nothing after it.

use crate::Entry;

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 1;

/// The longest payload that is read. An entry is one request's message and what handlers added to it,
/// each of them bounded far below; longer bytes are not ours.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Bytes that are no entry of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte is another one, or there is none. Another version may know it.
    #[error("not an entry of version 1")]
    Kind,
    /// More bytes than an entry has. Nothing was set aside for them.
    #[error("an entry of {0} bytes")]
    TooLong(usize),
    /// The bytes end too early, say something impossible or go on after the end. Nothing of them is used.
    #[error("a broken entry: {0}")]
    Broken(String),
}

/// An entry's payload.
///
/// # Errors
/// [`DecodeError::TooLong`] when nobody would read it again.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, DecodeError> {
    let broken = |error: postcard::Error| DecodeError::Broken(error.to_string());
    let mut bytes = Vec::with_capacity(ENTRY_BYTES_GUESS);
    bytes.push(KIND);
    let bytes = postcard::to_extend(entry, bytes).map_err(broken)?;
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The entry in a payload.
///
/// # Errors
/// [`DecodeError`]. Nothing that the bytes claim is believed before it is there.
pub fn decode(payload: &[u8]) -> Result<Entry, DecodeError> {
    let (KIND, rest) = payload.split_first().map_or((0, payload), |(kind, rest)| (*kind, rest))
    else {
        return Err(DecodeError::Kind);
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

/// Most entries are smaller, so that most need one allocation.
const ENTRY_BYTES_GUESS: usize = 768;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{DecodeError, ENTRY_BYTES_MAX, KIND, decode, encode};
    use crate::{
        Answer, Attrs, Body, Change, ChatToken, Entry, Message, MessageId, Remembered, Route, Stamp,
    };

    fn entry() -> Entry {
        let message = Message {
            id: MessageId([7; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Only(vec!["bob".into()]),
            body: Body::Text("hello".into()),
            attrs: Attrs::from([("a".into(), "b".into())]),
            time_ms: 300,
            sent_ms: Some(299),
            stamps: vec![Stamp {
                plugin: "status".into(),
                version: "0.1.0".into(),
                verdict: "pass".into(),
            }],
        };
        Entry {
            chat: ChatToken([9; 16]),
            turn: 2,
            time_ms: 300,
            changes: vec![
                Change::Join { id: "alice".into(), role: String::new(), attrs: Attrs::new() },
                Change::Message(Arc::new(message)),
                Change::Note { plugin: "m".into(), key: "k".into(), value: Some(vec![1, 2]) },
            ],
            remembered: Some(Remembered {
                sender: "alice".into(),
                key: "k1".into(),
                body_hash: [3; 32],
                answer: Answer::Stored { own: 0, skew_ms: Some(-1) },
            }),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v1.hex").trim();
        assert_eq!(hex(&encode(&entry()).unwrap()), golden);
    }

    #[test]
    fn what_was_encoded_is_read_back() {
        assert_eq!(decode(&encode(&entry()).unwrap()), Ok(entry()));
    }

    #[test]
    fn every_cut_is_refused_and_so_is_every_tail() {
        let bytes = encode(&entry()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode(&longer), Err(DecodeError::Broken(_))));
    }

    #[test]
    fn lengths_that_are_not_there_set_nothing_aside() {
        // Chat, turn and time, then as many changes as a u64 can say.
        let mut bytes = vec![KIND];
        bytes.extend([9; 16]);
        bytes.extend([2, 3]);
        bytes.extend([0xff; 9]);
        bytes.push(1);
        assert!(matches!(decode(&bytes), Err(DecodeError::Broken(_))));
        assert_eq!(decode(&[0, 1]), Err(DecodeError::Kind));
        assert_eq!(decode(&[]), Err(DecodeError::Kind));
        let long = vec![KIND; ENTRY_BYTES_MAX + 1];
        assert_eq!(decode(&long), Err(DecodeError::TooLong(long.len())));
    }
}
