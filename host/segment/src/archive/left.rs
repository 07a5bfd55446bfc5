//! Shards that this node has no part in any more: what it holds of them goes with the next compactions.
//!
//! Whoever lets one go has made sure that those who have a part in it hold everything. Nothing is written of that: a
//! start that finds their records again has them again, and is told again. But how far the shard's log is known is
//! forgotten first, on the disk, so that whoever has a part in it once more takes over everything.

use std::collections::BTreeSet;

use db::Value;

use crate::LogEnd;
use crate::archive::ReadError;
use crate::archive::applied::Applied;
use crate::archive::operation::{Answer, Operation};
use crate::archive::store::Archive;

impl Archive {
    /// Whether anything is known of a shard.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn has_any(&self, shard: u16) -> Result<bool, ReadError> {
        let sql =
            "SELECT 1 FROM facts WHERE version IS NOT NULL AND (version >> 10) & 8191 = ?1 LIMIT 1";
        let shard = [Value::Integer(u64::from(shard))];
        let found = self.shared().index.reader.query(sql, &shard, |row| row.integer(0))?;
        Ok(!found.is_empty())
    }

    /// Lets go of a shard: compaction collects all of it. It waits for the disk.
    ///
    /// # Errors
    /// [`crate::archive::Refused`]; nothing is let go.
    pub fn let_go(&self, shard: u16) -> Answer {
        let nothing = Applied { partition: shard, end: LogEnd::default() };
        let forgotten = Operation::Adopt { entries: Vec::new(), applied: vec![nothing] };
        let done = self.perform(forgotten)?;
        self.shared().left().insert(shard);
        Ok(done)
    }

    /// This node has a part in a shard, or has again. Before anything of it is taken over.
    pub fn keep(&self, shard: u16) {
        self.shared().left().remove(&shard);
    }

    /// How many segments of a shard are not whole here; `None` if that is not known.
    pub fn owes(&self, shard: u16) -> Option<usize> {
        self.shared().debts().of_shard(shard)
    }

    /// Shards that are let go.
    pub fn left(&self) -> BTreeSet<u16> {
        self.shared().left().clone()
    }
}
