//! What each operation does: the rules, one function each.
//!
//! Every rule first asks everything and refuses with nothing appended; then it asks for room; then it
//! appends. What is known is the index and, of the batch under way, what is not in the index yet.

use crate::archive::active::{Total, in_order};
use crate::archive::fact::{At, Fact, Final, Sequence};
use crate::archive::name::{CollectionName, Upload};
use crate::archive::operation::{Closing, Done, Opening, Operation, Refused, Slice};
use crate::archive::run::{record_bytes, run_bytes};
use crate::archive::writer::{Change, End, Need, Verdict, Writer};
use crate::archive::{UnifiedId, Versioning};

/// There are at most so many collections: they are all kept in memory.
const COLLECTIONS_MAX: usize = 65_536;

/// Refused, or decided. The outer error ends the writer.
pub(crate) type Decision = Result<Result<Done, Refused>, End>;

/// Goes on, or is refused.
macro_rules! unless_refused {
    ($checked:expr) => {
        match $checked {
            Ok(value) => value,
            Err(refused) => return Ok(Err(refused)),
        }
    };
}

impl<F: Fn(&str)> Writer<F> {
    pub(crate) fn decide(&mut self, operation: Operation) -> Result<Verdict, End> {
        let decided = match operation {
            Operation::CreateCollection { name, versioning, time_ms } => {
                self.create_collection(name, versioning, time_ms)
            }
            Operation::Entire { opening, slice, closing } => self.entire(opening, &slice, closing),
            Operation::Start { opening, slice } => self.start(opening, &slice),
            Operation::Next { upload, slice } => self.next(&upload, &slice),
            Operation::Final { upload, slice, closing } => {
                self.finalise(&upload, slice.as_ref(), closing)
            }
            Operation::Cancel { upload, time_ms } => self.cancel(upload, time_ms),
            Operation::Destroy { at, target, time_ms } => self.destroy(at, target, time_ms),
            Operation::StartConjoined { at, time_ms } => self.start_conjoined(at, time_ms),
            Operation::AbortConjoined { at, time_ms } => self.abort_conjoined(at, time_ms),
            Operation::FinishConjoined { at, parts, time_ms } => {
                self.finish_conjoined(at, parts, time_ms)
            }
            Operation::WriterStart { node, boot, time_ms } => {
                let known = self.fences.get(&node).is_some_and(|known| *known >= boot);
                let fact = Fact::WriterStarted { node: node.clone(), boot, time_ms };
                if !known {
                    match self.decision(fact)? {
                        Ok(_) => self.fence(node, boot),
                        Err(refused) => return Ok(Verdict::Refuse(refused)),
                    }
                }
                Ok(Ok(Done::Synced))
            }
            Operation::Hold { upload, opening, closing } => self.hold(&upload, opening, &closing),
            Operation::Adopt { entries, applied } => self.adopt(entries, applied),
            Operation::Mend { upload, slice } => self.mend(&upload, &slice),
            Operation::Sync => Ok(Ok(Done::Synced)),
        }?;
        Ok(decided.map_or_else(Verdict::Refuse, Verdict::Answer))
    }

    fn create_collection(
        &mut self,
        name: CollectionName,
        versioning: Versioning,
        time_ms: u64,
    ) -> Decision {
        match self.versioning(&name) {
            Some(known) if known == versioning => return Ok(Ok(Done::Synced)),
            Some(_) => return Ok(Err(Refused::CollectionExists(name))),
            None => {}
        }
        let count = self.shared.collections().len();
        if count >= COLLECTIONS_MAX {
            return Ok(Err(Refused::TooManyCollections(count)));
        }
        self.decision(Fact::Collection { name, versioning, time_ms })
    }

    fn entire(&mut self, opening: Opening, slice: &Slice, closing: Closing) -> Decision {
        unless_refused!(self.may_begin(&opening)?);
        unless_refused!(in_order(slice, 0));
        let some = Some(slice).filter(|slice| !slice.data.is_empty());
        let total = some.map_or_else(Total::empty, |slice| Total::empty().with(slice));
        unless_refused!(total.check(&closing));
        unless_refused!(self.may_be_final(&opening, closing.version)?);
        let made = made(opening, closing, total);
        let sequence = some.map(|slice| (sequence(&made.upload, slice), slice));
        self.complete(made, sequence)
    }

    fn start(&mut self, opening: Opening, slice: &Slice) -> Decision {
        unless_refused!(self.may_begin(&opening)?);
        unless_refused!(in_order(slice, 0));
        let sequence = sequence(&opening.upload, slice);
        let closing = sequence.encode();
        unless_refused!(self.room(run_bytes(&sequence, &closing), Need::Bulk)?);
        let file = self.put_run(sequence, &closing, &slice.data)?;
        let upload = opening.upload.clone();
        self.actives.begin(opening);
        self.actives.extend(&upload, slice, file);
        Ok(Ok(Done::Written))
    }

    fn next(&mut self, upload: &Upload, slice: &Slice) -> Decision {
        let Some(active) = self.actives.find(upload) else {
            return Ok(Err(self.why_not_active(upload)?));
        };
        unless_refused!(active.total_with(Some(slice)));
        let sequence = sequence(upload, slice);
        let closing = sequence.encode();
        unless_refused!(self.room(run_bytes(&sequence, &closing), Need::Bulk)?);
        let file = self.put_run(sequence, &closing, &slice.data)?;
        self.actives.extend(upload, slice, file);
        Ok(Ok(Done::Written))
    }

    fn finalise(&mut self, upload: &Upload, slice: Option<&Slice>, closing: Closing) -> Decision {
        let Some(active) = self.actives.find(upload) else {
            return Ok(Err(self.why_not_active(upload)?));
        };
        let total = unless_refused!(active.total_with(slice));
        unless_refused!(total.check(&closing));
        let opening = active.opening.clone();
        unless_refused!(self.may_be_final(&opening, closing.version)?);
        let made = made(opening, closing, total);
        let last = slice.map(|slice| (sequence(upload, slice), slice));
        let decided = self.complete(made, last)?;
        if decided.is_ok() {
            self.actives.end(upload);
        }
        Ok(decided)
    }

    /// Appends the last sequence and the fact that makes it one.
    fn complete(&mut self, made: Final, last: Option<(Sequence, &Slice)>) -> Decision {
        let fact = Fact::Final(made);
        let closing = last.as_ref().map(|(sequence, _)| sequence.encode()).unwrap_or_default();
        let run = last.as_ref().map_or(0, |(sequence, _)| run_bytes(sequence, &closing));
        unless_refused!(self.room(run + fact_bytes(&fact), Need::Bulk)?);
        if let Some((sequence, slice)) = last {
            self.put_run(sequence, &closing, &slice.data)?;
        }
        self.put(fact);
        Ok(Ok(Done::Synced))
    }

    fn cancel(&mut self, upload: Upload, time_ms: u64) -> Decision {
        if self.actives.find(&upload).is_none() {
            match self.why_not_active(&upload)? {
                // Given up is what it should be.
                Refused::GivenUp(_) | Refused::Fenced { .. } => return Ok(Ok(Done::Synced)),
                Refused::AlreadyHeld(_) => {}
                refused => return Ok(Err(refused)),
            }
        }
        let decided = self.decision(Fact::Cancelled { upload: upload.clone(), time_ms })?;
        if decided.is_ok() {
            self.actives.end(&upload);
        }
        Ok(decided)
    }

    fn destroy(&mut self, at: At, target: Option<UnifiedId>, time_ms: u64) -> Decision {
        unless_refused!(self.known_collection(&at.collection));
        if let Some(target) = target {
            let facts = self.of_version(&At { version: target, ..at.clone() })?;
            let is_archive = |fact: &Fact| matches!(fact, Fact::Final(_) | Fact::Started { .. });
            if !facts.iter().any(is_archive) {
                return Ok(Err(Refused::UnknownVersion(target)));
            }
        }
        self.decision(Fact::Tombstone { at, target, time_ms, repeat: None })
    }

    fn start_conjoined(&mut self, at: At, time_ms: u64) -> Decision {
        unless_refused!(self.known_collection(&at.collection));
        for fact in self.of_version(&at)? {
            match fact {
                Fact::Started { .. } => return Ok(Ok(Done::Synced)),
                Fact::Final(_) => return Ok(Err(already_final(&at))),
                _ => {}
            }
        }
        self.decision(Fact::Started { at, time_ms, repeat: None })
    }

    fn abort_conjoined(&mut self, at: At, time_ms: u64) -> Decision {
        unless_refused!(self.known_collection(&at.collection));
        let facts = self.of_version(&at)?;
        if !facts.iter().any(|fact| matches!(fact, Fact::Started { .. })) {
            return Ok(Err(Refused::UnknownVersion(at.version)));
        }
        if facts.iter().any(|fact| matches!(fact, Fact::Aborted { .. })) {
            return Ok(Ok(Done::Synced));
        }
        self.decision(Fact::Aborted { at, time_ms })
    }

    fn finish_conjoined(&mut self, at: At, parts: u32, time_ms: u64) -> Decision {
        unless_refused!(self.known_collection(&at.collection));
        let facts = self.of_version(&at)?;
        if !facts.iter().any(|fact| matches!(fact, Fact::Started { .. })) {
            return Ok(Err(Refused::UnknownVersion(at.version)));
        }
        let mut found = std::collections::BTreeSet::new();
        for fact in facts {
            match fact {
                Fact::Aborted { .. } => return Ok(Err(given_up(&at))),
                Fact::Finished { parts: known, .. } if known == parts => {
                    return Ok(Ok(Done::Synced));
                }
                Fact::Finished { .. } => return Ok(Err(already_final(&at))),
                Fact::Final(made) => {
                    found.insert(made.part);
                }
                _ => {}
            }
        }
        if let Some(expected) = (1..=parts).find(|part| !found.contains(part)) {
            return Ok(Err(Refused::WrongOrder { expected, found: parts }));
        }
        // One more than was said would be left out, silently.
        if let Some(found) = found.into_iter().find(|part| *part > parts) {
            return Ok(Err(Refused::WrongOrder { expected: parts, found }));
        }
        self.decision(Fact::Finished { at, parts, time_ms })
    }

    pub(crate) fn fence(&mut self, node: hashring::NodeId, boot: u64) {
        for upload in self.actives.end_before(&node, boot) {
            tracing::info!(%upload, "an upload of a writer's earlier life is given up");
        }
        self.fences.insert(node, boot);
    }

    /// Appends a fact and nothing else.
    pub(crate) fn decision(&mut self, fact: Fact) -> Decision {
        unless_refused!(self.room(fact_bytes(&fact), Need::Decision)?);
        self.put(fact);
        Ok(Ok(Done::Synced))
    }

    /// Whether an upload may begin.
    pub(crate) fn may_begin(&self, opening: &Opening) -> Result<Result<(), Refused>, End> {
        unless_refused!(self.known_collection(&opening.collection));
        unless_refused!(self.actives.may_begin(&opening.upload));
        match self.why_not_active(&opening.upload)? {
            Refused::UnknownSegment(_) => Ok(Ok(())),
            refused => Ok(Err(refused)),
        }
    }

    /// Whether an upload may become this version.
    fn may_be_final(
        &self,
        opening: &Opening,
        version: UnifiedId,
    ) -> Result<Result<(), Refused>, End> {
        let (collection, key) = (opening.collection.clone(), opening.key.clone());
        let at = At { collection, key, version };
        let facts = self.of_version(&at)?;
        let place = (opening.part, opening.segment_number);
        let same = |fact: &Fact| match fact {
            Fact::Final(made) => (made.part, made.segment_number) == place,
            _ => false,
        };
        let started = facts.iter().any(|fact| matches!(fact, Fact::Started { .. }));
        let ended = facts.iter().find_map(|fact| match fact {
            Fact::Aborted { .. } => Some(given_up(&at)),
            Fact::Finished { .. } => Some(already_final(&at)),
            _ => None,
        });
        Ok(match (opening.part, started) {
            _ if facts.iter().any(same) => Err(already_final(&at)),
            (0, true) => Err(Refused::WrongOrder { expected: 1, found: 0 }),
            (0, false) => Ok(()),
            (_, false) => Err(Refused::UnknownVersion(version)),
            (_, true) => ended.map_or(Ok(()), Err),
        })
    }

    /// Why an upload is not under way.
    pub(crate) fn why_not_active(&self, upload: &Upload) -> Result<Refused, End> {
        if let Some(boot) = self.fences.get(&upload.node).filter(|boot| **boot > upload.boot) {
            let (upload, boot) = (upload.clone(), *boot);
            // A final of before is final all the same.
            if !self.of_upload(&upload)?.iter().any(|fact| matches!(fact, Fact::Final(_))) {
                return Ok(Refused::Fenced { upload, boot });
            }
        }
        let facts = self.of_upload(upload)?;
        let is = |wanted: fn(&Fact) -> bool| facts.iter().any(wanted);
        Ok(if is(|fact| matches!(fact, Fact::Final(_))) {
            Refused::AlreadyFinal(format!("upload {upload}"))
        } else if is(|fact| matches!(fact, Fact::Cancelled { .. })) {
            Refused::GivenUp(format!("upload {upload}"))
        } else if is(|fact| matches!(fact, Fact::Held(_))) {
            Refused::AlreadyHeld(upload.clone())
        } else {
            Refused::UnknownSegment(upload.clone())
        })
    }

    fn known_collection(&self, name: &CollectionName) -> Result<(), Refused> {
        let known = self.versioning(name).is_some();
        known.then_some(()).ok_or_else(|| Refused::UnknownCollection(name.clone()))
    }

    pub(crate) fn versioning(&self, name: &CollectionName) -> Option<Versioning> {
        let pending = self.pending_facts().find_map(|fact| match fact {
            Fact::Collection { name: found, versioning, .. } if found == name => Some(*versioning),
            _ => None,
        });
        pending.or_else(|| self.shared.versioning(name))
    }

    fn of_version(&self, at: &At) -> Result<Vec<Fact>, End> {
        let indexed = self.shared.index.of_version(at).map_err(unreadable)?;
        let pending = self.pending_facts().filter(|fact| fact.at() == Some(at)).cloned();
        Ok(indexed.into_iter().map(|stored| stored.fact).chain(pending).collect())
    }

    pub(crate) fn of_upload(&self, upload: &Upload) -> Result<Vec<Fact>, End> {
        let indexed = self.shared.index.of_upload(upload).map_err(unreadable)?;
        let pending = self.pending_facts().filter(|fact| fact.upload() == Some(upload)).cloned();
        Ok(indexed.into_iter().map(|stored| stored.fact).chain(pending).collect())
    }

    fn pending_facts(&self) -> impl Iterator<Item = &Fact> {
        self.pending.iter().filter_map(|change| match change {
            Change::Fact(_, fact) => Some(fact),
            Change::Sequence(..) | Change::Closed(..) | Change::Applied(_) => None,
        })
    }
}

fn made(opening: Opening, closing: Closing, total: Total) -> Final {
    let Opening { upload, collection, key, part, segment_number } = opening;
    let Closing { version, size, md5, adler32, meta, time_ms } = closing;
    Final {
        upload,
        at: At { collection, key, version },
        part,
        segment_number,
        coding: 0,
        hand_off: None,
        sequences: total.sequences,
        size,
        md5,
        adler32,
        time_ms,
        meta,
        table: total.table,
        repeat: None,
        holders: Vec::new(),
    }
}

pub(crate) fn sequence(upload: &Upload, slice: &Slice) -> Sequence {
    Sequence {
        upload: upload.clone(),
        number: slice.sequence,
        // It was verified: at most 10 MiB.
        size: u32::try_from(slice.size).unwrap_or(u32::MAX),
        padding: 0,
        md5: slice.md5,
        adler32: slice.adler32,
    }
}

fn fact_bytes(fact: &Fact) -> u64 {
    record_bytes(u64::try_from(fact.encode().len()).unwrap_or(u64::MAX))
}

fn already_final(at: &At) -> Refused {
    Refused::AlreadyFinal(format!("version {}", at.version))
}

fn given_up(at: &At) -> Refused {
    Refused::GivenUp(format!("version {}", at.version))
}

pub(crate) fn unreadable(error: db::Error) -> End {
    End::Failed(format!("the archive's index cannot be read: {error}"))
}
