//! Records as the bytes that stand in the registry: JSON, since people and other programs read them.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What stands under a key is not the record that belongs there. It changes nothing until somebody
/// mends it.
#[derive(Debug, thiserror::Error)]
#[error("not a record of this version")]
pub struct DecodeError(#[from] serde_json::Error);

/// The bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Records are structs with text for keys: there is nothing JSON could refuse.
    serde_json::to_vec(record).unwrap_or_default()
}

/// The record of these bytes.
///
/// # Errors
/// When they are not one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::MemberRecord;

    #[test]
    fn a_record_comes_back_and_a_foreign_one_is_refused() {
        let member = MemberRecord { store: 3, boot: 4, leaving: false, draining: false };
        assert_eq!(encode(&member), br#"{"store":3,"boot":4}"#);
        assert_eq!(decode::<MemberRecord>(&encode(&member)).unwrap(), member);
        let leaving = MemberRecord { leaving: true, ..member };
        assert_eq!(decode::<MemberRecord>(&encode(&leaving)).unwrap(), leaving);
        let draining = MemberRecord { leaving: false, draining: true, ..leaving };
        assert_eq!(encode(&draining), br#"{"store":3,"boot":4,"draining":true}"#);
        assert!(decode::<MemberRecord>(br#"{"store": 3, "boot": 4, "more": 5}"#).is_err());
    }
}
