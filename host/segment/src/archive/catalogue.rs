//! What of a shard can be seen, as one number that two nodes can compare.
//!
//! Only what can be seen counts: what is hidden goes at another time on each node, and so does what hid it. The number
//! is a sum, so in whatever order versions are come upon it is the same.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use db::Value;
use sha2::{Digest, Sha256};

use crate::archive::name::{CollectionName, Key};
use crate::archive::reading::Listed;
use crate::archive::store::Archive;
use crate::archive::{ReadError, UnifiedId};
use crate::record::array;

/// So many rows are read at once, and the versions of so many keys kept in mind meanwhile.
const ROWS_MAX: u64 = 1000;

/// What can be seen of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Catalogue {
    /// How many versions.
    pub versions: u64,
    /// The sum of the digests of all of them.
    pub sum: [u8; 16],
}

impl fmt::Display for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} versions, {:032x}", self.versions, u128::from_le_bytes(self.sum))
    }
}

impl Catalogue {
    fn add(&mut self, collection: &CollectionName, listed: &Listed) {
        let mut digest = Sha256::new();
        for text in [collection.as_str(), listed.key.as_str()] {
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(text.as_bytes());
        }
        digest.update(listed.version.0.to_le_bytes());
        for part in &listed.parts {
            digest.update(part.part.to_le_bytes());
            digest.update(part.size.to_le_bytes());
            digest.update(part.md5.0);
            digest.update(part.adler32.0.to_le_bytes());
            digest.update(part.table.0);
            digest.update(part.upload.fingerprint());
        }
        let sum = u128::from_le_bytes(self.sum);
        let one = u128::from_le_bytes(array(&digest.finalize(), 0));
        self.sum = sum.wrapping_add(one).to_le_bytes();
        self.versions += 1;
    }
}

impl Archive {
    /// What can be seen of a shard. What is taken over meanwhile may be in it or not.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn catalogue(&self, shard: u16) -> Result<Catalogue, ReadError> {
        let sql = "SELECT DISTINCT version, collection, key FROM facts
            WHERE version IS NOT NULL AND (version >> 10) & 8191 = ?1 AND version > ?2
            ORDER BY version LIMIT ?3";
        let (mut catalogue, mut from) = (Catalogue::default(), 0);
        loop {
            let values = [u64::from(shard), from, ROWS_MAX].map(Value::Integer);
            let rows = self.shared().index.reader.query(sql, &values, |row| {
                Ok((row.integer(0)?, row.optional_text(1)?.unwrap_or_default(), row.bytes(2)?))
            })?;
            let Some((last, ..)) = rows.last() else { return Ok(catalogue) };
            from = *last;
            let mut seen: BTreeMap<(String, Vec<u8>), Vec<Listed>> = BTreeMap::new();
            for (version, collection, key) in rows {
                let Ok(name) = collection.parse::<CollectionName>() else { continue };
                let of_key = match seen.entry((collection, key)) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let versions = self.versions_of(&name, &new.key().1)?;
                        new.insert(versions)
                    }
                };
                for listed in of_key.iter().filter(|it| it.version == UnifiedId(version)) {
                    catalogue.add(&name, listed);
                }
            }
        }
    }

    fn versions_of(&self, name: &CollectionName, key: &[u8]) -> Result<Vec<Listed>, ReadError> {
        let key = std::str::from_utf8(key).ok().and_then(|key| key.parse::<Key>().ok());
        match key.map(|key| self.versions(name, &key)) {
            None | Some(Err(ReadError::UnknownCollection(_))) => Ok(Vec::new()),
            Some(found) => found,
        }
    }
}
