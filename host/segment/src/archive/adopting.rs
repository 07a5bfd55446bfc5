//! Operations of a copy among others: it holds what is not decided, takes over what was, and is mended.

use std::collections::BTreeMap;

use crate::archive::Table;
use crate::archive::active::Total;
use crate::archive::applied::Applied;
use crate::archive::decide::{Decision, sequence, unreadable};
use crate::archive::fact::{Fact, Final, Held, Sequence};
use crate::archive::name::Upload;
use crate::archive::operation::{Adopted, Closing, Done, Opening, Refused, Slice};
use crate::archive::run::run_bytes;
use crate::archive::writer::{Change, End, Need, Writer};

impl<F: Fn(&str)> Writer<F> {
    pub(crate) fn hold(
        &mut self,
        upload: &Upload,
        opening: Opening,
        closing: &Closing,
    ) -> Decision {
        let (opening, total) = match self.actives.find(upload) {
            Some(active) => (active.opening.clone(), active.total_with(None)),
            None => match self.held_before(upload, closing)? {
                Ok(None) if closing.size == 0 => match self.may_begin(&opening)? {
                    Ok(()) => (opening, Ok(Total::empty())),
                    Err(refused) => return Ok(Err(refused)),
                },
                Ok(None) => return Ok(Err(self.why_not_active(upload)?)),
                Ok(Some(done)) => return Ok(Ok(done)),
                Err(refused) => return Ok(Err(refused)),
            },
        };
        let total = match total.and_then(|total| total.check(closing).map(|()| total)) {
            Ok(total) => total,
            Err(refused) => return Ok(Err(refused)),
        };
        let held = Held {
            upload: upload.clone(),
            collection: opening.collection,
            key: opening.key,
            sequences: total.sequences,
            size: total.size,
            table: total.table,
            time_ms: closing.time_ms,
        };
        let decided = self.decision(Fact::Held(held))?;
        if decided.is_ok() {
            self.actives.end(upload);
        }
        Ok(decided)
    }

    /// Whether it is held already, and is the same.
    fn held_before(
        &self,
        upload: &Upload,
        closing: &Closing,
    ) -> Result<Result<Option<Done>, Refused>, End> {
        let facts = self.of_upload(upload)?;
        let held = facts.iter().find_map(|fact| match fact {
            Fact::Held(held) => Some(held),
            _ => None,
        });
        let decided = facts.iter().any(|fact| matches!(fact, Fact::Cancelled { .. }));
        Ok(match held {
            None => Ok(None),
            Some(_) if decided => Err(self.why_not_active(upload)?),
            Some(held) if held.size == closing.size => Ok(Some(Done::Synced)),
            Some(held) => Err(Refused::SizeMismatch { expected: closing.size, found: held.size }),
        })
    }

    pub(crate) fn adopt(&mut self, entries: Vec<Adopted>, applied: Vec<Applied>) -> Decision {
        for Adopted { fact, collection, data } in entries {
            if let Some((name, versioning)) = collection
                && self.versioning(&name).is_none()
            {
                let time_ms = runtime::wall_ms();
                let made = Fact::Collection { name, versioning, time_ms };
                if let Err(refused) = self.decision(made)? {
                    return Ok(Err(refused));
                }
            }
            let known = match &fact {
                Fact::Collection { name, .. } => self.versioning(name).is_some(),
                fact => self.knows(fact)?,
            };
            self.end_by(&fact);
            if let Fact::Final(made) = &fact {
                self.take_bytes(made, data)?;
            }
            if !known && let Err(refused) = self.decision(fact)? {
                return Ok(Err(refused));
            }
        }
        self.pending.extend(applied.into_iter().map(Change::Applied));
        Ok(Ok(Done::Synced))
    }

    fn knows(&self, fact: &Fact) -> Result<bool, End> {
        let pending = self.pending.iter().any(|change| match change {
            Change::Fact(_, found) => found == fact,
            _ => false,
        });
        Ok(pending || self.shared.index.knows(fact).map_err(unreadable)?)
    }

    /// What is decided is not under way any more.
    fn end_by(&mut self, fact: &Fact) {
        match fact {
            Fact::Final(made) => drop(self.actives.end(&made.upload)),
            Fact::Cancelled { upload, .. } => drop(self.actives.end(upload)),
            Fact::WriterStarted { node, boot, .. }
                if self.fences.get(node).is_none_or(|known| known < boot) =>
            {
                self.fence(node.clone(), *boot);
            }
            _ => {}
        }
    }

    /// The bytes of a final segment: they came with it, or are here, or are owed.
    fn take_bytes(&mut self, made: &Final, data: Option<bytes::Bytes>) -> Result<(), End> {
        let here = self.sequences_of(made)?;
        if here.len() == usize::try_from(made.sequences).unwrap_or(usize::MAX) {
            if table(here.values()) == made.table {
                // While nobody had decided, a scrub may have come by.
                for number in self.shared.index.broken(&made.upload).map_err(unreadable)? {
                    self.shared.debts().add(made, Some(number));
                }
                return Ok(());
            }
            // Its name was used twice, and none of them can be told to be its own.
            here.keys().for_each(|number| self.shared.owe(made, *number));
        }
        let Some(data) = data.filter(|data| !data.is_empty()) else {
            self.shared.debts().add(made, None);
            return Ok(());
        };
        let slice = Slice::of(0, data);
        let (md5, size) = (slice.md5, slice.size);
        if (md5, size) != (made.md5, made.size) || made.sequences != 1 {
            self.shared.debts().add(made, None);
            return Ok(());
        }
        let sequence = sequence(&made.upload, &slice);
        let closing = sequence.encode();
        if self.room(run_bytes(&sequence, &closing), Need::Bulk)?.is_err() {
            self.shared.debts().add(made, None);
            return Ok(());
        }
        self.put_run(sequence, &closing, &slice.data)?;
        Ok(())
    }

    /// What is here of a segment, in order.
    fn sequences_of(&self, made: &Final) -> Result<BTreeMap<u32, Sequence>, End> {
        let indexed = self.shared.index.sequences(made).map_err(unreadable)?;
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Sequence(_, sequence) => Some(sequence.clone()),
            _ => None,
        });
        let of = |it: &Sequence| it.upload == made.upload && it.number < made.sequences;
        let all = indexed.into_iter().map(|(sequence, _)| sequence).chain(pending.filter(of));
        Ok(all.map(|sequence| (sequence.number, sequence)).collect())
    }

    pub(crate) fn mend(&mut self, upload: &Upload, slice: &Slice) -> Decision {
        let facts = self.of_upload(upload)?;
        let made = facts.iter().find_map(|fact| match fact {
            Fact::Final(made) => Some(made),
            _ => None,
        });
        let Some(made) = made else { return Ok(Err(Refused::UnknownSegment(upload.clone()))) };
        if slice.sequence >= made.sequences {
            let expected = made.sequences.saturating_sub(1);
            return Ok(Err(Refused::WrongOrder { expected, found: slice.sequence }));
        }
        let sequence = sequence(upload, slice);
        let closing = sequence.encode();
        match self.room(run_bytes(&sequence, &closing), Need::Bulk)? {
            Ok(()) => {}
            Err(refused) => return Ok(Err(refused)),
        }
        self.put_run(sequence, &closing, &slice.data)?;
        Ok(Ok(Done::Synced))
    }
}

fn table<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> Table {
    sequences.fold(Table::EMPTY, |sum, it| sum.with(u64::from(it.size), it.md5, it.adler32))
}
