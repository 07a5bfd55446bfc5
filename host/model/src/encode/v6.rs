//! Entry, version 6: the byte 6, then the entry in postcard, and nothing after it.
//!
//! The same as version 5 with messages that refer to the archive, and with more changes behind those that it has: that an attachment
//! is to go, and that it is gone.

use super::DecodeError;
use crate::Entry;

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 6;

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
    use std::sync::Arc;

    use super::super::{DecodeError, chat_of, v5};
    use super::{decode, encode};
    use crate::{
        Attrs, Body, Change, ChatToken, Entry, Hold, Message, MessageId, Reference, Route,
    };

    fn message(body: Body) -> Arc<Message> {
        let archive = Reference {
            collection: "attachments".into(),
            key: "09090909090909090909090909090909/bell.jpg".into(),
            version: 7 << 22,
        };
        Arc::new(Message {
            id: MessageId([7; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body,
            archive: Some(Arc::new(archive)),
            attrs: Attrs::from([("a".into(), "b".into())]),
            time_ms: 300,
            sent_ms: None,
            stamps: Vec::new(),
        })
    }

    /// Every change that version 5 does not have, and a message with a reference wherever there can be one, in an entry each.
    fn entries() -> Vec<Entry> {
        let entry = |(turn, change)| Entry {
            chat: ChatToken([9; 16]),
            turn,
            time_ms: 400,
            changes: vec![change],
            remembered: None,
        };
        let bytes = || Body::Bytes { media_type: "image/png".into(), bytes: vec![0, 255] };
        let hold = Hold { plugin: "m".into(), reason: "r".into(), deadline_ms: 9, accept: true };
        let holds = vec![hold];
        let message_of = message;
        let changes = [
            Change::Message(message(Body::Text("look".into()))),
            Change::Hold { message: message_of(bytes()), key: "k".into(), holds },
            Change::Asked(message(Body::Json("{}".into()))),
            Change::Detach { key: "09090909090909090909090909090909/bell.jpg".into(), version: 7 },
            Change::Detached { version: 7 },
        ];
        (1..).zip(changes).map(entry).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v6.hex");
        let written: Vec<String> =
            entries().iter().map(|entry| hex(&encode(entry).unwrap())).collect();
        assert_eq!(written, golden.lines().collect::<Vec<_>>());
    }

    #[test]
    fn what_was_encoded_is_read_back_and_is_nothing_of_the_version_before() {
        for entry in entries() {
            let bytes = encode(&entry).unwrap();
            assert_eq!(decode(&bytes).as_ref(), Ok(&entry));
            assert_eq!(chat_of(&bytes), Some(entry.chat));
            assert_eq!(v5::encode(&entry), Err(DecodeError::Kind));
            let older = [&[v5::KIND], &bytes[1..]].concat();
            assert!(matches!(v5::decode(&older), Err(DecodeError::Broken(_))));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for entry in entries() {
            let bytes = encode(&entry).unwrap();
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_body_in_a_body_has_no_further_one() {
        let entry = entries().swap_remove(0);
        let bytes = encode(&entry).unwrap();
        // Where the body's case stands: it is followed by the case of the body in it.
        let at = bytes.windows(2).position(|two| two == [4, 0]).unwrap();
        for deep in [1, 100_000] {
            let nested = [&bytes[..at], &vec![4; deep], &bytes[at..]].concat();
            assert!(matches!(decode(&nested), Err(DecodeError::Broken(_))));
        }
    }
}
