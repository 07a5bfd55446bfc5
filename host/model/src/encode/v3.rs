//! Entry, version 3: the byte 3, then the entry in postcard, and nothing after it.
//!
//! The same as version 2 with more changes behind those that it has: that the chat is forgotten, who the handlers
//! are, and what they were asked where the entry would not say it. It does not know that Twilio can ask, nor that chats are kept.

use super::DecodeError;
use crate::{Answer, Change, Entry};

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 3;

/// An entry's payload.
///
/// # Errors
/// [`DecodeError::Kind`] for an entry that this version cannot say, [`DecodeError::TooLong`] when nobody
/// would read it again.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, DecodeError> {
    if !says(entry) {
        return Err(DecodeError::Kind);
    }
    super::write(KIND, entry)
}

/// The entry in a payload.
///
/// # Errors
/// [`DecodeError`]. Nothing that the bytes claim is believed before it is there.
pub fn decode(payload: &[u8]) -> Result<Entry, DecodeError> {
    let entry = super::read(KIND, payload)?;
    if !says(&entry) {
        let what = "a change or an answer that version 3 does not have";
        return Err(DecodeError::Broken(what.to_owned()));
    }
    Ok(entry)
}

/// Whether this version can say it.
pub(super) fn says(entry: &Entry) -> bool {
    let answer = entry.remembered.as_ref().map(|remembered| &remembered.answer);
    let newer = |change: &Change| matches!(change, Change::Planned(_) | Change::Kept { .. });
    !matches!(answer, Some(Answer::Twiml { .. }))
        && !entry.changes.iter().any(newer)
        && super::v4::says(entry)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{decode, encode};
    use crate::{
        Answer, Attrs, Body, Change, ChatToken, Entry, Lineup, Link, Message, MessageId,
        Remembered, Route,
    };

    fn forget() -> Entry {
        let (chat, changes) = (ChatToken([9; 16]), vec![Change::Forget]);
        Entry { chat, turn: 7, time_ms: 300, changes, remembered: None }
    }

    fn decided() -> Entry {
        let message = Message {
            id: MessageId([7; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("bad".into()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: 300,
            sent_ms: Some(299),
            stamps: Vec::new(),
        };
        let link = Link {
            plugin: "m".into(),
            version: "0.1.0".into(),
            digest: [5; 32],
            setup: 0x0102_0304_0506_0708,
        };
        let refused = Answer::Refused {
            plugin: "m".into(),
            reason_code: "no".into(),
            reason: "because".into(),
            retry_after_ms: None,
        };
        Entry {
            chat: ChatToken([9; 16]),
            turn: 2,
            time_ms: 300,
            changes: vec![
                Change::Lineup(Arc::new(Lineup { generation: 4, handlers: vec![link] })),
                Change::Asked(Arc::new(message)),
            ],
            remembered: Some(Remembered {
                sender: "alice".into(),
                key: "k1".into(),
                body_hash: [3; 32],
                answer: refused,
            }),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v3.hex").trim();
        assert_eq!(hex(&encode(&forget()).unwrap()), golden);
        let golden = include_str!("../../tests/golden/entry.v3.decided.hex").trim();
        assert_eq!(hex(&encode(&decided()).unwrap()), golden);
    }

    #[test]
    fn what_was_encoded_is_read_back() {
        for entry in [forget(), decided()] {
            assert_eq!(decode(&encode(&entry).unwrap()), Ok(entry));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = encode(&decided()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
