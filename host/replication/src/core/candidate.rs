//! Taking over: claim the next epoch in the registry, seal the last open one, adopt the best log,
//! append the opening entry.
//!
//! The seal must meet every quorum that may have committed something in the last epoch that was open;
//! its ensemble stands in the record, through as many failed candidates as there were. The best log has
//! the highest last epoch and then the most entries: it holds everything committed. What it holds
//! beyond that becomes committed with the opening entry, and not before.

use std::cmp::Reverse;

use hashring::NodeId;
use registry::{Member, PartitionRecord, PartitionState};
use segment::{LogEnd, LogEntry};
use wire::{Fetch, Fetched, HandOver, Message, Promised, Sealed};

use super::convert::{to_log, to_wire};
use super::event::CasResult;
use super::leader::Leader;
use super::member::Misfit;
use super::partition::{Doing, Known, Partition};
use super::shared::Shared;
use super::step::Alarm;
use super::writer::After;
use super::{Time, opening, quorum};

/// A take-over under way.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The record it claims its epoch with.
    record: PartitionRecord,
    phase: Phase,
    /// When it last came further.
    progress: Time,
    /// When it last asked.
    asked: Time,
    alarmed: bool,
    /// Who contradicts this node's log. Which of the two is right is not known, so they do not count.
    contradict: Vec<NodeId>,
}

#[derive(Debug)]
enum Phase {
    /// The registry has not answered; `expect` is the version to replace.
    Claiming { expect: u64 },
    /// Members promise the epoch and say what they hold.
    Sealing { sealed: Vec<(NodeId, Sealed)> },
    /// Another's log is the best one; what follows `after` was asked for last.
    Fetching { sealed: Vec<(NodeId, Sealed)>, from: NodeId, best: LogEnd, after: u64 },
    /// The best log begins behind what this node shares with it, so it cannot be fetched: who has it was
    /// asked to take over instead, and gives what it stands on as its primary.
    Yielding { to: NodeId },
}

impl Candidate {
    /// A claim that was won by the primary of the epoch before.
    pub(super) fn of_change(record: PartitionRecord, now: Time) -> Self {
        let phase = Phase::Sealing { sealed: Vec::new() };
        Self::new(record, phase, now)
    }

    fn new(record: PartitionRecord, phase: Phase, now: Time) -> Self {
        let contradict = Vec::new();
        Self { record, phase, progress: now, asked: now, alarmed: false, contradict }
    }

    /// Whether its epoch has another ensemble than the last open one.
    pub(super) fn changes(&self) -> bool {
        self.record.ensemble != self.record.prev_ensemble
    }

    /// The epoch it claims or has claimed.
    pub(super) fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// The nonce of its claim.
    pub(super) fn nonce(&self) -> u64 {
        self.record.nonce
    }

    /// Whether the registry has given it the epoch.
    pub(super) fn claimed(&self) -> bool {
        !matches!(self.phase, Phase::Claiming { .. })
    }

    /// Whom it seals.
    pub(super) fn sealing(&self) -> &[Member] {
        &self.record.prev_ensemble
    }

    /// The same, unless told to break that rule.
    fn seals(&self, cx: &Shared) -> &[Member] {
        let own = cx.config.sabotage.seal_own_ensemble;
        if own { &self.record.ensemble } else { self.sealing() }
    }

    fn came_further(&mut self, now: Time) {
        self.progress = now;
        self.asked = now;
    }
}

impl Partition {
    /// Claims the next epoch.
    pub(super) fn take_over(&mut self, cx: &mut Shared) {
        let Some(Known { record, version }) = self.record.clone() else { return };
        let (mut prev_epoch, ensemble, mut prev_commit) = record.last_open();
        if cx.config.sabotage.prev_from_sealing {
            (prev_epoch, prev_commit) = (record.epoch, record.commit);
        }
        let claim = PartitionRecord {
            epoch: record.epoch + 1,
            state: PartitionState::Sealing,
            primary: Some(cx.config.node.clone()),
            boot: cx.config.boot,
            ensemble: ensemble.to_vec(),
            commit: quorum::commit(cx.config.commit, ensemble),
            prev_epoch,
            prev_ensemble: ensemble.to_vec(),
            prev_commit,
            nonce: cx.nonce(),
        };
        cx.cas(self.id, version, claim.clone());
        let phase = Phase::Claiming { expect: version };
        self.doing = Doing::Candidate(Box::new(Candidate::new(claim, phase, cx.now)));
        self.touch(cx);
    }

    /// A compare-and-set ended.
    pub(super) fn on_cas_done(&mut self, cx: &mut Shared, nonce: u64, result: CasResult) {
        match result {
            CasResult::Won { version } => {
                if self.cas_won(cx, nonce, version) {
                    self.is_as_known();
                }
            }
            // Nothing is known: it is tried again with the next beat.
            CasResult::Unknown => {}
            CasResult::Lost { current } => {
                let ours = match &self.doing {
                    Doing::Candidate(candidate) => {
                        !candidate.claimed() && candidate.nonce() == nonce
                    }
                    Doing::Lead(leader) => leader.opens_with(nonce),
                    Doing::Follow => false,
                };
                let won = current.as_ref().is_some_and(|(record, _)| record.nonce == nonce);
                if ours && !won {
                    self.step_down(cx);
                    self.back_off(cx);
                } else if !won {
                    self.change_lost(cx, nonce);
                }
                match current {
                    Some((record, version)) => self.on_record(cx, record, version),
                    // It was to be written anew and is there: what stands there is no record, and an
                    // operator's. If it was deleted again, that is told.
                    None if self.writes_anew() => self.astray = None,
                    None => self.on_record_gone(cx),
                }
            }
        }
    }

    /// The record with this nonce stands in the registry. Whether that was waited for.
    pub(super) fn cas_won(&mut self, cx: &mut Shared, nonce: u64, version: u64) -> bool {
        match &mut self.doing {
            Doing::Candidate(candidate) if !candidate.claimed() && candidate.nonce() == nonce => {
                let record = candidate.record.clone();
                candidate.phase = Phase::Sealing { sealed: Vec::new() };
                candidate.came_further(cx.now);
                self.record = Some(Known { record, version });
                self.suspicion.new_epoch(cx.now);
                self.seal(cx);
                true
            }
            Doing::Lead(leader) if leader.opens_with(nonce) => {
                let record = leader.record.clone();
                self.record = Some(Known { record, version });
                self.opened(cx);
                true
            }
            Doing::Lead(leader) if leader.changing.claims_with(nonce) => {
                self.change_won(cx, version);
                true
            }
            Doing::Candidate(_) | Doing::Lead(_) | Doing::Follow => false,
        }
    }

    /// Promises the epoch here, and asks the others to.
    pub(super) fn seal(&mut self, cx: &mut Shared) {
        let Doing::Candidate(candidate) = &self.doing else { return };
        let epoch = candidate.epoch();
        if self.promised >= epoch {
            self.step_down(cx);
            return;
        }
        let (node, boot) = (cx.config.node.clone(), cx.config.boot);
        self.promise(cx, epoch, &node, boot);
        cx.writer.after(After::Promised { partition: self.id, epoch });
        self.ask_again(cx, None);
    }

    /// Asks again what was not answered: everybody, or one peer.
    pub(super) fn ask_again(&mut self, cx: &mut Shared, only: Option<&NodeId>) {
        let id = self.id;
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        let epoch = candidate.epoch();
        match &candidate.phase {
            Phase::Claiming { expect } => {
                if only.is_none() {
                    cx.cas(id, *expect, candidate.record.clone());
                }
            }
            Phase::Sealing { sealed } => {
                for member in candidate.seals(cx) {
                    let wanted = only.is_none_or(|only| *only == member.node)
                        && !cx.is_me(member)
                        && cx.peers.member(member).is_some()
                        && sealed.iter().all(|(node, _)| *node != member.node);
                    if wanted {
                        cx.send_seal(&member.node, Promised { partition: id, epoch });
                    }
                }
            }
            Phase::Fetching { from, .. } => {
                if only.is_none_or(|only| only == from) {
                    self.go_on_fetching(cx);
                }
            }
            Phase::Yielding { to } => {
                if only.is_none_or(|only| only == to) {
                    // Nothing of this epoch is committed, so nothing has to be there before.
                    let end = to_wire(LogEnd::default());
                    cx.send(to, Message::HandOver(HandOver { partition: id, epoch, end }));
                }
            }
        }
    }

    /// Who has the best log takes over.
    fn yield_to(&mut self, cx: &mut Shared, to: NodeId) {
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        candidate.phase = Phase::Yielding { to };
        candidate.came_further(cx.now);
        self.ask_again(cx, None);
    }

    /// This node's own promise is on disk.
    pub(super) fn on_promised(&mut self, cx: &mut Shared, epoch: u64) {
        let sealed = self.sealed(epoch);
        let node = cx.config.node.clone();
        self.on_sealed(cx, &node, sealed);
    }

    /// A member has promised the epoch.
    pub(super) fn on_sealed(&mut self, cx: &mut Shared, from: &NodeId, answer: Sealed) {
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        if answer.epoch != candidate.epoch() || !cx.counts(from, candidate.seals(cx)) {
            return;
        }
        let Phase::Sealing { sealed } = &mut candidate.phase else { return };
        if sealed.iter().any(|(node, _)| node == from) {
            return;
        }
        sealed.push((from.clone(), answer));
        candidate.progress = cx.now;
        self.count_sealed(cx);
    }

    /// Goes on if enough are sealed.
    fn count_sealed(&mut self, cx: &mut Shared) {
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        let Phase::Sealing { sealed } = &candidate.phase else { return };
        let members = candidate.seals(cx).len();
        let needed = quorum::seal(members, candidate.record.prev_commit);
        let own = sealed.iter().find(|(node, _)| *node == cx.config.node);
        let Some((_, own)) = own.cloned() else { return };
        let rank = |end: wire::End| (end.epoch, end.seq);
        let contradicts = |end: wire::End| rank(end) == rank(own.end) && end != own.end;
        let mut sealed = sealed.clone();
        let contradict = &mut candidate.contradict;
        sealed.retain(|(node, sealed)| {
            if contradicts(sealed.end) && !contradict.contains(node) {
                contradict.push(node.clone());
            }
            !contradict.contains(node)
        });
        // Of equal logs the one that goes back furthest.
        let by = |it: &Sealed| (rank(it.end), Reverse(it.base));
        let best = sealed.iter().max_by_key(|(_, sealed)| by(sealed)).cloned();
        let Some((from, best)) = best else { return };
        // A log that lost entries says nothing about what was committed, unless everybody is asked.
        let sound = sealed.iter().filter(|(_, sealed)| !sealed.damaged).count() >= needed;
        let whole = sealed.iter().all(|(_, sealed)| sealed.commit <= best.end.seq);
        let all = sealed.len() == members || cx.config.sabotage.no_seal;
        let enough = (sound && whole) || all;
        if !enough {
            let alarm = match candidate.contradict.is_empty() {
                true => Alarm::Damaged,
                false => Alarm::Divergent,
            };
            let many = sealed.len() + candidate.contradict.len() >= needed;
            if many && !std::mem::replace(&mut candidate.alarmed, true) {
                cx.alarm(self.id, alarm);
            }
            return;
        }
        if rank(own.end) < rank(best.end) && !cx.config.sabotage.no_seal {
            if own.end.seq < best.base {
                self.yield_to(cx, from);
                return;
            }
            let best = to_log(best.end);
            candidate.phase = Phase::Fetching { sealed, from, best, after: best.seq };
            candidate.came_further(cx.now);
            self.go_on_fetching(cx);
            return;
        }
        self.open(cx, &sealed);
    }

    /// Asks for what follows the last entry that the best log may share.
    pub(super) fn go_on_fetching(&mut self, cx: &mut Shared) {
        let Doing::Candidate(candidate) = &self.doing else { return };
        let Phase::Fetching { best, .. } = &candidate.phase else { return };
        let seq = self.tail.shared(best.epoch, best.seq);
        self.fetch_after(cx, seq);
    }

    /// Asks for what follows an entry of this node's own log.
    pub(super) fn fetch_after(&mut self, cx: &mut Shared, seq: u64) {
        let Doing::Candidate(candidate) = &self.doing else { return };
        let Phase::Fetching { .. } = &candidate.phase else { return };
        let Some(place) = self.place_or_read(cx, seq) else { return };
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        let Phase::Fetching { from, after, .. } = &mut candidate.phase else { return };
        *after = seq;
        let fetch =
            Fetch { partition: self.id, epoch: candidate.record.epoch, after: to_wire(place) };
        candidate.asked = cx.now;
        cx.send(from, Message::Fetch(fetch));
    }

    /// Entries of the best log came.
    pub(super) fn on_fetched(&mut self, cx: &mut Shared, from: &NodeId, fetched: Fetched) {
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        let epoch = candidate.epoch();
        let Phase::Fetching { sealed, from: source, best, after } = &candidate.phase else {
            return;
        };
        if fetched.epoch != epoch || source != from {
            return;
        }
        let (best, after, prev) = (*best, *after, to_log(fetched.prev));
        let base = sealed.iter().find(|(node, _)| node == from).map_or(0, |(_, it)| it.base);
        let begins = base > 0 && prev.seq >= base;
        if fetched.entries.is_empty() {
            // The place that was asked for is not in that log; a lower one is.
            let seq = self.tail.shared(prev.epoch, prev.seq);
            if seq < after {
                self.fetch_after(cx, seq);
            } else if begins && self.tail.epoch_at(prev.seq) != Some(prev.epoch) {
                // That log begins there, and what is here is another one's.
                self.yield_to(cx, from.clone());
            }
            return;
        }
        if self.tail.place(prev.seq) != Some(prev) {
            return;
        }
        match self.take(cx, prev, fetched.entries, epoch - 1) {
            Ok(_) => {}
            Err(Misfit::Malformed) => return,
            Err(Misfit::Divergent(_)) => {
                self.source_contradicts(cx, from, epoch);
                return;
            }
        }
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        candidate.came_further(cx.now);
        if self.tail.end() != best {
            let end = self.tail.end().seq;
            self.fetch_after(cx, end);
            return;
        }
        if let Phase::Fetching { sealed, .. } = &mut candidate.phase {
            let sealed = std::mem::take(sealed);
            self.open(cx, &sealed);
        }
    }

    /// The log that is fetched from contradicts this node's: it is not counted, and the others may be enough.
    pub(super) fn source_contradicts(&mut self, cx: &mut Shared, from: &NodeId, epoch: u64) {
        let own = self.sealed(epoch);
        let me = cx.config.node.clone();
        let Doing::Candidate(candidate) = &mut self.doing else { return };
        let Phase::Fetching { sealed, from: source, .. } = &mut candidate.phase else { return };
        if source != from || candidate.record.epoch != epoch {
            return;
        }
        let mut sealed = std::mem::take(sealed);
        for (_, answer) in sealed.iter_mut().filter(|(node, _)| *node == me) {
            *answer = own;
        }
        candidate.contradict.push(from.clone());
        candidate.phase = Phase::Sealing { sealed };
        self.count_sealed(cx);
    }

    /// Appends the opening entry, and becomes a leader that may not serve yet.
    fn open(&mut self, cx: &mut Shared, sealed: &[(NodeId, Sealed)]) {
        let Doing::Candidate(candidate) = &self.doing else { return };
        let mut record = candidate.record.clone();
        record.state = PartitionState::Open;
        record.nonce = cx.nonce();
        let (epoch, end) = (record.epoch, self.tail.end());
        let payload = opening::payload(&record);
        let seq = end.seq + 1;
        let chain = end.chain.next(epoch, seq, &payload);
        let entry = LogEntry { epoch, seq, chain, payload };
        self.tail.push(&entry);
        cx.writer.append(self.id, &mut self.slot, entry);
        // The best log among enough is the whole one.
        self.damaged = false;
        let ends = |node: &NodeId| {
            let end = sealed.iter().find(|(from, _)| from == node).map(|(_, sealed)| sealed.end);
            end.map_or(seq, |end| self.tail.not_above(end.epoch, end.seq) + 1)
        };
        let leader = Leader::new(cx, record, seq, ends);
        self.doing = Doing::Lead(Box::new(leader));
        self.touch(cx);
    }

    /// A beat passed.
    pub(super) fn tick_candidate(&mut self, cx: &mut Shared) {
        let Doing::Candidate(candidate) = &self.doing else { return };
        let timings = cx.config.timings;
        if cx.now.saturating_sub(candidate.progress) >= timings.progress || cx.draining {
            let others = !candidate.contradict.is_empty()
                || matches!(candidate.phase, Phase::Yielding { .. });
            self.step_down(cx);
            if others {
                self.stand_back(cx);
            } else {
                self.back_off(cx);
            }
        } else if cx.now.saturating_sub(candidate.asked) >= timings.resend {
            if let Doing::Candidate(candidate) = &mut self.doing {
                candidate.asked = cx.now;
            }
            self.ask_again(cx, None);
        }
    }

    /// Goes on in the epoch of an earlier life, which nobody may: only if told to break that rule.
    pub(super) fn resume(&mut self, cx: &mut Shared, record: &PartitionRecord) -> bool {
        let open = record.state == PartitionState::Open && record.primary.is_some();
        if !cx.config.sabotage.resume || !open {
            return false;
        }
        let seq = self.tail.first_of(record.epoch).unwrap_or_else(|| self.tail.end().seq + 1);
        let next = self.tail.end().seq + 1;
        let mut leader = Leader::new(cx, record.clone(), seq, |_| next);
        leader.serving = true;
        self.doing = Doing::Lead(Box::new(leader));
        self.opened(cx);
        true
    }
}
