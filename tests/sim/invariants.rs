//! What must always be true, kept as a book of everything that was ever said.
//!
//! The book is told facts and knows nothing of cores or simulators, so that its own tests can tell it
//! histories that no correct core makes. Rules carry the numbers of the invariants.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::{Member, PartitionRecord, PartitionState};
use segment::{Chain, LogEnd, LogEntry, Promise};

use crate::agenda::{Time, ms};
use crate::disk::Image;

/// A primary leads for 2 s without hearing enough members; a beat, and a turn, may come on top.
const LEAD_MAX: Time = ms(2_500);

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

pub(crate) type Verdict = Result<(), Violation>;

/// A violation, unless `holds`.
pub(crate) fn must(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { rule, text: text() }) }
}

/// One process life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    pub(crate) boot: u64,
}

/// What stands at one (partition, epoch, seq), and the stores that hold it: sets of bits.
#[derive(Clone, Debug)]
struct Content {
    chain: Chain,
    payload: Bytes,
    held: u64,
    ever: u64,
}

/// Everything that was said and done in one world.
#[derive(Debug, Default)]
pub(crate) struct History {
    contents: BTreeMap<(PartitionId, u64, u64), Content>,
    /// What somebody said is committed, in order from seq 1.
    truth: BTreeMap<PartitionId, Vec<LogEnd>>,
    reigns: BTreeMap<(PartitionId, u64), Process>,
    /// The highest promise of a store that ever was on its disk.
    promises: BTreeMap<(u64, PartitionId), u64>,
    promised: BTreeMap<(PartitionId, u64), Process>,
    /// The highest epoch that anybody led, and since when.
    highest: BTreeMap<PartitionId, (u64, Time)>,
    /// The last epoch that a store sealed, and where its log ended then.
    seals: BTreeMap<(u64, PartitionId), (u64, u64)>,
}

impl History {
    /// A node put an entry into its log. I1: one content for each (partition, epoch, seq).
    pub(crate) fn appended(&mut self, partition: PartitionId, entry: &LogEntry) -> Verdict {
        let key = (partition, entry.epoch, entry.seq);
        let content = self.contents.entry(key).or_insert_with(|| Content {
            chain: entry.chain,
            payload: entry.payload.clone(),
            held: 0,
            ever: 0,
        });
        must(content.chain == entry.chain && content.payload == entry.payload, "I1", || {
            format!("two contents for {partition:?} {}/{}", entry.epoch, entry.seq)
        })
    }

    /// An entry is on the disk of a store.
    pub(crate) fn synced(&mut self, store: u64, partition: PartitionId, entry: &LogEntry) {
        if let Some(content) = self.contents.get_mut(&(partition, entry.epoch, entry.seq)) {
            content.held |= 1 << store;
            content.ever |= 1 << store;
        }
    }

    /// A store drops everything after a seq. I7: nothing that was ever committed.
    pub(crate) fn cut(
        &self,
        store: u64,
        partition: PartitionId,
        log: &Image,
        after: u64,
    ) -> Verdict {
        let first = after + 1;
        let lost = log.at(first).is_some_and(|end| self.is_true(partition, end));
        must(!lost, "I7", || format!("store {store} cuts {partition:?} after {after}: committed"))
    }

    /// A store takes its log back to `after`, to be given the rest again. R32: what it may have helped to commit
    /// is on as many other disks as make a commit.
    pub(crate) fn mends(
        &self,
        store: u64,
        partition: PartitionId,
        after: u64,
        record: &PartitionRecord,
    ) -> Verdict {
        let others = mask(&record.ensemble) & !(1 << store);
        for end in self.truth.get(&partition).into_iter().flatten().filter(|end| end.seq > after) {
            let content = self.contents.get(&(partition, end.epoch, end.seq));
            let holds = content.is_some_and(|it| it.held & (1 << store) != 0);
            let holders = content.map_or(0, |it| (it.held & others).count_ones());
            must(!holds || holders >= u32::from(record.commit), "R32", || {
                format!(
                    "store {store} drops {partition:?} {end:?}, which only {holders} others hold"
                )
            })?;
        }
        Ok(())
    }

    /// Everything after a seq is on the disk of a store no more: it cut it.
    pub(crate) fn gone(&mut self, store: u64, partition: PartitionId, after: u64) {
        for ((of, _, seq), content) in &mut self.contents {
            if *of == partition && *seq > after {
                content.held &= !(1 << store);
            }
        }
    }

    /// A promise is on the disk of a store. I3: they never fall; I5: an epoch is promised to one process.
    pub(crate) fn promises(
        &mut self,
        store: u64,
        partition: PartitionId,
        promise: &Promise,
    ) -> Verdict {
        let last = self.promises.entry((store, partition)).or_default();
        must(promise.epoch >= *last, "I3", || {
            format!("store {store} falls from {last} to {} in {partition:?}", promise.epoch)
        })?;
        *last = promise.epoch;
        let process = Process { node: promise.node.clone(), boot: promise.boot };
        let first =
            self.promised.entry((partition, promise.epoch)).or_insert_with(|| process.clone());
        must(*first == process, "I5", || {
            format!("{partition:?} {} promised to {first:?} and {process:?}", promise.epoch)
        })
    }

    /// A partition's record was replaced. R1 to R3: what each kind of change may change.
    pub(crate) fn recorded(
        &self,
        partition: PartitionId,
        before: &PartitionRecord,
        after: &PartitionRecord,
    ) -> Verdict {
        let (epoch, ensemble, commit) = before.last_open();
        let carried = (after.prev_epoch, after.prev_ensemble.as_slice(), after.prev_commit);
        let good = if after.epoch == before.epoch {
            let mut opened = before.clone();
            opened.state = PartitionState::Open;
            opened.nonce = after.nonce;
            before.state == PartitionState::Sealing && opened == *after
        } else {
            let named =
                after.primary.as_ref().is_some_and(|primary| names(&after.ensemble, primary));
            let by_its_primary = before.state == PartitionState::Open
                && (&before.primary, before.boot) == (&after.primary, after.boot);
            let step = by_its_primary && one_step(&before.ensemble, &after.ensemble);
            after.epoch > before.epoch
                && after.state == PartitionState::Sealing
                && carried == (epoch, ensemble, commit)
                && (same(&after.ensemble, ensemble) || step)
                && named
        };
        // A claim that was deleted before its maker knew of it is made again, the same.
        let again = before == after;
        must(again || (good && after.nonce != before.nonce), "R1", || {
            format!("{partition:?}: {before:?} was replaced by {after:?}")
        })
    }

    /// A process says that it leads. `record` is the registry's of that epoch, `log` its log.
    pub(crate) fn opened(
        &mut self,
        by: &Process,
        (partition, epoch, seq): (PartitionId, u64, u64),
        record: Option<&PartitionRecord>,
        log: &Image,
        now: Time,
    ) -> Verdict {
        let first = self.reigns.entry((partition, epoch)).or_insert_with(|| by.clone());
        must(first == by, "I5", || {
            format!("{partition:?} {epoch} is led by {first:?} and {by:?}")
        })?;
        let record = record.filter(|record| {
            record.state == PartitionState::Open
                && record.primary.as_ref() == Some(&by.node)
                && record.boot == by.boot
        });
        let Some(record) = record else {
            return must(false, "I5", || {
                format!("{by:?} leads {partition:?} {epoch}: not recorded")
            });
        };
        let truth = self.truth.get(&partition).map_or(&[][..], Vec::as_slice);
        let kept = truth.last().is_none_or(|last| log.at(last.seq) == Some(*last));
        must(kept, "I2", || {
            format!("{by:?} opened {partition:?} {epoch} without {:?}", truth.last())
        })?;
        let sealed = record.prev_ensemble.iter().filter(|member| {
            self.promises.get(&(member.store, partition)).is_some_and(|promise| *promise >= epoch)
        });
        let sealed = sealed.count();
        let needed = record.prev_ensemble.len() + 1 - usize::from(record.prev_commit);
        must(sealed >= needed, "I6", || {
            format!("{by:?} opened {partition:?} {epoch} with {sealed} of {needed} sealed")
        })?;
        let highest = self.highest.entry(partition).or_default();
        if epoch > highest.0 {
            *highest = (epoch, now);
        }
        self.committed(by, (partition, epoch, seq), record, log)
    }

    /// A leader says that everything up to `seq` is committed. I4: after as many syncs; I10: the same
    /// as anybody else said.
    pub(crate) fn committed(
        &mut self,
        by: &Process,
        (partition, epoch, seq): (PartitionId, u64, u64),
        record: &PartitionRecord,
        log: &Image,
    ) -> Verdict {
        let leads = self.reigns.get(&(partition, epoch)) == Some(by);
        must(leads, "I5", || {
            format!("{by:?} commits in {partition:?} {epoch}, which it does not lead")
        })?;
        let truth = self.truth.entry(partition).or_default();
        let known = truth.len() as u64;
        let agreed = known.min(seq);
        let before =
            agreed.checked_sub(1).and_then(|index| truth.get(usize::try_from(index).ok()?));
        must(before.is_none_or(|end| log.at(agreed) == Some(*end)), "I10", || {
            format!("{by:?} says that {partition:?} {seq} is committed, which was {before:?}")
        })?;
        let stores = mask(&record.ensemble);
        for seq in known + 1..=seq {
            let end = log.at(seq);
            let content = end.and_then(|end| self.contents.get(&(partition, end.epoch, seq)));
            let holders = content.map_or(0, |content| (content.held & stores).count_ones());
            must(holders >= u32::from(record.commit), "I4", || {
                format!("{by:?} commits {partition:?} {epoch} {seq}, held by {holders}")
            })?;
            truth.extend(end);
        }
        Ok(())
    }

    /// A node believes that everything up to `seq` is committed. I10: somebody said so, of the same log.
    pub(crate) fn knows(
        &self,
        node: &NodeId,
        partition: PartitionId,
        seq: u64,
        log: &Image,
    ) -> Verdict {
        must(seq <= self.shown(partition), "I10", || {
            format!(
                "{node} believes {partition:?} {seq} committed, only {} is",
                self.shown(partition)
            )
        })?;
        let altered = log.altered.is_some_and(|first| first <= seq);
        let same =
            seq == 0 || altered || log.at(seq).is_none_or(|end| self.is_true(partition, end));
        must(same, "I10", || format!("{node} believes another {partition:?} {seq} committed"))
    }

    /// A member acknowledges. I4: what was on its disk; I12: what it verified, not what it has. By the
    /// time of saying so a later epoch may have cut it.
    pub(crate) fn acknowledges(
        &self,
        store: u64,
        (partition, epoch, matched): (PartitionId, u64, u64),
        durable: &Image,
        primary: Option<&Image>,
    ) -> Verdict {
        let what = || format!("store {store} acks {partition:?} {epoch} {matched}");
        must(durable.promised() >= epoch, "I4", || format!("{}: not promised", what()))?;
        let seal = self.seals.get(&(store, partition));
        let fenced = seal.is_none_or(|(sealed, end)| epoch >= *sealed || matched <= *end);
        must(fenced, "R10", || format!("{}: after the seal {seal:?}", what()))?;
        let end = durable.at(matched);
        let Some(log) = primary else {
            let later = durable.promised() > epoch;
            return must(end.is_some() || later, "I4", || format!("{}: not synced", what()));
        };
        if end.is_some() && log.at(matched) == end {
            return Ok(());
        }
        let synced = log.at(matched).is_some_and(|end| self.was_held(store, partition, end));
        let rule = if end.is_some() { "I12" } else { "I4" };
        must(synced, rule, || {
            format!("{}: the primary has another log, or it is not synced", what())
        })
    }

    /// A member answers a seal. I4: its log and its promise were on its disk. R10: nothing lower is
    /// taken then.
    pub(crate) fn sealed(
        &mut self,
        store: u64,
        (partition, epoch, end): (PartitionId, u64, LogEnd),
        durable: &Image,
    ) -> Verdict {
        let altered = durable.altered.is_some_and(|first| first <= end.seq);
        let held = altered || self.was_held(store, partition, end);
        let synced = durable.promised() >= epoch && held;
        must(synced, "I4", || {
            format!("store {store} answers a seal of {partition:?} {epoch}: not synced")
        })?;
        let seal = self.seals.entry((store, partition)).or_insert((epoch, end.seq));
        if epoch > seal.0 {
            *seal = (epoch, end.seq);
        }
        Ok(())
    }

    /// Whether a place ever was on the disk of a store.
    fn was_held(&self, store: u64, partition: PartitionId, end: LogEnd) -> bool {
        let content = self.contents.get(&(partition, end.epoch, end.seq));
        let held = content.is_some_and(|it| it.chain == end.chain && it.ever & 1 << store != 0);
        held || end == LogEnd::default()
    }

    /// A client is answered that `acks` members hold `payload`. I4: they do; a quorum answer is of a
    /// committed entry, any other of one that the primary's own store holds.
    pub(crate) fn answered(
        &self,
        (partition, epoch, seq): (PartitionId, u64, u64),
        payload: &[u8],
        (acks, quorum, own): (u8, bool, u64),
        record: &PartitionRecord,
    ) -> Verdict {
        let content = self.contents.get(&(partition, epoch, seq));
        let what = || format!("{partition:?} {epoch}/{seq} answered for {acks}, quorum {quorum}");
        let Some(content) = content.filter(|content| content.payload == payload) else {
            return must(false, "I7", || format!("{}: it is not there", what()));
        };
        let holders = (content.ever & mask(&record.ensemble)).count_ones();
        must(holders >= u32::from(acks), "I4", || format!("{}: {holders} hold it", what()))?;
        let end = LogEnd { epoch, seq, chain: content.chain };
        let good = if quorum { self.is_true(partition, end) } else { content.ever & 1 << own != 0 };
        must(good, "I4", || format!("{}: not committed, or not here", what()))
    }

    /// A barrier was passed. R14: everything it covers is committed.
    pub(crate) fn passed(&self, partition: PartitionId, epoch: u64, covers: u64) -> Verdict {
        let content = self.contents.get(&(partition, epoch, covers));
        let shown = content.is_some_and(|it| {
            self.is_true(partition, LogEnd { epoch, seq: covers, chain: it.chain })
        });
        must(shown, "R14", || format!("a barrier passed {partition:?} {epoch}/{covers}"))
    }

    /// How far anybody was shown a partition.
    pub(crate) fn shown(&self, partition: PartitionId) -> u64 {
        self.truth.get(&partition).map_or(0, |truth| truth.len() as u64)
    }

    /// A node says that it leads. R22, R24: not for long after a later epoch was opened.
    pub(crate) fn leads(
        &self,
        by: &NodeId,
        (partition, epoch): (PartitionId, u64),
        now: Time,
    ) -> Verdict {
        let (highest, since) = self.highest.get(&partition).copied().unwrap_or_default();
        must(epoch >= highest || now < since + LEAD_MAX, "R22", || {
            format!("{by} leads {partition:?} {epoch} long after {highest} was opened")
        })
    }

    /// The highest epoch that anybody led.
    pub(crate) fn highest(&self, partition: PartitionId) -> u64 {
        self.highest.get(&partition).map_or(0, |(epoch, _)| *epoch)
    }

    /// Whether this place is in what was shown.
    pub(crate) fn is_true(&self, partition: PartitionId, end: LogEnd) -> bool {
        let index = end.seq.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let truth = self.truth.get(&partition);
        index.and_then(|index| truth?.get(index)).is_some_and(|truth| *truth == end)
    }

    /// What was shown at a place: its epoch and its contents.
    pub(crate) fn entry(&self, partition: PartitionId, seq: u64) -> Option<(u64, &Bytes)> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        let end = self.truth.get(&partition)?.get(at)?;
        let content = self.contents.get(&(partition, end.epoch, seq))?;
        Some((end.epoch, &content.payload))
    }

    /// Everything that was shown, with its contents.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (PartitionId, u64, &Bytes)> {
        self.truth.iter().flat_map(|(partition, ends)| {
            ends.iter().filter_map(|end| {
                let content = self.contents.get(&(*partition, end.epoch, end.seq))?;
                Some((*partition, end.seq, &content.payload))
            })
        })
    }
}

fn mask(ensemble: &[Member]) -> u64 {
    ensemble.iter().fold(0, |mask, member| mask | 1 << member.store)
}

fn names(ensemble: &[Member], node: &NodeId) -> bool {
    ensemble.iter().any(|member| member.node == *node)
}

/// R3: whether a change adds at most one member and drops at most one.
fn one_step(before: &[Member], after: &[Member]) -> bool {
    let added = after.iter().filter(|member| !before.contains(member)).count();
    let dropped = before.iter().filter(|member| !after.contains(member)).count();
    added <= 1 && dropped <= 1
}

/// Whether two ensembles have the same members, whatever their order.
fn same(one: &[Member], other: &[Member]) -> bool {
    one.len() == other.len() && one.iter().all(|member| other.contains(member))
}
