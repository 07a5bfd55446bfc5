//! What the logs decide about objects, entry by entry, and the rules that the order of entries keeps.
//!
//! It is told what is committed and nothing else. What can be seen follows from that by the production's own pure
//! function; that nothing deleted is among it, by a rule of one line here.

use std::collections::{BTreeMap, BTreeSet};

use archive::{CollectionName, Name, UnifiedId, Upload, Versioning};
use hashring::{NodeId, PartitionId};
use segment::archive::{Event, Fact, Final, Key, Version, visible};

use crate::invariants::{Verdict, must};

/// A key, as a map has it.
pub(crate) type OfKey = (CollectionName, Key);

/// What is committed of objects.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    fed: BTreeMap<PartitionId, u64>,
    /// Facts of each key, with their places in the log.
    keys: BTreeMap<OfKey, Vec<(u64, Fact)>>,
    pub(crate) collections: BTreeMap<CollectionName, Versioning>,
    highest: BTreeMap<PartitionId, UnifiedId>,
    given_up: BTreeSet<(PartitionId, Upload)>,
    fences: BTreeMap<(PartitionId, NodeId), u64>,
    finals: BTreeSet<Upload>,
    pub(crate) counts: Counts,
}

/// How much of what was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) small: u64,
    pub(crate) streamed: u64,
    pub(crate) parts: u64,
    pub(crate) finished: u64,
    pub(crate) deletes: u64,
    pub(crate) cancels: u64,
    pub(crate) fences: u64,
}

pub(crate) fn of_key(name: &Name) -> OfKey {
    (name.collection.clone(), name.key.clone())
}

impl Oracle {
    /// Up to which entry a partition was told.
    pub(crate) fn fed(&self, partition: PartitionId) -> u64 {
        self.fed.get(&partition).copied().unwrap_or(0)
    }

    /// An entry is committed.
    pub(crate) fn feed(
        &mut self,
        partition: PartitionId,
        seq: u64,
        fact: Option<&Fact>,
    ) -> Verdict {
        self.fed.insert(partition, seq);
        let Some(fact) = fact else { return Ok(()) };
        let what = || format!("{partition:?} {seq}: {fact:?}");
        self.rises(partition, fact, &what)?;
        match fact {
            Fact::Collection { name, versioning, .. } => {
                let first = *self.collections.entry(name.clone()).or_insert(*versioning);
                must(first == *versioning, "G-I7", || format!("it was {first:?}: {}", what()))?;
            }
            Fact::Final(made) => self.is_final(partition, made, &what)?,
            Fact::Cancelled { upload, .. } => {
                let late = self.finals.contains(upload);
                must(!late, "G-I5", || format!("cancelled after its final: {}", what()))?;
                self.given_up.insert((partition, upload.clone()));
                self.counts.cancels += 1;
            }
            Fact::WriterStarted { node, boot, .. } => {
                let fence = self.fences.entry((partition, node.clone())).or_default();
                *fence = (*fence).max(*boot);
                self.counts.fences += 1;
            }
            Fact::Tombstone { .. } => self.counts.deletes += 1,
            Fact::Finished { .. } => self.counts.finished += 1,
            Fact::Started { .. } | Fact::Aborted { .. } => {}
            Fact::Floor { .. } | Fact::Held(_) => {
                return must(false, "G-I7", || format!("nobody decides that: {}", what()));
            }
        }
        if let Some(at) = fact.at() {
            let key = (at.collection.clone(), at.key.clone());
            self.keys.entry(key).or_default().push((seq, fact.clone()));
        }
        Ok(())
    }

    /// G-I3: versions rise in the order of the log, and are of its partition.
    fn rises(&mut self, partition: PartitionId, fact: &Fact, what: &dyn Fn() -> String) -> Verdict {
        let issued = match fact {
            Fact::Final(made) => made.part == 0,
            Fact::Tombstone { .. } | Fact::Started { .. } => true,
            _ => false,
        };
        let Some(at) = fact.at().filter(|_| issued) else { return Ok(()) };
        let highest = self.highest.entry(partition).or_default();
        must(at.version > *highest && at.version.shard() == partition.0, "G-I3", || {
            format!("after {highest:?}: {}", what())
        })?;
        *highest = at.version;
        Ok(())
    }

    /// G-I5: nothing becomes final behind a cancel or a fence, and nothing twice.
    fn is_final(
        &mut self,
        partition: PartitionId,
        made: &Final,
        what: &dyn Fn() -> String,
    ) -> Verdict {
        let Upload { node, boot, .. } = &made.upload;
        let cancelled = self.given_up.contains(&(partition, made.upload.clone()));
        let fence = self.fences.get(&(partition, node.clone())).copied().unwrap_or(0);
        must(!cancelled && *boot >= fence, "G-I5", || {
            format!("cancelled {cancelled}, fence {fence}: {}", what())
        })?;
        must(self.finals.insert(made.upload.clone()), "G-I5", || format!("twice: {}", what()))?;
        match (made.part, made.holders.is_empty()) {
            (0, true) => self.counts.small += 1,
            (0, false) => self.counts.streamed += 1,
            _ => self.counts.parts += 1,
        }
        Ok(())
    }

    /// Everything that was decided about a key, with its places.
    pub(crate) fn facts(&self, key: &OfKey) -> &[(u64, Fact)] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys of which something was decided.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &OfKey> {
        self.keys.keys()
    }

    /// The segments that are seen of a key, as far as everything up to a place decides.
    pub(crate) fn shown(&self, key: &OfKey, upto: u64) -> Vec<(Version, Vec<Final>)> {
        let Some(versioning) = self.collections.get(&key.0) else { return Vec::new() };
        let facts: Vec<&Fact> =
            self.facts(key).iter().filter(|(seq, _)| *seq <= upto).map(|(_, fact)| fact).collect();
        let events: Vec<Event> = facts.iter().filter_map(|fact| fact.event()).collect();
        let of_events: Vec<&&Fact> = facts.iter().filter(|fact| fact.event().is_some()).collect();
        let made = |at: &usize| match of_events[*at] {
            Fact::Final(made) => Some(made.clone()),
            _ => None,
        };
        let seen = visible(*versioning, &events).into_iter();
        seen.map(|version| {
            let parts = version.parts.iter().filter_map(made).collect();
            (version, parts)
        })
        .collect()
    }

    /// The places at which what a key shows may have changed, from one on.
    pub(crate) fn places(&self, key: &OfKey, from: u64) -> Vec<u64> {
        let later = self.facts(key).iter().map(|(seq, _)| *seq).filter(|seq| *seq > from);
        std::iter::once(from).chain(later).collect()
    }

    /// G-I4: whether a version was deleted by an entry up to a place.
    pub(crate) fn is_deleted(&self, key: &OfKey, version: UnifiedId, upto: u64) -> bool {
        self.facts(key).iter().filter(|(seq, _)| *seq <= upto).any(|(_, fact)| match fact {
            Fact::Tombstone { at, target: None, .. } => at.version > version,
            Fact::Tombstone { target: Some(target), .. } => *target == version,
            Fact::Aborted { at, .. } => at.version == version,
            _ => false,
        })
    }
}
