//! A world of nodes: what happens, happens here, one thing after the other.
//!
//! A world is driven by its agenda alone. Schedules move it on with [`World::run_for`] and
//! [`World::run_until`] and lay hands on it between; a random run only lets it go.

use std::collections::BTreeMap;

use hashring::{NodeId, PartitionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use registry::{Member, PartitionRecord};
use replication::core::{Event, Outcome, PartitionView};
use segment::{LogEnd, LogOp};

use crate::agenda::{Agenda, Happening, Time, ms};
use crate::bases::BaseFile;
use crate::chats::Talk;
use crate::chats::calls::Calls;
use crate::client::{Ask, Asks, Wish, payload};
use crate::disk::Durable;
use crate::faults::Fault;
use crate::invariants::{History, Process, Verdict, Violation};
use crate::network::Network;
use crate::node::{Came, Life, Node};
use crate::objects::Shelf;
use crate::registry::Registry;
use crate::ring::Ring;
use crate::setup::Setup;
use crate::trace::Trace;

/// What happened that a report tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) happenings: u64,
    pub(crate) opened: u64,
    pub(crate) answered: u64,
    /// Answers that nobody knows what became of an entry.
    pub(crate) unknown: u64,
    /// Answers of fewer than make a commit.
    pub(crate) local: u64,
    /// Times that a log dropped entries of a lost epoch.
    pub(crate) cuts: u64,
    /// Times that a candidate took entries from another log.
    pub(crate) fetches: u64,
    pub(crate) crashes: u64,
    /// Messages other than beats and their answers.
    pub(crate) words: u64,
    /// Reads of a log.
    pub(crate) reads: u64,
    /// Changes of an ensemble that were made, and that came to nothing.
    pub(crate) moved: u64,
    pub(crate) given_up: u64,
    /// Snapshots that were kept, and that were read to go on from.
    pub(crate) snapshots: u64,
    pub(crate) snapshots_read: u64,
    /// Logs that went back to what the others have.
    pub(crate) mended: u64,
    /// Logs that begin later than they did, and bases that were taken from another node.
    pub(crate) trimmed: u64,
    pub(crate) bases_taken: u64,
}

/// Nodes, what is between them, and the book of what they said.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) agenda: Agenda,
    pub(crate) network: Network,
    pub(crate) registry: Registry,
    pub(crate) nodes: Vec<Node>,
    pub(crate) history: History,
    pub(crate) asks: Asks,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) random: StdRng,
    /// Clients go on.
    pub(crate) busy: bool,
    /// The store that a wiped node gets.
    pub(crate) next_store: u64,
    /// The chats, if there are any.
    pub(crate) talk: Option<Box<Talk>>,
    /// The objects, if there are any.
    pub(crate) shelf: Option<Box<Shelf>>,
    /// What nodes ask each other.
    pub(crate) calls: Calls,
    pub(crate) ring: Ring,
    /// Every base file that was ever written, by its digest.
    pub(crate) files: BTreeMap<(PartitionId, [u8; 32]), BaseFile>,
}

impl World {
    /// A world whose nodes are about to start.
    pub(crate) fn new(setup: Setup) -> Self {
        let count = setup.commits.len();
        let nodes: Vec<Node> = setup
            .commits
            .iter()
            .enumerate()
            .map(|(index, commit)| Node::new(index, *commit))
            .map(|mut node| {
                node.disk.unnamed = setup.unnamed.then(Default::default);
                node
            })
            .collect();
        let mut world = Self {
            agenda: Agenda::default(),
            network: Network::new(count, setup.travel, setup.seed),
            registry: Registry::new(count, setup.manners, setup.seed),
            history: History::default(),
            asks: Asks::default(),
            trace: Trace::new(setup.readable),
            counts: Counts::default(),
            random: StdRng::seed_from_u64(setup.seed ^ 0x776f_726c),
            busy: setup.load.is_some(),
            next_store: count as u64 + 1,
            ring: Ring::default(),
            files: BTreeMap::new(),
            talk: setup.chats.as_ref().map(|chats| Box::new(Talk::new(chats))),
            shelf: setup.objects.as_ref().map(|objects| Box::new(Shelf::new(objects))),
            calls: Calls::default(),
            nodes,
            setup,
        };
        world.furnish();
        world.write_first_records();
        for node in 0..count {
            let delay = world.random.random_range(0..ms(50));
            world.agenda.after(delay, Happening::Restart { node });
        }
        if world.busy {
            world.agenda.after(ms(1), Happening::Load);
        }
        if let Some((_, longest)) = world.setup.trims.filter(|_| world.busy) {
            world.agenda.after(longest, Happening::Trims);
        }
        for person in 0..world.setup.chats.as_ref().map_or(0, |chats| chats.habits.persons) {
            let delay = world.random.random_range(0..ms(500));
            world.agenda.after(delay, Happening::Person { person });
        }
        for (at, kind) in world.setup.plan.clone() {
            world.agenda.at(at, Happening::Trouble(kind));
        }
        if world.setup.healed > 0 {
            world.agenda.at(world.setup.healed, Happening::Fault(Fault::Heal));
        }
        world
    }

    fn write_first_records(&mut self) {
        let count = self.nodes.len();
        let commit = self.setup.commits.iter().copied().min().unwrap_or(1);
        let commit = commit.min(u8::try_from(self.setup.members).unwrap_or(u8::MAX));
        for partition in self.partitions() {
            let members = (0..self.setup.members).map(|place| {
                let node = &self.nodes[(usize::from(partition.0) + place) % count];
                Member { node: node.id.clone(), store: node.disk.store }
            });
            let record = PartitionRecord::first(members.collect(), commit);
            self.registry.put(partition, record);
        }
    }

    /// Lets everything happen for a while.
    pub(crate) fn run_for(&mut self, time: Time) -> Verdict {
        let until = self.agenda.now() + time;
        while let Some(happening) = self.agenda.next(until) {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// Lets everything happen until something is so; `false` if it is not in time.
    pub(crate) fn run_until(
        &mut self,
        within: Time,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Violation> {
        let until = self.agenda.now() + within;
        loop {
            if is_so(self) {
                return Ok(true);
            }
            let Some(happening) = self.agenda.next(until) else { return Ok(false) };
            self.happen(happening)?;
        }
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        self.counts.happenings += 1;
        match happening {
            Happening::Wake { node, boot } => self.take_turn(node, boot),
            Happening::Timer { node, boot } => {
                let now = self.agenda.now();
                if let Some(life) = self.nodes[node].life_of(boot)
                    && life.timer.is_some_and(|timer| timer <= now)
                {
                    life.timer = None;
                    self.tell(node, Came::Event(Event::Tick));
                }
                Ok(())
            }
            Happening::Arrive { from, to, generation, message } => {
                if let Some(message) = self.network.arrive(from, to, generation, message) {
                    self.link(to, from, generation);
                    let node = self.nodes[from].id.clone();
                    self.tell(to, Came::Message { from, generation, node, message });
                }
                Ok(())
            }
            Happening::Linked { node, peer, generation } => {
                self.link(node, peer, generation);
                Ok(())
            }
            Happening::Unlinked { node, peer, generation } => {
                self.calls_lost(node, peer, generation);
                self.ways_lost(node, peer, generation);
                let event = Event::PeerDown { node: self.nodes[peer].id.clone() };
                self.tell(node, Came::Unlinked { peer, generation, event });
                Ok(())
            }
            Happening::Dial { pair } => {
                let boot = |node: usize| self.nodes[node].awake().map(|life| life.boot);
                let boots = boot(pair.0).zip(boot(pair.1));
                self.network.dial(&mut self.agenda, pair, boots);
                Ok(())
            }
            Happening::Idle { pair, generation, silence } => {
                self.network.idle(&mut self.agenda, pair, (generation, silence));
                Ok(())
            }
            Happening::Written { node, boot } => self.written(node, boot),
            Happening::Read { node, boot, partition, request, from, max } => {
                let entries = self.nodes[node].disk.read(partition, from, max);
                if self.nodes[node].life_of(boot).is_some() {
                    let fails = self.random.random_ratio(self.setup.unread_per_mille, 1000);
                    let broken = self.nodes[node].disk.broken(partition, &entries);
                    if let Some(seq) = broken {
                        self.tell(node, Came::Event(Event::Unreadable { partition, seq }));
                    }
                    let entries = Some(entries).filter(|_| !fails && broken.is_none());
                    self.tell(node, Came::Event(Event::Read { partition, request, entries }));
                }
                Ok(())
            }
            Happening::Trouble(kind) => self.trouble(kind),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Restart { node } => {
                self.restart(node);
                Ok(())
            }
            Happening::Load => self.load(),
            Happening::CasArrives { .. }
            | Happening::CasAnswered { .. }
            | Happening::Watch { .. }
            | Happening::Session { .. } => self.registry_happens(happening),
            Happening::Roster { node } => {
                self.tell_roster(node);
                Ok(())
            }
            _ => self.chat_happens(happening),
        }
    }

    fn registry_happens(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::CasArrives { node, boot, cas } => {
                let written = self.registry.arrive(&mut self.agenda, (node, boot), cas);
                if let Some((partition, before, after)) = written {
                    let text = || format!("recorded {partition:?} {after:?}");
                    self.trace.note(self.agenda.now(), &[20, after.epoch, after.nonce], text);
                    self.history.recorded(partition, &before, &after)?;
                }
            }
            Happening::CasAnswered { node, boot, cas } => {
                let answer = self.registry.answer(cas);
                if let Some((partition, nonce, result)) = answer
                    && self.nodes[node].life_of(boot).is_some()
                {
                    self.tell(node, Came::Event(Event::CasDone { partition, nonce, result }));
                }
            }
            Happening::Watch { node, session, partition } => {
                let read = self.registry.watch(&mut self.agenda, node, (session, partition));
                let event = match read {
                    Some((Some(record), version)) => Event::Record { partition, record, version },
                    Some((None, _)) => Event::RecordGone { partition },
                    None => return Ok(()),
                };
                self.tell(node, Came::Event(event));
            }
            Happening::Session { node, boot }
                if self.nodes[node].life_of(boot).is_some() && !self.registry.is_up(node) =>
            {
                self.registry.connect(&mut self.agenda, node);
                self.tell(node, Came::Event(Event::SessionUp));
                if self.setup.ring {
                    let delay = self.random.random_range(ms(1)..ms(300));
                    self.agenda.after(delay, Happening::Roster { node });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Something waits for a node; it takes its turn within moments, with all that came until then.
    pub(crate) fn tell(&mut self, node: usize, came: Came) {
        let delay = self.random.random_range(1..40);
        let Some(life) = &mut self.nodes[node].life else { return };
        life.inbox.push_back(came);
        if !life.waking && !life.paused {
            life.waking = true;
            let boot = life.boot;
            self.agenda.after(delay, Happening::Wake { node, boot });
        }
    }

    /// A node learns of a connection, if it stands and is news.
    fn link(&mut self, node: usize, peer: usize, generation: u64) {
        let Some(boot) = self.network.peer_boot(node, peer, generation) else { return };
        let store = self.nodes[peer].disk.store;
        let event = Event::PeerUp { node: self.nodes[peer].id.clone(), boot, store };
        let told = self.nodes[node].life.as_ref().is_some_and(|life| {
            let waits = |came: &Came| matches!(came, Came::Linked { peer: to, generation: g, .. } if (*to, *g) == (peer, generation));
            life.peers.get(&peer) >= Some(&generation) || life.inbox.iter().any(waits)
        });
        if !told {
            self.tell(node, Came::Linked { peer, generation, event });
        }
    }

    /// Books what is on a disk since just now.
    pub(crate) fn book(&mut self, node: usize, done: &Durable) -> Verdict {
        let store = self.nodes[node].disk.store;
        for op in done {
            match op {
                LogOp::Append { partition, entries } => {
                    entries.iter().for_each(|entry| self.history.synced(store, *partition, entry));
                }
                LogOp::Promise { partition, promise } => {
                    self.history.promises(store, *partition, promise)?;
                }
                LogOp::Cut { partition, after } => self.history.gone(store, *partition, *after),
                LogOp::Base { partition, base } => {
                    let log = self.nodes[node].durable(*partition);
                    let below = log.entries.iter().take_while(|entry| entry.seq <= base.seq);
                    below.for_each(|entry| self.history.synced(store, *partition, entry));
                    self.counts.trimmed += 1;
                    if let (Some(file), Some(life)) =
                        (self.nodes[node].disk.file(*partition), &self.nodes[node].life)
                        && let Some(floor) = &life.floor
                    {
                        floor.begin(*partition, file.base);
                    }
                }
                LogOp::Doubt { .. } | LogOp::Commit { .. } | LogOp::Release { .. } => {}
            }
        }
        Ok(())
    }

    /// The partitions of this world.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.setup.partitions).map(PartitionId)
    }

    pub(crate) fn index_of(&self, node: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|it| it.id == *node)
    }

    /// The life of a process, if it still lives.
    pub(crate) fn life_of(&self, process: &Process) -> Option<usize> {
        let index = self.index_of(&process.node)?;
        self.nodes[index].life.as_ref().filter(|life| life.boot == process.boot)?;
        Some(index)
    }

    pub(crate) fn view(&self, node: usize, partition: PartitionId) -> PartitionView {
        self.nodes[node].life.as_ref().map(|life| life.core.view(partition)).unwrap_or_default()
    }

    /// The node that leads a partition in the highest epoch, as it sees itself.
    pub(crate) fn leader(&self, partition: PartitionId) -> Option<usize> {
        let leads = (0..self.nodes.len()).filter(|node| {
            let life = self.nodes[*node].awake();
            life.is_some_and(|life| life.core.view(partition).leading)
        });
        leads.max_by_key(|node| self.view(*node, partition).epoch)
    }

    /// Where a node's log ends, as it believes.
    pub(crate) fn end(&self, node: usize, partition: PartitionId) -> LogEnd {
        self.nodes[node].log(partition).end()
    }

    /// A client sends an entry to a node that believes to lead, whatever its view says.
    pub(crate) fn submit(&mut self, node: usize, partition: PartitionId, acks: u8) -> Option<u64> {
        let length = self.random.random_range(12..200);
        let token = self.asks.next();
        let life = self.nodes[node].life.as_mut()?;
        let reign = life.reigns.get_mut(&partition)?;
        let (epoch, seq) = (reign.epoch, reign.next);
        reign.next += 1;
        let wish = Wish::Entry { seq, acks };
        let payload = payload(token, length);
        self.ask(node, partition, epoch, wish, payload.clone())?;
        let event = Event::Submit { token, partition, epoch, seq, payload, acks };
        self.tell(node, Came::Event(event));
        Some(token)
    }

    /// A client wants to know that what it saw of an epoch is committed.
    pub(crate) fn barrier(
        &mut self,
        node: usize,
        partition: PartitionId,
        epoch: u64,
    ) -> Option<u64> {
        let wish = Wish::Barrier { covers: None };
        let token = self.ask(node, partition, epoch, wish, bytes::Bytes::new())?;
        self.tell(node, Came::Barrier { token, partition, epoch });
        Some(token)
    }

    /// A client wants to know that a node leads as of now.
    pub(crate) fn confirm(&mut self, node: usize, partition: PartitionId) -> Option<u64> {
        let above = self.history.highest(partition);
        let wish = Wish::Leads { above, shown: self.history.shown(partition) };
        let epoch = self.view(node, partition).epoch;
        let token = self.ask(node, partition, epoch, wish, bytes::Bytes::new())?;
        self.tell(node, Came::Event(Event::Confirm { token, partition }));
        Some(token)
    }

    fn ask(
        &mut self,
        node: usize,
        partition: PartitionId,
        epoch: u64,
        wish: Wish,
        payload: bytes::Bytes,
    ) -> Option<u64> {
        let boot = self.nodes[node].life.as_ref()?.boot;
        let asked = self.agenda.now();
        Some(self.asks.push(Ask {
            node,
            boot,
            partition,
            epoch,
            wish,
            payload,
            asked,
            outcome: None,
        }))
    }

    /// What became of something asked.
    pub(crate) fn outcome(&self, token: u64) -> Option<Outcome> {
        self.asks.ask(token)?.outcome
    }

    /// Lives that were not stopped.
    pub(crate) fn lives(&self) -> impl Iterator<Item = (usize, &Life)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.life.as_ref()?)))
    }
}
