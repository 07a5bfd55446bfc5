//! What of a closed file is still needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::collectable::{Terms, collectable};
use crate::archive::compaction::KeepError;
use crate::archive::fact::{At, Fact, Sequence};
use crate::archive::name::{CollectionName, Key, Upload};
use crate::archive::pace::Pace;
use crate::archive::run::{record_bytes, run_bytes};
use crate::archive::store::Shared;
use crate::ledger::Position;

/// So many rows are read at once.
const ROWS_MAX: usize = 1000;
/// Judging a row looks up a few others: as much as reading so many bytes.
const ROW_BYTES: u64 = 1024;

/// The facts of a key, each with whether it may go.
type Known = ((CollectionName, Key), Vec<(Fact, bool)>);

/// Decides what is still needed.
pub(crate) struct Judge<'a> {
    shared: &'a Shared,
    pub(crate) terms: Terms,
    fences: BTreeMap<hashring::NodeId, u64>,
    /// The fact that came last when it began: a segment that became final since was not judged.
    pub(crate) last_fact: u64,
    /// Shards of which nothing is needed here.
    pub(crate) left: BTreeSet<u16>,
    /// The last key that was looked at, and what of it may go.
    last: Option<Known>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(shared: &'a Shared, now_ms: u64) -> Result<Self, KeepError> {
        let ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (hidden_for_ms, grace_ms) = (ms(shared.config.hidden_for), ms(shared.config.grace));
        let terms = Terms { now_ms, hidden_for_ms, grace_ms };
        let last_fact = shared.index.last_fact()?;
        let fences = shared.index.fences()?;
        let left = shared.left().clone();
        Ok(Self { shared, terms, fences, last_fact, left, last: None })
    }

    pub(crate) fn may_go(&mut self, fact: &Fact) -> Result<bool, KeepError> {
        Ok(match fact {
            Fact::Collection { .. } => false,
            Fact::Cancelled { time_ms, .. } => {
                time_ms.saturating_add(self.terms.grace_ms) <= self.terms.now_ms
            }
            // Only by evidence: that it is final, or that it will never be.
            Fact::Held(held) => self.is_decided(&held.upload)?,
            Fact::WriterStarted { node, boot, .. } => {
                self.fences.get(node).is_some_and(|highest| highest > boot)
            }
            _ => match fact.at().cloned() {
                None => false,
                Some(_) if self.is_left(fact) => true,
                Some(at) => {
                    let known = self.of_key(&at)?;
                    known.iter().any(|(found, goes)| *goes && found == fact)
                }
            },
        })
    }

    /// Whether it is of a shard that this node has no part in.
    pub(crate) fn is_left(&self, fact: &Fact) -> bool {
        fact.at().is_some_and(|at| self.left.contains(&at.version.shard()))
    }

    /// All facts of a key, and whether they may go.
    fn of_key(&mut self, at: &At) -> Result<&[(Fact, bool)], KeepError> {
        let name = (at.collection.clone(), at.key.clone());
        if self.last.as_ref().is_none_or(|(last, _)| *last != name) {
            let stored = self.shared.index.of_key(&name.0, &name.1)?;
            let facts: Vec<&Fact> = stored.iter().map(|stored| &stored.fact).collect();
            let goes = match self.shared.versioning(&name.0) {
                Some(versioning) => collectable(versioning, &facts, self.terms),
                None => vec![false; facts.len()],
            };
            let facts = stored.into_iter().map(|stored| stored.fact).zip(goes).collect();
            self.last = Some((name, facts));
        }
        Ok(self.last.as_ref().map(|(_, facts)| &facts[..]).unwrap_or_default())
    }

    /// Whether a sequence belongs to a segment that stays, or to an upload that is not decided.
    pub(crate) fn keeps(&mut self, sequence: &Sequence) -> Result<bool, KeepError> {
        let facts = self.shared.index.of_upload(&sequence.upload)?;
        for stored in &facts {
            if matches!(stored.fact, Fact::Final(_)) {
                return Ok(!self.may_go(&stored.fact)?);
            }
        }
        let held = facts.iter().any(|stored| matches!(stored.fact, Fact::Held(_)));
        Ok(held && !self.is_decided(&sequence.upload)?)
    }

    /// Whether it is known what became of an upload.
    fn is_decided(&self, upload: &Upload) -> Result<bool, KeepError> {
        let fenced = self.fences.get(&upload.node).is_some_and(|boot| *boot > upload.boot);
        let facts = self.shared.index.of_upload(upload)?;
        let decides = |fact: &Fact| matches!(fact, Fact::Final(_) | Fact::Cancelled { .. });
        Ok(fenced || facts.iter().any(|stored| decides(&stored.fact)))
    }

    /// How many bytes of a file are still needed. It is in no hurry.
    pub(crate) fn live_bytes(&mut self, file: u32, pace: &Pace<'_>) -> Result<u64, KeepError> {
        let mut live = 0;
        let index = &self.shared.index;
        let mut from = Position { file, offset: 0 };
        loop {
            let facts = index.facts_in(from, ROWS_MAX as u64)?;
            let Some(last) = facts.last() else { break };
            from.offset = last.at.offset + 1;
            if !pace.spend(facts.len() as u64 * ROW_BYTES) {
                return Ok(live);
            }
            for stored in &facts {
                if !self.may_go(&stored.fact)? {
                    live += record_bytes(stored.fact.encode().len() as u64);
                }
            }
        }
        from.offset = 0;
        loop {
            let sequences = index.sequences_in(from, ROWS_MAX as u64)?;
            let Some((_, last)) = sequences.last() else { return Ok(live) };
            from.offset = last.offset + 1;
            if !pace.spend(sequences.len() as u64 * ROW_BYTES) {
                return Ok(live);
            }
            for (sequence, _) in &sequences {
                if self.keeps(sequence)? {
                    live += run_bytes(sequence, &sequence.encode());
                }
            }
        }
    }
}
