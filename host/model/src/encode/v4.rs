//! Entry, version 4: the byte 4, then the entry in postcard, and nothing after it.
//!
//! The same as version 3 with one more answer behind those that it has, what Twilio was told; and with more changes:
//! what is to become of a chat that is over, and that it was done. It does not know that messages can be taken back.

use super::DecodeError;
use crate::{Body, Change, Entry};

/// The first byte of a payload that holds an entry of this version.
pub const KIND: u8 = 4;

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
        let what = "a change or a message that version 4 does not have";
        return Err(DecodeError::Broken(what.to_owned()));
    }
    Ok(entry)
}

/// Whether this version can say it.
pub(super) fn says(entry: &Entry) -> bool {
    let newer = |change: &Change| match change {
        Change::Message(message) | Change::Hold { message, .. } | Change::Asked(message) => {
            matches!(message.body, Body::Redacted(_))
        }
        Change::Redact { .. } | Change::Standing(_) => true,
        _ => false,
    };
    super::v5::says(entry) && !entry.changes.iter().any(newer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{DecodeError, v3};
    use super::{decode, encode};
    use crate::{Answer, Change, ChatToken, Durability, Entry, Plan, Remembered};

    fn told() -> Entry {
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

    fn planned() -> Entry {
        let plan = Plan {
            policy: "archive".into(),
            version: "0.1.0".into(),
            moment: "ended".into(),
            durability: Durability::Archive,
            keep_ms: Some(86_400_000),
            drop_kinds: vec!["typing".into()],
        };
        let changes = vec![
            Change::Planned(Arc::new(plan)),
            Change::Kept { archive: Some(7 << 22) },
            Change::Kept { archive: None },
        ];
        Entry { chat: ChatToken([9; 16]), turn: 7, time_ms: 300, changes, remembered: None }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/entry.v4.hex").trim();
        assert_eq!(hex(&encode(&told()).unwrap()), golden);
        let golden = include_str!("../../tests/golden/entry.v4.planned.hex").trim();
        assert_eq!(hex(&encode(&planned()).unwrap()), golden);
    }

    #[test]
    fn what_was_encoded_is_read_back_and_is_nothing_of_the_version_before() {
        for entry in [told(), planned()] {
            let bytes = encode(&entry).unwrap();
            assert_eq!(decode(&bytes).as_ref(), Ok(&entry));
            assert_eq!(v3::encode(&entry), Err(DecodeError::Kind));
            let older = [&[v3::KIND], &bytes[1..]].concat();
            assert!(matches!(v3::decode(&older), Err(DecodeError::Broken(_))));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for entry in [told(), planned()] {
            let bytes = encode(&entry).unwrap();
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }
}
