//! The rules of replication as a pure state machine: no socket, no disk, no clock, no randomness but
//! its seed.
//!
//! One [`Core`] a node owns every partition, because what they share is what is hard: the peers'
//! silence, the beats, one writer. Tell it what happened through [`Core::handle`], then take what
//! follows from [`Core::poll`] until it returns `None`, and wake it at [`Core::next_timeout`]. Handle
//! everything that waits before polling: a poll groups what came since the last one into one write,
//! and into one append a partition and peer.
//!
//! Start reading at `partition`: what a node knows of one partition. `member`, `suspicion`, `candidate`
//! and `leader` are what it does for it, in the order in which a node comes to do it; `hand_over` is how
//! it stops in good order, and `change`, with `roster`, `plan` and `learner`, how it gets another ensemble;
//! `restoring` writes a record anew that is gone.
//! `compare` looks whether the logs are still the same, `mending` makes them so, and `base` is about
//! logs that lost their beginning. `copies`, `follower`, `quorum` and `waits` are the leader's parts, `tail` is
//! the log, `writer` the disk, `peers` and `beats` the others. Time matters only at beats: nothing here
//! waits for less than one.

mod base;
mod beats;
mod candidate;
mod change;
mod compare;
mod config;
mod convert;
mod copies;
mod event;
mod follower;
mod giving;
mod hand_over;
mod leader;
mod learner;
mod member;
mod mending;
mod objects;
mod opening;
mod pace;
mod partition;
mod peers;
mod plan;
mod quorum;
mod restoring;
mod roster;
mod shared;
mod status;
mod step;
mod suspicion;
mod tail;
mod view;
mod waits;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use segment::Restored;
use wire::{Message, PreVoteAnswer};

use partition::{Doing, Partition};
use shared::Shared;
use writer::After;

pub use config::{CoreConfig, Limits, Sabotage, Timings};
pub use event::{CasResult, Event, Roster};
pub use opening::{OPENING_KIND, is_opening, opened_record};
pub use step::{Alarm, Kept, Moving, Outcome, Step, StopReason, Why};
pub use view::{LearnerView, PartitionView, Role};

/// Time since the process started. It never goes back; it may jump.
pub type Time = Duration;

/// The replication state of one node.
#[derive(Debug)]
pub struct Core {
    cx: Shared,
    partitions: Vec<Partition>,
    steps: VecDeque<Step>,
    next_beat: Time,
}

impl Core {
    /// A node that just started, with what its disk holds.
    pub fn new(config: CoreConfig, disk: BTreeMap<PartitionId, Restored>, seed: u64) -> Self {
        let nothing = Restored::default();
        let partitions = (0..config.partitions)
            .map(PartitionId)
            .map(|id| Partition::new(id, disk.get(&id).unwrap_or(&nothing)))
            .collect();
        let mut cx = Shared::new(config, seed);
        // Nodes that start together do not beat together.
        let next_beat = cx.about(cx.config.timings.beat);
        Self { cx, partitions, steps: VecDeque::new(), next_beat }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Time, event: Event) {
        self.pass(now);
        match event {
            Event::Tick => {}
            Event::Message { from, message } => self.on_message(&from, message),
            Event::PeerUp { node, boot, store } => self.on_peer_up(node, boot, store),
            Event::PeerDown { node } => {
                self.cx.peers.down(&node);
                self.each(Partition::touch);
            }
            Event::SessionUp => {
                self.cx.session = Ok(self.cx.now);
                self.each(Partition::consider);
            }
            Event::SessionDown => self.cx.session = Err(self.cx.now),
            Event::Record { partition, record, version } => {
                self.with(partition, |at, cx| at.on_record(cx, record, version));
            }
            Event::Roster(roster) => self.on_roster(*roster),
            Event::CasDone { partition, nonce, result } => {
                self.with(partition, |at, cx| at.on_cas_done(cx, nonce, result));
            }
            Event::Written { ticket } => {
                self.cx.writer.written(ticket);
                self.say_what_is_written();
            }
            Event::Read { partition, request, entries } => {
                self.with(partition, |at, cx| at.on_read(cx, request, entries));
            }
            Event::RecordGone { .. } | Event::Unreadable { .. } | Event::PutAside { .. } => {
                self.handle_loss(event);
            }
            Event::Trimmable { .. } | Event::BaseRead { .. } | Event::Kept { .. } => {
                self.on_disk(event);
            }
            Event::WriterFull(full) => {
                self.cx.full = full.then_some(self.cx.now);
                self.each(Partition::touch);
            }
            Event::Ready(ready) => {
                self.cx.ready = ready;
                self.each(Partition::consider);
            }
            Event::Submit { token, partition, epoch, seq, payload, acks } => {
                let known = self.with(partition, |at, cx| {
                    at.submit(cx, token, (epoch, seq), payload, acks);
                });
                self.unknown(known, token);
            }
            Event::Barrier { token, partition, epoch } => {
                let known = self.with(partition, |at, cx| at.barrier(cx, token, epoch));
                self.unknown(known, token);
            }
            Event::Confirm { token, partition } => {
                let known = self.with(partition, |at, cx| at.confirm(cx, token));
                self.unknown(known, token);
            }
            Event::HandOver { .. } | Event::Drain | Event::StayOn => self.give_away(event),
            Event::Objects { .. } | Event::AwaitObjects => self.on_objects(event),
        }
    }

    /// What this node leads others are to lead, or not any more.
    fn give_away(&mut self, event: Event) {
        match event {
            Event::HandOver { partition } => {
                self.with(partition, Partition::begin_hand_over);
            }
            Event::Drain => {
                self.cx.draining = true;
                self.each(Partition::begin_hand_over);
            }
            Event::StayOn => {
                self.cx.draining = false;
                self.each(Partition::touch);
                self.each(Partition::consider);
            }
            _ => {}
        }
    }

    /// Something is gone, or is not what was written.
    fn handle_loss(&mut self, event: Event) {
        match event {
            Event::RecordGone { partition } => {
                self.with(partition, |at, cx| at.on_record_gone(cx));
            }
            Event::Unreadable { partition, seq } => {
                self.with(partition, |at, cx| at.on_unreadable(cx, seq));
            }
            Event::PutAside { partition, after, done } => {
                self.with(partition, |at, cx| at.on_put_aside(cx, after, done));
            }
            _ => {}
        }
    }

    /// What to do next; `None` until something happens.
    pub fn poll(&mut self) -> Option<Step> {
        if self.steps.is_empty() {
            self.settle();
        }
        self.steps.pop_front()
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        Some(self.next_beat)
    }

    /// A partition as this node knows it; empty for one that does not exist.
    pub fn view(&self, partition: PartitionId) -> PartitionView {
        self.partitions
            .get(usize::from(partition.0))
            .map_or_else(PartitionView::default, |at| at.view(&self.cx))
    }

    /// How many partitions this node leads or is taking over.
    pub fn led(&self) -> usize {
        self.partitions
            .iter()
            .filter(|at| matches!(at.doing, Doing::Candidate(_) | Doing::Lead(_)))
            .count()
    }

    /// Works out what follows from all that was handled since the last time: one write, then what is
    /// sent, asked and told.
    fn settle(&mut self) {
        loop {
            for id in std::mem::take(&mut self.cx.out.dirty) {
                self.with(id, Partition::settle);
            }
            let write = self.cx.writer.cut_off(self.cx.now);
            self.steps.extend(write.map(|(ticket, ops)| Step::Write { ticket, ops }));
            self.beat_on_demand();
            self.cx.out.drain_into(&mut self.steps);
            self.say_what_is_written();
            if self.cx.out.is_empty() {
                return;
            }
        }
    }

    /// The disk has done something about what logs stand on.
    fn on_disk(&mut self, event: Event) {
        match event {
            Event::Trimmable { partition, base } => {
                self.with(partition, |at, cx| at.trim(cx, base));
            }
            Event::BaseRead { partition, request, base, at, piece } => {
                self.with(partition, |it, cx| it.on_base_read(cx, request, base, (at, piece)));
            }
            Event::Kept { partition, base, kept } => {
                self.with(partition, |at, cx| at.on_kept(cx, base, kept));
            }
            _ => {}
        }
    }

    fn say_what_is_written(&mut self) {
        let early = self.cx.config.sabotage.ack_before_sync;
        while let Some(after) = self.cx.writer.due(early) {
            match after {
                After::Ack { to, ack } => self.cx.send(&to, Message::Ack(ack)),
                After::Sealed { to, sealed } => self.cx.send_sealed(&to, sealed),
                After::Looked { to, looked } => self.cx.send(&to, Message::Looked(looked)),
                After::Own { partition, epoch, seq } => {
                    self.with(partition, |at, cx| at.on_own_synced(cx, epoch, seq));
                }
                After::Promised { partition, epoch } => {
                    self.with(partition, |at, cx| at.on_promised(cx, epoch));
                }
            }
        }
    }

    fn on_peer_up(&mut self, node: NodeId, boot: u64, store: u64) {
        if node == self.cx.config.node {
            if boot > self.cx.config.boot {
                self.cx.tell(Step::Stop { reason: StopReason::Twin });
            }
            return;
        }
        self.cx.peers.up(node.clone(), boot, store, self.cx.now);
        self.each(|at, cx| at.on_peer_up(cx, &node, boot));
    }

    fn on_message(&mut self, from: &NodeId, message: Message) {
        let Some(peer) = self.cx.peers.heard(from, self.cx.now) else { return };
        let boot = peer.boot;
        match message {
            Message::Beat(beat) => self.on_beat(from, beat),
            Message::BeatAnswer(answer) => self.on_beat_answer(from, &answer),
            Message::Append(append) => {
                self.with(append.partition, |at, cx| at.on_append(cx, from, boot, append));
            }
            Message::Ack(ack) => {
                self.with(ack.partition, |at, cx| at.on_ack(cx, from, ack));
            }
            Message::Refuse(refuse) => {
                self.with(refuse.partition, |at, cx| at.on_refuse(cx, from, refuse));
            }
            Message::PreVote(pre_vote) => {
                let vote = |ask: &wire::PreVoteAsk| {
                    let at = self.partitions.get(usize::from(ask.partition.0));
                    at.map(|at| at.vote(&self.cx, *ask))
                };
                let votes = pre_vote.asks.iter().filter_map(vote).collect();
                self.cx.send(from, Message::PreVoteAnswer(PreVoteAnswer { votes }));
            }
            Message::PreVoteAnswer(answer) => {
                for vote in answer.votes {
                    self.with(vote.partition, |at, cx| at.on_vote(cx, from, vote));
                }
            }
            Message::Seal(seal) => {
                for seal in seal.seals {
                    self.with(seal.partition, |at, cx| at.on_seal(cx, from, boot, seal.epoch));
                }
            }
            Message::SealAnswer(answer) => {
                for sealed in answer.sealed {
                    self.with(sealed.partition, |at, cx| at.on_sealed(cx, from, sealed));
                }
            }
            Message::Fetch(fetch) => {
                self.with(fetch.partition, |at, cx| at.on_fetch(cx, from, boot, fetch));
            }
            Message::Fetched(fetched) => {
                self.with(fetched.partition, |at, cx| at.on_fetched(cx, from, fetched));
            }
            Message::Look(look) => {
                self.with(look.partition, |at, cx| at.on_look(cx, from, look));
            }
            Message::Looked(looked) => {
                self.with(looked.partition, |at, cx| at.on_looked(cx, from, looked));
            }
            Message::HandOver(hand_over) => {
                self.with(hand_over.partition, |at, cx| at.on_hand_over(cx, from, hand_over));
            }
            Message::HandOverAnswer(answer) => {
                self.with(answer.partition, |at, cx| at.on_hand_over_answer(cx, from, answer));
            }
            Message::Base(base) => {
                self.with(base.partition, |at, cx| at.on_base(cx, from, boot, base));
            }
            Message::BaseHave(have) => {
                self.with(have.partition, |at, cx| at.on_base_have(cx, from, have));
            }
        }
    }

    /// Does something with a partition; `None` if it does not exist.
    fn with<T>(
        &mut self,
        partition: PartitionId,
        act: impl FnOnce(&mut Partition, &mut Shared) -> T,
    ) -> Option<T> {
        let at = self.partitions.get_mut(usize::from(partition.0))?;
        Some(act(at, &mut self.cx))
    }

    fn each(&mut self, act: impl Fn(&mut Partition, &mut Shared)) {
        for at in &mut self.partitions {
            act(at, &mut self.cx);
        }
    }

    /// Answers for a partition that does not exist.
    fn unknown(&mut self, known: Option<()>, token: u64) {
        if known.is_none() {
            self.cx.answer(token, Outcome::NotCommitted(Why::NotLeading));
        }
    }
}
