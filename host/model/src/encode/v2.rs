//! Entry, version 2: the byte 2, then the entry in postcard, and nothing after it.
//!
//! The same as version 1 with more changes and one more answer behind those that it has. It does not know
//! that a chat can be forgotten.

use super::DecodeError;
use crate::{Change, Entry};

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 2;

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
        return Err(DecodeError::Broken("a change that version 2 does not have".to_owned()));
    }
    Ok(entry)
}

/// Whether this version can say it.
pub(super) fn says(entry: &Entry) -> bool {
    let newer =
        |change: &Change| matches!(change, Change::Forget | Change::Lineup(_) | Change::Asked(_));
    super::v3::says(entry) && !entry.changes.iter().any(newer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::DecodeError;
    use super::{KIND, decode, encode};
    use crate::{
        Answer, Attrs, Body, Change, ChatToken, Cursor, Decision, Dropped, Entry, Happened, Hold,
        Message, MessageId, Outcall, Remembered, Route,
    };

    const ID: MessageId = MessageId([7; 16]);

    fn message() -> Arc<Message> {
        Arc::new(Message {
            id: ID,
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("hello".into()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: 300,
            sent_ms: None,
            stamps: Vec::new(),
        })
    }

    /// Every change that version 1 does not have, in the order of their numbers.
    fn changes() -> Vec<Change> {
        let plugin = || "m".to_owned();
        let hold = |accept| Hold { plugin: plugin(), reason: "r".into(), deadline_ms: 9, accept };
        vec![
            Change::Hold {
                message: message(),
                key: "k".into(),
                holds: vec![hold(true), hold(false)],
            },
            Change::Lift { id: ID, plugin: plugin() },
            Change::Settle { id: ID, sender: "alice".into(), key: "k".into(), dropped: None },
            Change::Settle {
                id: ID,
                sender: "alice".into(),
                key: "k".into(),
                dropped: Some(Dropped {
                    plugin: plugin(),
                    code: "dropped".into(),
                    reason: "r".into(),
                }),
            },
            Change::TimerStart { plugin: plugin(), name: "idle".into(), after_ms: 60_000 },
            Change::TimerEnd { plugin: plugin(), name: "idle".into() },
            Change::Tell { what: Happened::Started, depth: 0 },
            Change::Tell { what: Happened::Ended { reason: "r".into() }, depth: 1 },
            Change::Tell { what: Happened::Joined { id: "bob".into() }, depth: 0 },
            Change::Tell { what: Happened::Left { id: "bob".into(), role: "x".into() }, depth: 0 },
            Change::Told { count: 2 },
            Change::Outcall(Arc::new(Outcall {
                plugin: plugin(),
                service: "crm".into(),
                path: "/score".into(),
                headers: Attrs::from([("x-a".into(), "{{secret:k}}".into())]),
                body: vec![1, 2],
                correlation: "c".into(),
                queued_ms: 300,
            })),
            Change::OutcallDone { number: 1 },
            Change::Decided {
                plugin: plugin(),
                decision: Decision {
                    at: Cursor { epoch: 2, seq: 3 },
                    message: ID,
                    version: "0.1.0".into(),
                    verdict: "hold".into(),
                    notes: vec![("score".into(), "7".into())],
                },
            },
        ]
    }

    fn entry() -> Entry {
        Entry {
            chat: ChatToken([9; 16]),
            turn: 2,
            time_ms: 300,
            changes: changes(),
            remembered: Some(Remembered {
                sender: "alice".into(),
                key: "k1".into(),
                body_hash: [3; 32],
                answer: Answer::Held { id: ID },
            }),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v2.hex").trim();
        assert_eq!(hex(&encode(&entry()).unwrap()), golden);
    }

    #[test]
    fn what_was_encoded_is_read_back() {
        assert_eq!(decode(&encode(&entry()).unwrap()), Ok(entry()));
    }

    #[test]
    fn what_it_cannot_say_is_neither_written_nor_read() {
        for change in [Change::Forget, Change::Asked(message()), Change::Lineup(Arc::default())] {
            let mut newer = entry();
            newer.changes.push(change);
            assert_eq!(encode(&newer), Err(DecodeError::Kind));
            let bytes = super::super::write(KIND, &newer).unwrap();
            assert!(matches!(decode(&bytes), Err(DecodeError::Broken(_))));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = encode(&entry()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
