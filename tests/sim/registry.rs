//! The registry as nodes meet it: compare-and-set whose result may stay unknown, watches that are late,
//! merged and sometimes tell an old record, sessions that are lost.

use std::collections::{BTreeMap, BTreeSet};

use hashring::PartitionId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use registry::PartitionRecord;
use replication::core::CasResult;

use crate::agenda::{Agenda, Happening, Time, ms};

/// How the registry behaves in one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// How many of a thousand results get lost.
    pub(crate) unknown_per_mille: u32,
    /// How many of a thousand reads tell a record that was replaced already.
    pub(crate) stale_per_mille: u32,
    /// The longest way to it, or from it.
    pub(crate) longest: Time,
}

/// A compare-and-set under way.
#[derive(Clone, Debug)]
struct Cas {
    partition: PartitionId,
    expect: Option<u64>,
    record: PartitionRecord,
    result: Option<CasResult>,
}

/// Where the compare-and-sets of one node are stopped, for schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    #[default]
    Through,
    /// They do not arrive.
    Before,
    /// They are applied, but nobody is told.
    After,
}

#[derive(Debug, Default)]
struct Session {
    up: bool,
    /// Counts the sessions, so that a watch of an old one is not heard.
    count: u64,
    /// What its watches have told: the version of each partition.
    told: BTreeMap<PartitionId, u64>,
    gate: Gate,
    gated: Vec<Happening>,
}

/// The registry of one world.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) manners: Manners,
    random: StdRng,
    /// Every record a partition ever had; its version is its place, from 1.
    records: BTreeMap<PartitionId, Vec<PartitionRecord>>,
    /// Records that somebody deleted.
    gone: BTreeSet<PartitionId>,
    /// The versions of records that somebody put back, which no node wrote.
    put_back: BTreeSet<(PartitionId, u64)>,
    sessions: Vec<Session>,
    under_way: BTreeMap<u64, Cas>,
    count: u64,
}

impl Registry {
    pub(crate) fn new(nodes: usize, manners: Manners, seed: u64) -> Self {
        Self {
            manners,
            random: StdRng::seed_from_u64(seed ^ 0x7265_6769),
            records: BTreeMap::new(),
            gone: BTreeSet::new(),
            put_back: BTreeSet::new(),
            sessions: (0..nodes).map(|_| Session::default()).collect(),
            under_way: BTreeMap::new(),
            count: 0,
        }
    }

    /// Writes a record that no node asked for: the first one, or an operator's.
    pub(crate) fn put(&mut self, partition: PartitionId, record: PartitionRecord) {
        self.records.entry(partition).or_default().push(record);
    }

    /// Somebody deletes a record.
    pub(crate) fn delete(&mut self, agenda: &mut Agenda, partition: PartitionId) {
        self.gone.insert(partition);
        self.changed(agenda, partition);
    }

    pub(crate) fn is_gone(&self, partition: PartitionId) -> bool {
        self.gone.contains(&partition)
    }

    /// Somebody puts a record back, as it was some versions ago.
    pub(crate) fn put_back(&mut self, agenda: &mut Agenda, partition: PartitionId, ago: usize) {
        let Some(records) = self.records.get_mut(&partition) else { return };
        let Some(record) = records.iter().rev().nth(ago).cloned() else { return };
        records.push(record);
        self.put_back.insert((partition, records.len() as u64));
        self.gone.remove(&partition);
        self.changed(agenda, partition);
    }

    /// The record as it stands, or stood before it was deleted.
    pub(crate) fn current(&self, partition: PartitionId) -> &PartitionRecord {
        self.records[&partition].last().expect("a partition has a record from the start")
    }

    /// The latest record of an epoch.
    pub(crate) fn of_epoch(&self, partition: PartitionId, epoch: u64) -> Option<&PartitionRecord> {
        self.records.get(&partition)?.iter().rev().find(|record| record.epoch == epoch)
    }

    /// A node's session is made; its watches tell it everything.
    pub(crate) fn connect(&mut self, agenda: &mut Agenda, node: usize) {
        let session = &mut self.sessions[node];
        session.up = true;
        session.count += 1;
        session.told.clear();
        let count = session.count;
        for partition in self.records.keys().copied().collect::<Vec<_>>() {
            let delay = self.delay();
            agenda.after(delay, Happening::Watch { node, session: count, partition });
        }
    }

    pub(crate) fn disconnect(&mut self, node: usize) {
        self.sessions[node].up = false;
        self.sessions[node].count += 1;
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.sessions[node].up
    }

    /// A node asks for a compare-and-set.
    pub(crate) fn ask(
        &mut self,
        agenda: &mut Agenda,
        (node, boot): (usize, u64),
        (partition, expect): (PartitionId, Option<u64>),
        record: PartitionRecord,
    ) {
        self.count += 1;
        let cas = self.count;
        self.under_way.insert(cas, Cas { partition, expect, record, result: None });
        let delay = self.delay();
        agenda.after(delay, Happening::CasArrives { node, boot, cas });
    }

    /// It arrives. Gives the records before and after, if it was written.
    pub(crate) fn arrive(
        &mut self,
        agenda: &mut Agenda,
        (node, boot): (usize, u64),
        cas: u64,
    ) -> Option<(PartitionId, PartitionRecord, PartitionRecord)> {
        if self.sessions[node].gate == Gate::Before {
            self.sessions[node].gated.push(Happening::CasArrives { node, boot, cas });
            return None;
        }
        let delay = self.delay();
        let up = self.sessions[node].up;
        let lost = self.random.random_ratio(self.manners.unknown_per_mille, 1000);
        let reached = up && !(lost && self.random.random_bool(0.5));
        let asked = self.under_way.get_mut(&cas)?;
        let records = self.records.get_mut(&asked.partition)?;
        let put_back = &self.put_back;
        let written = (1..)
            .zip(records.iter())
            .filter(|(version, _)| !put_back.contains(&(asked.partition, *version)));
        let before = written.last()?.1.clone();
        let current = records.last()?.clone();
        let version = records.len() as u64;
        let gone = self.gone.contains(&asked.partition);
        let stands = Some(version).filter(|_| !gone);
        let won = reached && stands == asked.expect;
        asked.result = Some(match (up && !lost, won) {
            (false, _) => CasResult::Unknown,
            (true, true) => CasResult::Won { version: version + 1 },
            (true, false) => CasResult::Lost { current: stands.map(|version| (current, version)) },
        });
        let (partition, record) = (asked.partition, asked.record.clone());
        if won {
            self.gone.remove(&partition);
            records.push(record.clone());
            self.changed(agenda, partition);
        }
        let answered = Happening::CasAnswered { node, boot, cas };
        match self.sessions[node].gate {
            Gate::After => self.sessions[node].gated.push(answered),
            Gate::Through | Gate::Before => agenda.after(delay, answered),
        }
        won.then_some((partition, before, record))
    }

    /// The answer to a compare-and-set.
    pub(crate) fn answer(&mut self, cas: u64) -> Option<(PartitionId, u64, CasResult)> {
        let asked = self.under_way.remove(&cas)?;
        Some((asked.partition, asked.record.nonce, asked.result.unwrap_or(CasResult::Unknown)))
    }

    /// Everybody's watch of a partition fires, each in its own time.
    pub(crate) fn changed(&mut self, agenda: &mut Agenda, partition: PartitionId) {
        for node in 0..self.sessions.len() {
            let session = self.sessions[node].count;
            let delay = self.delay() + self.random.random_range(0..ms(200));
            agenda.after(delay, Happening::Watch { node, session, partition });
        }
    }

    /// A watch fires: the record and version it tells, if that is news.
    pub(crate) fn watch(
        &mut self,
        agenda: &mut Agenda,
        node: usize,
        (session, partition): (u64, PartitionId),
    ) -> Option<(Option<PartitionRecord>, u64)> {
        let delay = self.delay() + ms(200);
        let stale = self.random.random_ratio(self.manners.stale_per_mille, 1000);
        let records = self.records.get(&partition)?;
        let current = records.len() as u64;
        let seen = self.sessions.get_mut(node).filter(|seen| seen.up && seen.count == session)?;
        let told = seen.told.entry(partition).or_default();
        if self.gone.contains(&partition) {
            *told = 0;
            return Some((None, 0));
        }
        if *told == current {
            return None;
        }
        let version =
            if stale { self.random.random_range((*told).max(1)..=current) } else { current };
        *told = version;
        if version != current {
            agenda.after(delay, Happening::Watch { node, session, partition });
        }
        Some((Some(records[usize::try_from(version - 1).ok()?].clone()), version))
    }

    /// Stops the compare-and-sets of a node, or lets them go on.
    pub(crate) fn gate(&mut self, agenda: &mut Agenda, node: usize, gate: Gate) {
        self.sessions[node].gate = gate;
        if gate == Gate::Through {
            for happening in std::mem::take(&mut self.sessions[node].gated) {
                agenda.after(1, happening);
            }
        }
    }

    fn delay(&mut self) -> Time {
        self.random.random_range(100..self.manners.longest)
    }
}
