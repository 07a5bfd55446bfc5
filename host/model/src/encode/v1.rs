//! Entry, version 1: the byte 1, then the entry in postcard, and nothing after it.
//!
//! It knows the changes that there were before messages could be held: `says` tells whether an entry
//! has others.

use super::DecodeError;
use crate::{Answer, Body, Change, Entry};

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 1;

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
        return Err(DecodeError::Broken("a change that version 1 does not have".to_owned()));
    }
    Ok(entry)
}

/// Whether this version can say it.
pub(super) fn says(entry: &Entry) -> bool {
    let answer = entry.remembered.as_ref().map(|remembered| &remembered.answer);
    let answers = match answer {
        None | Some(Answer::Stored { .. } | Answer::Refused { .. }) => true,
        Some(Answer::Held { .. } | Answer::Twiml { .. }) => false,
    };
    answers
        && entry.changes.iter().all(|change| match change {
            Change::Message(message) => {
                !matches!(message.body, Body::Redacted(_)) && message.archive.is_none()
            }
            Change::Create { .. }
            | Change::Join { .. }
            | Change::Leave { .. }
            | Change::MemberStatus { .. }
            | Change::MemberAttr { .. }
            | Change::ChatAttr { .. }
            | Change::Start
            | Change::End { .. }
            | Change::Note { .. }
            | Change::Generation(_) => true,
            Change::Hold { .. }
            | Change::Lift { .. }
            | Change::Settle { .. }
            | Change::TimerStart { .. }
            | Change::TimerEnd { .. }
            | Change::Tell { .. }
            | Change::Told { .. }
            | Change::Outcall(_)
            | Change::OutcallDone { .. }
            | Change::Decided { .. }
            | Change::Forget
            | Change::Lineup(_)
            | Change::Asked(_)
            | Change::Planned(_)
            | Change::Kept { .. }
            | Change::Redact { .. }
            | Change::Standing(_)
            | Change::Detach { .. }
            | Change::Detached { .. } => false,
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{DecodeError, ENTRY_BYTES_MAX};
    use super::{KIND, decode, encode};
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
            archive: None,
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
    fn what_it_cannot_say_is_neither_written_nor_read() {
        let mut newer = entry();
        newer.changes.push(Change::Told { count: 1 });
        assert_eq!(encode(&newer), Err(DecodeError::Kind));
        let bytes = super::super::write(KIND, &newer).unwrap();
        assert!(matches!(decode(&bytes), Err(DecodeError::Broken(_))));
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
