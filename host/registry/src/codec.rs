//! Records as the bytes that stand in the registry: JSON, since people and other programs read them.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Numbers that rise by one from life to life and from reign to reign stay below this: nobody gets there by
/// counting, and who counts on from it is still far from the end of 64 bits.
pub const COUNT_MAX: u64 = 1 << 62;

/// What may stand in the registry. Other programs can write there too, so that what has the shape of a
/// record need not be one that a node can live with.
pub trait Record: Serialize + DeserializeOwned {
    /// What cannot be true of it, whoever wrote it.
    fn fault(&self) -> Option<&'static str> {
        None
    }
}

/// What stands under a key is not the record that belongs there. It changes nothing until somebody
/// mends it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It has another shape. It was written by another version, or by another program.
    #[error("not a record of this version")]
    Foreign(#[from] serde_json::Error),
    /// It has the shape and says what cannot be. No node has written that.
    #[error("not a record that a node wrote: {0}")]
    Unsound(&'static str),
}

/// The bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Records are structs with text for keys: there is nothing JSON could refuse.
    serde_json::to_vec(record).unwrap_or_default()
}

/// The record of these bytes.
///
/// # Errors
/// When they are not one.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    let record: T = serde_json::from_slice(bytes)?;
    record.fault().map_or(Ok(record), |fault| Err(DecodeError::Unsound(fault)))
}

#[cfg(test)]
mod tests {
    use super::{COUNT_MAX, DecodeError, decode, encode};
    use crate::MemberRecord;

    #[test]
    fn a_life_that_cannot_be_counted_on_from_is_refused() {
        let member = MemberRecord { store: 3, boot: COUNT_MAX, leaving: false, draining: false };
        assert_eq!(decode::<MemberRecord>(&encode(&member)).unwrap(), member);
        let later = MemberRecord { boot: COUNT_MAX + 1, ..member };
        let refused = decode::<MemberRecord>(&encode(&later));
        assert!(matches!(refused, Err(DecodeError::Unsound(_))), "{refused:?}");
    }

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
