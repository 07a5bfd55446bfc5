//! Who is on the ring of a simulated cluster, who should hold what by it, and who is told when.
//!
//! Every node is told the whole of it, late, in its own time, and only while it has a session.

use std::collections::{BTreeMap, BTreeSet};

use hashring::PartitionId;
use rand::RngExt;
use registry::Member;
use replication::core::{Event, Roster};

use crate::agenda::{Happening, Time, ms};
use crate::invariants::{Verdict, must};
use crate::node::Came;
use crate::world::World;

/// Within so long after the healing every ensemble is the wanted one, and led by its first member.
const WANTED_MAX: Time = ms(60_000);
/// They stay so for so long.
const REST: Time = ms(4_000);
const LOOK_EVERY: Time = ms(50);

/// The nodes as the registry has them.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    off: BTreeSet<usize>,
    leaving: BTreeSet<usize>,
    /// The data directory that each node registered with.
    stores: BTreeMap<usize, u64>,
}

impl World {
    /// A node registers with the data directory it has.
    pub(crate) fn registers(&mut self, node: usize) {
        if self.ring.stores.insert(node, self.nodes[node].disk.store)
            != Some(self.nodes[node].disk.store)
        {
            self.ring_changed();
        }
    }

    /// A node's place on the ring comes or goes.
    pub(crate) fn set_on_ring(&mut self, node: usize, on: bool) {
        let changed = if on { self.ring.off.remove(&node) } else { self.ring.off.insert(node) };
        if changed {
            self.ring_changed();
        }
    }

    /// A node is to leave, or to stay after all.
    pub(crate) fn set_leaving(&mut self, node: usize, leaving: bool) {
        let ring = &mut self.ring;
        let changed = if leaving { ring.leaving.insert(node) } else { ring.leaving.remove(&node) };
        if changed {
            self.ring_changed();
        }
    }

    fn ring_changed(&mut self) {
        if !self.setup.ring {
            return;
        }
        for node in 0..self.nodes.len() {
            let delay = self.random.random_range(ms(1)..ms(900));
            self.agenda.after(delay, Happening::Roster { node });
        }
    }

    /// A node hears of the ring, if it has a session.
    pub(crate) fn tell_roster(&mut self, node: usize) {
        if self.setup.ring && self.registry.is_up(node) {
            let roster = Box::new(self.roster());
            self.tell(node, Came::Event(Event::Roster(roster)));
        }
    }

    fn roster(&self) -> Roster {
        let present = self.ring.stores.iter().filter(|(node, _)| !self.ring.off.contains(node));
        Roster {
            present: present.map(|(node, store)| (self.nodes[*node].id.clone(), *store)).collect(),
            leaving: self.ring.leaving.iter().map(|node| self.nodes[*node].id.clone()).collect(),
            wanted: self.partitions().map(|it| (it, self.wanted(it))).collect(),
        }
    }

    /// Who should hold a partition: of each its own choice, and the same again.
    pub(crate) fn wanted(&self, partition: PartitionId) -> Vec<Member> {
        let ring = &self.ring;
        let stays = ring
            .stores
            .iter()
            .filter(|(node, _)| !ring.off.contains(node) && !ring.leaving.contains(node));
        let mut nodes: Vec<(u64, usize, u64)> = stays
            .map(|(node, store)| {
                let mixed = (self.setup.seed ^ (*node as u64 + 1) << 20 ^ u64::from(partition.0))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15);
                ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9), *node, *store)
            })
            .collect();
        nodes.sort_unstable();
        let member = |(_, node, store): (u64, usize, u64)| Member {
            node: self.nodes[node].id.clone(),
            store,
        };
        nodes.into_iter().take(self.setup.copies).map(member).collect()
    }

    fn is_as_wanted(&self, partition: PartitionId) -> bool {
        let (record, wanted) = (self.registry.current(partition), self.wanted(partition));
        let all = wanted.len() == record.ensemble.len()
            && wanted.iter().all(|member| record.ensemble.contains(member));
        let led = self.leader(partition).map(|node| &self.nodes[node].id);
        all && led == wanted.first().map(|first| &first.node)
    }

    /// R27: once all is well, every partition is held and led by whom the ring wants.
    pub(crate) fn settle_ring(&mut self) -> Verdict {
        if !self.setup.ring {
            return Ok(());
        }
        let until = self.agenda.now() + WANTED_MAX;
        let partitions: Vec<PartitionId> = self.partitions().collect();
        let wanted = |world: &Self| partitions.iter().all(|it| world.is_as_wanted(*it));
        let mut since = self.agenda.now();
        // Who has heard of an older ring goes on by it for a while.
        while self.agenda.now() < since + REST {
            if !wanted(self) {
                since = self.agenda.now();
            }
            must(self.agenda.now() < until, "R27", || {
                let wanted: Vec<_> = partitions.iter().map(|it| self.wanted(*it)).collect();
                format!("wanted are {wanted:?}: {}", self.describe())
            })?;
            self.run_for(LOOK_EVERY)?;
        }
        Ok(())
    }
}
