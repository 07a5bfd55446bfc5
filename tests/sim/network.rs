//! Connections between nodes, and what becomes of messages on them.
//!
//! On one connection the messages of one partition keep their order, and those of different partitions
//! do not. A cut direction holds messages back; they come later, or are lost with the connection, which
//! ends after a silence. Both sides learn of an end, and of a new beginning, each in its own time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashring::PartitionId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::Message;

use crate::agenda::{Agenda, Happening, Time, ms};

/// How messages travel in one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Travel {
    /// The shortest and the longest time of most messages.
    pub(crate) usual: (Time, Time),
    /// How many of a thousand take up to `longest`.
    pub(crate) late_per_mille: u32,
    /// The longest time of those.
    pub(crate) longest: Time,
    /// After so long a silence a connection is given up.
    pub(crate) idle: Time,
}

/// Between two nodes, one at a time.
#[derive(Debug, Default)]
struct Connection {
    generation: u64,
    up: bool,
    dialing: bool,
    /// Counts the silences; one that ended does not end the connection.
    silence: u64,
    /// What was sent over this generation, or one before it, and has not arrived is lost.
    lost: u64,
    /// The lives of both processes.
    boots: (u64, u64),
}

/// Whether something that would arrive now does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    /// Not while the direction is cut.
    Held,
    /// Never: the connection ended.
    Lost,
}

/// Everything between the nodes.
#[derive(Debug)]
pub(crate) struct Network {
    travel: Travel,
    random: StdRng,
    connections: BTreeMap<(usize, usize), Connection>,
    generations: u64,
    cut: BTreeSet<(usize, usize)>,
    held: BTreeMap<(usize, usize), VecDeque<(u64, Message)>>,
    /// When the last message of a stream arrives, so that the next one does after it.
    last: BTreeMap<(usize, usize, Option<PartitionId>), Time>,
}

impl Network {
    pub(crate) fn new(nodes: usize, travel: Travel, seed: u64) -> Self {
        let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        Self {
            travel,
            random: StdRng::seed_from_u64(seed ^ 0x6e65_7477),
            connections: pairs.map(|pair| (pair, Connection::default())).collect(),
            generations: 0,
            cut: BTreeSet::new(),
            held: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    /// A message leaves on the connection of this generation.
    pub(crate) fn send(
        &mut self,
        agenda: &mut Agenda,
        (from, to): (usize, usize),
        generation: u64,
        message: Message,
    ) {
        let arrives = agenda.now() + self.delay();
        let last = self.last.entry((from, to, stream(&message))).or_default();
        *last = arrives.max(*last + 1);
        agenda.at(*last, Happening::Arrive { from, to, generation, message });
    }

    /// A message would arrive now: it does, is held back, or is lost.
    pub(crate) fn arrive(
        &mut self,
        from: usize,
        to: usize,
        generation: u64,
        message: Message,
    ) -> Option<Message> {
        let connection = self.connections.get(&pair(from, to))?;
        if generation <= connection.lost {
            return None;
        }
        let waiting = self.held.get(&(from, to)).is_some_and(|held| !held.is_empty());
        if self.cut.contains(&(from, to)) || waiting {
            self.held.entry((from, to)).or_default().push_back((generation, message));
            return None;
        }
        Some(message)
    }

    /// Nothing goes from one to the other any more.
    pub(crate) fn cut(&mut self, agenda: &mut Agenda, from: usize, to: usize) {
        if self.cut.insert((from, to)) {
            self.silence(agenda, pair(from, to));
        }
    }

    /// It goes again, and what was held back goes on in its order.
    pub(crate) fn heal(&mut self, agenda: &mut Agenda, from: usize, to: usize) {
        if !self.cut.remove(&(from, to)) {
            return;
        }
        let delay = self.delay();
        let held = self.held.remove(&(from, to)).unwrap_or_default();
        for (place, (generation, message)) in (0..).zip(held) {
            let stream = stream(&message);
            let last = self.last.entry((from, to, stream)).or_default();
            *last = (agenda.now() + delay + place).max(*last + 1);
            agenda.at(*last, Happening::Arrive { from, to, generation, message });
        }
        if !self.cut.contains(&(to, from))
            && let Some(connection) = self.connections.get_mut(&pair(from, to))
        {
            connection.silence += 1;
        }
    }

    pub(crate) fn heal_all(&mut self, agenda: &mut Agenda) {
        for (from, to) in self.cut.clone() {
            self.heal(agenda, from, to);
        }
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    /// A silence begins: the connection will be given up, unless it ends.
    pub(crate) fn silence(&mut self, agenda: &mut Agenda, pair: (usize, usize)) {
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        if connection.up {
            connection.silence += 1;
            let Connection { generation, silence, .. } = *connection;
            agenda.after(self.travel.idle, Happening::Idle { pair, generation, silence });
        }
    }

    /// A silence has lasted.
    pub(crate) fn idle(
        &mut self,
        agenda: &mut Agenda,
        pair: (usize, usize),
        (generation, silence): (u64, u64),
    ) {
        let connection = self.connections.get(&pair);
        if connection.is_some_and(|now| now.generation == generation && now.silence == silence) {
            self.end(agenda, pair, None);
        }
    }

    /// The silence of every connection of a node ends.
    pub(crate) fn speaks(&mut self, node: usize) {
        for (pair, connection) in &mut self.connections {
            if pair.0 == node || pair.1 == node {
                connection.silence += 1;
            }
        }
    }

    /// A connection ends. With `crashed` that node is gone, and the other may learn it late.
    pub(crate) fn end(
        &mut self,
        agenda: &mut Agenda,
        pair: (usize, usize),
        crashed: Option<usize>,
    ) {
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        if !connection.up {
            return;
        }
        connection.up = false;
        connection.silence += 1;
        let generation = connection.generation;
        if self.random.random_bool(0.6) {
            connection.lost = generation;
        }
        for (node, peer) in [pair, (pair.1, pair.0)] {
            let silent = crashed == Some(peer) && self.random.random_bool(0.5);
            let delay = if silent { self.travel.idle } else { self.random.random_range(0..ms(30)) };
            agenda.after(delay, Happening::Unlinked { node, peer, generation });
        }
        self.redial(agenda, pair);
    }

    /// All connections of a node end with its process.
    pub(crate) fn crashed(&mut self, agenda: &mut Agenda, node: usize) {
        let pairs: Vec<_> = self.connections.keys().copied().collect();
        for pair in pairs.into_iter().filter(|pair| pair.0 == node || pair.1 == node) {
            self.end(agenda, pair, Some(node));
        }
    }

    /// Two nodes try to connect; `boots` are their lives if both can answer.
    pub(crate) fn dial(
        &mut self,
        agenda: &mut Agenda,
        pair: (usize, usize),
        boots: Option<(u64, u64)>,
    ) {
        let cut = self.is_cut(pair.0, pair.1);
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        connection.dialing = false;
        if connection.up {
            return;
        }
        let Some(boots) = boots.filter(|_| !cut) else { return self.redial(agenda, pair) };
        self.generations += 1;
        connection.generation = self.generations;
        connection.up = true;
        connection.boots = boots;
        let generation = self.generations;
        self.held.remove(&pair);
        self.held.remove(&(pair.1, pair.0));
        for (node, peer) in [pair, (pair.1, pair.0)] {
            let delay = self.random.random_range(0..ms(5));
            agenda.after(delay, Happening::Linked { node, peer, generation });
        }
    }

    /// The life of `peer` at the other end of a connection of `node`, while it stands.
    pub(crate) fn peer_boot(&self, node: usize, peer: usize, generation: u64) -> Option<u64> {
        let connection = self.connections.get(&pair(node, peer))?;
        let stands = connection.up && connection.generation == generation;
        let (low, high) = connection.boots;
        stands.then_some(if peer < node { low } else { high })
    }

    /// Plans the next try, if none is planned.
    pub(crate) fn redial(&mut self, agenda: &mut Agenda, pair: (usize, usize)) {
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        if !connection.dialing && !connection.up {
            connection.dialing = true;
            agenda.after(self.random.random_range(ms(20)..ms(300)), Happening::Dial { pair });
        }
    }

    /// Silences are borne for so long from now on.
    pub(crate) fn set_idle(&mut self, idle: Time) {
        self.travel.idle = idle;
    }

    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        self.connections.keys().copied().collect()
    }

    /// Whether a stream of a connection gets through.
    pub(crate) fn passage(&self, from: usize, to: usize, generation: u64) -> Passage {
        let connection = self.connections.get(&pair(from, to));
        if !connection.is_some_and(|it| it.up && it.generation == generation) {
            return Passage::Lost;
        }
        if self.cut.contains(&(from, to)) { Passage::Held } else { Passage::Free }
    }

    /// How long something is under way.
    pub(crate) fn delay(&mut self) -> Time {
        let Travel { usual, late_per_mille, longest, .. } = self.travel;
        if self.random.random_ratio(late_per_mille, 1000) {
            self.random.random_range(usual.0..=longest.max(usual.1))
        } else {
            self.random.random_range(usual.0..=usual.1)
        }
    }
}

/// The pair that two nodes are, the lower one first.
pub(crate) fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// What a message keeps its order with: those of its partition, if it is of one.
fn stream(message: &Message) -> Option<PartitionId> {
    match message {
        Message::Append(append) => Some(append.partition),
        Message::Ack(ack) => Some(ack.partition),
        Message::Refuse(refuse) => Some(refuse.partition),
        Message::Fetch(fetch) => Some(fetch.partition),
        Message::Fetched(fetched) => Some(fetched.partition),
        Message::HandOver(hand_over) => Some(hand_over.partition),
        Message::HandOverAnswer(answer) => Some(answer.partition),
        Message::Look(look) => Some(look.partition),
        Message::Looked(looked) => Some(looked.partition),
        Message::Base(base) => Some(base.partition),
        Message::BaseHave(have) => Some(have.partition),
        Message::Beat(_)
        | Message::BeatAnswer(_)
        | Message::PreVote(_)
        | Message::PreVoteAnswer(_)
        | Message::Seal(_)
        | Message::SealAnswer(_) => None,
    }
}
