//! The first entry of every epoch: the record it began with.
//!
//! It makes an epoch provable from logs alone, and it is the entry through which everything before it
//! becomes committed. Its payload begins with the byte 0, which sets it apart from the entries of the
//! floors above; the record follows, in postcard.

use bytes::Bytes;
use registry::PartitionRecord;

/// The first byte of an opening entry's payload.
pub const OPENING_KIND: u8 = 0;

/// The payload of the opening entry.
pub(super) fn payload(record: &PartitionRecord) -> Bytes {
    let mut bytes = vec![OPENING_KIND];
    match postcard::to_extend(record, bytes.clone()) {
        Ok(whole) => whole.into(),
        Err(_no_such_value) => {
            // A record has only numbers, names and lists, all of which postcard writes.
            bytes.truncate(1);
            bytes.into()
        }
    }
}

/// Whether this is an opening entry's payload.
pub fn is_opening(payload: &[u8]) -> bool {
    payload.first() == Some(&OPENING_KIND)
}

/// The record in an opening entry's payload; `None` if it is no opening entry or does not decode.
pub fn opened_record(payload: &[u8]) -> Option<PartitionRecord> {
    let rest = payload.strip_prefix(&[OPENING_KIND])?;
    match postcard::take_from_bytes(rest) {
        Ok((record, [])) => Some(record),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use registry::Member;

    use super::*;

    #[test]
    fn an_opening_entry_holds_its_record() {
        let member = |name: &str| Member { node: name.parse().unwrap(), store: 7 };
        let record = PartitionRecord::first(vec![member("a"), member("b")], 2);
        let bytes = payload(&record);
        assert!(is_opening(&bytes));
        assert_eq!(opened_record(&bytes), Some(record));
        for length in 0..bytes.len() {
            assert_eq!(opened_record(&bytes[..length]), None);
        }
        assert!(!is_opening(&[1, 0]) && !is_opening(&[]));
    }

    /// The bytes of a real log: when this breaks, logs on disks are no longer readable.
    #[test]
    fn an_opening_entry_has_the_bytes_it_always_had() {
        let member = Member { node: "ab".parse().unwrap(), store: 300 };
        let record = PartitionRecord {
            epoch: 2,
            primary: Some(member.node.clone()),
            boot: 5,
            nonce: 9,
            ..PartitionRecord::first(vec![member], 1)
        };
        let expected: &[u8] = &[
            0, 2, 1, 1, 2, b'a', b'b', 5, 1, 2, b'a', b'b', 0xac, 2, 1, 0, 1, 2, b'a', b'b', 0xac,
            2, 1, 9,
        ];
        assert_eq!(payload(&record), expected);
    }
}
