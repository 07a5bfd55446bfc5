//! One partition on this node: what it has promised, what its log is, what it knows of the record, and
//! what it does at the moment.
//!
//! The parts of what it does are in files of their own: [`member`](super::member) takes and answers,
//! [`suspicion`](super::suspicion) decides when to take over, [`candidate`](super::candidate) takes
//! over, [`leader`](super::leader) leads, [`change`](super::change) changes who holds it. Here is what they
//! share, and how one follows another.

use hashring::{NodeId, PartitionId};
use registry::PartitionRecord;
use segment::{LogEntry, LogOp, Promise, Restored};

use super::Time;
use super::candidate::Candidate;
use super::leader::Leader;
use super::member::Deferred;
use super::mending::Mending;
use super::restoring::Astray;
use super::roster::Wanted;
use super::shared::Shared;
use super::status::Glance;
use super::step::{Alarm, Moving, Step, StopReason};
use super::suspicion::Suspicion;
use super::tail::Tail;
use super::writer::Slot;

/// One partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    /// The record as last read or written, with its version.
    pub(super) record: Option<Known>,
    /// Below this epoch nothing is taken.
    pub(super) promised: u64,
    /// Whom that was promised, and its process life; unknown if only an entry tells of the epoch.
    pub(super) promised_to: Option<(NodeId, u64)>,
    pub(super) tail: Tail,
    /// Everything up to here is known to be committed.
    pub(super) commit: u64,
    commit_kept: u64,
    /// The log lost entries that were synced, and has not been made whole since.
    pub(super) damaged: bool,
    /// A promise may be among what was lost: nothing is taken before the record tells of the newest epoch.
    pub(super) forgot: bool,
    /// The last seq verified in the promised epoch.
    pub(super) matched: u64,
    pub(super) slot: Slot,
    pub(super) doing: Doing,
    pub(super) suspicion: Suspicion,
    /// Who should hold it, once that is known.
    pub(super) wanted: Option<Wanted>,
    /// Reads of the own log under way.
    pub(super) reads: Vec<(u64, ReadFor)>,
    /// An append that waits for a read.
    pub(super) deferred: Option<Deferred>,
    pub(super) dirty: bool,
    pub(super) shown: Glance,
    /// The latest epoch of which something is known to be committed, and to whom it is promised.
    pub(super) proven: Option<(u64, NodeId)>,
    behind_since: Option<Time>,
    /// The record is gone, or older than it was.
    pub(super) astray: Option<Astray>,
    /// The log is not what the others have, or cannot be read.
    pub(super) mending: Option<Box<Mending>>,
    /// An entry that cannot be read, and when something is done about it next.
    pub(super) unreadable: Option<(u64, Time)>,
    /// The last epoch in which an operator heard of a contradiction.
    pub(super) complained: u64,
    /// How often the log went back to what the others have.
    pub(super) mended: u64,
}

/// A record and what a compare-and-set of it must expect.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) record: PartitionRecord,
    pub(super) version: u64,
}

/// What a node does for a partition.
#[derive(Debug)]
pub(super) enum Doing {
    /// Take what the primary sends, if it sends anything.
    Follow,
    /// Take over.
    Candidate(Box<Candidate>),
    /// Lead: it has appended the opening entry.
    Lead(Box<Leader>),
}

/// For what the own log is read.
#[derive(Clone, Debug)]
pub(super) enum ReadFor {
    /// To learn the chain at a place.
    Place(u64),
    /// For a candidate that fetches.
    Fetch(NodeId, u64, wire::Fetch),
    /// For a member that is behind, in an epoch this node leads.
    Follower(NodeId, u64),
    /// To compare the members' logs with it, in an epoch this node leads.
    Compare(u64),
    /// For a member that mends its log.
    Look(NodeId, wire::Look),
    /// To compare it with the primary's, while it is mended.
    Own,
}

/// So long the record may be behind a promise before an operator hears of it.
pub(super) const BEHIND: Time = Time::from_secs(10);

impl Partition {
    /// A partition with what the disk held of it.
    pub(super) fn new(id: PartitionId, disk: &Restored) -> Self {
        let promise = disk.promise.clone().filter(|promise| promise.epoch >= disk.end.epoch);
        let damaged = disk.damaged || disk.end.seq < disk.commit;
        Self {
            id,
            record: None,
            promised: promise.as_ref().map_or(disk.end.epoch, |promise| promise.epoch),
            promised_to: promise.map(|promise| (promise.node, promise.boot)),
            tail: Tail::new(disk),
            commit: disk.commit.min(disk.end.seq),
            commit_kept: disk.commit,
            damaged,
            forgot: damaged,
            matched: 0,
            slot: Slot::default(),
            doing: Doing::Follow,
            suspicion: Suspicion::default(),
            wanted: None,
            reads: Vec::new(),
            deferred: None,
            dirty: false,
            shown: Glance::default(),
            proven: None,
            behind_since: None,
            astray: None,
            mending: None,
            unreadable: None,
            complained: 0,
            mended: 0,
        }
    }

    /// Has the partition looked at when the core is polled.
    pub(super) fn touch(&mut self, cx: &mut Shared) {
        if !self.dirty {
            self.dirty = true;
            cx.out.dirty.push(self.id);
        }
    }

    /// The epoch this node leads or takes over in.
    pub(super) fn own_epoch(&self) -> Option<u64> {
        match &self.doing {
            Doing::Candidate(candidate) if candidate.claimed() => Some(candidate.epoch()),
            Doing::Lead(leader) => Some(leader.epoch),
            Doing::Follow | Doing::Candidate(_) => None,
        }
    }

    /// The highest epoch that is known to have begun.
    pub(super) fn newest_epoch(&self) -> u64 {
        self.promised.max(self.record.as_ref().map_or(0, |known| known.record.epoch))
    }

    /// A record was read.
    pub(super) fn on_record(&mut self, cx: &mut Shared, record: PartitionRecord, version: u64) {
        if let Some(known) = &self.record {
            // Late reads are normal. One that stays so is of a registry that was put back: it changes nothing
            // here.
            if record.epoch < known.record.epoch {
                self.behind_since.get_or_insert(cx.now);
                self.on_older_record(cx, version);
                return;
            }
            // The same write at another version: it was deleted, and put back as it was.
            let again = record.nonce == known.record.nonce && version != known.version;
            if record.epoch == known.record.epoch && version <= known.version && !again {
                if version == known.version {
                    self.is_as_known();
                }
                return;
            }
        }
        if record.primary.as_ref() == Some(&cx.config.node) && record.boot > cx.config.boot {
            cx.tell(Step::Stop { reason: StopReason::Twin });
            return;
        }
        let newer = self.record.as_ref().is_none_or(|known| known.record.epoch < record.epoch);
        let (epoch, nonce) = (record.epoch, record.nonce);
        if record.names(&cx.config.node, cx.config.store) {
            cx.learning.remove(&self.id);
        }
        self.remember(cx, &record);
        self.record = Some(Known { record, version });
        self.touch(cx);
        self.is_as_known();
        if newer {
            self.suspicion.new_epoch(cx.now);
        }
        if self.cas_won(cx, nonce, version) {
            return;
        }
        let over = match &self.doing {
            // Somebody else got the epoch it asks for, or a later one.
            Doing::Candidate(candidate) if !candidate.claimed() => candidate.epoch() <= epoch,
            Doing::Candidate(candidate) => candidate.epoch() < epoch,
            Doing::Lead(leader) => leader.epoch < epoch,
            Doing::Follow => false,
        };
        if over {
            self.step_down(cx);
        }
        self.consider(cx);
    }

    /// The record that stands there is the one that is known.
    pub(super) fn is_as_known(&mut self) {
        self.astray = None;
        if self.record.as_ref().is_some_and(|known| known.record.epoch >= self.promised) {
            self.behind_since = None;
        }
    }

    /// Promises anew what may have been lost: an epoch is in the record before anybody promises it, and this
    /// process has written to the registry before it reads, so it reads nothing older than that.
    fn remember(&mut self, cx: &mut Shared, record: &PartitionRecord) {
        if std::mem::take(&mut self.forgot)
            && record.epoch > self.promised
            && let Some(primary) = &record.primary
        {
            self.promise(cx, record.epoch, primary, record.boot);
        }
    }

    /// Takes nothing below `epoch` any more.
    pub(super) fn promise(&mut self, cx: &mut Shared, epoch: u64, node: &NodeId, boot: u64) {
        self.promised = epoch;
        self.promised_to = Some((node.clone(), boot));
        self.matched = 0;
        let promise = Promise { epoch, node: node.clone(), boot };
        let op = LogOp::Promise { partition: self.id, promise };
        cx.writer.push(&mut self.slot, op);
        self.touch(cx);
    }

    /// Whether `epoch` is promised to this process of `node`, or may be: R5 and R7.
    pub(super) fn accepts(&self, cx: &Shared, epoch: u64, node: &NodeId, boot: u64) -> bool {
        if cx.config.sabotage.no_fence || epoch > self.promised {
            return true;
        }
        let holder = self
            .promised_to
            .as_ref()
            .is_none_or(|(to, life)| to == node && (*life == boot || cx.config.sabotage.resume));
        epoch == self.promised && epoch > 0 && holder
    }

    /// Another epoch is known to have begun.
    pub(super) fn depose(&mut self, cx: &mut Shared, epoch: u64) {
        if self.own_epoch().is_some_and(|own| own < epoch) {
            self.suspicion.new_epoch(cx.now);
            self.step_down(cx);
        }
    }

    /// Leads and takes over no more.
    pub(super) fn step_down(&mut self, cx: &mut Shared) {
        self.touch(cx);
        // A primary gives away what it cannot read; whoever follows has it mended at once.
        self.unreadable = self.unreadable.map(|(seq, _)| (seq, cx.now));
        match std::mem::replace(&mut self.doing, Doing::Follow) {
            Doing::Lead(mut leader) => {
                if leader.serving {
                    cx.tell(Step::Closed { partition: self.id, epoch: leader.epoch });
                }
                leader.waits.end(|token, outcome| cx.answer(token, outcome));
                cx.feeding.remove(&self.id);
                if leader.changing.learner.is_some() || (!leader.open() && leader.changes()) {
                    self.moving(cx, Moving::GivenUp);
                }
            }
            Doing::Candidate(candidate) if candidate.changes() => {
                self.moving(cx, Moving::GivenUp);
            }
            Doing::Follow | Doing::Candidate(_) => {}
        }
    }

    /// A read of the own log ended.
    pub(super) fn on_read(
        &mut self,
        cx: &mut Shared,
        request: u64,
        entries: Option<Vec<LogEntry>>,
    ) {
        let Some(at) = self.reads.iter().position(|(number, _)| *number == request) else { return };
        let (_, purpose) = self.reads.swap_remove(at);
        // While a cut is on its way to the disk, what was withdrawn still stands there.
        let own = |entry: &LogEntry| self.tail.epoch_at(entry.seq) == Some(entry.epoch);
        let entries: Vec<LogEntry> =
            entries.unwrap_or_default().into_iter().take_while(own).collect();
        match purpose {
            ReadFor::Place(seq) => self.on_place(cx, seq, &entries),
            ReadFor::Fetch(to, boot, fetch) => self.on_fetch_read(cx, (&to, boot), fetch, entries),
            ReadFor::Follower(node, epoch) => self.on_follower_read(cx, &node, epoch, entries),
            ReadFor::Compare(epoch) => self.on_compare_read(cx, epoch, &entries),
            ReadFor::Look(to, look) => self.on_look_read(cx, &to, look, &entries),
            ReadFor::Own => self.on_own_read(cx, &entries),
        }
    }

    /// The place after an entry. If it is not in memory, it is read, and what waits for it goes on then.
    pub(super) fn place_or_read(&mut self, cx: &mut Shared, seq: u64) -> Option<segment::LogEnd> {
        let place = self.tail.place(seq);
        let reading = self
            .reads
            .iter()
            .any(|(_, purpose)| matches!(purpose, ReadFor::Place(at) if *at == seq));
        if place.is_none() && !reading {
            let request = cx.read_one(self.id, seq);
            self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Place(_)));
            self.reads.push((request, ReadFor::Place(seq)));
        }
        place
    }

    fn on_place(&mut self, cx: &mut Shared, seq: u64, entries: &[LogEntry]) {
        let Some(entry) = entries.first().filter(|entry| entry.seq == seq) else {
            self.deferred = None;
            return;
        };
        let (epoch, chain) = (entry.epoch, entry.chain);
        self.tail.note(segment::LogEnd { epoch, seq, chain });
        if let Some(deferred) = self.deferred.take() {
            self.on_append(cx, &deferred.from, deferred.boot, deferred.append);
        }
        self.fetch_after(cx, seq);
    }

    /// A beat passed.
    pub(super) fn on_tick(&mut self, cx: &mut Shared) {
        self.touch(cx);
        if self.commit > self.commit_kept {
            self.commit_kept = self.commit;
            let op = LogOp::Commit { partition: self.id, seq: self.commit };
            cx.writer.push(&mut self.slot, op);
        }
        self.watch_record(cx);
        self.tick_mending(cx);
        match &self.doing {
            Doing::Follow => self.suspect(cx),
            Doing::Candidate(_) => self.tick_candidate(cx),
            Doing::Lead(_) => self.tick_leader(cx),
        }
    }

    /// An operator hears of a record that stays behind a promise (R4).
    fn watch_record(&mut self, cx: &mut Shared) {
        let behind = self.record.as_ref().is_some_and(|known| known.record.epoch < self.promised);
        if behind && cx.session.is_ok() {
            self.behind_since.get_or_insert(cx.now);
        }
        if self.behind_since.is_some_and(|since| cx.now.saturating_sub(since) >= BEHIND) {
            self.behind_since = Some(Time::MAX);
            cx.alarm(self.id, Alarm::RegistryBehind);
        }
    }

    /// A peer is connected, maybe anew: what it had not answered is asked again.
    pub(super) fn on_peer_up(&mut self, cx: &mut Shared, node: &NodeId, boot: u64) {
        match &mut self.doing {
            Doing::Follow => self.consider(cx),
            Doing::Candidate(_) => self.ask_again(cx, Some(node)),
            Doing::Lead(leader) => leader.peer_up(node, boot, cx.now),
        }
        self.touch(cx);
    }

    /// The process stood still: what it did not hear meanwhile proves nothing (R24).
    pub(super) fn be_patient(&mut self, cx: &Shared) {
        self.suspicion.be_patient(cx.now);
        if let Doing::Lead(leader) = &mut self.doing {
            leader.be_patient(cx.now, cx.peers.next_round());
        }
    }
}
