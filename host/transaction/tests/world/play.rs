//! What happens: people talk, logs are committed, nodes die and take over, operators and services do as they like.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Attrs, Body, Change, ChatToken, Dialect, Entry, Message, MessageId, OutboxChange, OutboxEntry,
    Route, ServiceRecord,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use runtime::Instant;
use transaction::{Ended, Engine, EngineConfig, Retry, VERSION};

use crate::SERVICE;
use crate::book::{At, Book};
use crate::driver::Flight;
use crate::log::{Log, Said};
use crate::receiver::{self, Mood};

pub(crate) const PARTITIONS: u16 = 4;
pub(crate) const NODES: usize = 3;
/// Attempts of a node at once.
pub(crate) const PARALLEL: usize = 4;
/// For so long a node may not know that it leads no more.
const LATE_MAX: Duration = Duration::from_secs(2);

/// What is done wrongly on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    DoneBeforeTaken,
    SentBeforeCommitted,
    RangeForList,
    CutTwice,
    TrimWithoutShelf,
}

/// A node that leads no more and does not know it yet.
#[derive(Clone, Copy, Debug)]
struct Deposed {
    node: usize,
    lane: u16,
    until: Instant,
}

pub(crate) struct World {
    pub(crate) random: SmallRng,
    pub(crate) now: Instant,
    pub(crate) logs: Vec<Log>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) mood: Mood,
    pub(crate) book: Book,
    pub(crate) sabotage: Sabotage,
    /// The newest version of the writing that each node knows.
    pub(crate) builds: [u8; NODES],
    /// Whether an operator stopped it.
    pub(crate) paused: bool,
    /// Who was told that the service is not there any more.
    pub(crate) gone: [bool; NODES],
    /// What went wrong so far: deaths, take-overs, lost answers, trims, redactions, bad moods.
    pub(crate) faults: usize,
    config: EngineConfig,
    deposed: Vec<Deposed>,
    said: u64,
}

fn record(kinds: &[&str]) -> ServiceRecord {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    ServiceRecord { name: SERVICE.to_owned(), revision: 0, dialect: Dialect::Webhook, kinds }
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let now = runtime::now();
        let retry = Retry {
            first: Duration::from_millis(200),
            cap: Duration::from_secs(5),
            give_up: Duration::from_secs(1_000_000),
        };
        let config = EngineConfig { retry, parallel: PARALLEL, linger: Duration::ZERO };
        let mut world = Self {
            random: SmallRng::seed_from_u64(seed),
            now,
            logs: (0..PARTITIONS).map(|_| Log::new()).collect(),
            engines: (0..NODES).map(|_| Engine::new(config, now)).collect(),
            flights: Vec::new(),
            mood: Mood::Well,
            book: Book::default(),
            sabotage,
            builds: [VERSION; NODES],
            paused: false,
            gone: [false; NODES],
            faults: 0,
            config,
            deposed: Vec::new(),
            said: 0,
        };
        for lane in 0..PARTITIONS {
            world.describe(lane, &["*"]);
            world.commit(lane);
            let node = world.random.random_range(0..NODES);
            world.take_over(lane, node, 0, Duration::ZERO);
        }
        world
    }

    pub(crate) fn step(&mut self) {
        let lane = self.random.random_range(0..PARTITIONS);
        let node = self.random.random_range(0..NODES);
        match self.random.random_range(0..200) {
            0..40 => self.say(lane),
            40..80 => self.commit(lane),
            80..120 => self.poll(node),
            120..168 => self.fly(),
            168..187 => {
                let time = Duration::from_millis(self.random.random_range(0..800));
                self.pass(time);
            }
            187..190 => {
                self.mood = receiver::mood(&mut self.random);
                self.faults += usize::from(self.mood != Mood::Well);
            }
            190 => {
                let kinds: &[&str] =
                    if self.random.random() { &["*"] } else { &["text", "poison"] };
                self.describe(lane, kinds);
            }
            191..195 => {
                let tail = self.log(lane).entries.len() - self.log(lane).committed;
                let kept = self.random.random_range(0..=tail);
                let late = self.random.random_range(0..=2_u32) * LATE_MAX / 2;
                self.take_over(lane, node, kept, late);
            }
            195 => {
                let keeps = self.random.random();
                self.kill(node, keeps);
            }
            196 => self.trim(lane),
            197 => {
                let committed = self.log(lane).committed;
                let seq = self.random.random_range(1..=committed);
                self.log(lane).redact(seq as u64);
                self.faults += 1;
            }
            198 => match self.random.random_range(0..4) {
                0 => self.pause(),
                1 => self.wake(),
                _ => self.resume(),
            },
            _ => self.replay(lane),
        }
    }

    /// Everything is well again, and stays so: nothing is owed in the end.
    pub(crate) fn heal(&mut self) {
        self.mood = Mood::Well;
        for _round in 0..20_000 {
            for lane in 0..PARTITIONS {
                self.commit(lane);
            }
            for node in 0..NODES {
                self.poll(node);
            }
            self.fly();
            self.pass(Duration::from_millis(50));
            // Whoever refuses everything for a while is stopped, and somebody lets it go on.
            self.resume();
            let pending: u64 = self.logs.iter().map(|log| log.lane().pending()).sum();
            let tail = self.logs.iter().any(|log| log.committed < log.entries.len());
            if pending == 0 && !tail && self.flights.is_empty() {
                break;
            }
        }
        let mut parked = BTreeSet::<At>::new();
        for (number, log) in (0..).zip(&self.logs) {
            let lane = log.lane();
            assert_eq!(lane.pending(), 0, "T-I12: healed, and something is owed: {lane:?}");
            parked.extend(lane.dead.iter().map(|it| (number, it.event.seq, it.event.index)));
        }
        self.book.in_order();
        self.book.complete(&parked, &self.logs);
    }

    pub(crate) fn log(&mut self, lane: u16) -> &mut Log {
        &mut self.logs[usize::from(lane)]
    }

    fn say(&mut self, lane: u16) {
        let kind = ["text", "text", "text", "note", "poison"][self.random.random_range(0..5)];
        let route = if self.said.is_multiple_of(9) { Route::Nobody } else { Route::Everyone };
        let count = 1 + u32::from(self.said.is_multiple_of(4));
        self.say_so(lane, kind, &route, count);
    }

    /// Says so many messages in one entry; the id of the first.
    pub(crate) fn say_so(&mut self, lane: u16, kind: &str, route: &Route, count: u32) -> MessageId {
        self.said += 1;
        let partition = u8::try_from(lane).expect("few");
        let chat = ChatToken([partition; 16]);
        let id = |index| MessageId::derive(partition, chat, 1, self.said, index);
        let message = |index| {
            Change::Message(Arc::new(Message {
                id: id(index),
                sender: "alice".into(),
                kind: kind.into(),
                route: route.clone(),
                body: Body::Text(format!("text {} {index}", self.said)),
                archive: None,
                attrs: Attrs::new(),
                time_ms: self.said,
                sent_ms: None,
                stamps: Vec::new(),
            }))
        };
        let changes = (0..count).map(message).collect();
        let first = id(0);
        let entry = Entry { chat, turn: self.said, time_ms: 1, changes, remembered: None };
        self.log(lane).append(Said::Chat(entry));
        first
    }

    pub(crate) fn describe(&mut self, lane: u16, kinds: &[&str]) {
        self.says(lane, vec![OutboxChange::Service { record: record(kinds), from_start: false }]);
    }

    fn says(&mut self, lane: u16, changes: Vec<OutboxChange>) -> usize {
        self.log(lane).append(Said::Outbox(OutboxEntry { time_ms: 1, changes }))
    }

    /// Something that was put aside goes again.
    pub(crate) fn replay(&mut self, lane: u16) {
        let dead = self.log(lane).lane().dead.first().map(|dead| dead.id);
        if let Some(id) = dead {
            self.says(lane, vec![OutboxChange::Replay { service: SERVICE.to_owned(), id }]);
        }
    }

    pub(crate) fn trim(&mut self, lane: u16) {
        let shelf = self.sabotage != Sabotage::TrimWithoutShelf;
        self.log(lane).trim(shelf);
        self.faults += 1;
    }

    /// One more entry is committed.
    pub(crate) fn commit(&mut self, lane: u16) {
        let log = &mut self.logs[usize::from(lane)];
        let Some((epoch, said)) = log.entries.get(log.committed).cloned() else { return };
        log.committed += 1;
        let seq = log.committed as u64;
        match said {
            Said::Opening => {}
            Said::Chat(entry) => self.hear(lane, seq, &entry),
            Said::Outbox(entry) => self.apply(lane, (epoch, seq), entry),
        }
        let log = &mut self.logs[usize::from(lane)];
        if log.fold.service(SERVICE).is_some() {
            self.book.counts(lane, log.lane());
        }
        let (leader, epoch) = (log.leader, log.epoch);
        let awaited = log.awaited.take_if(|awaited| *awaited == log.committed);
        let Some(owed) = log.owed() else { return };
        let engine = &mut self.engines[leader];
        match awaited {
            Some(_) => engine.handle_appended(lane, epoch, Some(owed), self.now),
            None => engine.handle_owed(lane, epoch, owed, self.now),
        }
    }

    fn hear(&mut self, lane: u16, seq: u64, entry: &Entry) {
        let log = &mut self.logs[usize::from(lane)];
        if let Some(booked) = log.fold.service(SERVICE) {
            for (index, message) in (0..).zip(entry.messages()) {
                if message.route != Route::Nobody && booked.record.wants(&message.kind) {
                    self.book.concerned.insert(message.id, (lane, seq, index));
                }
            }
        }
        log.fold.hear(seq, entry);
    }

    fn apply(&mut self, lane: u16, (epoch, seq): (u64, u64), mut entry: OutboxEntry) {
        let log = &mut self.logs[usize::from(lane)];
        for change in &mut entry.changes {
            match change {
                OutboxChange::Cut { from, .. } if self.sabotage == Sabotage::CutTwice => {
                    *from = log.fold.service(SERVICE).expect("described").lane.scan;
                }
                // From here on its place among the others is another.
                OutboxChange::Settle { parked, .. } => {
                    let events = parked.iter().filter_map(|place| log.event(place));
                    self.book.failed.extend(events.map(|event| event.message.id));
                }
                _ => {}
            }
        }
        log.fold.apply(epoch, seq, &entry);
    }

    /// Another node leads, or the same one anew; of what was not committed `kept` entries stay. Who led before
    /// hears of it so much later.
    pub(crate) fn take_over(&mut self, lane: u16, to: usize, kept: usize, late: Duration) {
        self.faults += 1;
        let log = self.log(lane);
        let before = std::mem::replace(&mut log.leader, to);
        let tail = log.entries.len() - log.committed;
        log.entries.truncate(log.committed + kept.min(tail));
        log.epoch += 1;
        log.awaited = None;
        let double =
            log.entries.last().cloned().filter(|(_, said)| matches!(said, Said::Outbox(_)));
        if late.is_zero() || before == to {
            self.engines[before].handle_closed(lane);
        } else {
            self.deposed.push(Deposed { node: before, lane, until: self.now + late });
        }
        // What one node tried to append before it lost the lead may be appended by itself again.
        if let Some(double) = double {
            self.log(lane).entries.push(double);
        }
        self.log(lane).append(Said::Opening);
        self.commit_all(lane);
    }

    pub(crate) fn commit_all(&mut self, lane: u16) {
        while self.log(lane).committed < self.log(lane).entries.len() {
            self.commit(lane);
        }
    }

    /// A node dies and is there again, and others lead what it led. `keeps`: what it had sent on its way, to
    /// other nodes and to the service, arrives.
    pub(crate) fn kill(&mut self, node: usize, keeps: bool) {
        for number in 0..self.flights.len() {
            let flight = &self.flights[number];
            if keeps && flight.node == node && flight.answer.is_none() {
                self.arrive(number);
            }
        }
        self.flights.retain(|flight| flight.node != node);
        self.engines[node] = Engine::new(self.config, self.now);
        if self.paused {
            self.engines[node].service_mut().pause(self.now);
        }
        self.gone[node] = false;
        self.deposed.retain(|deposed| deposed.node != node);
        for lane in 0..PARTITIONS {
            if self.log(lane).leader == node {
                let kept = if keeps { usize::MAX } else { 0 };
                self.take_over(lane, (node + 1) % NODES, kept, Duration::ZERO);
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        let (over, left): (Vec<Deposed>, Vec<Deposed>) =
            self.deposed.drain(..).partition(|it| it.until <= now);
        self.deposed = left;
        for Deposed { node, lane, .. } in over {
            if self.log(lane).leader != node {
                self.engines[node].handle_closed(lane);
            }
        }
    }

    /// T-I5: whether a node leads, or did a moment ago and cannot know better.
    pub(crate) fn leads_lately(&self, node: usize, lane: u16) -> bool {
        let deposed = |it: &Deposed| (it.node, it.lane) == (node, lane);
        self.logs[usize::from(lane)].leader == node || self.deposed.iter().any(deposed)
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
        self.engines.iter_mut().for_each(|engine| engine.service_mut().pause(self.now));
    }

    pub(crate) fn wake(&mut self) {
        self.gone = [false; NODES];
        self.engines.iter_mut().for_each(|engine| engine.service_mut().wake(self.now));
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.gone = [false; NODES];
        self.engines.iter_mut().for_each(|engine| engine.service_mut().resume(self.now));
    }

    /// A node hears that the service is gone.
    pub(crate) fn hears(&mut self, node: usize, ended: Ended) {
        self.gone[node] |= ended == Ended::Gone;
    }
}
