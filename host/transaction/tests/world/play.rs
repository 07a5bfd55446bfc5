//! Nodes, logs and what happens to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Attrs, Body, Change, ChatToken, Cursor, Dialect, Entry, EventPlace, Frozen, FrozenId, Message,
    MessageId, Outbox, OutboxChange, OutboxEntry, Part, Route, ServiceRecord,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use runtime::Instant;
use transaction::{
    BatchLimits, Cutting, Ended, Engine, EngineConfig, Event, Names, Owed, Retry, Settlement, Step,
    TransactionId, Tried, VERSION, Verdict, render,
};

use crate::book::{At, Book};
use crate::receiver::{self, Mood};

const PARTITIONS: u16 = 4;
const NODES: usize = 3;
const SERVICE: &str = "crm";

/// What is done wrongly on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    DoneBeforeTaken,
    SentBeforeCommitted,
    RangeForList,
    CutTwice,
}

#[derive(Clone, Debug)]
enum Said {
    Opening,
    Chat(Entry),
    Outbox(OutboxEntry),
}

#[derive(Debug)]
struct Log {
    entries: Vec<(u64, Said)>,
    committed: usize,
    fold: Outbox,
    leader: usize,
    epoch: u64,
    /// The entry that the leader's engine waits for.
    awaited: Option<usize>,
}

/// An attempt under way.
#[derive(Debug)]
struct Flight {
    node: usize,
    lane: u16,
    frozen: Arc<Frozen>,
    events: Vec<Event>,
    /// What the service answered, once it has.
    answer: Option<Tried>,
}

pub(crate) struct World {
    random: SmallRng,
    now: Instant,
    logs: Vec<Log>,
    engines: Vec<Engine>,
    flights: Vec<Flight>,
    mood: Mood,
    book: Book,
    said: u64,
    sabotage: Sabotage,
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
        let config = EngineConfig { retry, parallel: 4, linger: Duration::ZERO };
        let log = |_| Log {
            entries: Vec::new(),
            committed: 0,
            fold: Outbox::default(),
            leader: 0,
            epoch: 0,
            awaited: None,
        };
        let mut world = Self {
            random: SmallRng::seed_from_u64(seed),
            now,
            logs: (0..PARTITIONS).map(log).collect(),
            engines: (0..NODES).map(|_| Engine::new(config, now)).collect(),
            flights: Vec::new(),
            mood: Mood::Well,
            book: Book::default(),
            said: 0,
            sabotage,
        };
        for lane in 0..PARTITIONS {
            world.describe(lane, &["*"]);
            world.commit(lane);
            world.take_over(lane);
        }
        world
    }

    pub(crate) fn step(&mut self) {
        let lane = self.random.random_range(0..PARTITIONS);
        match self.random.random_range(0..100) {
            0..20 => self.say(lane),
            20..40 => self.commit(lane),
            40..60 => {
                let node = self.random.random_range(0..NODES);
                self.poll(node);
            }
            60..85 => self.fly(),
            85..95 => self.now += Duration::from_millis(self.random.random_range(0..800)),
            95..97 => self.mood = receiver::mood(&mut self.random),
            97..98 => {
                let kinds: &[&str] =
                    if self.random.random() { &["*"] } else { &["text", "poison"] };
                self.describe(lane, kinds);
            }
            _ => self.take_over(lane),
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
            self.now += Duration::from_millis(50);
            // Whoever refuses everything for a while is stopped, and somebody lets it go on.
            self.engines.iter_mut().for_each(|engine| engine.service_mut().resume(self.now));
            let pending: u64 = (0..PARTITIONS).map(|lane| self.lane(lane).pending()).sum();
            let tail = self.logs.iter().any(|log| log.committed < log.entries.len());
            if pending == 0 && !tail && self.flights.is_empty() {
                break;
            }
        }
        let mut parked = BTreeSet::<At>::new();
        for number in 0..PARTITIONS {
            let lane = self.lane(number);
            assert_eq!(lane.pending(), 0, "healed, and something is owed: {lane:?}");
            parked.extend(lane.dead.iter().map(|it| (number, it.event.seq, it.event.index)));
        }
        self.book.in_order();
        self.book.complete(&parked);
    }

    fn lane(&self, lane: u16) -> &model::Lane {
        let service = self.logs[usize::from(lane)].fold.service(SERVICE);
        &service.expect("it was described at first").lane
    }

    fn log(&mut self, lane: u16) -> &mut Log {
        &mut self.logs[usize::from(lane)]
    }

    fn append(&mut self, lane: u16, said: Said) -> usize {
        let log = self.log(lane);
        log.entries.push((log.epoch, said));
        log.entries.len()
    }

    fn say(&mut self, lane: u16) {
        self.said += 1;
        let partition = u8::try_from(lane).expect("few");
        let chat = ChatToken([partition; 16]);
        let kind = ["text", "text", "text", "note", "poison"][self.random.random_range(0..5)];
        let route = if self.said.is_multiple_of(9) { Route::Nobody } else { Route::Everyone };
        let message = |index| {
            Change::Message(Arc::new(Message {
                id: MessageId::derive(partition, chat, 1, self.said, index),
                sender: "alice".into(),
                kind: kind.into(),
                route: route.clone(),
                body: Body::Text(format!("text {} {index}", self.said)),
                attrs: Attrs::new(),
                time_ms: self.said,
                sent_ms: None,
                stamps: Vec::new(),
            }))
        };
        let changes = (0..1 + u32::from(self.said.is_multiple_of(4))).map(message).collect();
        let entry = Entry { chat, turn: self.said, time_ms: 1, changes, remembered: None };
        self.append(lane, Said::Chat(entry));
    }

    fn describe(&mut self, lane: u16, kinds: &[&str]) {
        let change = OutboxChange::Service { record: record(kinds), from_start: false };
        self.append(lane, Said::Outbox(OutboxEntry { time_ms: 1, changes: vec![change] }));
    }

    /// One more entry is committed.
    fn commit(&mut self, lane: u16) {
        let log = &mut self.logs[usize::from(lane)];
        let Some((epoch, said)) = log.entries.get(log.committed).cloned() else { return };
        log.committed += 1;
        let seq = log.committed as u64;
        match &said {
            Said::Opening => {}
            Said::Chat(entry) => {
                if let Some(booked) = log.fold.service(SERVICE) {
                    for (index, message) in (0..).zip(entry.messages()) {
                        if message.route != Route::Nobody && booked.record.wants(&message.kind) {
                            self.book.concerned.insert(message.id, (lane, seq, index));
                        }
                    }
                }
                log.fold.hear(seq, entry);
            }
            Said::Outbox(entry) => {
                let mut entry = entry.clone();
                if self.sabotage == Sabotage::CutTwice {
                    for change in &mut entry.changes {
                        if let OutboxChange::Cut { from, .. } = change {
                            *from = log.fold.service(SERVICE).expect("described").lane.scan;
                        }
                    }
                }
                log.fold.apply(epoch, seq, &entry);
            }
        }
        if let Some(booked) = log.fold.service(SERVICE) {
            self.book.counts(lane, &booked.lane);
        }
        let (leader, now_epoch) = (log.leader, log.epoch);
        let awaited = log.awaited.take_if(|awaited| *awaited == log.committed);
        let Some(owed) = self.owed(lane) else { return };
        let engine = &mut self.engines[leader];
        match awaited {
            Some(_) => engine.handle_appended(lane, now_epoch, Some(owed), self.now),
            None => engine.handle_owed(lane, now_epoch, owed, self.now),
        }
    }

    fn owed(&self, lane: u16) -> Option<Owed> {
        let booked = self.logs[usize::from(lane)].fold.service(SERVICE)?;
        Some(Owed {
            front: booked.lane.unfinished.front().map(Arc::clone),
            more: booked.lane.unfinished.len() > 1,
            ripe: booked.lane.is_ripe(),
            dead: 0,
        })
    }

    /// Another node leads, or the same one anew; of what was not committed some may stay.
    fn take_over(&mut self, lane: u16) {
        let (next, keep) =
            (self.random.random_range(0..NODES), self.random.random_range(0..=1_000));
        let log = self.log(lane);
        let before = std::mem::replace(&mut log.leader, next);
        let tail = log.entries.len() - log.committed;
        let kept = (tail + 1) * keep / 1_000;
        log.entries.truncate(log.committed + kept.min(tail));
        log.epoch += 1;
        log.awaited = None;
        let double =
            log.entries.last().cloned().filter(|(_, said)| matches!(said, Said::Outbox(_)));
        self.engines[before].handle_closed(lane);
        // What one node tried to append before it lost the lead may be appended by itself again.
        if let Some(double) = double {
            self.log(lane).entries.push(double);
        }
        self.append(lane, Said::Opening);
        while self.logs[usize::from(lane)].committed < self.logs[usize::from(lane)].entries.len() {
            self.commit(lane);
        }
    }

    fn poll(&mut self, node: usize) {
        let Some(step) = self.engines[node].poll(self.now) else { return };
        match step {
            Step::Cut { lane, epoch, settled } => {
                self.leads(node, lane, epoch);
                self.cut(lane, settled);
            }
            Step::Settle { lane, epoch, settlement } => {
                self.leads(node, lane, epoch);
                self.settle(lane, settlement);
            }
            Step::Send { lane, frozen, .. } => {
                let unfinished = &self.lane(lane).unfinished;
                let committed = unfinished.iter().any(|known| known.id == frozen.id);
                assert!(committed, "{:?} is sent and not in the log", frozen.id);
                self.begin(node, lane, frozen);
            }
        }
    }

    fn leads(&self, node: usize, lane: u16, epoch: u64) {
        let log = &self.logs[usize::from(lane)];
        assert_eq!((log.leader, log.epoch), (node, epoch), "who appends leads");
    }

    fn begin(&mut self, node: usize, lane: u16, frozen: Arc<Frozen>) {
        let other = self.flights.iter().any(|it| (it.node, it.lane) == (node, lane));
        assert!(!other, "two attempts of lane {lane} are under way on one node");
        let mut events = self.events(lane, &frozen.part.events);
        if self.sabotage == Sabotage::RangeForList {
            events = self.range(lane, &frozen.part.events);
        }
        let id = TransactionId::of(7, lane, frozen.id);
        let names = Names { cluster: "c".to_owned() };
        let rendered = render(frozen.part.dialect, frozen.part.render, &id, &events, &names);
        let hash = rendered.expect("this version is known").hash;
        if self.sabotage != Sabotage::RangeForList {
            assert_eq!(hash, frozen.part.hash, "nothing was redacted here");
        }
        self.book.came(&id, hash);
        self.flights.push(Flight { node, lane, frozen, events, answer: None });
    }

    fn event(&self, lane: u16, place: &EventPlace) -> Event {
        let at = usize::try_from(place.seq).expect("short") - 1;
        let Said::Chat(entry) = &self.logs[usize::from(lane)].entries[at].1 else {
            panic!("no chat's entry at {place:?}");
        };
        let message = entry.messages().nth(place.index as usize).expect("it was there");
        let cursor = Cursor { epoch: place.epoch, seq: place.number };
        Event { chat: entry.chat, cursor, message: Arc::clone(message) }
    }

    fn events(&self, lane: u16, places: &[EventPlace]) -> Vec<Event> {
        places.iter().map(|place| self.event(lane, place)).collect()
    }

    /// What would be sent if only the first and the last event were known.
    fn range(&self, lane: u16, places: &[EventPlace]) -> Vec<Event> {
        let booked = self.logs[usize::from(lane)].fold.service(SERVICE).expect("described");
        let (first, last) = (places[0].seq, places[places.len() - 1].seq);
        let mut events = Vec::new();
        for seq in first..=last {
            let (epoch, Said::Chat(entry)) =
                &self.logs[usize::from(lane)].entries[usize::try_from(seq).expect("few") - 1]
            else {
                continue;
            };
            for (index, message) in (0..).zip(entry.messages()) {
                if message.route != Route::Nobody && booked.record.wants(&message.kind) {
                    let place = EventPlace { seq, index, epoch: *epoch, number: seq };
                    events.push(self.event(lane, &place));
                }
            }
        }
        events
    }

    fn part(&self, lane: u16, events: Vec<EventPlace>, rounds: u8) -> Part {
        let id = TransactionId::of(0, 0, FrozenId::default());
        let names = Names { cluster: "c".to_owned() };
        let dialect = Dialect::Webhook;
        let rendered = render(dialect, VERSION, &id, &self.events(lane, &events), &names);
        let hash = rendered.expect("the newest version is known").hash;
        Part { dialect, render: VERSION, events, hash, rounds }
    }

    fn cut(&mut self, lane: u16, settled: Option<FrozenId>) {
        let log = &self.logs[usize::from(lane)];
        let booked = log.fold.service(SERVICE).expect("described");
        let limits = BatchLimits { events: 6, ..BatchLimits::default() };
        let mut cutting = Cutting::new(booked, limits);
        let from = usize::try_from(cutting.next().max(1)).expect("short");
        for seq in from..=log.committed {
            let (epoch, said) = &log.entries[seq - 1];
            match said {
                Said::Chat(entry) if !cutting.take(*epoch, seq as u64, entry) => break,
                Said::Chat(_) => {}
                Said::Opening | Said::Outbox(_) => cutting.pass(seq as u64),
            }
        }
        let place = |found: &transaction::Found| EventPlace {
            seq: found.seq,
            index: found.index,
            epoch: found.epoch,
            number: found.seq,
        };
        let events = cutting.found().iter().map(place).collect();
        let part = self.part(lane, events, 0);
        let service = SERVICE.to_owned();
        let done = settled.map(|id| OutboxChange::Settle {
            service: service.clone(),
            id,
            again: Vec::new(),
            parked: Vec::new(),
            status: None,
        });
        let (from, upto) = (cutting.from(), cutting.upto());
        let cut = OutboxChange::Cut { service, part: part.clone(), from, upto };
        let changes = done.into_iter().chain([cut]).collect();
        self.wait_for(lane, changes);
        if self.sabotage == Sabotage::SentBeforeCommitted && !part.events.is_empty() {
            let log = &self.logs[usize::from(lane)];
            let (epoch, seq) = (log.epoch, log.entries.len() as u64);
            let frozen = Frozen { id: FrozenId { epoch, seq, index: 0 }, part };
            let committed = self.lane(lane).unfinished.iter().any(|it| it.id == frozen.id);
            assert!(committed, "{:?} is sent and not in the log", frozen.id);
        }
    }

    fn settle(&mut self, lane: u16, settlement: Settlement) {
        let Settlement { id, again, parked, status } = settlement;
        let again = again.into_iter().map(|it| self.part(lane, it.events, it.rounds)).collect();
        let service = SERVICE.to_owned();
        self.wait_for(lane, vec![OutboxChange::Settle { service, id, again, parked, status }]);
    }

    fn wait_for(&mut self, lane: u16, changes: Vec<OutboxChange>) {
        let place = self.append(lane, Said::Outbox(OutboxEntry { time_ms: 1, changes }));
        let awaited = self.log(lane).awaited.replace(place);
        assert_eq!(awaited, None, "one step of a lane at a time");
    }

    /// An attempt arrives, or its answer does, or is lost on the way.
    fn fly(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let number = self.random.random_range(0..self.flights.len());
        let flight = &mut self.flights[number];
        if flight.answer.is_none() {
            let (taken, tried) = receiver::answer(self.mood, &flight.events, &mut self.random);
            if let Verdict::Taken { failed } = &tried.verdict {
                let events = failed.iter().map(|number| flight.events[*number].message.id);
                self.book.failed.extend(events);
            }
            taken.into_iter().for_each(|event| self.book.took(event));
            flight.answer = Some(tried);
            return;
        }
        let Flight { node, lane, frozen, answer, .. } = self.flights.swap_remove(number);
        let mut tried = answer.expect("it was asked");
        if self.mood != Mood::Well && self.random.random_bool(0.2) {
            let ended = Ended::Failed { retry_after: None, silent: true, connected: true };
            tried = Tried { verdict: Verdict::Later, ended, status: None };
        }
        if self.sabotage == Sabotage::DoneBeforeTaken {
            tried = Tried {
                verdict: Verdict::Taken { failed: Vec::new() },
                ended: Ended::Answered,
                status: None,
            };
        }
        let dice = self.random.random();
        self.engines[node].handle_tried(lane, &frozen, &tried, self.now, dice);
    }
}
