//! A log entry about an object, and its bytes.
//!
//! The first byte is [`OBJECT`], the second the version, the rest postcard. It says what is so from now on as
//! the very fact that each member's archive keeps, and, if it makes a small object, brings its bytes.

use bytes::Bytes;
use model::encode::OBJECT;
use segment::archive::{Adopted, CollectionName, Fact, Versioning};
use serde::{Deserialize, Serialize};

/// The version of everything behind the first two bytes.
const VERSION: u8 = 1;

/// A decision about an object, a collection or an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectEntry {
    /// What is so from now on.
    pub(crate) fact: Fact,
    /// How its collection keeps versions, if it is of one: the collection's own entry is in another log.
    pub(crate) collection: Option<(CollectionName, Versioning)>,
    /// All bytes of the object, if it is small.
    pub(crate) data: Option<Bytes>,
}

/// Bytes that are no entry of this version. A newer node may know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry about objects that this version knows")]
pub(crate) struct Strange;

impl ObjectEntry {
    pub(crate) fn encode(&self) -> Bytes {
        // Plain data into memory: nothing can fail.
        postcard::to_extend(self, vec![OBJECT, VERSION]).map(Bytes::from).unwrap_or_default()
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Strange> {
        let rest = payload.strip_prefix(&[OBJECT, VERSION]).ok_or(Strange)?;
        let (entry, left) = postcard::take_from_bytes(rest).map_err(|_broken| Strange)?;
        if left.is_empty() { Ok(entry) } else { Err(Strange) }
    }

    /// The same without its bytes, which every member has among its own files once it took the entry over.
    fn without_bytes(self) -> Option<Self> {
        self.data.is_some().then_some(Self { data: None, ..self })
    }

    /// As a member's archive takes it.
    pub(crate) fn adopted(self) -> Adopted {
        let Self { fact, collection, data } = self;
        Adopted { fact, collection, data }
    }
}

/// How an entry about an object is written where nothing is checked against the log any more: without the bytes that
/// stand in the archive's own files. `None` if it has none.
pub fn without_bytes(payload: &[u8]) -> Option<Bytes> {
    ObjectEntry::decode(payload).ok()?.without_bytes().map(|entry| entry.encode())
}

/// What an entry about an object decides, for whoever reads logs. `None` if it is none that this version knows.
pub fn decided(payload: &[u8]) -> Option<Fact> {
    ObjectEntry::decode(payload).ok().map(|entry| entry.fact)
}

#[cfg(test)]
mod tests {
    use segment::archive::UnifiedId;

    use super::*;

    fn entry() -> ObjectEntry {
        let at = segment::archive::At {
            collection: "c".parse().unwrap(),
            key: "k".parse().unwrap(),
            version: UnifiedId(7),
        };
        let fact = Fact::Tombstone { at, target: None, time_ms: 5, repeat: Some("r".to_owned()) };
        let collection = Some(("c".parse().unwrap(), Versioning::Versioned));
        ObjectEntry { fact, collection, data: Some(Bytes::from_static(b"data")) }
    }

    /// When this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let hex: String = entry().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "41010301630 16b07000501 0172010163 01010464617461".replace(' ', ""));
    }

    #[test]
    fn bytes_that_are_elsewhere_are_left_out_once() {
        let without = without_bytes(&entry().encode()).unwrap();
        let decoded = ObjectEntry::decode(&without).unwrap();
        assert_eq!(decoded, ObjectEntry { data: None, ..entry() });
        assert_eq!(without_bytes(&without), None);
        assert_eq!(without_bytes(b"A"), None);
    }

    #[test]
    fn what_was_encoded_comes_back_and_everything_else_is_refused() {
        let bytes = entry().encode();
        assert_eq!(ObjectEntry::decode(&bytes), Ok(entry()));
        assert!(model::encode::is_object(&bytes));
        for cut in 0..bytes.len() {
            assert_eq!(ObjectEntry::decode(&bytes[..cut]), Err(Strange));
        }
        assert_eq!(ObjectEntry::decode(&[&bytes[..], b"x"].concat()), Err(Strange));
        let newer = [&[OBJECT, VERSION + 1], &bytes[2..]].concat();
        assert_eq!(ObjectEntry::decode(&newer), Err(Strange));
    }
}
