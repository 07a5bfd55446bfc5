//! Leading: append, send to the members, count who holds what, commit, answer.
//!
//! A leader begins with its opening entry. Once as many members as make a commit hold it, the record is
//! set to open; only when that is known does it serve. It counts only what was acknowledged in its own
//! epoch, and commits only entries of its own epoch, which commits all before them. Everything that a
//! number of events may have changed is worked out once, when the core is polled: [`Partition::settle`].

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::{Member, PartitionRecord};
use segment::LogEntry;

use super::change::Changing;
use super::follower::{Follower, Reign};
use super::hand_over::HandingOver;
use super::partition::{Doing, Partition};
use super::shared::Shared;
use super::step::{Moving, Outcome, Step, Why};
use super::waits::Waits;
use super::writer::After;
use super::{Time, quorum};

/// An epoch of this node.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) epoch: u64,
    /// The seq of the opening entry.
    opening: u64,
    /// The record as it is once the epoch is open.
    pub(super) record: PartitionRecord,
    phase: Phase,
    /// The floors above have been told that it leads.
    pub(super) serving: bool,
    /// How many members make a commit.
    pub(super) quorum: u8,
    /// This node's own log is on disk up to here.
    pub(super) own: u64,
    /// The sync of the own log is waited for up to here.
    queued: u64,
    pub(super) followers: Vec<Follower>,
    pub(super) waits: Waits,
    /// The commit that the floors above were told.
    told: u64,
    /// What as many as make a commit hold.
    level: u64,
    /// When that last rose.
    progress: Time,
    /// When the registry was last asked to open it.
    asked: Time,
    /// Enough members are heard, and the writer works (R22).
    pub(super) alive: bool,
    /// Beats before this one do not confirm that it leads (R24).
    floor: u64,
    /// A beat that was sent for a confirmation.
    beat: u64,
    pub(super) handing: Option<HandingOver>,
    pub(super) changing: Changing,
    /// When the members' logs were last compared.
    pub(super) compared: Time,
    /// What the members hold; kept to spare an allocation each time.
    held: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The members do not hold the opening entry yet.
    Copying,
    /// The registry has not said yet that the record is open.
    Opening { expect: u64 },
    /// It is.
    Open,
}

impl Leader {
    /// An epoch whose opening entry was just appended. `next` tells for each member the first seq that it
    /// may lack.
    pub(super) fn new(
        cx: &Shared,
        record: PartitionRecord,
        opening: u64,
        next: impl Fn(&NodeId) -> u64,
    ) -> Self {
        let now = cx.now;
        let follower = |member: &Member| {
            let boot = cx.peers.member(member).map_or(0, |peer| peer.boot);
            Follower::new(member.clone(), boot, next(&member.node), now)
        };
        let others = record.ensemble.iter().filter(|member| member.node != cx.config.node);
        Self {
            epoch: record.epoch,
            opening,
            phase: Phase::Copying,
            serving: false,
            quorum: record.commit,
            own: 0,
            queued: 0,
            followers: others.map(follower).collect(),
            waits: Waits::default(),
            told: 0,
            level: 0,
            progress: now,
            asked: now,
            alive: true,
            floor: 0,
            beat: 0,
            handing: None,
            changing: Changing::new(now),
            compared: now,
            held: Vec::new(),
            record,
        }
    }

    /// Whether a record with this nonce is the one that opens the epoch, and is waited for.
    pub(super) fn opens_with(&self, nonce: u64) -> bool {
        matches!(self.phase, Phase::Opening { .. }) && self.record.nonce == nonce
    }

    /// Whether the record says open.
    pub(super) fn open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether its epoch has another ensemble than the one before.
    pub(super) fn changes(&self) -> bool {
        self.record.ensemble != self.record.prev_ensemble
    }

    /// Whether it may say that it leads.
    pub(super) fn leading(&self) -> bool {
        self.serving && self.alive && self.confirmed(self.floor)
    }

    /// Whether it serves, and enough members have confirmed it in this round or later.
    pub(super) fn leads_as_of(&self, round: u64) -> bool {
        self.open() && self.leading() && self.confirmed(round)
    }

    /// Whether enough members have answered a beat of this round or a later one.
    fn confirmed(&self, round: u64) -> bool {
        round == 0 || self.count(|follower| follower.round >= round)
    }

    /// Whether, with this node, as many as make a commit are so.
    fn count(&self, is: impl Fn(&Follower) -> bool) -> bool {
        1 + self.followers.iter().filter(|follower| is(follower)).count()
            >= usize::from(self.quorum)
    }

    /// A peer is connected.
    pub(super) fn peer_up(&mut self, node: &NodeId, boot: u64, now: Time) {
        let all = self.followers.iter_mut().chain(self.changing.learner_mut());
        for follower in all.filter(|follower| follower.member.node == *node) {
            follower.connected(now, boot);
        }
    }

    /// The process stood still: it leads on when a beat from now on is answered.
    pub(super) fn be_patient(&mut self, now: Time, next_round: u64) {
        self.floor = next_round;
        for follower in &mut self.followers {
            follower.heard = now;
        }
    }

    /// What the members hold, the most first; this node's own disk among them. A learner counts for
    /// nothing, unless that rule is to be broken.
    fn levels(&mut self, learners: bool) -> &[u64] {
        self.held.clear();
        self.held.push(self.own);
        self.held.extend(self.followers.iter().map(|follower| follower.matched));
        let learner = self.changing.learner_mut().filter(|_| learners);
        self.held.extend(learner.map(|learner| learner.matched));
        self.held.sort_unstable_by(|a, b| b.cmp(a));
        &self.held
    }

    /// Whether it serves before the record is open: only if it is told to break that rule.
    fn is_early(&self, cx: &Shared) -> bool {
        let sabotage = &cx.config.sabotage;
        sabotage.serve_before_open || (sabotage.c_early && self.changes())
    }

    /// What an append says beside its entries.
    pub(super) fn reign(&self, partition: PartitionId, commit: u64) -> Reign {
        Reign { partition, epoch: self.epoch, commit }
    }
}

impl Partition {
    /// Appends what the floors above ask for.
    pub(super) fn submit(
        &mut self,
        cx: &mut Shared,
        token: u64,
        place: (u64, u64),
        payload: Bytes,
        acks: u8,
    ) {
        let (epoch, seq) = place;
        let leader = match &mut self.doing {
            Doing::Lead(leader) if leader.serving && leader.epoch == epoch => leader,
            _ => return cx.answer(token, Outcome::NotCommitted(Why::NotLeading)),
        };
        let end = self.tail.end();
        if seq != end.seq + 1 {
            return cx.answer(token, Outcome::NotCommitted(Why::Moved));
        }
        let chain = end.chain.next(epoch, seq, &payload);
        let entry = LogEntry { epoch, seq, chain, payload };
        self.tail.push(&entry);
        cx.writer.append(self.id, &mut self.slot, entry);
        leader.waits.send(token, seq, acks, cx.now + cx.config.timings.answer);
        self.touch(cx);
    }

    /// Somebody wants to know when all that is appended so far is committed.
    pub(super) fn barrier(&mut self, cx: &mut Shared, token: u64, epoch: u64) {
        let outcome = match &mut self.doing {
            Doing::Lead(leader) if leader.serving && leader.epoch == epoch => {
                if leader.waits.asking() < cx.config.limits.waiting_max {
                    let deadline = cx.now + cx.config.timings.answer;
                    leader.waits.barrier(token, self.tail.end().seq, deadline);
                    return self.touch(cx);
                }
                Outcome::NotCommitted(Why::Overloaded)
            }
            _ => Outcome::Unknown(Why::Deposed),
        };
        cx.answer(token, outcome);
    }

    /// Somebody wants to know whether this node leads as of now (R18).
    pub(super) fn confirm(&mut self, cx: &mut Shared, token: u64) {
        let why = match &mut self.doing {
            Doing::Lead(leader) if leader.serving => {
                if leader.waits.asking() < cx.config.limits.waiting_max {
                    let deadline = cx.now + cx.config.timings.answer;
                    leader.waits.confirm(token, cx.peers.next_round(), deadline);
                    return self.touch(cx);
                }
                Why::Overloaded
            }
            _ => Why::NotLeading,
        };
        cx.answer(token, Outcome::NotCommitted(why));
    }

    /// A member has answered a beat that said this node leads.
    pub(super) fn on_confirmed(&mut self, cx: &mut Shared, from: &NodeId, epoch: u64, round: u64) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.epoch != epoch || !cx.counts(from, &leader.record.ensemble) {
            return;
        }
        for follower in leader.followers.iter_mut().filter(|f| f.member.node == *from) {
            follower.heard = cx.now;
            follower.round = follower.round.max(round);
        }
        self.touch(cx);
    }

    /// This node's own log is on disk up to `seq`.
    pub(super) fn on_own_synced(&mut self, cx: &mut Shared, epoch: u64, seq: u64) {
        if let Doing::Lead(leader) = &mut self.doing
            && leader.epoch == epoch
        {
            leader.own = leader.own.max(seq);
            self.touch(cx);
        }
    }

    /// Works out what follows from all that happened since the last time.
    pub(super) fn settle(&mut self, cx: &mut Shared) {
        self.dirty = false;
        if let Doing::Lead(leader) = &mut self.doing {
            let end = self.tail.end().seq;
            if leader.queued < end {
                leader.queued = end;
                let (partition, epoch) = (self.id, leader.epoch);
                cx.writer.after(After::Own { partition, epoch, seq: end });
            }
            let quorum = usize::from(leader.quorum);
            let level = leader
                .levels(cx.config.sabotage.count_learners)
                .get(quorum - 1)
                .copied()
                .unwrap_or(0);
            if level > leader.level {
                leader.level = level;
                leader.progress = cx.now;
            }
            self.ask_to_open(cx);
            self.advance(cx);
            self.answer(cx);
            self.replicate(cx);
            self.go_on_handing_over(cx);
            self.go_on_changing(cx);
        }
        self.show(cx);
    }

    /// What enough members hold is committed; but an entry of an older epoch only through one of this
    /// epoch (R9), and nothing before the record is open: until then the next seal asks the members of
    /// the epoch before, by its rule.
    fn advance(&mut self, cx: &Shared) {
        let Doing::Lead(leader) = &self.doing else { return };
        let open = leader.open() || leader.is_early(cx);
        if open && leader.level >= leader.opening {
            self.commit = self.commit.max(leader.level);
        }
    }

    /// Has the registry set the record to open, once enough hold the opening entry.
    fn ask_to_open(&mut self, cx: &mut Shared) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(known) = &self.record else { return };
        // Its own disk must hold it too: whoever serves reads the log from there, and until then entries
        // that were withdrawn may still stand where the log has others.
        let held = leader.level >= leader.opening && leader.own >= leader.opening;
        if leader.phase != Phase::Copying || !held {
            return;
        }
        leader.phase = Phase::Opening { expect: known.version };
        leader.asked = cx.now;
        cx.cas(self.id, known.version, leader.record.clone());
        if leader.is_early(cx) {
            self.serve(cx);
        }
    }

    /// The record is open.
    pub(super) fn opened(&mut self, cx: &mut Shared) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        leader.phase = Phase::Open;
        let changes = leader.changes();
        self.suspicion.over();
        if changes {
            self.moving(cx, Moving::Done);
        }
        self.serve(cx);
    }

    fn serve(&mut self, cx: &mut Shared) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.told == 0 {
            leader.serving = true;
            leader.told = leader.opening;
            let (partition, epoch, seq) = (self.id, leader.epoch, leader.opening);
            cx.tell(Step::Opened { partition, epoch, seq });
        }
        self.touch(cx);
    }

    /// Tells what is committed, and answers who waited for it.
    fn answer(&mut self, cx: &mut Shared) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        if !leader.serving {
            return;
        }
        let early = cx.config.sabotage.show_before_commit;
        let commit = if early { self.tail.end().seq } else { self.commit };
        if commit > leader.told {
            leader.told = commit;
            let (partition, epoch) = (self.id, leader.epoch);
            cx.tell(Step::Committed { partition, epoch, seq: commit });
        }
        let out = &mut cx.out;
        let held = &leader.held;
        let level = |count: usize| match held.get(count - 1) {
            Some(level) => {
                if early {
                    commit
                } else {
                    *level
                }
            }
            None => 0,
        };
        let (own, quorum) = (leader.own, leader.quorum);
        leader.waits.settle_sends(commit, own, quorum, level, |token, outcome| {
            out.answer(token, outcome);
        });
        leader.waits.settle_barriers(commit, |token, outcome| out.answer(token, outcome));
        if leader.waits.last_round().is_some() {
            self.answer_confirms(cx);
        }
    }

    /// Answers confirmations, and has a beat sent for those that still wait.
    fn answer_confirms(&mut self, cx: &mut Shared) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        let mut rounds: Vec<u64> = leader.followers.iter().map(|follower| follower.round).collect();
        rounds.push(u64::MAX);
        let round = quorum::held_by(&mut rounds, usize::from(leader.quorum));
        let out = &mut cx.out;
        leader.waits.settle_confirms(round, |token, outcome| out.answer(token, outcome));
        let wanted = leader.waits.last_round().unwrap_or(0);
        // One such beat at a time; the regular ones come anyway.
        if wanted > leader.beat.max(round) && leader.beat <= round {
            leader.beat = cx.peers.next_round();
            cx.out.beats.insert(self.id);
        }
    }

    /// A beat passed.
    pub(super) fn tick_leader(&mut self, cx: &mut Shared) {
        let id = self.id;
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let out = &mut cx.out;
        leader.waits.settle_late(cx.now, |token, outcome| out.answer(token, outcome));
        let now = cx.now;
        let fresh = |follower: &Follower| now.saturating_sub(follower.heard) < timings.lead;
        leader.alive = leader.count(fresh) && !cx.writer.stuck(now, timings.lead);
        let alive = leader.alive;
        for follower in leader.followers.iter_mut().chain(leader.changing.learner_mut()) {
            follower.tick(now, timings.resend, alive);
        }
        if leader.open() {
            self.tick_hand_over(cx);
            self.tick_change(cx);
            self.tick_compare(cx);
            self.tick_restoring(cx);
            return;
        }
        if now.saturating_sub(leader.progress) >= timings.progress {
            let contradicted = !leader.count(|follower| !follower.differs);
            self.step_down(cx);
            if contradicted {
                self.stand_back(cx);
            } else {
                self.back_off(cx);
            }
            return;
        }
        if let Phase::Opening { expect } = leader.phase
            && now.saturating_sub(leader.asked) >= timings.resend
        {
            leader.asked = now;
            cx.cas(id, expect, leader.record.clone());
        }
    }
}
