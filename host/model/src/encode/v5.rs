//! Entry, version 5: the byte 5, then the entry in postcard, and nothing after it.
//!
//! The same as version 4 with more changes behind those that it has, that a message was taken back and what is planned for a
//! chat that goes on; and with messages that say nothing any more. It does not know that a message can refer to the archive.

use super::DecodeError;
use crate::{Change, Entry};

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 5;

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
        let what = "a change or a message that version 5 does not have";
        return Err(DecodeError::Broken(what.to_owned()));
    }
    Ok(entry)
}

/// Whether this version can say it.
pub(super) fn says(entry: &Entry) -> bool {
    entry.changes.iter().all(|change| match change {
        Change::Message(message) | Change::Hold { message, .. } | Change::Asked(message) => {
            message.archive.is_none()
        }
        Change::Detach { .. } | Change::Detached { .. } => false,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{DecodeError, v4};
    use super::{decode, encode};
    use crate::{
        Attrs, Body, Change, ChatToken, Durability, Entry, Message, MessageId, Plan, Redaction,
        Route,
    };

    /// Every change and every body that version 4 does not have, in an entry each.
    fn entries() -> [Entry; 3] {
        let redaction = Redaction { by: "alice".into(), reason: "private".into(), time_ms: 400 };
        let message = Message {
            id: MessageId([7; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Redacted(Arc::new(redaction)),
            archive: None,
            attrs: Attrs::new(),
            time_ms: 300,
            sent_ms: None,
            stamps: Vec::new(),
        };
        let redact = Change::Redact {
            id: MessageId([7; 16]),
            number: 300,
            reason: "private".into(),
            by: "alice".into(),
        };
        let entry = |turn, change| Entry {
            chat: ChatToken([9; 16]),
            turn,
            time_ms: 400,
            changes: vec![change],
            remembered: None,
        };
        let plan = Plan {
            policy: "p".into(),
            version: "1".into(),
            moment: "idle".into(),
            durability: Durability::All,
            keep_ms: Some(300),
            drop_kinds: Vec::new(),
        };
        let standing = Change::Standing(Arc::new(plan));
        [entry(8, redact), entry(2, Change::Message(Arc::new(message))), entry(9, standing)]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v5.hex");
        for (entry, line) in entries().iter().zip(golden.lines()) {
            assert_eq!(hex(&encode(entry).unwrap()), line);
        }
        assert_eq!(golden.lines().count(), entries().len());
    }

    #[test]
    fn what_was_encoded_is_read_back_and_is_nothing_of_the_version_before() {
        for entry in entries() {
            let bytes = encode(&entry).unwrap();
            assert_eq!(decode(&bytes).as_ref(), Ok(&entry));
            assert_eq!(v4::encode(&entry), Err(DecodeError::Kind));
            let older = [&[v4::KIND], &bytes[1..]].concat();
            assert!(matches!(v4::decode(&older), Err(DecodeError::Broken(_))));
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
}
