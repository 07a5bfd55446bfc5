//! What this node owes: sequences of final segments that are not here, or not what they were.
//!
//! Known are at most so many segments at a time; when all of them had their turn, and there are more, the index is
//! looked through for the next ones. What is hidden is owed no more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use db::Value;

use crate::archive::fact::{FINAL, Fact, Final, Sequence};
use crate::archive::inbox::Command;
use crate::archive::name::Upload;
use crate::archive::run::run_bytes;
use crate::archive::store::{Archive, Shared};
use crate::archive::{Event, ReadError, Standing, visibility};
use crate::ledger::Position;

/// So many segments are known to be owed at a time: each is a kilobyte or so.
const KNOWN_MAX: usize = 4096;
/// So many rows are read at once.
const ROWS_MAX: u64 = 1000;
/// Of one broken place so many rows are owed and written again; the next scrub finds what is left.
const HIT_MAX: u64 = 4096;

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
    /// They were looked for in this life.
    found: bool,
    /// The row of the index up to which they were looked for; 0 if that begins anew.
    looked: u64,
    /// The last one that was told: the next ones have their turn.
    told: Option<Upload>,
    /// So many were told since the known ones were looked for.
    turns: usize,
}

impl Debts {
    /// A segment lacks something; whether that was not known.
    pub(crate) fn add(&mut self, made: &Final, broken: Option<u32>) -> bool {
        if self.is_full() && !self.known.contains_key(&made.upload) {
            self.more = true;
            return false;
        }
        let mut new = false;
        let entry = self.known.entry(made.upload.clone());
        let (_, numbers) = entry.or_insert_with(|| {
            new = true;
            (made.clone(), BTreeSet::new())
        });
        broken.is_some_and(|broken| numbers.insert(broken)) || new
    }

    /// A sequence came in.
    pub(crate) fn paid(&mut self, sequence: &Sequence) {
        if let Some((_, broken)) = self.known.get_mut(&sequence.upload) {
            broken.remove(&sequence.number);
        }
    }

    /// How many of a shard there are, if all are known.
    pub(crate) fn of_shard(&self, shard: u16) -> Option<usize> {
        let of = |(made, _): &&(Final, BTreeSet<u32>)| made.at.version.shard() == shard;
        (self.found && !self.more).then(|| self.known.values().filter(of).count())
    }

    fn is_full(&self) -> bool {
        self.known.len() >= KNOWN_MAX
    }

    /// All of them, from whose turn it is.
    fn in_turn(&self) -> Vec<Upload> {
        let behind = match &self.told {
            Some(told) => (Bound::Excluded(told), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let all = self.known.range::<Upload, _>(behind).chain(&self.known).take(self.known.len());
        all.map(|(upload, _)| upload.clone()).collect()
    }
}

impl Archive {
    /// Looks through everything for what is missing, and for what was found broken; the rest of that is found by
    /// reading. Says how many segments are owed.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn find_debts(&self) -> Result<usize, ReadError> {
        self.shared().debts().looked = 0;
        self.look_on()
    }

    /// Looks on from where it stopped, until as many are known as may be.
    fn look_on(&self) -> Result<usize, ReadError> {
        let shared = self.shared();
        let gone = shared.gone_files()?;
        let sql = "SELECT f.rowid, f.body,
            (SELECT count(*) FROM sequences s WHERE s.upload = f.upload),
            (SELECT coalesce(max(sequence) + 1, 0) FROM sequences s WHERE s.upload = f.upload),
            (SELECT count(*) FROM broken b WHERE b.upload = f.upload)
            FROM facts f WHERE f.kind = ?1 AND f.rowid > ?2 ORDER BY f.rowid LIMIT ?3";
        let begun = std::mem::take(&mut shared.debts().looked);
        let mut from = begun;
        loop {
            let values = [FINAL, from, ROWS_MAX].map(Value::Integer);
            let rows = shared.index.reader.query(sql, &values, |row| {
                let fact = Fact::decode(&row.bytes(1)?);
                let here = (row.integer(2)?, row.integer(3)?);
                Ok((row.integer(0)?, fact, here, row.integer(4)?))
            })?;
            if rows.is_empty() {
                let mut debts = shared.debts();
                // What is before where it began may have been passed over.
                (debts.more, debts.found) = (begun > 0, true);
                break;
            }
            for (row, fact, here, broken) in rows {
                let before = std::mem::replace(&mut from, row);
                let Some(Fact::Final(made)) = fact else { continue };
                if shared.debts().is_full() {
                    let mut debts = shared.debts();
                    (debts.more, debts.looked) = (true, before);
                    return Ok(debts.known.len());
                }
                let all = u64::from(made.sequences);
                if here != (all, all) && !shared.missing(&made, BTreeSet::new())?.is_empty() {
                    shared.debts().add(&made, None);
                }
                if broken > 0 || !gone.is_empty() {
                    shared.owe_broken(&made, &gone)?;
                }
            }
        }
        Ok(shared.debts().known.len())
    }

    /// What is owed, as far as it is known: at most so many, and each time the next ones, so that none waits for one that
    /// nobody can pay. What was paid or is hidden is forgotten.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn debts(&self, most: usize) -> Result<Vec<Debt>, ReadError> {
        let shared = self.shared();
        let all = shared.debts().in_turn();
        let mut owed = Vec::new();
        for upload in all {
            if owed.len() >= most {
                break;
            }
            let Some((made, broken)) = shared.debts().known.get(&upload).cloned() else { continue };
            let missing = shared.missing(&made, broken)?;
            let left = shared.left().contains(&made.at.version.shard());
            let is_over = left || missing.is_empty() || shared.is_hidden(&made)?;
            let mut debts = shared.debts();
            if is_over {
                debts.known.remove(&upload);
            } else {
                debts.told = Some(upload);
                debts.turns += 1;
                owed.push(Debt { made, missing });
            }
        }
        let mut debts = shared.debts();
        if debts.more && debts.turns >= debts.known.len() {
            // All of them had their turn: others have theirs now. What is left of these is found again.
            debts.known.clear();
            debts.turns = 0;
            drop(debts);
            self.look_on()?;
        }
        Ok(owed)
    }

    /// Whether all segments of a shard are here whose bytes came with what made them final: of those there may be no
    /// other copy but in a log. Not so before everything was looked through.
    pub fn has_all_entire(&self, shard: u16) -> bool {
        let debts = self.shared().debts();
        let of = |made: &Final| made.holders.is_empty() && made.at.version.shard() == shard;
        debts.found && !debts.more && !debts.known.values().any(|(made, _)| of(made))
    }

    /// How many segments are known not to be whole here.
    pub fn owed(&self) -> usize {
        self.shared().debts().known.len()
    }
}

impl Shared {
    /// A sequence is not what it was. That outlives the process: the scrub will not come by again for a day.
    pub(crate) fn owe(&self, made: &Final, number: u32) {
        if self.debts().add(made, Some(number)) {
            self.inbox.command(Command::Broken(made.upload.clone(), number));
        }
    }

    /// Closed files that the index knows, and that are not there.
    fn gone_files(&self) -> Result<BTreeSet<u32>, ReadError> {
        let placed = self.placed().clone();
        let files = self.index.files()?.into_iter().map(|row| row.file);
        Ok(files.filter(|file| !placed.contains_key(file)).collect())
    }

    /// What of a segment was found broken, and what stood in files that are gone.
    fn owe_broken(&self, made: &Final, gone: &BTreeSet<u32>) -> Result<(), ReadError> {
        let mut broken = self.index.broken(&made.upload)?;
        if !gone.is_empty() {
            let found = self.index.sequences(made)?.into_iter();
            broken.extend(
                found
                    .filter(|(_, at)| gone.contains(&at.file))
                    .map(|(sequence, _)| sequence.number),
            );
        }
        for number in broken {
            self.debts().add(made, Some(number));
        }
        Ok(())
    }

    fn missing(&self, made: &Final, mut broken: BTreeSet<u32>) -> Result<BTreeSet<u32>, ReadError> {
        let found = self.index.sequences(made)?;
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

    /// Something between two places of a value file is broken: of a sequence it is owed, and a fact is written again from
    /// the index, which was verified by the start.
    pub(crate) fn owe_between(&self, file: u32, from: u64, until: u64) -> Result<(), ReadError> {
        let begins = Position { file, offset: from };
        let before = self.index.sequence_before(begins)?;
        let reaches = |(sequence, offset): &(Sequence, u64)| {
            offset + run_bytes(sequence, &sequence.encode()) > from
        };
        let mut hit: Vec<Sequence> =
            before.into_iter().filter(reaches).map(|(sequence, _)| sequence).collect();
        let behind = self.index.sequences_in(begins, HIT_MAX)?.into_iter();
        hit.extend(behind.take_while(|(_, at)| at.offset < until).map(|(sequence, _)| sequence));
        for Sequence { upload, number, .. } in hit {
            let mut facts = self.index.of_upload(&upload)?.into_iter();
            match facts.find_map(|stored| stored.fact.made().cloned()) {
                Some(made) => self.owe(&made, number),
                // Nobody has decided: it is owed if it becomes final.
                None => self.inbox.command(Command::Broken(upload, number)),
            }
        }
        let facts = self.index.facts_in(begins, HIT_MAX)?.into_iter();
        let facts = facts.take_while(|stored| stored.at.offset < until).map(|stored| stored.fact);
        let facts: Vec<Fact> = facts.collect();
        if !facts.is_empty() {
            self.inbox.command(Command::Again(facts));
        }
        Ok(())
    }
}
