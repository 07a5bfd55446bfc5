//! A log that contradicts its primary's, or has an entry that cannot be read: back to the last place where
//! both agree, and on from there (R32).
//!
//! Nothing of this is done on one node's word. The place is found by halving against the log of a primary
//! whose record is open; then every other member is asked what it has at the first place that differs, on
//! its disk. Only when as many as make a commit, and more than half, say the same as the primary, and hold
//! all that this node may have helped to commit, the log goes back: what differs is put aside first, and from
//! then on the log is a damaged one (R34). If not so many agree, nothing is changed: whose log
//! contradicts takes and answers nothing, and is asked for again and again.

use std::collections::BTreeMap;

use hashring::NodeId;
use registry::{PartitionRecord, PartitionState};
use segment::{LogEnd, LogEntry, LogOp};
use wire::{Look, Looked, Message, RefuseWhy};

use super::Time;
use super::convert::{to_log, to_wire};
use super::partition::{Doing, Partition, ReadFor};
use super::shared::Shared;
use super::step::{Alarm, Step};
use super::writer::After;

/// What is wrong with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It has another entry than the primary. Nothing is taken or said until that is mended.
    Differs,
    /// An entry cannot be read. Its chain is known, so that the log goes on meanwhile.
    Unreadable,
}

/// A log being mended.
#[derive(Debug)]
pub(super) struct Mending {
    flaw: Flaw,
    /// In which epoch the others are asked.
    epoch: u64,
    /// The log begins behind it.
    base: LogEnd,
    /// The last place known to be the same.
    low: LogEnd,
    /// A place known not to be.
    high: u64,
    /// All are asked what they have there: at `high`, or where the last of their logs begins if that is above.
    /// Chains that are equal there are equal at `high`.
    all_have: u64,
    /// The primary's log begins behind this log's base, so it gives what is to stand before.
    given_anew: bool,
    phase: Phase,
    asked: Time,
    /// Since when nothing is taken so that it can be mended.
    blocked: Option<Time>,
}

#[derive(Debug)]
enum Phase {
    /// The primary was asked what it has at this seq.
    Halving { seq: u64 },
    /// It has this there; the own entry is being read.
    Comparing { theirs: LogEnd },
    /// All members were asked what they have at `high`.
    Gathering { said: BTreeMap<NodeId, Looked>, needed: Option<u64> },
    /// What differs is being put aside, as soon as that was asked for.
    Keeping { asked: bool },
}

impl Mending {
    /// `base` is what the log begins with: that is committed, and the same everywhere.
    fn new(flaw: Flaw, epoch: u64, high: u64, (base, now): (LogEnd, Time)) -> Self {
        let (low, phase) = (base, Phase::Halving { seq: 0 });
        let mut mending = Self {
            flaw,
            epoch,
            base,
            low,
            high,
            all_have: 0,
            given_anew: false,
            phase,
            asked: now,
            blocked: None,
        };
        mending.go_on();
        mending
    }

    /// Whether nothing is taken or said.
    pub(super) fn blocks(&self) -> bool {
        self.flaw == Flaw::Differs || self.blocked.is_some()
    }

    /// The next question: of a place between the two, or what all have at the upper one.
    fn go_on(&mut self) {
        let between = self.high.saturating_sub(self.low.seq);
        if between > 1 {
            self.all_have = 0;
            self.phase = Phase::Halving { seq: self.low.seq + between / 2 };
        } else {
            self.gather();
        }
    }

    /// The next question: what all have.
    fn gather(&mut self) {
        self.all_have = self.all_have.max(self.high);
        self.phase = Phase::Gathering { said: BTreeMap::new(), needed: None };
    }

    /// Another epoch began: its primary is asked from the beginning.
    fn begin_anew(&mut self, epoch: u64, now: Time) {
        *self = Self { blocked: None, ..Self::new(self.flaw, epoch, self.high, (self.base, now)) };
    }
}

/// An unreadable entry that could not be mended is looked at again after so long.
const AGAIN: Time = Time::from_secs(30);

impl Partition {
    /// Whether the log contradicts the others', so that nothing is taken or said.
    pub(super) fn blocked(&self) -> bool {
        self.mending.as_ref().is_some_and(|mending| mending.blocks())
    }

    /// The log contradicts what `from` has at `seq`. Whether that is somebody who leads: of anybody else
    /// it proves nothing, and what was asked is refused.
    pub(super) fn contradicted(&mut self, cx: &mut Shared, from: &NodeId, boot: u64, seq: u64) {
        let epoch = self.record.as_ref().map_or(0, |known| known.record.epoch);
        if self.complained < epoch.max(1) {
            self.complained = epoch.max(1);
            cx.alarm(self.id, Alarm::Divergent);
        }
        let leads = self.open_record().is_some_and(|record| {
            record.epoch >= self.promised
                && record.primary.as_ref() == Some(from)
                && record.boot == boot
        });
        if leads && matches!(self.doing, Doing::Follow) && !self.blocked() {
            let high = seq.min(self.tail.end().seq).max(1);
            self.mending = Some(Box::new(Mending::new(
                Flaw::Differs,
                epoch,
                high,
                (self.tail.base(), cx.now),
            )));
            cx.writer.withdraw(self.id);
            self.ask_about_log(cx);
        }
        self.touch(cx);
    }

    /// The entry at `seq` cannot be read on this node.
    pub(super) fn on_unreadable(&mut self, cx: &mut Shared, seq: u64) {
        if seq == 0 || seq > self.tail.end().seq {
            return;
        }
        if seq <= self.tail.base().seq {
            // What the log stands on: nobody can be asked for a part of it, but another may lead.
            cx.alarm(self.id, Alarm::Unreadable);
            self.begin_hand_over(cx);
            return;
        }
        if let Some(mending) = &mut self.mending
            && mending.low.seq < seq
            && seq < mending.high
        {
            mending.high = seq;
            mending.go_on();
            self.ask_about_log(cx);
        }
        let news = self.unreadable.is_none_or(|(known, _)| seq < known);
        if news {
            self.unreadable = Some((seq, cx.now));
            cx.alarm(self.id, Alarm::Unreadable);
        }
        self.tick_unreadable(cx);
    }

    /// A beat passed, or an entry was found that cannot be read: a primary gives the partition away, a
    /// member has its log mended.
    pub(super) fn tick_unreadable(&mut self, cx: &mut Shared) {
        let Some((seq, at)) = self.unreadable.filter(|(_, at)| *at <= cx.now) else { return };
        match &self.doing {
            Doing::Lead(leader) if leader.open() => {
                self.unreadable = Some((seq, at.max(cx.now) + AGAIN));
                let patience = cx.config.timings.suspect;
                let taker = leader.followers.iter().any(|follower| {
                    follower.matched >= self.commit
                        && cx.peers.live(&follower.member, cx.now, patience)
                });
                if taker {
                    self.begin_hand_over(cx);
                }
            }
            Doing::Follow if self.mending.is_none() => {
                let led =
                    |record: &&PartitionRecord| record.primary != Some(cx.config.node.clone());
                let Some(epoch) = self.open_record().filter(led).map(|record| record.epoch) else {
                    return;
                };
                self.unreadable = Some((seq, cx.now + AGAIN));
                let mending =
                    Mending::new(Flaw::Unreadable, epoch, seq, (self.tail.base(), cx.now));
                self.mending = Some(Box::new(mending));
                self.ask_about_log(cx);
            }
            Doing::Lead(_) | Doing::Candidate(_) | Doing::Follow => {}
        }
    }

    /// The record, if it says that somebody leads.
    fn open_record(&self) -> Option<&PartitionRecord> {
        let record = self.record.as_ref().map(|known| &known.record);
        record.filter(|record| record.state == PartitionState::Open && record.primary.is_some())
    }

    /// A beat passed: asks again, in the epoch that is open by now.
    pub(super) fn tick_mending(&mut self, cx: &mut Shared) {
        self.tick_unreadable(cx);
        let open = self.open_record().map(|record| record.epoch);
        let following = matches!(self.doing, Doing::Follow);
        let Some(mending) = &mut self.mending else { return };
        let now = cx.now;
        let late = |since: Time| now.saturating_sub(since) >= cx.config.timings.answer;
        let given_up = mending.flaw == Flaw::Unreadable
            && (!following || late(mending.blocked.unwrap_or(mending.asked)));
        if given_up {
            // The others go on counting on the rest of it.
            self.mending = None;
            self.touch(cx);
            return;
        }
        let (Some(epoch), true) = (open, following) else { return };
        let mending = self.mending.as_mut();
        let Some(mending) = mending else { return };
        if mending.epoch != epoch {
            mending.begin_anew(epoch, now);
        } else if now.saturating_sub(mending.asked) < cx.config.timings.resend {
            return;
        } else if let Phase::Comparing { .. } = mending.phase {
            // The own entry was not there to be read: it is asked for again.
            mending.go_on();
        }
        self.ask_about_log(cx);
    }

    /// Asks what is to be known next.
    fn ask_about_log(&mut self, cx: &mut Shared) {
        let Some(record) = self.open_record().cloned() else { return };
        let low = self.mending.as_ref().map(|mending| mending.low);
        let Some(mending) = &mut self.mending else { return };
        if record.epoch != mending.epoch {
            return;
        }
        // Whoever is unreadable gives up after a while: its time runs from the first question on.
        if mending.flaw == Flaw::Differs || mending.blocked.is_some() {
            mending.asked = cx.now;
        }
        let seq = match mending.phase {
            Phase::Halving { seq } => seq,
            Phase::Gathering { .. } => mending.all_have,
            Phase::Comparing { .. } => return,
            Phase::Keeping { asked } => {
                if asked {
                    return;
                }
                mending.phase = Phase::Keeping { asked: true };
                let after = low.unwrap_or_default().seq;
                let high = mending.high;
                cx.tell(Step::PutAside { partition: self.id, after, differs: high });
                return;
            }
        };
        let all = matches!(mending.phase, Phase::Gathering { .. });
        let look = Look { partition: self.id, epoch: record.epoch, seq };
        for member in &record.ensemble {
            let asked = all || record.primary.as_ref() == Some(&member.node);
            if asked && !cx.is_me(member) && cx.peers.member(member).is_some() {
                cx.send(&member.node, Message::Look(look));
            }
        }
    }

    /// A member wants to know what stands here at a place: it is read from the disk.
    pub(super) fn on_look(&mut self, cx: &mut Shared, from: &NodeId, look: Look) {
        let sound = self.mending.is_none() && !self.damaged && !self.forgot;
        if !sound || look.epoch != self.promised {
            return;
        }
        let seq = look.seq.min(self.tail.end().seq).max(1);
        let base = self.tail.base();
        self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Look(to, _) if to == from));
        if seq <= base.seq {
            // Nothing before it is known. It was on the disk before the log began there.
            self.has_there(cx, from, look, base);
            return;
        }
        let request = cx.read_one(self.id, seq);
        self.reads.push((request, ReadFor::Look(from.clone(), look)));
    }

    /// It was read.
    pub(super) fn on_look_read(
        &self,
        cx: &mut Shared,
        to: &NodeId,
        look: Look,
        entries: &[LogEntry],
    ) {
        let Some(entry) = entries.first() else { return };
        let place = LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain };
        self.has_there(cx, to, look, place);
    }

    /// Tells what stands here.
    fn has_there(&self, cx: &mut Shared, to: &NodeId, look: Look, place: LogEnd) {
        let verified = match &self.doing {
            Doing::Lead(leader) if leader.open() && leader.epoch == look.epoch => leader.own,
            Doing::Follow => self.matched,
            Doing::Lead(_) | Doing::Candidate(_) => return,
        };
        if look.epoch != self.promised {
            return;
        }
        let looked = Looked {
            partition: self.id,
            epoch: look.epoch,
            place: to_wire(place),
            verified,
            commit: self.commit,
        };
        // What it says it has verified is on its disk by then.
        cx.writer.after(After::Looked { to: to.clone(), looked });
    }

    /// A member has said what stands there.
    pub(super) fn on_looked(&mut self, cx: &mut Shared, from: &NodeId, looked: Looked) {
        let Some(record) = self.open_record().cloned() else { return };
        let Some(mending) = &mut self.mending else { return };
        let current = looked.epoch == mending.epoch && looked.epoch == record.epoch;
        if !current || !cx.counts(from, &record.ensemble) {
            return;
        }
        let primary = record.primary.as_ref() == Some(from);
        match &mut mending.phase {
            Phase::Halving { seq } if primary => {
                let theirs = to_log(looked.place);
                if theirs.seq > *seq && theirs.seq >= mending.high {
                    // Its log begins above all that can be compared.
                    mending.gather();
                    self.ask_about_log(cx);
                    return;
                }
                mending.phase = Phase::Comparing { theirs };
                let request = cx.read_one(self.id, theirs.seq.max(1));
                self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Own));
                self.reads.push((request, ReadFor::Own));
            }
            Phase::Gathering { said, .. } => {
                said.insert(from.clone(), looked);
                mending.given_anew |= primary && looked.place.seq > mending.all_have;
                self.count_looked(cx, &record);
            }
            Phase::Halving { .. } | Phase::Comparing { .. } | Phase::Keeping { .. } => {}
        }
    }

    /// The own entry at the place that the primary told was read.
    pub(super) fn on_own_read(&mut self, cx: &mut Shared, entries: &[LogEntry]) {
        let unreadable = self.unreadable.map(|(seq, _)| seq);
        let Some(mending) = &mut self.mending else { return };
        let Phase::Comparing { theirs } = mending.phase else { return };
        let own = entries.first().filter(|entry| entry.seq == theirs.seq).map(|entry| LogEnd {
            epoch: entry.epoch,
            seq: entry.seq,
            chain: entry.chain,
        });
        let own = if theirs.seq == mending.base.seq { Some(mending.base) } else { own };
        if own == Some(theirs) {
            mending.low = theirs;
        } else if own.is_some() || unreadable == Some(theirs.seq) {
            mending.high = theirs.seq;
        } else {
            // It could not be read for now.
            return;
        }
        if mending.high <= mending.low.seq {
            // By now the primary has less than what was wrong here: it is cut like any log that is longer.
            mending.high = mending.low.seq + 1;
        }
        mending.go_on();
        self.ask_about_log(cx);
    }

    /// Goes on if enough say the same as the primary, of what differs here.
    fn count_looked(&mut self, cx: &mut Shared, record: &PartitionRecord) {
        let mine = if record.epoch == self.promised { self.matched } else { 0 };
        let alone = cx.config.sabotage.mend_alone;
        let Some(mending) = &mut self.mending else { return };
        let asked = mending.all_have;
        let Phase::Gathering { said, needed } = &mut mending.phase else { return };
        let theirs = record.primary.as_ref().and_then(|primary| said.get(primary)).copied();
        let Some(theirs) = theirs else { return };
        // Where a log begins is committed: the primary has it, whoever says so.
        let begins = said.values().map(|looked| looked.place.seq).max().unwrap_or(0);
        if begins > asked && begins <= theirs.commit {
            mending.all_have = begins;
            mending.gather();
            self.ask_about_log(cx);
            return;
        }
        if theirs.place.seq != asked {
            return;
        }
        if mending.high <= mending.base.seq && !mending.given_anew {
            // This log's own beginning is another one, and the primary has nothing to be given in its place.
            return;
        }
        let agree: Vec<&Looked> =
            said.values().filter(|looked| looked.place == theirs.place).collect();
        let members = record.ensemble.len();
        let enough = usize::from(record.commit).max(members / 2 + 1);
        let enough = if alone { 1 } else { enough };
        if agree.len() < enough {
            return;
        }
        if mending.flaw == Flaw::Unreadable && mending.blocked.is_none() {
            // From here on nothing is taken, so that what the others must hold does not grow.
            mending.blocked = Some(cx.now);
            mending.go_on();
            self.ask_about_log(cx);
            self.touch(cx);
            return;
        }
        let all = *needed.get_or_insert(theirs.commit.max(mine));
        if alone || agree.iter().filter(|looked| looked.verified >= all).count() >= enough {
            mending.phase = Phase::Keeping { asked: false };
            self.ask_about_log(cx);
        }
    }

    /// What differs is put aside, or could not be: then it is tried again.
    pub(super) fn on_put_aside(&mut self, cx: &mut Shared, after: u64, done: bool) {
        let open = self.open_record().map(|record| record.epoch);
        let Some(mending) = &mut self.mending else { return };
        let ours = matches!(mending.phase, Phase::Keeping { .. })
            && mending.low.seq == after
            && open == Some(mending.epoch)
            && matches!(self.doing, Doing::Follow);
        if ours && done {
            let low = mending.low;
            self.go_back(cx, low);
        } else if ours {
            mending.phase = Phase::Keeping { asked: false };
        }
    }

    /// Drops everything after `low`. The log is damaged until it has all that this epoch has committed.
    fn go_back(&mut self, cx: &mut Shared, low: LogEnd) {
        let partition = self.id;
        let epoch = self.promised.max(self.tail.end().epoch);
        cx.writer.withdraw(partition);
        cx.writer.push(&mut self.slot, LogOp::Doubt { partition, epoch });
        cx.writer.push(&mut self.slot, LogOp::Cut { partition, after: low.seq });
        self.tail.cut(low);
        self.commit = self.commit.min(low.seq);
        self.matched = 0;
        self.deferred = None;
        self.damaged = !cx.config.sabotage.mend_alone;
        self.mending = None;
        self.unreadable = self.unreadable.filter(|(seq, _)| *seq <= low.seq);
        self.mended += 1;
        cx.tell(Step::Mended { partition, after: low.seq });
        let Some(record) = self.open_record().cloned() else { return };
        if let Some(primary) = &record.primary {
            let why = RefuseWhy::Gap { after: to_wire(low) };
            self.refuse(cx, primary, record.epoch, why);
        }
        self.touch(cx);
    }
}
