//! Objects in a simulated world: the real archive on every node, streams between nodes, and clients.
//!
//! Everything of the archive is what runs in service: its decisions, its uploads, its files and its index. Beneath it
//! are a ground that belongs to the world ([`port`]), a writer that works when it is told to, and a disk that loses
//! what was not synced ([`disk`]). What must hold is in [`oracle`], [`book`] and [`settle`], by name:
//!
//! | | | where |
//! |---|---|---|
//! | G-I1 | what is visible was synced on as many members as make a commit | `World::check_final` |
//! | G-I2 | no wrong byte, no short success, no object in part | `book` |
//! | G-I3 | versions rise | `Oracle::rises` |
//! | G-I4 | what was deleted stays deleted | `book`, `settle` |
//! | G-I5 | no final behind a cancel or a fence | `Oracle::feed` |
//! | G-I6 | what is held goes by evidence only | `World::check_final` |
//! | G-I7 | members' catalogues are equal | `settle` |
//! | G-I8 | the index is what the files say | `settle` |
//! | G-I9 | a node that left keeps what is needed | `World::check_left` |
//! | G-I10 | healed, nothing is owed | `settle` |
//! | G-I11 | no bound is passed, and nothing is kept of what ended | `settle`, `book` |

pub(crate) mod book;
pub(crate) mod clients;
mod disk;
pub(crate) mod oracle;
mod port;
mod runs;
mod sabotage;
mod schedules;
mod settle;
mod standing_still;
mod streams;
mod undecided;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use archive::{Name, Upload};
use hashring::{PartitionId, Partitions};
use rand::RngExt;
use replication::core::Event;
use segment::LogEntry;
use segment::archive::{Fact, Final};
use tokio::sync::oneshot;

use self::book::{Book, Operation};
use self::clients::{Habits, Heard, Keepers, What};
use self::oracle::Oracle;
use self::port::{Port, Wanted};
use self::streams::Ways;
pub(crate) use self::vault::{Home, Vault};
use crate::agenda::{Happening, Time, ms};
use crate::client::{Ask, Wish};
use crate::disk::Pace;
use crate::invariants::{Verdict, Violation, must};
use crate::node::{Came, Node};
use crate::setup::Setup;
use crate::world::World;

/// What objects a world has.
#[derive(Clone, Debug)]
pub(crate) struct ObjectSetup {
    pub(crate) config: archive::Config,
    pub(crate) habits: Habits,
    /// How many of a hundred crashes are losses of power.
    pub(crate) power_percent: u32,
}

/// Everything about objects in one world.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) keepers: Keepers,
    pub(crate) oracle: Oracle,
    pub(crate) book: Book,
    /// What was told to whom asked: of schedules, which want to know.
    pub(crate) results: BTreeMap<u64, Heard>,
    ways: Ways,
    reads: BTreeMap<u64, LogRead>,
    count: u64,
    pub(crate) power_losses: u64,
    folder: tempfile::TempDir,
}

/// A log that is read for an archive.
#[derive(Debug)]
struct LogRead {
    node: usize,
    boot: u64,
    partition: PartitionId,
    from: u64,
    max: (usize, usize),
    reply: oneshot::Sender<Option<Vec<LogEntry>>>,
}

impl Shelf {
    pub(crate) fn new(setup: &ObjectSetup) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_not_here| tempfile::tempdir());
        Self {
            keepers: Keepers::new(setup.habits),
            oracle: Oracle::default(),
            book: Book::default(),
            results: BTreeMap::new(),
            ways: Ways::default(),
            reads: BTreeMap::new(),
            count: 0,
            power_losses: 0,
            folder: folder.expect("a folder"),
        }
    }
}

pub(crate) fn partitions(setup: &Setup) -> Partitions {
    Partitions::try_from(setup.partitions).expect("a power of two")
}

/// The archive of a new life, if the world has objects.
pub(crate) fn vault(of: &Node, home: &Home, setup: &Setup, now: Time) -> Option<Vault> {
    let objects = setup.objects.as_ref()?;
    let copies = u8::try_from(setup.copies).unwrap_or(u8::MAX);
    let nodes = setup.commits.len();
    let port = Port::new(of.id.clone(), partitions(setup), (of.commit, copies), nodes);
    let config = archive::Config { boot: of.disk.boot, ..objects.config };
    Some(Vault::new(port, home, (&of.id, of.disk.store), config, of.wall.ms(now)))
}

impl World {
    /// Every node has a place for its archives, and clients begin.
    pub(crate) fn furnish(&mut self) {
        let Some(shelf) = &self.shelf else { return };
        let folder = shelf.folder.path().to_owned();
        for node in &mut self.nodes {
            let folder = folder.join(node.id.as_str());
            node.home = Some(Home { folder, disk: Arc::default() });
        }
        for keeper in 0..shelf.keepers.habits.keepers {
            let delay = self.random.random_range(0..ms(500));
            self.agenda.after(delay, Happening::Keeper { keeper });
        }
    }

    /// The archive of a node that runs.
    pub(crate) fn vault(&self, node: usize) -> Option<&Vault> {
        self.nodes[node].life.as_ref()?.vault.as_ref()
    }

    /// The archive of a node has something to do: it does it within moments.
    pub(crate) fn stir_vault(&mut self, node: usize) {
        if self.shelf.is_some() {
            let delay = self.random.random_range(1..60);
            self.plan_vault(node, self.agenda.now() + delay);
        }
    }

    fn plan_vault(&mut self, node: usize, at: Time) {
        let Some(life) = self.nodes[node].life.as_mut().filter(|life| !life.paused) else { return };
        let boot = life.boot;
        let Some(vault) = &mut life.vault else { return };
        if vault.planned.is_none_or(|planned| at < planned) {
            vault.planned = Some(at);
            self.agenda.at(at, Happening::Vault { node, boot });
        }
    }

    /// The archive of a node goes on.
    fn run_vault(&mut self, node: usize, boot: u64) -> Verdict {
        let now = self.agenda.now();
        let wall_ms = self.nodes[node].wall.ms(now);
        let Some(life) = self.nodes[node].life_of(boot) else { return Ok(()) };
        let (started, paused) = (life.started, life.paused);
        let Some(vault) = life.vault.as_mut().filter(|vault| vault.planned == Some(now)) else {
            return Ok(());
        };
        vault.planned = None;
        if paused {
            return Ok(());
        }
        let wanted = vault.run(now - started, wall_ms);
        let (wakes, waits) = (vault.wakes(), vault.engine.waits());
        let wanted = wanted.map_err(|text| Violation { rule: "G-I11", text })?;
        for wanted in wanted {
            self.want_object(node, boot, wanted)?;
        }
        self.listen(node);
        if waits {
            let slow = self.nodes[node].disk.pace != Pace::Normal;
            let longest = if slow { 300_000 } else { 4_000 };
            let delay = self.random.random_range(50..longest);
            self.plan_shelve(node, now + delay);
        }
        if let Some(wakes) = wakes {
            self.plan_vault(node, (started + wakes).max(now + 1));
        }
        self.check_left(node)
    }

    fn plan_shelve(&mut self, node: usize, at: Time) {
        let Some(life) = &mut self.nodes[node].life else { return };
        let boot = life.boot;
        let Some(vault) = &mut life.vault else { return };
        if vault.shelving.is_none_or(|planned| at < planned) {
            vault.shelving = Some(at);
            self.agenda.at(at, Happening::Shelve { node, boot });
        }
    }

    /// The writer of a node's archive does what waits. What nobody waits for it syncs a second later.
    fn shelve(&mut self, node: usize, boot: u64) {
        let now = self.agenda.now();
        let it = &mut self.nodes[node];
        let (wall_ms, hung) = (it.wall.ms(now), it.disk.pace == Pace::Hung);
        let Some(life) = it.life_of(boot) else { return };
        let (started, paused) = (life.started, life.paused);
        let Some(vault) = life.vault.as_mut().filter(|vault| vault.shelving == Some(now)) else {
            return;
        };
        vault.shelving = None;
        if hung || paused {
            self.plan_shelve(node, now + ms(20));
            return;
        }
        let did = vault.engine.waits();
        vault.shelve(now - started, wall_ms);
        if did {
            self.plan_shelve(node, now + ms(1_001));
            self.stir_vault(node);
        }
    }

    /// Does what the archive of a node wants.
    fn want_object(&mut self, node: usize, boot: u64, wanted: Wanted) -> Verdict {
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
                let Some(shelf) = &mut self.shelf else { return Ok(()) };
                shelf.count += 1;
                let read = shelf.count;
                shelf.reads.insert(read, LogRead { node, boot, partition, from, max, reply });
                let delay = self.random.random_range(50..3_000);
                self.agenda.after(delay, Happening::ObjectsRead { read });
            }
            Wanted::Forward { to, head, body, reply } => {
                self.call(node, boot, to, (head, body), reply);
            }
            Wanted::Answered { call, answer } => self.call_answered(call, answer),
            Wanted::Stream { to, body, reply } => {
                self.begin_stream(node, boot, (&to, body), reply);
            }
            Wanted::Tell(event) => self.tell(node, Came::Event(event)),
            Wanted::Done { operation, heard } => return self.told(operation, *heard),
        }
        Ok(())
    }

    /// Something about objects happens.
    pub(crate) fn object_happens(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Vault { node, boot } => self.run_vault(node, boot),
            Happening::Shelve { node, boot } => {
                self.shelve(node, boot);
                Ok(())
            }
            Happening::Carried { way, side } => {
                self.carried(way, side);
                Ok(())
            }
            Happening::ObjectsRead { read } => {
                self.log_read(read);
                Ok(())
            }
            Happening::Keeper { keeper } => self.keeper(keeper),
            _ => Ok(()),
        }
    }

    fn log_read(&mut self, read: u64) {
        let Some(shelf) = &mut self.shelf else { return };
        let Some(read) = shelf.reads.remove(&read) else { return };
        let LogRead { node, boot, partition, from, max, reply } = read;
        if self.nodes[node].life_of(boot).is_none() {
            return;
        }
        let fails = self.random.random_ratio(self.setup.unread_per_mille, 1000);
        let disk = &self.nodes[node].disk;
        let entries = disk.read(partition, from, max);
        let good = !fails && disk.broken(partition, &entries).is_none();
        // Who stopped waiting does not want to know.
        reply.send(Some(entries).filter(|_| good)).ok();
        self.stir_vault(node);
    }

    /// A client does something, and plans the next.
    fn keeper(&mut self, keeper: usize) -> Verdict {
        let Some(shelf) = self.shelf.as_mut().filter(|shelf| shelf.keepers.busy) else {
            return Ok(());
        };
        let (shortest, longest) = shelf.keepers.habits.pause;
        let delay = self.random.random_range(shortest..=longest);
        self.agenda.after(delay, Happening::Keeper { keeper });
        let what = shelf.keepers.next(&mut self.random);
        let node = self.random.random_range(0..self.nodes.len());
        self.open_asks()?;
        self.ask_vault(node, what);
        Ok(())
    }

    /// A client asks a node, if that is there.
    pub(crate) fn ask_vault(&mut self, node: usize, what: What) -> Option<u64> {
        let now = self.agenda.now();
        let life = self.nodes[node].life.as_ref()?;
        let (vault, shelf) = (life.vault.as_ref()?, self.shelf.as_mut()?);
        let number = shelf.book.asks((node, life.boot), what.clone());
        self.trace.note(now, &[40, node as u64, number], || {
            format!("somebody asks n{}, {number}: {what:?}", node + 1)
        });
        vault.ask(number, what);
        self.stir_vault(node);
        Some(number)
    }

    /// A client is told.
    fn told(&mut self, number: u64, heard: Heard) -> Verdict {
        let now = self.agenda.now();
        let partitions = partitions(&self.setup);
        let Some(shelf) = &mut self.shelf else { return Ok(()) };
        let Some(asked) = shelf.book.open.remove(&number) else { return Ok(()) };
        self.trace.note(now, &[41, number], || {
            let heard: String = format!("{heard:?}").chars().take(300).collect();
            format!("{number} is told {heard}")
        });
        match &heard {
            Heard::Stored(stored) => self.trace.bytes(&stored.version.0.to_le_bytes()),
            Heard::Read(found, _) => self.trace.bytes(&found.version.0.to_le_bytes()),
            Heard::Version(version) => self.trace.bytes(&version.0.to_le_bytes()),
            _ => {}
        }
        shelf.book.heard(&asked, &heard, &shelf.oracle, partitions)?;
        shelf.keepers.heard(&asked.what, &heard);
        if !shelf.keepers.busy || shelf.keepers.habits.keepers == 0 {
            shelf.results.insert(number, heard);
        }
        Ok(())
    }

    /// A process is gone, and with it what was asked of its archive. Sometimes the power is.
    pub(crate) fn vault_gone(&mut self, node: usize, boot: u64) {
        self.ways_gone(node, boot);
        let Some(shelf) = &mut self.shelf else { return };
        let of = |asked: &Operation| (asked.node, asked.boot) == (node, boot);
        let lost: Vec<u64> =
            shelf.book.open.iter().filter(|(_, asked)| of(asked)).map(|(at, _)| *at).collect();
        for number in lost {
            shelf.book.open.remove(&number);
            shelf.book.lost += 1;
            shelf.results.insert(number, Heard::Lost);
        }
        let percent = self.setup.objects.as_ref().map_or(0, |objects| objects.power_percent);
        if self.random.random_ratio(percent, 100) {
            self.lose_power(node);
        }
    }

    /// The power of a node that does not run is lost, and comes back. Sometimes its index is older than its files, and
    /// is made anew.
    pub(crate) fn lose_power(&mut self, node: usize) {
        let Some(home) = &self.nodes[node].home else { return };
        let lost = home.disk.lose_power(&mut self.random);
        if let Some(shelf) = &mut self.shelf {
            shelf.power_losses += u64::from(lost);
        }
        if self.random.random_bool(0.5) {
            let folder = home.of(self.nodes[node].disk.store);
            for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
                // There may be none yet.
                std::fs::remove_file(folder.join(name)).ok();
            }
        }
    }

    /// Tells the oracle whatever is new of a partition, and looks at what becomes visible thereby.
    pub(crate) fn feed_shelf(&mut self, partition: PartitionId) -> Verdict {
        let Some(shelf) = &mut self.shelf else { return Ok(()) };
        let mut made = Vec::new();
        for seq in shelf.oracle.fed(partition) + 1..=self.history.shown(partition) {
            let Some((epoch, payload)) = self.history.entry(partition, seq) else { continue };
            let fact = archive::decided(payload);
            shelf.oracle.feed(partition, seq, fact.as_ref())?;
            if let Some(Fact::Final(it)) = fact {
                made.push((epoch, it));
            }
        }
        made.iter().try_for_each(|(epoch, made)| self.check_final(partition, *epoch, made))
    }

    /// G-I1: what becomes visible was synced by as many members as make a commit, each of which said so; or it is
    /// small, and came with its entry. G-I6: none of them has given it up since.
    fn check_final(&self, partition: PartitionId, epoch: u64, made: &Final) -> Verdict {
        let Some(record) = self.registry.of_epoch(partition, epoch) else { return Ok(()) };
        let what = || format!("{partition:?} {epoch}: {made:?}");
        if made.holders.is_empty() {
            let small = made.size <= archive::ENTIRE_BYTES_MAX;
            return must(small, "G-I1", || format!("nobody holds it: {}", what()));
        }
        let enough = made.holders.len() >= usize::from(record.commit);
        must(enough, "G-I1", || format!("{} must hold it: {}", record.commit, what()))?;
        for holder in &made.holders {
            let Some(node) = self.index_of(holder) else {
                return must(false, "G-I1", || format!("{holder} is nobody: {}", what()));
            };
            let it = &self.nodes[node];
            // One that lost its store, or does not run, is looked at when all is well.
            let Some(vault) = self.vault(node).filter(|_| record.names(&it.id, it.disk.store))
            else {
                continue;
            };
            let facts = vault.with(|engine| engine.facts_of_upload(&made.upload));
            let facts =
                facts.map_err(|error| Violation { rule: "G-I8", text: error.to_string() })?;
            let gone = facts.iter().any(|fact| matches!(fact, Fact::Cancelled { .. }));
            must(!gone, "G-I6", || format!("{holder} gave it up: {}", what()))?;
            let held = facts.iter().any(|fact| matches!(fact, Fact::Held(_) | Fact::Final(_)));
            must(held, "G-I1", || format!("{holder} has not synced it: {}", what()))?;
        }
        Ok(())
    }

    /// G-I9: when a node that left a partition gives back what it held, the members that it knows of, and that run, have
    /// all of that.
    fn check_left(&mut self, node: usize) -> Verdict {
        let Some(life) = &mut self.nodes[node].life else { return Ok(()) };
        let Some(vault) = &mut life.vault else { return Ok(()) };
        let left = vault.engine.left();
        let before = std::mem::replace(&mut vault.left, left.clone());
        let (Some(vault), Some(shelf)) = (self.vault(node), &self.shelf) else { return Ok(()) };
        for partition in left.difference(&before).map(|shard| PartitionId(*shard)) {
            let epoch = self.view(node, partition).epoch;
            let Some(record) = self.registry.of_epoch(partition, epoch) else { continue };
            for key in self.keys_of(partition) {
                let shown = shelf.oracle.shown(&key, u64::MAX);
                for made in shown.iter().flat_map(|(_, parts)| parts) {
                    // What nobody has told it to be a version stays there, undecided, and is not counted on.
                    let counted = made.holders.contains(&self.nodes[node].id);
                    if !counted && vault.engine.is_undecided(&made.upload) {
                        continue;
                    }
                    let lacks = |(member, life): &(usize, &crate::node::Life)| {
                        record.names(&self.nodes[*member].id, life.store)
                            && life.vault.as_ref().is_some_and(|vault| !settle::has(vault, made))
                    };
                    let lacks = self.lives().find(lacks).filter(|_| settle::has(vault, made));
                    must(lacks.is_none(), "G-I9", || {
                        let by = lacks.map(|(member, _)| member + 1);
                        format!("n{} gives {partition:?} back, n{by:?} lacks {made:?}", node + 1)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// How many members have each segment that is seen of a partition, all of it.
    pub(crate) fn copies_of(&self, partition: PartitionId) -> Vec<(Upload, usize)> {
        let Some(shelf) = &self.shelf else { return Vec::new() };
        let record = self.registry.current(partition);
        let all = partitions(&self.setup);
        let mut copies = Vec::new();
        for key in shelf.oracle.keys() {
            let name = Name { collection: key.0.clone(), key: key.1.clone() };
            if book::partition(all, &name) != partition {
                continue;
            }
            for made in shelf.oracle.shown(key, u64::MAX).into_iter().flat_map(|(_, parts)| parts) {
                let has = |(node, life): &(usize, &crate::node::Life)| {
                    record.names(&self.nodes[*node].id, life.store)
                        && life.vault.as_ref().is_some_and(|vault| settle::has(vault, &made))
                };
                copies.push((made.upload.clone(), self.lives().filter(has).count()));
            }
        }
        copies
    }
}
