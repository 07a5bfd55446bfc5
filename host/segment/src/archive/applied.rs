//! How far the decisions of each partition are known here, and what is known that decides others.
//!
//! The log of a partition says what becomes of uploads and keys; this node's archive takes that over, entry
//! by entry. How far it came is a row of the index: losing it costs taking over the same again.

use std::collections::BTreeMap;

use db::{Error, Transaction, Value};

use crate::archive::fact::{At, Fact};
use crate::archive::index::Index;
use crate::archive::name::{CollectionName, Key, Upload};
use crate::archive::store::Archive;
use crate::archive::{ReadError, UnifiedId, Versioning};
use crate::record::array;
use crate::{Chain, LogEnd};

/// Everything that a partition's log decides, up to an entry, is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The partition.
    pub partition: u16,
    /// The entry.
    pub end: LogEnd,
}

/// Keeps it.
pub(crate) fn put(tx: &Transaction<'_>, applied: &Applied) -> Result<(), Error> {
    let Applied { partition, end } = applied;
    let values = [
        Value::Integer(u64::from(*partition)),
        Value::Integer(end.epoch),
        Value::Integer(end.seq),
        Value::Bytes(&end.chain.0),
    ];
    tx.execute("INSERT OR REPLACE INTO applied VALUES (?1, ?2, ?3, ?4)", &values)
}

impl Index {
    /// How far each partition is.
    pub(crate) fn applied(&self) -> Result<BTreeMap<u16, Applied>, Error> {
        let sql = "SELECT partition, epoch, seq, chain FROM applied";
        let found = self.reader.query(sql, &[], |row| {
            let partition = u16::try_from(row.integer(0)?).unwrap_or(u16::MAX);
            let chain = Chain(array(&row.bytes(3)?, 0));
            let end = LogEnd { epoch: row.integer(1)?, seq: row.integer(2)?, chain };
            Ok((partition, Applied { partition, end }))
        })?;
        Ok(found.into_iter().collect())
    }

    /// Whether a fact is known.
    pub(crate) fn knows(&self, fact: &Fact) -> Result<bool, Error> {
        let identity = Fact::identity(&fact.encode());
        let found = self.reader.query(
            "SELECT 1 FROM facts WHERE identity = ?1",
            &[Value::Bytes(&identity)],
            |row| row.integer(0),
        )?;
        Ok(!found.is_empty())
    }
}

impl Archive {
    /// How far a partition is.
    pub fn applied(&self, partition: u16) -> LogEnd {
        self.shared().applied().get(&partition).map(|applied| applied.end).unwrap_or_default()
    }

    /// The highest version that a shard made, as far as is known here; versions sort as signed numbers,
    /// which they are until the year 2046.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn highest(&self, shard: u16) -> Result<Option<UnifiedId>, ReadError> {
        let sql = "SELECT max(version) FROM facts
            WHERE version IS NOT NULL AND (version >> 10) & 8191 = ?1";
        let shard = [Value::Integer(u64::from(shard))];
        let found = self.shared().index.reader.query(sql, &shard, |row| row.optional_integer(0))?;
        Ok(found.into_iter().flatten().next().map(UnifiedId))
    }

    /// How a collection keeps versions, if it is known here.
    pub fn versioning(&self, name: &CollectionName) -> Option<Versioning> {
        self.shared().versioning(name)
    }

    /// Keys of a collection of which anything is known, in the order of their bytes, from `from` on.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn keys(
        &self,
        collection: &CollectionName,
        from: &[u8],
        most: u64,
    ) -> Result<Vec<Key>, ReadError> {
        Ok(self.shared().index.keys(collection, from, most)?)
    }

    /// How many collections are known here.
    pub fn collections(&self) -> usize {
        self.shared().collections().len()
    }

    /// Everything that is known of a key.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn facts(&self, collection: &CollectionName, key: &Key) -> Result<Vec<Fact>, ReadError> {
        let stored = self.shared().index.of_key(collection, key)?;
        Ok(stored.into_iter().map(|stored| stored.fact).collect())
    }

    /// Everything that is known of an upload.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn facts_of_upload(&self, upload: &Upload) -> Result<Vec<Fact>, ReadError> {
        let stored = self.shared().index.of_upload(upload)?;
        Ok(stored.into_iter().map(|stored| stored.fact).collect())
    }

    /// The life of a writer before which nothing becomes final any more; 0 if there is none.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn fence(&self, node: &hashring::NodeId) -> Result<u64, ReadError> {
        Ok(self.shared().index.fences()?.get(node).copied().unwrap_or(0))
    }

    /// Archives of parts of a shard that are begun and neither finished nor given up, oldest first.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn unfinished(&self, shard: u16) -> Result<Vec<At>, ReadError> {
        let clause = "AS begun WHERE begun.kind = 4 AND (begun.version >> 10) & 8191 = ?1
            AND NOT EXISTS (SELECT 1 FROM facts AS ended
                WHERE ended.collection = begun.collection AND ended.key = begun.key
                AND ended.version = begun.version AND ended.kind IN (5, 6))
            ORDER BY begun.version";
        let begun = self.shared().index.facts(clause, &[Value::Integer(u64::from(shard))])?;
        Ok(begun.into_iter().filter_map(|stored| stored.fact.at().cloned()).collect())
    }
}
