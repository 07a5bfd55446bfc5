//! What this node owes: sequences of final segments that are not here, or not what they were.
//!
//! Known are at most so many segments at a time; when all of them are paid the index is looked through
//! again. What is hidden is owed no more.

use std::collections::{BTreeMap, BTreeSet};

use db::Value;

use crate::archive::fact::{FINAL, Fact, Final, Sequence};
use crate::archive::name::Upload;
use crate::archive::store::{Archive, Shared};
use crate::archive::{Event, ReadError, Standing, visibility};
use crate::ledger::Position;

/// So many segments are known to be owed at a time: each is a kilobyte or so.
const KNOWN_MAX: usize = 4096;
/// So many rows are read at once.
const ROWS_MAX: u64 = 1000;

/// A segment that is not whole here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    /// Which.
    pub made: Final,
    /// The sequences that are missing or broken.
    pub missing: BTreeSet<u32>,
}

/// What is known to be owed.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    /// With the sequences that are in the index and broken.
    known: BTreeMap<Upload, (Final, BTreeSet<u32>)>,
    /// There were more than can be known.
    more: bool,
}

impl Debts {
    /// A segment lacks something.
    pub(crate) fn add(&mut self, made: &Final, broken: Option<u32>) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&made.upload) {
            self.more = true;
            return;
        }
        let entry = self.known.entry(made.upload.clone());
        let (_, numbers) = entry.or_insert_with(|| (made.clone(), BTreeSet::new()));
        numbers.extend(broken);
    }

    /// A sequence came in.
    pub(crate) fn paid(&mut self, sequence: &Sequence) {
        if let Some((_, broken)) = self.known.get_mut(&sequence.upload) {
            broken.remove(&sequence.number);
        }
    }
}

impl Archive {
    /// Looks through everything for what is missing; what is broken is found by reading. Says how many
    /// segments are owed.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn find_debts(&self) -> Result<usize, ReadError> {
        let shared = self.shared();
        let sql = "SELECT f.rowid, f.body,
            (SELECT count(*) FROM sequences s WHERE s.upload = f.upload)
            FROM facts f WHERE f.kind = ?1 AND f.rowid > ?2 ORDER BY f.rowid LIMIT ?3";
        let mut from = 0;
        shared.debts().more = false;
        loop {
            let values = [FINAL, from, ROWS_MAX].map(Value::Integer);
            let rows = shared.index.reader.query(sql, &values, |row| {
                Ok((row.integer(0)?, Fact::decode(&row.bytes(1)?), row.integer(2)?))
            })?;
            let Some((last, ..)) = rows.last() else { break };
            from = *last;
            for (_, fact, count) in rows {
                if let Some(Fact::Final(made)) = fact
                    && count < u64::from(made.sequences)
                {
                    shared.debts().add(&made, None);
                }
            }
        }
        shared.owe_gone_files()?;
        Ok(shared.debts().known.len())
    }

    /// What is owed, as far as it is known, at most so many. What was paid or is hidden is forgotten.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn debts(&self, most: usize) -> Result<Vec<Debt>, ReadError> {
        let shared = self.shared();
        let known: Vec<(Final, BTreeSet<u32>)> = shared.debts().known.values().cloned().collect();
        let mut owed = Vec::new();
        for (made, broken) in known {
            let missing = shared.missing(&made, broken)?;
            if missing.is_empty() || shared.is_hidden(&made)? {
                shared.debts().known.remove(&made.upload);
            } else if owed.len() < most {
                owed.push(Debt { made, missing });
            }
        }
        if owed.is_empty() && std::mem::take(&mut shared.debts().more) {
            self.find_debts()?;
        }
        Ok(owed)
    }

    /// How many segments are known not to be whole here.
    pub fn owed(&self) -> usize {
        self.shared().debts().known.len()
    }
}

impl Shared {
    /// What stood in files that are gone.
    fn owe_gone_files(&self) -> Result<(), ReadError> {
        let sql = "SELECT f.body, s.sequence FROM sequences s
            JOIN facts f ON f.upload = s.upload AND f.kind = ?1 WHERE s.file = ?2";
        for row in self.index.files()? {
            if self.placed().contains_key(&row.file) {
                continue;
            }
            let values = [FINAL, u64::from(row.file)].map(Value::Integer);
            let rows = self
                .index
                .reader
                .query(sql, &values, |row| Ok((Fact::decode(&row.bytes(0)?), row.integer(1)?)))?;
            for (fact, number) in rows {
                if let (Some(Fact::Final(made)), Ok(number)) = (fact, u32::try_from(number)) {
                    self.debts().add(&made, Some(number));
                }
            }
        }
        Ok(())
    }

    fn missing(&self, made: &Final, mut broken: BTreeSet<u32>) -> Result<BTreeSet<u32>, ReadError> {
        let found = self.index.sequences(&made.upload)?;
        let here: BTreeSet<u32> = found.iter().map(|(sequence, _)| sequence.number).collect();
        broken.extend((0..made.sequences).filter(|number| !here.contains(number)));
        Ok(broken)
    }

    fn is_hidden(&self, made: &Final) -> Result<bool, ReadError> {
        let Some(versioning) = self.versioning(&made.at.collection) else { return Ok(false) };
        let stored = self.index.of_key(&made.at.collection, &made.at.key)?;
        let same = |fact: &Fact| matches!(fact, Fact::Final(it) if it.upload == made.upload);
        let known = stored.iter().any(|stored| same(&stored.fact));
        let events: Vec<Event> = stored.iter().filter_map(|it| it.fact.event()).collect();
        let versions = visibility::versions(versioning, &events);
        let hidden = versions.iter().any(|version| {
            version.id == made.at.version && matches!(version.standing, Standing::Hidden { .. })
        });
        Ok(hidden || !known)
    }

    /// What stands at a place of a value file is broken: whose it is, is owed.
    pub(crate) fn owe_at(&self, at: Position) -> Result<(), ReadError> {
        let found = self.index.sequence_at(at)?;
        let Some(sequence) = found else { return Ok(()) };
        for stored in self.index.of_upload(&sequence.upload)? {
            if let Fact::Final(made) = &stored.fact {
                self.debts().add(made, Some(sequence.number));
            }
        }
        Ok(())
    }
}
