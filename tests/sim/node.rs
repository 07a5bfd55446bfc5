//! One node: a disk that stays, and process lives that come and go, each with a core.
//!
//! A life has what the driver and the chats of a real node have: an inbox, the connections it knows
//! of, the partitions it was told that it leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::{Core, CoreConfig, Event, Outcome, PartitionView, Step};
use tokio::sync::oneshot;
use wire::Message;

use crate::agenda::Time;
use crate::chats::{self, Floor};
use crate::disk::{Disk, Image, image};
use crate::invariants::{Process, Verdict, Violation, must};
use crate::objects::{self, Home, Vault};
use crate::setup::Setup;

/// Steps that one turn may lead to; more means that it never ends.
const STEPS_MAX: usize = 20_000;
/// Turns in a row that leave a core wanting the next one at once.
const RESTLESS_MAX: u32 = 50;

/// Something that waits for a node's turn.
#[derive(Debug)]
pub(crate) enum Came {
    Linked {
        peer: usize,
        generation: u64,
        event: Event,
    },
    Unlinked {
        peer: usize,
        generation: u64,
        event: Event,
    },
    Message {
        from: usize,
        generation: u64,
        node: NodeId,
        message: Message,
    },
    /// A barrier of this token: what it covers is known when the core hears of it.
    Barrier {
        token: u64,
        partition: PartitionId,
        epoch: u64,
    },
    Event(Event),
}

/// A partition that a life was told it leads.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    pub(crate) epoch: u64,
    /// The place of the next entry.
    pub(crate) next: u64,
    /// The last one that the core was given in its place, or the opening entry.
    pub(crate) given: u64,
    pub(crate) committed: u64,
}

/// One process life.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) core: Core,
    pub(crate) boot: u64,
    pub(crate) store: u64,
    pub(crate) started: Time,
    /// Since when it runs without a pause.
    pub(crate) running: Time,
    pub(crate) paused: bool,
    /// It was told to give everything away.
    pub(crate) draining: bool,
    pub(crate) inbox: VecDeque<Came>,
    pub(crate) waking: bool,
    /// When it will be woken for its timer.
    pub(crate) timer: Option<Time>,
    /// The connections as it knows them.
    pub(crate) peers: BTreeMap<usize, u64>,
    /// Peers whose connection it heard the end of in this turn: what the core said to them before is
    /// lost.
    pub(crate) lost: BTreeSet<usize>,
    pub(crate) reigns: BTreeMap<PartitionId, Reign>,
    /// The epochs that its views told.
    epochs: BTreeMap<PartitionId, u64>,
    restless: u32,
    /// Its chats, if the world has any.
    pub(crate) floor: Option<Floor>,
    /// Its archive, if the world has objects.
    pub(crate) vault: Option<Vault>,
    /// Who of them waits for an answer of the core.
    pub(crate) replies: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

/// A node's wall clock. Nothing but what is shown may depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wall {
    /// How far it is off.
    pub(crate) shift_ms: i64,
    /// It stands still here.
    pub(crate) frozen: Option<u64>,
}

impl Wall {
    /// What it says.
    pub(crate) fn ms(&self, now: Time) -> u64 {
        const BEGAN_MS: u64 = 1_700_000_000_000;
        let running = (BEGAN_MS + now / 1000).saturating_add_signed(self.shift_ms);
        self.frozen.unwrap_or(running)
    }
}

/// What a turn made of the inbox.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) steps: Vec<Step>,
    /// Barriers that the core heard of, and what they cover.
    pub(crate) barriers: Vec<(u64, u64)>,
}

impl Life {
    fn new(of: &Node, setup: &Setup, now: Time) -> Self {
        let Node { id: node, disk, commit, home, .. } = of;
        let commit = *commit;
        let config = CoreConfig {
            node: node.clone(),
            store: disk.store,
            boot: disk.boot,
            partitions: setup.partitions,
            copies: u8::try_from(setup.copies).unwrap_or(u8::MAX),
            commit,
            timings: setup.timings,
            limits: setup.limits,
            sabotage: setup.sabotage,
        };
        let seed = setup.seed ^ (disk.boot << 32) ^ (disk.store << 48);
        Self {
            core: Core::new(config, disk.restored(), seed),
            boot: disk.boot,
            store: disk.store,
            started: now,
            running: now,
            paused: false,
            draining: false,
            inbox: VecDeque::new(),
            waking: false,
            timer: None,
            peers: BTreeMap::new(),
            lost: BTreeSet::new(),
            reigns: BTreeMap::new(),
            epochs: BTreeMap::new(),
            restless: 0,
            floor: chats::floor(node, disk, setup, commit),
            vault: home.as_ref().and_then(|home| objects::vault(of, home, setup, now)),
            replies: BTreeMap::new(),
        }
    }

    /// The core hears everything that waits, then says what to do.
    pub(crate) fn turn(
        &mut self,
        now: Time,
        mut heard: impl FnMut(&Event),
    ) -> Result<Turn, Violation> {
        let mut turn = Turn::default();
        let time = Duration::from_micros(now - self.started);
        self.waking = false;
        self.lost.clear();
        while let Some(came) = self.inbox.pop_front() {
            if let Some(event) = self.admit(came, &mut turn) {
                heard(&event);
                self.core.handle(time, event);
            }
        }
        while let Some(step) = self.core.poll() {
            turn.steps.push(step);
            must(turn.steps.len() < STEPS_MAX, "I15", || "a turn has no end".to_owned())?;
        }
        let due = self.core.next_timeout().is_some_and(|timeout| timeout <= time);
        self.restless = if due { self.restless + 1 } else { 0 };
        must(self.restless < RESTLESS_MAX, "I15", || "a core is never done".to_owned())?;
        Ok(turn)
    }

    /// What the core hears of something that came: nothing of an old connection.
    fn admit(&mut self, came: Came, turn: &mut Turn) -> Option<Event> {
        match came {
            Came::Linked { peer, generation, event } => {
                let known = self.peers.get(&peer).copied().unwrap_or(0);
                if generation <= known {
                    return None;
                }
                self.peers.insert(peer, generation);
                Some(event)
            }
            Came::Unlinked { peer, generation, event } => {
                if self.peers.get(&peer) != Some(&generation) {
                    return None;
                }
                self.peers.remove(&peer);
                self.lost.insert(peer);
                Some(event)
            }
            Came::Message { from, generation, node, message } => {
                let current = self.peers.get(&from) == Some(&generation);
                current.then_some(Event::Message { from: node, message })
            }
            Came::Barrier { token, partition, epoch } => {
                let given = self.reigns.get(&partition).filter(|reign| reign.epoch == epoch);
                turn.barriers.push((token, given.map_or(0, |reign| reign.given)));
                Some(Event::Barrier { token, partition, epoch })
            }
            Came::Event(event) => {
                if let Event::Submit { partition, epoch, seq, .. } = &event
                    && let Some(reign) = self.reigns.get_mut(partition)
                    && reign.epoch == *epoch
                    && reign.given + 1 == *seq
                {
                    reign.given = *seq;
                }
                Some(event)
            }
        }
    }

    /// When the core wants to be woken, in the world's time.
    pub(crate) fn timeout(&self) -> Option<Time> {
        let timeout = self.core.next_timeout()?;
        Some(self.started + u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// What the view of a partition must be like.
    pub(crate) fn look(
        &mut self,
        partition: PartitionId,
        limit: usize,
    ) -> Result<PartitionView, Violation> {
        let view = self.core.view(partition);
        let epoch = self.epochs.entry(partition).or_default();
        must(view.epoch >= *epoch, "I3", || {
            format!("the view of {partition:?} falls from {epoch} to {}", view.epoch)
        })?;
        *epoch = view.epoch;
        let told = self.reigns.get(&partition).is_some_and(|reign| reign.epoch == view.epoch);
        must(!view.leading || told, "I5", || {
            format!("leads {partition:?} before Opened: {view:?}")
        })?;
        let waiting = usize::try_from(view.end.saturating_sub(view.commit)).unwrap_or(usize::MAX);
        let bound: Verdict = must(!view.leading || waiting <= limit + 1, "I15", || {
            format!("{waiting} of {partition:?} are not committed")
        });
        bound?;
        Ok(view)
    }
}

/// One node of a world.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: Disk,
    /// How many members make a commit in epochs that it opens.
    pub(crate) commit: u8,
    pub(crate) wall: Wall,
    pub(crate) life: Option<Life>,
    /// Where its archive is, if the world has objects.
    pub(crate) home: Option<Home>,
}

impl Node {
    pub(crate) fn new(index: usize, commit: u8) -> Self {
        let id = format!("n{}", index + 1).parse().expect("a label");
        let disk = Disk::new(index as u64 + 1);
        Self { id, disk, commit, wall: Wall::default(), life: None, home: None }
    }

    /// Starts a process; the one before is gone.
    pub(crate) fn start(&mut self, setup: &Setup, now: Time) -> u64 {
        self.disk.boot += 1;
        self.life = Some(Life::new(self, setup, now));
        self.disk.boot
    }

    /// The life of this boot.
    pub(crate) fn life_of(&mut self, boot: u64) -> Option<&mut Life> {
        self.life.as_mut().filter(|life| life.boot == boot)
    }

    /// The life that can do something now.
    pub(crate) fn awake(&self) -> Option<&Life> {
        self.life.as_ref().filter(|life| !life.paused)
    }

    pub(crate) fn process(&self) -> Process {
        Process { node: self.id.clone(), boot: self.disk.boot }
    }

    /// What this node believes to have in its log.
    pub(crate) fn log(&self, partition: PartitionId) -> &Image {
        image(&self.disk.logical, partition)
    }

    /// What a crash would leave of it at least.
    pub(crate) fn durable(&self, partition: PartitionId) -> &Image {
        image(&self.disk.durable, partition)
    }
}
