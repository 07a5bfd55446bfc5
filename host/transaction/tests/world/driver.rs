//! What a node does of what its engine decides, and what becomes of it.

use std::sync::Arc;

use model::{Dialect, EventPlace, Frozen, FrozenId, MessageId, OutboxChange, OutboxEntry, Part};
use rand::RngExt;
use transaction::{
    BatchLimits, Cutting, Ended, Event, Found, Names, Owed, Piece, Settlement, Step, TransactionId,
    Tried, VERSION, Verdict, render,
};

use crate::SERVICE;
use crate::log::Said;
use crate::play::{PARALLEL, Sabotage, World};
use crate::receiver::{self, Mood};

/// Events of one transaction.
pub(crate) const BATCH: usize = 6;

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) node: usize,
    pub(crate) lane: u16,
    pub(crate) frozen: Arc<Frozen>,
    /// What it says.
    pub(crate) hash: [u8; 32],
    events: Vec<Event>,
    /// What the service answered, once it has.
    pub(crate) answer: Option<Tried>,
}

/// What events are written out as, by a node that knows versions up to `build`; nothing if `version` is newer.
fn written(build: u8, version: u8, dialect: Dialect, events: &[Event]) -> Option<[u8; 32]> {
    let id = TransactionId::of(7, 0, FrozenId::default());
    let names = Names { cluster: "c".to_owned() };
    let mut hash = render(dialect, VERSION, &id, events, &names)?.hash;
    // A version that there will be writes otherwise.
    hash[0] ^= version - VERSION;
    (version <= build).then_some(hash)
}

impl World {
    pub(crate) fn poll(&mut self, node: usize) {
        let Some(step) = self.engines[node].poll(self.now) else { return };
        match step {
            Step::Cut { lane, epoch, settled } if self.leads(node, lane, epoch) => {
                self.cut(lane, settled);
            }
            Step::Settle { lane, epoch, settlement } if self.leads(node, lane, epoch) => {
                self.settle(lane, settlement);
            }
            // Its log refuses what it appends.
            Step::Cut { lane, epoch, .. } | Step::Settle { lane, epoch, .. } => {
                self.engines[node].handle_appended(lane, epoch, None, self.now);
            }
            Step::Send { lane, frozen, .. } => self.begin(node, lane, frozen),
        }
    }

    fn leads(&self, node: usize, lane: u16, epoch: u64) -> bool {
        let log = &self.logs[usize::from(lane)];
        (log.leader, log.epoch) == (node, epoch)
    }

    fn begin(&mut self, node: usize, lane: u16, frozen: Arc<Frozen>) {
        let part = &frozen.part;
        self.may_begin(node, lane, part);
        let log = &self.logs[usize::from(lane)];
        let there = |(number, place)| log.event(place).map(|event| (number, event));
        let found: Vec<(usize, Event)> = part.events.iter().enumerate().filter_map(there).collect();
        let left = found.iter().map(|(number, _)| *number).collect();
        let mut events: Vec<Event> = found.into_iter().map(|(_, event)| event).collect();
        let ranges = self.sabotage == Sabotage::RangeForList;
        if ranges {
            events = log.range(&part.events);
        }
        let hash = written(self.builds[node], part.render, part.dialect, &events);
        if let Some(hash) = hash.filter(|hash| *hash == part.hash || ranges) {
            self.flights.push(Flight { node, lane, frozen, hash, events, answer: None });
            return;
        }
        let verdict = Verdict::Differs { left };
        let tried = Tried { verdict, ended: Ended::Cancelled, status: None };
        self.engines[node].handle_tried(lane, &frozen, &tried, self.now, 0);
    }

    fn may_begin(&self, node: usize, lane: u16, part: &Part) {
        let others = self.flights.iter().filter(|it| it.node == node);
        // T-I4, the other half.
        let other = others.clone().any(|it| it.lane == lane);
        assert!(!other, "T-I4: two attempts of lane {lane} are under way on one node");
        assert!(self.leads_lately(node, lane), "T-I5: {node} leads {lane} no more, and knows it");
        assert!(!self.paused && !self.gone[node], "T-I8: it is stopped, and something is sent");
        assert!(others.count() < PARALLEL, "T-I11: more at once than may be");
        assert!((1..=BATCH).contains(&part.events.len()), "T-I11: {} events", part.events.len());
    }

    fn part(&self, lane: u16, events: Vec<EventPlace>, rounds: u8) -> Option<Part> {
        let log = &self.logs[usize::from(lane)];
        let there = |place: &EventPlace| log.event(place).map(|event| (*place, event));
        let (events, found): (Vec<_>, Vec<_>) = events.iter().filter_map(there).unzip();
        let (dialect, render) = (Dialect::Webhook, self.builds[log.leader]);
        let hash = written(render, render, dialect, &found).expect("one's own version is known");
        let some = !events.is_empty();
        some.then_some(Part { dialect, render, events, hash, rounds })
    }

    /// What is there goes again; what is gone, by itself, to be given up.
    fn parts(&self, lane: u16, events: &[EventPlace], rounds: u8) -> Vec<Part> {
        let log = &self.logs[usize::from(lane)];
        let (left, gone) = events.iter().partition(|place| log.event(place).is_some());
        let gone = Part {
            dialect: Dialect::Webhook,
            render: VERSION,
            events: gone,
            hash: [0; 32],
            rounds,
        };
        let gone = Some(gone).filter(|gone| !gone.events.is_empty());
        self.part(lane, left, rounds).into_iter().chain(gone).collect()
    }

    fn cut(&mut self, lane: u16, settled: Option<FrozenId>) {
        let log = &self.logs[usize::from(lane)];
        let booked = log.fold.service(SERVICE).expect("described");
        let limits = BatchLimits { events: BATCH, ..BatchLimits::default() };
        let mut cutting = Cutting::new(booked, limits);
        for seq in cutting.next().max(1)..=log.committed as u64 {
            match log.chat(seq) {
                Some((epoch, entry)) if !cutting.take(epoch, seq, entry) => break,
                Some(_) => {}
                None => cutting.pass(seq),
            }
        }
        let place = |found: &Found| EventPlace {
            seq: found.seq,
            index: found.index,
            epoch: found.epoch,
            number: found.seq,
        };
        let events = cutting.found().iter().map(place).collect();
        let nothing = Part {
            dialect: Dialect::Webhook,
            render: VERSION,
            events: Vec::new(),
            hash: [0; 32],
            rounds: 0,
        };
        let part = self.part(lane, events, 0).unwrap_or(nothing);
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
        self.wait_for(lane, done.into_iter().chain([cut]).collect());
        if self.sabotage == Sabotage::SentBeforeCommitted {
            self.hurries(lane, part);
        }
    }

    /// A node takes for committed what it has only appended.
    fn hurries(&mut self, lane: u16, part: Part) {
        let log = &mut self.logs[usize::from(lane)];
        if part.events.is_empty() || !log.lane().unfinished.is_empty() {
            return;
        }
        log.awaited = None;
        let (epoch, seq, leader) = (log.epoch, log.entries.len() as u64, log.leader);
        let front = Some(Arc::new(Frozen { id: FrozenId { epoch, seq, index: 0 }, part }));
        let owed = Owed { front, ..Owed::default() };
        self.engines[leader].handle_appended(lane, epoch, Some(owed), self.now);
    }

    fn settle(&mut self, lane: u16, settlement: Settlement) {
        let Settlement { id, again, parked, lost, status } = settlement;
        let service = SERVICE.to_owned();
        if lost > 0 {
            return self.wait_for(lane, vec![OutboxChange::Abandon { service, id }]);
        }
        let parts = |it: Piece| self.parts(lane, &it.events, it.rounds);
        let again = again.into_iter().flat_map(parts).collect();
        self.wait_for(lane, vec![OutboxChange::Settle { service, id, again, parked, status }]);
    }

    fn wait_for(&mut self, lane: u16, changes: Vec<OutboxChange>) {
        let log = self.log(lane);
        let place = log.append(Said::Outbox(OutboxEntry { time_ms: 1, changes }));
        let awaited = log.awaited.replace(place);
        assert_eq!(awaited, None, "one step of a lane at a time");
    }

    /// An attempt arrives, or its answer does.
    pub(crate) fn fly(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let number = self.random.random_range(0..self.flights.len());
        if self.flights[number].answer.is_none() {
            self.arrive(number);
        } else {
            let lost = self.mood != Mood::Well && self.random.random_bool(0.2);
            self.answer(number, lost);
        }
    }

    /// An attempt stands before the service.
    pub(crate) fn arrive(&mut self, number: usize) {
        let Flight { lane, frozen, hash, events, answer, .. } = &mut self.flights[number];
        let log = &self.logs[usize::from(*lane)];
        let ids = events.iter().map(|event: &Event| -> MessageId { event.message.id });
        self.book.came((*lane, log), frozen.id, *hash, ids);
        let (taken, tried) = receiver::answer(self.mood, events, &mut self.random);
        if let Verdict::Taken { failed } = &tried.verdict {
            let events = failed.iter().map(|number| events[*number].message.id);
            self.book.failed.extend(events);
        }
        taken.into_iter().for_each(|event| self.book.took(event));
        *answer = Some(tried);
    }

    /// What the service answered is heard, or lost on the way.
    pub(crate) fn answer(&mut self, number: usize, lost: bool) {
        let Flight { node, lane, frozen, answer, .. } = self.flights.swap_remove(number);
        let mut tried = answer.expect("it was asked");
        self.faults += usize::from(lost);
        if lost {
            let ended = Ended::Failed { retry_after: None, silent: true, connected: true };
            tried = Tried { verdict: Verdict::Later, ended, status: None };
        }
        if self.sabotage == Sabotage::DoneBeforeTaken {
            let verdict = Verdict::Taken { failed: Vec::new() };
            tried = Tried { verdict, ended: Ended::Answered, status: None };
        }
        let dice = self.random.random();
        self.hears(node, tried.ended);
        self.engines[node].handle_tried(lane, &frozen, &tried, self.now, dice);
    }
}
