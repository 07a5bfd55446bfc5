//! Chats in a simulated world: the real ones on every node, calls between nodes, and clients.
//!
//! The core of a node and its chats meet as in service: what chats submit waits for the node's turn, and
//! what the core tells is told in its order. What chats want of the world is carried out here.

pub(crate) mod book;
pub(crate) mod calls;
mod floor;
mod handlers;
pub(crate) mod oracle;
pub(crate) mod people;
mod port;
mod record;
mod settle;

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::PartitionId;
use model::Cursor;
use rand::RngExt;
use replication::core::{Event, Outcome};
use segment::{LogEntry, Snapshot};
use tokio::sync::oneshot;

use self::book::{Heard, Operation};
pub(crate) use self::floor::Floor;
use self::oracle::Oracle;
use self::people::{Habits, People};
use self::port::{Port, Wanted};
use self::record::Record;
use crate::agenda::{Happening, Time, ms};
use crate::bases::BaseFile;
use crate::client::{Ask, Wish};
use crate::disk::{Disk, Pace};
use crate::invariants::{Verdict, Violation, must};
use crate::node::Came;
use crate::setup::Setup;
use crate::world::World;

/// A node answers a client after at most 8 s and what the client waits for; a busy turn may come on top.
const ANSWER_MAX: Time = ms(9_000);
/// So long a client waits for a node that stands still.
const PATIENCE: Time = ms(14_000);

/// What chats a world has.
#[derive(Clone, Debug)]
pub(crate) struct ChatSetup {
    pub(crate) config: chat::Config,
    pub(crate) habits: Habits,
    /// How many of a thousand submissions and questions find a queue full.
    pub(crate) busy_per_mille: u32,
    /// How many of a thousand answers to clients get lost.
    pub(crate) lost_per_mille: u32,
}

/// Everything about chats in one world.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) people: People,
    pub(crate) oracle: Oracle,
    record: Record,
    works: BTreeMap<u64, DiskWork>,
    /// What the snapshots of each place say.
    folds: BTreeMap<(PartitionId, u64), Vec<Bytes>>,
    /// The generation of the handlers that is live, as the registry would say.
    pub(crate) generation: u64,
    count: u64,
}

/// Something that the disk does for the chats of a node.
#[derive(Debug)]
struct DiskWork {
    node: usize,
    boot: u64,
    partition: PartitionId,
    what: Work,
}

#[derive(Debug)]
enum Work {
    /// Reads a log.
    Read { from: u64, max: (usize, usize), reply: oneshot::Sender<Option<Vec<LogEntry>>> },
    /// Reads a snapshot.
    Snapshot { reply: oneshot::Sender<Option<Snapshot>> },
    /// Keeps one.
    Keep { snapshot: Snapshot, reply: oneshot::Sender<bool> },
    /// Reads what was made of a log up to its beginning.
    BaseSnapshot { reply: oneshot::Sender<Option<Snapshot>> },
    /// Tells how much a log has.
    Weigh { max: (u64, u64), reply: oneshot::Sender<Option<u64>> },
    /// Writes what a log may begin with.
    Trim { snapshot: Snapshot, kept: Vec<u64>, reply: oneshot::Sender<bool> },
}

impl Talk {
    pub(crate) fn new(setup: &ChatSetup) -> Self {
        Self {
            people: People::new(setup.habits),
            oracle: Oracle::default(),
            record: Record::default(),
            works: BTreeMap::new(),
            folds: BTreeMap::new(),
            generation: 1,
            count: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// The chats of a new life, if the world has any.
pub(crate) fn floor(
    node: &hashring::NodeId,
    disk: &Disk,
    setup: &Setup,
    commit: u8,
) -> Option<Floor> {
    let chats = setup.chats.as_ref()?;
    let partitions = hashring::Partitions::try_from(setup.partitions).expect("a power of two");
    let copies = u8::try_from(setup.copies).unwrap_or(u8::MAX);
    let seed = setup.seed ^ (disk.boot << 24) ^ (disk.store << 40) ^ 0x0063_6861;
    let bases = partitions.all().filter_map(|it| Some((it, disk.file(it)?.base))).collect();
    let port = Port::new(node.clone(), partitions, (commit, copies), &disk.snapshots, bases, seed);
    let floor = Floor::new(port, chats.config);
    floor.busy(chats.busy_per_mille);
    Some(floor)
}

impl World {
    /// The chats of a node have something to do: they do it within moments.
    pub(crate) fn stir(&mut self, node: usize) {
        self.stir_vault(node);
        if self.talk.is_some() {
            let delay = self.random.random_range(1..60);
            self.plan_floor(node, self.agenda.now() + delay);
        }
    }

    fn plan_floor(&mut self, node: usize, at: Time) {
        let Some(life) = self.nodes[node].life.as_mut().filter(|life| !life.paused) else { return };
        let boot = life.boot;
        let Some(floor) = &mut life.floor else { return };
        if floor.planned.is_none_or(|planned| at < planned) {
            floor.planned = Some(at);
            self.agenda.at(at, Happening::Floor { node, boot });
        }
    }

    /// The chats of a node go on.
    fn run_floor(&mut self, node: usize, boot: u64) -> Verdict {
        let now = self.agenda.now();
        let wall_ms = self.nodes[node].wall.ms(now);
        let Some(life) = self.nodes[node].life_of(boot) else { return Ok(()) };
        let (started, paused) = (life.started, life.paused);
        let Some(floor) = life.floor.as_mut().filter(|floor| floor.planned == Some(now)) else {
            return Ok(());
        };
        floor.planned = None;
        if paused {
            return Ok(());
        }
        let wanted = floor.run(now - started, wall_ms);
        let wakes = floor.wakes();
        let wanted = wanted.map_err(|text| Violation { rule: "I15", text })?;
        for wanted in wanted {
            self.want(node, boot, wanted);
        }
        if let Some(wakes) = wakes {
            self.plan_floor(node, (started + wakes).max(now + 1));
        }
        Ok(())
    }

    /// Does what the chats of a node want.
    fn want(&mut self, node: usize, boot: u64, wanted: Wanted) {
        let now = self.agenda.now();
        match wanted {
            Wanted::Submit { submission, reply } => {
                let replication::Submission { partition, epoch, seq, payload, acks } = submission;
                let wish = Wish::Entry { seq, acks };
                let token = self.asks.push(Ask {
                    node,
                    boot,
                    partition,
                    epoch,
                    wish,
                    payload: payload.clone(),
                    asked: now,
                    outcome: None,
                });
                self.await_answer(node, token, reply);
                let event = Event::Submit { token, partition, epoch, seq, payload, acks };
                self.tell(node, Came::Event(event));
            }
            Wanted::Confirm { partition, reply } => {
                if let Some(token) = self.confirm(node, partition) {
                    self.await_answer(node, token, reply);
                }
            }
            Wanted::Read { partition, from, max, reply } => {
                self.work(node, boot, partition, Work::Read { from, max, reply });
            }
            Wanted::Snapshot { partition, reply } => {
                self.work(node, boot, partition, Work::Snapshot { reply });
            }
            Wanted::Keep { partition, snapshot, reply } => {
                self.work(node, boot, partition, Work::Keep { snapshot, reply });
            }
            Wanted::BaseSnapshot { partition, reply } => {
                self.work(node, boot, partition, Work::BaseSnapshot { reply });
            }
            Wanted::Weigh { partition, max, reply } => {
                self.work(node, boot, partition, Work::Weigh { max, reply });
            }
            Wanted::Trim { partition, snapshot, kept, reply } => {
                self.work(node, boot, partition, Work::Trim { snapshot, kept, reply });
            }
            Wanted::Forward { to, head, body, reply } => {
                self.call(node, boot, to, (head, body), reply);
            }
            Wanted::Answered { call, answer } => self.call_answered(call, answer),
            Wanted::Done { operation, result } => self.done(operation, *result),
        }
    }

    /// The disk does something for the chats of a node.
    fn work(&mut self, node: usize, boot: u64, partition: PartitionId, what: Work) {
        let slow = self.nodes[node].disk.pace != Pace::Normal;
        let longest = match &what {
            // Written in many pieces.
            Work::Keep { .. } | Work::Trim { .. } => 300_000,
            _ if slow => 100_000,
            _ => 3_000,
        };
        let delay = self.random.random_range(50..longest);
        let Some(talk) = &mut self.talk else { return };
        let work = talk.number();
        talk.works.insert(work, DiskWork { node, boot, partition, what });
        self.agenda.after(delay, Happening::DiskWorked { work });
    }

    pub(crate) fn await_answer(
        &mut self,
        node: usize,
        token: u64,
        reply: oneshot::Sender<Outcome>,
    ) {
        if let Some(life) = &mut self.nodes[node].life {
            life.replies.insert(token, reply);
        }
    }

    /// The core of a node answered something that its chats had asked.
    pub(crate) fn reply(&mut self, node: usize, token: u64, outcome: Outcome) {
        let Some(life) = &mut self.nodes[node].life else { return };
        if let Some(reply) = life.replies.remove(&token) {
            // Who stopped waiting does not want to know.
            reply.send(outcome).ok();
        }
    }

    /// Something about chats happens.
    pub(crate) fn chat_happens(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Floor { node, boot } => self.run_floor(node, boot),
            Happening::DiskWorked { work } => self.worked(work),
            Happening::CallArrives { call } => {
                self.call_arrives(call);
                Ok(())
            }
            Happening::CallReturns { call } => {
                self.call_returns(call);
                Ok(())
            }
            Happening::CallLate { call } => {
                self.call_late(call);
                Ok(())
            }
            Happening::Person { person } => self.person(person),
            Happening::Heard { operation, heard } => self.heard(operation, *heard),
            Happening::Learn { node, boot } => {
                if self.nodes[node].life_of(boot).is_some() {
                    self.learn(node);
                }
                Ok(())
            }
            Happening::Trims => self.trims(),
            Happening::BaseWorked { node, boot, work } => self.base_worked(node, boot, work),
            _ => self.object_happens(happening),
        }
    }

    fn worked(&mut self, work: u64) -> Verdict {
        let Some(work) = self.talk.as_mut().and_then(|talk| talk.works.remove(&work)) else {
            return Ok(());
        };
        let DiskWork { node, boot, partition, what } = work;
        if self.nodes[node].life_of(boot).is_none() {
            return Ok(());
        }
        let fails = self.random.random_ratio(self.setup.unread_per_mille, 1000);
        let disk = &mut self.nodes[node].disk;
        match what {
            Work::Read { from, max, reply } => {
                let entries = disk.read(partition, from, max);
                drop(reply.send(Some(entries).filter(|_| !fails)));
            }
            Work::Snapshot { reply } => {
                let snapshot = disk.snapshots.get(&partition).cloned().filter(|_| !fails);
                self.counts.snapshots_read += u64::from(snapshot.is_some());
                drop(reply.send(snapshot));
            }
            Work::Keep { snapshot, reply } => {
                let place = snapshot.place;
                // R31: of what is committed, and of nothing else.
                must(self.history.is_true(partition, place), "R31", || {
                    format!("n{} keeps a snapshot of {partition:?} at {place:?}", node + 1)
                })?;
                if let Some(talk) = &mut self.talk {
                    let folds = talk.folds.entry((partition, place.seq));
                    let same = *folds.or_insert_with(|| snapshot.parts.clone()) == snapshot.parts;
                    must(same, "I10", || format!("two folds of {partition:?} at {place:?}"))?;
                }
                if !fails {
                    disk.snapshots.insert(partition, snapshot);
                    self.counts.snapshots += 1;
                }
                // Who stopped waiting does not want to know.
                reply.send(!fails).ok();
            }
            Work::BaseSnapshot { reply } => {
                let file = disk.file(partition).filter(|_| !fails);
                let snapshot =
                    file.map(|it| Snapshot { place: it.base.place, parts: it.parts.clone() });
                drop(reply.send(snapshot));
            }
            Work::Weigh { max, reply } => {
                reply.send(Some(disk.weigh(partition, max)).filter(|_| !fails)).ok();
            }
            Work::Trim { snapshot, kept, reply } => {
                let written = !fails && self.write_base(node, partition, snapshot, kept)?;
                reply.send(written).ok();
            }
        }
        self.stir(node);
        Ok(())
    }

    /// What a log may begin with is written, if the log has all that is to be kept.
    fn write_base(
        &mut self,
        node: usize,
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
    ) -> Result<bool, Violation> {
        let Snapshot { place, parts } = snapshot;
        let log = self.nodes[node].durable(partition);
        if log.at(place.seq) != Some(place) {
            return Ok(false);
        }
        let there = |seq: &u64| *seq > log.base.seq || log.kept.contains(seq);
        let missing: Vec<&u64> = kept.iter().filter(|seq| !there(seq)).collect();
        must(missing.is_empty(), "R30", || format!("{missing:?} of {partition:?} were not kept"))?;
        let until = usize::try_from(place.seq).unwrap_or(usize::MAX);
        let ghost = log.entries.iter().take(until).cloned().collect();
        if let Some(talk) = self.talk.as_mut().filter(|_| self.history.is_true(partition, place)) {
            let folds = talk.folds.entry((partition, place.seq)).or_insert_with(|| parts.clone());
            must(*folds == parts, "I10", || format!("two folds of {partition:?} at {place:?}"))?;
        }
        let file = BaseFile::new(place, parts, kept.into_iter().collect(), ghost);
        self.prepared(node, partition, file);
        Ok(true)
    }

    /// A client does something, and plans the next.
    fn person(&mut self, person: usize) -> Verdict {
        let Some(talk) = self.talk.as_mut().filter(|talk| talk.people.busy) else { return Ok(()) };
        let (shortest, longest) = talk.people.habits.pause;
        let swaps = talk.people.habits.swaps;
        let delay = self.random.random_range(shortest..=longest);
        self.agenda.after(delay, Happening::Person { person });
        let what = talk.people.next(person, &mut self.random);
        self.open_asks()?;
        self.answers_in_time()?;
        if swaps && self.random.random_ratio(1, 60) {
            self.swap();
        }
        let Some(what) = what else { return Ok(()) };
        let node = self.random.random_range(0..self.nodes.len());
        let seen = self.talk.as_ref().and_then(|talk| talk.people.seen(person, &what));
        let seen = seen.filter(|_| self.random.random_bool(0.7));
        self.ask_node((person, seen), node, what);
        Ok(())
    }

    /// Another generation of the handlers is live; nodes learn of it one after the other, some very late.
    fn swap(&mut self) {
        let Some(talk) = &mut self.talk else { return };
        talk.generation += 1;
        for node in 0..self.nodes.len() {
            let Some(boot) = self.nodes[node].life.as_ref().map(|life| life.boot) else { continue };
            let longest = if self.random.random_ratio(1, 4) { 6_000 } else { 300 };
            let delay = ms(self.random.random_range(1..longest));
            self.agenda.after(delay, Happening::Learn { node, boot });
        }
    }

    /// A node learns which generation is live: also before it serves anybody.
    pub(crate) fn learn(&mut self, node: usize) {
        let Some(generation) = self.talk.as_ref().map(|talk| talk.generation) else { return };
        let life = self.nodes[node].life.as_ref();
        if let Some(floor) = life.and_then(|life| life.floor.as_ref()) {
            floor.switch(generation);
            self.stir(node);
        }
    }

    /// A client asks a node, if that is there, and may say what it has seen.
    pub(crate) fn ask_node(
        &mut self,
        (person, seen): (usize, Option<Cursor>),
        node: usize,
        what: book::What,
    ) -> Option<u64> {
        let now = self.agenda.now();
        let life = self.nodes[node].life.as_ref()?;
        let (boot, talk) = (life.boot, self.talk.as_mut()?);
        let waits = what.waits();
        let (number, request) = talk.people.asks(person, what, (node, boot), now, seen);
        self.trace.note(now, &[30, node as u64, number], || {
            format!("p{person} asks n{}, {number}: {request:?}, seen {seen:?}", node + 1)
        });
        if let Some(floor) = &life.floor {
            floor.ask(number, request, seen);
        }
        let lost = Happening::Heard { operation: number, heard: Box::new(Heard::Lost) };
        self.agenda.after(PATIENCE + waits, lost);
        self.stir(node);
        Some(number)
    }

    /// A node answers a client.
    fn done(&mut self, operation: u64, result: Result<chat::Response, chat::Refusal>) {
        let now = self.agenda.now();
        let delay = self.random.random_range(50..2_000);
        let lost = self.setup.chats.as_ref().map_or(0, |chats| chats.lost_per_mille);
        let lost = lost > 0 && self.random.random_ratio(lost, 1000);
        let Some(talk) = &mut self.talk else { return };
        if let Some((asked, _)) = talk.people.open.get_mut(&operation) {
            asked.answered = Some(now);
        }
        let heard = match result {
            _ if lost => Heard::Lost,
            Ok(response) => Heard::Answered(response),
            Err(refusal) => Heard::Refused(refusal),
        };
        self.agenda.after(delay, Happening::Heard { operation, heard: Box::new(heard) });
    }

    /// A client hears.
    fn heard(&mut self, operation: u64, heard: Heard) -> Verdict {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        let Some((asked, attempt)) = talk.people.open.remove(&operation) else { return Ok(()) };
        let text = || format!("p{} hears of {operation}: {heard:?}", asked.person);
        match &heard {
            Heard::Answered(chat::Response::Sent(sent)) => self.trace.bytes(&sent.message.id.0),
            Heard::Answered(chat::Response::Page(page)) => {
                page.messages.iter().for_each(|stored| self.trace.bytes(&stored.message.id.0));
            }
            Heard::Answered(_) => {}
            Heard::Refused(refusal) => self.trace.bytes(refusal.detail.as_bytes()),
            Heard::Lost => self.trace.bytes(b"lost"),
        }
        self.trace.note(self.agenda.now(), &[31, operation], text);
        let verdict = talk.people.book.heard(&asked, attempt, &heard, &talk.oracle);
        // In the end the first client asks many things at once.
        let client = if talk.people.busy { asked.person as u64 } else { 1_000 + operation };
        let (client, commit) = (u32::try_from(client).unwrap_or(0), self.nodes[asked.node].commit);
        talk.record.heard(client, &asked, &heard, self.agenda.now(), commit);
        talk.people.told(operation, &asked, &heard);
        verdict
    }

    /// I15: a client whose node lives, and did not stand still, is answered in time.
    fn answers_in_time(&self) -> Verdict {
        let now = self.agenda.now();
        let Some(talk) = &self.talk else { return Ok(()) };
        for (number, (asked, _)) in &talk.people.open {
            let life = self.nodes[asked.node].awake().filter(|life| life.boot == asked.boot);
            let Some(life) = life.filter(|_| asked.answered.is_none()) else { continue };
            let until = asked.asked.max(life.running) + asked.what.waits() + ANSWER_MAX;
            must(now <= until, "I15", || format!("{number} is not answered: {asked:?}"))?;
        }
        Ok(())
    }

    /// A process is gone, and with it what was asked of its chats.
    pub(crate) fn floor_gone(&mut self, node: usize, boot: u64) {
        self.calls.gone(node, boot);
        let Some(talk) = &mut self.talk else { return };
        let asked = |operation: &Operation| (operation.node, operation.boot) == (node, boot);
        for (number, (operation, _)) in &talk.people.open {
            if asked(operation) && operation.answered.is_none() {
                let delay = self.random.random_range(10..50_000);
                let lost = Happening::Heard { operation: *number, heard: Box::new(Heard::Lost) };
                self.agenda.after(delay, lost);
            }
        }
    }

    /// Gives the fold of what is committed whatever is new of a partition.
    pub(crate) fn feed(&mut self, partition: PartitionId) -> Verdict {
        self.feed_shelf(partition)?;
        let Some(talk) = &mut self.talk else { return Ok(()) };
        for seq in talk.oracle.fed(partition) + 1..=self.history.shown(partition) {
            let Some((epoch, payload)) = self.history.entry(partition, seq) else { continue };
            talk.oracle.feed(partition, epoch, seq, payload)?;
        }
        Ok(())
    }
}
