//! A few cores, and as much of a world as they need: a network that delivers at once unless it is cut,
//! disks that sync at once unless they are held, a registry, and time that is moved.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a story's stage is set right")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::{Member, PartitionRecord};
use replication::core::{
    Alarm, Core, CoreConfig, Event, Limits, Moving, Outcome, PartitionView, Roster, Sabotage, Step,
    Timings, opened_record,
};
use segment::{LogEntry, LogOp};
use wire::Message;

use crate::disk::{Disk, apply};
use crate::registry::Cas;

/// The partition of stories that need only one.
pub(crate) const P: PartitionId = PartitionId(0);

/// Time moves in such steps.
const PACE: Duration = Duration::from_millis(10);

/// Everything.
pub(crate) struct Stage {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) records: BTreeMap<PartitionId, (PartitionRecord, u64)>,
    pub(crate) now: Duration,
    /// From whom to whom nothing gets through.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// What compare-and-sets end as; nobody is told when it is `None`.
    pub(crate) cas: Cas,
    net: VecDeque<(NodeId, NodeId, Message)>,
    partitions: u16,
    pub(crate) copies: u8,
    commit: u8,
    token: u64,
    pub(crate) timings: Timings,
    pub(crate) limits: Limits,
    pub(crate) sabotage: Sabotage,
    /// Messages that were delivered, to look at.
    pub(crate) seen: Vec<(NodeId, NodeId, Message)>,
}

/// One node.
pub(crate) struct Node {
    pub(crate) core: Option<Core>,
    pub(crate) disk: BTreeMap<PartitionId, Disk>,
    pub(crate) boot: u64,
    pub(crate) store: u64,
    pub(crate) told: Vec<Step>,
    pub(crate) moves: Vec<Moving>,
    /// What was put aside: after which entry, and the first that differs.
    pub(crate) aside: Vec<(u64, u64)>,
    pub(crate) mended: Vec<u64>,
    pub(crate) answers: BTreeMap<u64, Outcome>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) stopped: bool,
    /// Writes wait until they are let go.
    pub(crate) hold: bool,
    pub(crate) writes: VecDeque<(u64, Vec<LogOp>)>,
    pub(crate) write_count: u64,
    up: BTreeSet<NodeId>,
}

pub(crate) fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

impl Stage {
    /// Nodes of these names, all members of each partition in this order, just created.
    pub(crate) fn new(names: &[&str], partitions: u16, commit: u8) -> Self {
        Self::with_others(names, &[], partitions, commit)
    }

    /// The same, with nodes that are members of nothing.
    pub(crate) fn with_others(
        names: &[&str],
        others: &[&str],
        partitions: u16,
        commit: u8,
    ) -> Self {
        let member = |name: &&str| Member { node: id(name), store: 7 };
        let ensemble: Vec<Member> = names.iter().map(member).collect();
        let record = PartitionRecord::first(ensemble, commit);
        let records = (0..partitions).map(|n| (PartitionId(n), (record.clone(), 1))).collect();
        let mut stage = Self {
            nodes: BTreeMap::new(),
            records,
            now: Duration::ZERO,
            cut: BTreeSet::new(),
            cas: Cas::Done,
            net: VecDeque::new(),
            partitions,
            copies: u8::try_from(names.len()).unwrap(),
            commit,
            token: 0,
            timings: Timings::default(),
            limits: Limits::default(),
            sabotage: Sabotage::default(),
            seen: Vec::new(),
        };
        for name in names.iter().chain(others) {
            let node = Node {
                core: None,
                disk: BTreeMap::new(),
                boot: 0,
                store: 7,
                told: Vec::new(),
                moves: Vec::new(),
                aside: Vec::new(),
                mended: Vec::new(),
                answers: BTreeMap::new(),
                alarms: Vec::new(),
                stopped: false,
                hold: false,
                writes: VecDeque::new(),
                write_count: 0,
                up: BTreeSet::new(),
            };
            stage.nodes.insert(id(name), node);
        }
        stage
    }

    /// The same, started and run until the first of them leads everything.
    pub(crate) fn opened(names: &[&str], commit: u8) -> Self {
        let mut stage = Self::new(names, 1, commit);
        for name in names {
            stage.start(name);
        }
        stage.run(Duration::from_millis(500));
        assert!(stage.view(names[0]).leading, "{:?}", stage.view(names[0]));
        stage
    }

    /// Starts a node, with what its disk holds.
    pub(crate) fn start(&mut self, name: &str) {
        let (node_id, partitions) = (id(name), self.partitions);
        let now = self.now;
        let node = self.nodes.get_mut(&node_id).unwrap();
        node.boot += 1;
        node.up.clear();
        let config = CoreConfig {
            node: node_id.clone(),
            store: node.store,
            boot: node.boot,
            partitions,
            copies: self.copies,
            commit: self.commit,
            timings: self.timings,
            limits: self.limits,
            sabotage: self.sabotage,
        };
        let restored = node.disk.iter().map(|(id, disk)| (*id, disk.restored())).collect();
        // No two lives draw the same nonces.
        let seed = (node.boot << 8) + u64::from(name.as_bytes()[0]);
        let mut core = Core::new(config, restored, seed);
        core.handle(now, Event::SessionUp);
        node.core = Some(core);
        for (partition, (record, version)) in self.records.clone() {
            self.tell(name, Event::Record { partition, record, version });
        }
        self.connect();
    }

    /// Ends a node: what was not synced is lost, and so are its connections.
    pub(crate) fn kill(&mut self, name: &str) {
        let node_id = id(name);
        let node = self.nodes.get_mut(&node_id).unwrap();
        node.core = None;
        node.writes.clear();
        node.hold = false;
        self.net.retain(|(from, to, _)| *from != node_id && *to != node_id);
        self.connect();
    }

    /// Nothing passes between these two, either way.
    pub(crate) fn part(&mut self, a: &str, b: &str) {
        self.cut.insert((id(a), id(b)));
        self.cut.insert((id(b), id(a)));
        self.connect();
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.connect();
    }

    /// Lets the writes of a node reach its disk.
    pub(crate) fn release(&mut self, name: &str) {
        self.nodes.get_mut(&id(name)).unwrap().hold = false;
        self.quiet();
    }

    /// Makes connections as they can be now.
    pub(crate) fn connect(&mut self) {
        let names: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for a in &names {
            for b in names.iter().filter(|b| *b != a) {
                let parted = self.cut.contains(&(a.clone(), b.clone()))
                    && self.cut.contains(&(b.clone(), a.clone()));
                let (there, boot, store) = {
                    let peer = &self.nodes[b];
                    (peer.core.is_some() && !parted, peer.boot, peer.store)
                };
                let node = self.nodes.get_mut(a).unwrap();
                let Some(core) = &mut node.core else { continue };
                if there && node.up.insert(b.clone()) {
                    core.handle(self.now, Event::PeerUp { node: b.clone(), boot, store });
                } else if !there && node.up.remove(b) {
                    core.handle(self.now, Event::PeerDown { node: b.clone() });
                    let pair = (a.clone(), b.clone());
                    self.net.retain(|(from, to, _)| {
                        (from, to) != (&pair.0, &pair.1) && (from, to) != (&pair.1, &pair.0)
                    });
                }
            }
        }
    }

    /// A node loses its disk: it will start with another one.
    pub(crate) fn wipe(&mut self, name: &str) {
        self.kill(name);
        let node = self.node(name);
        node.disk.clear();
        node.store += 1;
    }

    /// Everybody sees this ring: who is on it, who is to leave, and who should hold every partition.
    pub(crate) fn ring(&mut self, present: &[&str], leaving: &[&str], wanted: &[&str]) {
        let store = |name: &&str| (id(name), self.nodes[&id(name)].store);
        let wanted: Vec<Member> =
            wanted.iter().map(store).map(|(node, store)| Member { node, store }).collect();
        let roster = Roster {
            present: present.iter().map(store).collect(),
            leaving: leaving.iter().map(|name| id(name)).collect(),
            wanted: self.records.keys().map(|partition| (*partition, wanted.clone())).collect(),
        };
        let names: Vec<String> = self.nodes.keys().map(ToString::to_string).collect();
        for name in names {
            self.tell(&name, Event::Roster(Box::new(roster.clone())));
        }
    }

    /// Everybody reads the records as they are.
    pub(crate) fn show_records(&mut self) {
        let names: Vec<String> = self.nodes.keys().map(ToString::to_string).collect();
        for name in names {
            for (partition, (record, version)) in self.records.clone() {
                self.tell(&name, Event::Record { partition, record, version });
            }
        }
    }

    /// The nodes of a partition's ensemble by the registry, as one text.
    pub(crate) fn ensemble(&self, partition: PartitionId) -> String {
        let (record, _) = &self.records[&partition];
        record.ensemble.iter().map(|member| member.node.as_str()).collect()
    }

    /// Tells a node something.
    pub(crate) fn tell(&mut self, name: &str, event: Event) {
        let now = self.now;
        if let Some(core) = self.node(name).core.as_mut() {
            core.handle(now, event);
        }
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&id(name)).unwrap()
    }

    pub(crate) fn view(&self, name: &str) -> PartitionView {
        self.nodes[&id(name)].core.as_ref().unwrap().view(P)
    }

    /// Submits an entry where the node's log ends; the token of its answer.
    pub(crate) fn submit(&mut self, name: &str, payload: &str, acks: u8) -> u64 {
        self.token += 1;
        let view = self.view(name);
        let event = Event::Submit {
            token: self.token,
            partition: P,
            epoch: view.epoch,
            seq: view.end + 1,
            payload: Bytes::from(format!("\u{1}{payload}")),
            acks,
        };
        self.tell(name, event);
        self.token
    }

    pub(crate) fn barrier(&mut self, name: &str) -> u64 {
        self.token += 1;
        let (token, epoch) = (self.token, self.view(name).epoch);
        self.tell(name, Event::Barrier { token, partition: P, epoch });
        token
    }

    pub(crate) fn confirm(&mut self, name: &str) -> u64 {
        self.token += 1;
        let token = self.token;
        self.tell(name, Event::Confirm { token, partition: P });
        token
    }

    /// The answer to a token, if there is one.
    pub(crate) fn answer(&self, name: &str, token: u64) -> Option<Outcome> {
        self.nodes[&id(name)].answers.get(&token).copied()
    }

    /// Lets everything happen that can without time passing.
    pub(crate) fn quiet(&mut self) {
        loop {
            let mut steps = Vec::new();
            for (name, node) in &mut self.nodes {
                while let Some(step) = node.core.as_mut().and_then(Core::poll) {
                    steps.push((name.clone(), step));
                }
            }
            let any = !steps.is_empty() || !self.net.is_empty();
            for (name, step) in steps {
                self.act(&name, step);
            }
            let written = self.write();
            while let Some((from, to, message)) = self.net.pop_front() {
                if self.cut.contains(&(from.clone(), to.clone())) {
                    continue;
                }
                self.seen.push((from.clone(), to.clone(), message.clone()));
                let now = self.now;
                if let Some(core) = self.nodes.get_mut(&to).and_then(|node| node.core.as_mut()) {
                    core.handle(now, Event::Message { from, message });
                }
            }
            if !any && !written {
                return;
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.quiet();
            if self.now >= until {
                return;
            }
            self.now += PACE;
            for node in self.nodes.values_mut() {
                if let Some(core) = &mut node.core
                    && core.next_timeout().is_some_and(|at| at <= self.now)
                {
                    core.handle(self.now, Event::Tick);
                }
            }
        }
    }

    /// Lets time pass until something is so; fails when it is not after a minute.
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Duration {
        let begun = self.now;
        while !is(self) {
            assert!(self.now - begun < Duration::from_secs(60), "a minute without: {what}");
            self.run(PACE);
        }
        self.now - begun
    }

    /// The same within an hour: what is looked for only now and then.
    pub(crate) fn until_long(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = self.now;
        while !is(self) {
            assert!(self.now - begun < Duration::from_secs(3600), "an hour without: {what}");
            self.run(PACE);
        }
    }

    fn act(&mut self, name: &NodeId, step: Step) {
        let node = self.nodes.get_mut(name).unwrap();
        match step {
            Step::Write { ticket, ops } => node.writes.push_back((ticket, ops)),
            Step::Send { to, message } => {
                assert!(node.up.contains(&to), "{name} sends to {to}, which is not connected");
                self.net.push_back((name.clone(), to, message));
            }
            Step::Cas { partition, expect, record } => {
                let nonce = record.nonce;
                let result = self.compare_and_set(partition, expect, record);
                self.tell(&name.to_string(), Event::CasDone { partition, nonce, result });
            }
            Step::Read { partition, request, from, entries_max, bytes_max } => {
                let disk = node.disk.entry(partition).or_default();
                let entries = disk.read(from, entries_max, bytes_max);
                let broken = entries.iter().find(|it| disk.unreadable.contains(&it.seq));
                if let Some(seq) = broken.map(|entry| entry.seq) {
                    self.tell(&name.to_string(), Event::Unreadable { partition, seq });
                    let entries = None;
                    return self
                        .tell(&name.to_string(), Event::Read { partition, request, entries });
                }
                let entries = Some(entries);
                self.tell(&name.to_string(), Event::Read { partition, request, entries });
            }
            Step::Answer { token, outcome } => {
                let before = node.answers.insert(token, outcome);
                assert_eq!(before, None, "{name} answers {token} twice");
            }
            Step::Stop { .. } => node.stopped = true,
            Step::Alarm { alarm, .. } => node.alarms.push(alarm),
            Step::Viewed { .. } => {}
            Step::Moving { how, .. } => node.moves.push(how),
            Step::Mended { after, .. } => node.mended.push(after),
            Step::PutAside { partition, after, differs } => {
                node.aside.push((after, differs));
                let done = Event::PutAside { partition, after, done: true };
                self.tell(&name.to_string(), done);
            }
            step @ (Step::Opened { .. } | Step::Closed { .. } | Step::Committed { .. }) => {
                node.told.push(step);
            }
        }
    }

    /// Writes what is queued and not held.
    fn write(&mut self) -> bool {
        let mut any = false;
        for node in self.nodes.values_mut().filter(|node| !node.hold) {
            while let Some((ticket, ops)) = node.writes.pop_front() {
                any = true;
                node.write_count += 1;
                for op in ops {
                    apply(&mut node.disk, op);
                }
                if let Some(core) = &mut node.core {
                    core.handle(self.now, Event::Written { ticket });
                }
            }
        }
        any
    }

    /// What a node's disk holds: payloads as text, an opening entry as its epoch.
    pub(crate) fn log(&self, name: &str) -> Vec<String> {
        let disk = self.nodes[&id(name)].disk.get(&P).cloned().unwrap_or_default();
        let text = |entry: &LogEntry| match opened_record(&entry.payload) {
            Some(record) => format!("#{}", record.epoch),
            None => String::from_utf8_lossy(&entry.payload[1..]).into_owned(),
        };
        disk.entries.iter().map(text).collect()
    }
}
