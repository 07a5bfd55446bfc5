//! What all partitions of one node share: who it is, what time it is, its peers, its writer, and where
//! what follows from an event is put until the core is polled.

use std::collections::{BTreeMap, BTreeSet};

use hashring::{NodeId, PartitionId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use registry::{Member, PartitionRecord};
use wire::{Message, PreVote, PreVoteAsk, Promised, Seal, SealAnswer, Sealed};

use super::config::CoreConfig;
use super::pace::Pace;
use super::peers::Peers;
use super::roster::Roll;
use super::step::{Alarm, Outcome, Step};
use super::writer::Writer;
use super::{Time, quorum};

/// What partitions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: CoreConfig,
    pub(super) now: Time,
    pub(super) peers: Peers,
    pub(super) writer: Writer,
    pub(super) out: Outbox,
    /// Since when the registry session is there, or is not.
    pub(super) session: Result<Time, Time>,
    /// The live plugin generations are loaded.
    pub(super) ready: bool,
    /// Nothing is taken over any more.
    pub(super) draining: bool,
    /// Somebody keeps objects beside the logs, and says who has them.
    pub(super) awaits_objects: bool,
    /// Since when the disk is full.
    pub(super) full: Option<Time>,
    /// Who is on the ring.
    pub(super) roll: Roll,
    /// Partitions of which this node feeds a learner.
    pub(super) feeding: BTreeSet<PartitionId>,
    /// Partitions of which this node is a learner, and when it was last given something of them.
    pub(super) learning: BTreeMap<PartitionId, Time>,
    /// Hand-overs that may yet begin in this beat because the ring wants another primary.
    pub(super) hand_overs_left: usize,
    /// How fast those who are behind are given what they lack.
    pub(super) pace: Pace,
    rng: SmallRng,
    reads: u64,
}

/// What follows, until the core is polled.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// To peers, in order.
    messages: Vec<(NodeId, Message)>,
    seals: BTreeMap<NodeId, Vec<Promised>>,
    sealed: BTreeMap<NodeId, Vec<Sealed>>,
    asks: BTreeMap<NodeId, Vec<PreVoteAsk>>,
    /// Questions to the registry and the disk.
    questions: Vec<Step>,
    /// What the floors above are told.
    notices: Vec<Step>,
    /// Partitions whose confirmation waits for a beat.
    pub(super) beats: BTreeSet<PartitionId>,
    /// Partitions something happened to.
    pub(super) dirty: Vec<PartitionId>,
}

impl Shared {
    /// Of a process that just started.
    pub(super) fn new(config: CoreConfig, seed: u64) -> Self {
        Self {
            peers: Peers::new(config.sabotage.count_by_node),
            pace: Pace::new(config.limits.catch_up_rate),
            config,
            now: Time::ZERO,
            writer: Writer::new(),
            out: Outbox::default(),
            session: Err(Time::ZERO),
            ready: true,
            draining: false,
            awaits_objects: false,
            full: None,
            roll: Roll::default(),
            feeding: BTreeSet::new(),
            learning: BTreeMap::new(),
            hand_overs_left: 0,
            rng: SmallRng::seed_from_u64(seed),
            reads: 0,
        }
    }

    /// A number that nobody else has.
    pub(super) fn nonce(&mut self) -> u64 {
        self.rng.random()
    }

    /// Somewhere between half of `longest` and all of it.
    pub(super) fn about(&mut self, longest: Time) -> Time {
        longest.mul_f64(0.5 + self.rng.random::<f64>() / 2.0)
    }

    /// Whether `member` is this node with this store.
    pub(super) fn is_me(&self, member: &Member) -> bool {
        member.node == self.config.node && member.store == self.config.store
    }

    /// This node with its store.
    pub(super) fn me(&self) -> Member {
        Member { node: self.config.node.clone(), store: self.config.store }
    }

    /// Whether this node may be a learner of `partition` too, beside those it is one of already. What it
    /// was not given anything of for a while does not count.
    pub(super) fn learns(&mut self, partition: PartitionId) -> bool {
        let (now, patience) = (self.now, self.config.timings.suspect);
        self.learning.retain(|_, since| now.saturating_sub(*since) < patience);
        let room = self.learning.len() < self.config.limits.learners_max;
        let may = room || self.learning.contains_key(&partition);
        if may {
            self.learning.insert(partition, now);
        }
        may
    }

    /// Whether this node was given something of `partition` as a learner, a moment ago.
    pub(super) fn is_learning(&self, partition: PartitionId) -> bool {
        self.learning
            .get(&partition)
            .is_some_and(|since| self.now.saturating_sub(*since) < self.config.timings.suspect)
    }

    /// Whether a message of `from` counts as one of a member of `ensemble`.
    pub(super) fn counts(&self, from: &NodeId, ensemble: &[Member]) -> bool {
        ensemble.iter().any(|member| {
            member.node == *from && (self.is_me(member) || self.peers.member(member).is_some())
        })
    }

    /// Whether enough of the last open ensemble are connected for a seal, this node included.
    pub(super) fn can_seal(&self, record: &PartitionRecord) -> bool {
        let (_, ensemble, commit) = record.last_open();
        let there = ensemble
            .iter()
            .filter(|member| self.is_me(member) || self.peers.member(member).is_some());
        self.config.sabotage.no_seal || there.count() >= quorum::seal(ensemble.len(), commit)
    }

    /// Sends to a peer, if it is connected.
    pub(super) fn send(&mut self, to: &NodeId, message: Message) {
        if self.peers.get(to).is_some() {
            self.out.messages.push((to.clone(), message));
        }
    }

    /// Seals a partition at a peer, in one message with others.
    pub(super) fn send_seal(&mut self, to: &NodeId, seal: Promised) {
        if self.peers.get(to).is_some() {
            self.out.seals.entry(to.clone()).or_default().push(seal);
        }
    }

    /// Answers a seal, in one message with others.
    pub(super) fn send_sealed(&mut self, to: &NodeId, sealed: Sealed) {
        if self.peers.get(to).is_some() {
            self.out.sealed.entry(to.clone()).or_default().push(sealed);
        }
    }

    /// Asks for a vote, in one message with others.
    pub(super) fn send_ask(&mut self, to: &NodeId, ask: PreVoteAsk) {
        if self.peers.get(to).is_some() {
            self.out.asks.entry(to.clone()).or_default().push(ask);
        }
    }

    /// Writes a partition's record if it is still at version `expect`.
    pub(super) fn cas(&mut self, partition: PartitionId, expect: u64, record: PartitionRecord) {
        self.out.questions.push(Step::Cas { partition, expect: Some(expect), record });
    }

    /// Writes a partition's record if there is none.
    pub(super) fn create(&mut self, partition: PartitionId, record: PartitionRecord) {
        self.out.questions.push(Step::Cas { partition, expect: None, record });
    }

    /// Reads this node's own log, what one append carries or, if it is `long`, more of it; the number the
    /// answer will have.
    pub(super) fn read(&mut self, partition: PartitionId, from: u64, long: bool) -> u64 {
        let limits = &self.config.limits;
        let (entries_max, bytes_max) = match long {
            true => (limits.read_entries_max, limits.read_bytes_max),
            false => (limits.append_entries_max, limits.append_bytes_max),
        };
        self.ask_disk(partition, from, entries_max, bytes_max)
    }

    /// Reads one entry of this node's own log; the number the answer will have.
    pub(super) fn read_one(&mut self, partition: PartitionId, seq: u64) -> u64 {
        self.ask_disk(partition, seq, 1, self.config.limits.append_bytes_max)
    }

    /// Reads a piece of what a log stands on; the number the answer will have.
    pub(super) fn read_base(&mut self, partition: PartitionId, at: u64) -> u64 {
        self.reads += 1;
        let (request, bytes_max) = (self.reads, self.config.limits.append_bytes_max);
        self.out.questions.push(Step::ReadBase { partition, request, at, bytes_max });
        request
    }

    /// Has the disk keep something.
    pub(super) fn keep(&mut self, keep: Step) {
        self.out.questions.push(keep);
    }

    fn ask_disk(
        &mut self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> u64 {
        self.reads += 1;
        let request = self.reads;
        self.out.questions.push(Step::Read { partition, request, from, entries_max, bytes_max });
        request
    }

    /// Tells the floors above.
    pub(super) fn tell(&mut self, notice: Step) {
        self.out.notices.push(notice);
    }

    /// Answers a submit, a barrier or a confirm.
    pub(super) fn answer(&mut self, token: u64, outcome: Outcome) {
        self.out.answer(token, outcome);
    }

    /// Tells an operator.
    pub(super) fn alarm(&mut self, partition: PartitionId, alarm: Alarm) {
        self.tell(Step::Alarm { partition, alarm });
    }
}

impl Outbox {
    /// Answers a submit, a barrier or a confirm.
    pub(super) fn answer(&mut self, token: u64, outcome: Outcome) {
        self.notices.push(Step::Answer { token, outcome });
    }

    /// Whether nothing is left to be told, sent or looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.seals.is_empty()
            && self.sealed.is_empty()
            && self.asks.is_empty()
            && self.questions.is_empty()
            && self.notices.is_empty()
            && self.beats.is_empty()
            && self.dirty.is_empty()
    }

    /// Moves everything but beats to `steps`.
    pub(super) fn drain_into(&mut self, steps: &mut impl Extend<Step>) {
        let send = |(to, message)| Step::Send { to, message };
        steps.extend(self.messages.drain(..).map(send));
        let seals = std::mem::take(&mut self.seals).into_iter();
        steps.extend(seals.map(|(to, seals)| send((to, Message::Seal(Seal { seals })))));
        let sealed = std::mem::take(&mut self.sealed).into_iter();
        steps.extend(
            sealed.map(|(to, sealed)| send((to, Message::SealAnswer(SealAnswer { sealed })))),
        );
        let asks = std::mem::take(&mut self.asks).into_iter();
        steps.extend(asks.map(|(to, asks)| send((to, Message::PreVote(PreVote { asks })))));
        steps.extend(self.questions.drain(..));
        steps.extend(self.notices.drain(..));
    }
}
