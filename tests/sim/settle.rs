//! What must come to be once everything is well: every partition is led, takes entries, and is the same
//! everywhere.

use std::collections::{BTreeMap, BTreeSet};

use hashring::PartitionId;
use replication::core::Outcome;

use crate::agenda::{Time, ms};
use crate::client::token_of;
use crate::invariants::{Verdict, must};
use crate::world::World;

/// I16: within so long after the healing every partition is open, and takes entries.
const OPEN_MAX: Time = ms(10_000);
/// Then logs become equal; one resend, one beat and room.
const EQUAL_MAX: Time = ms(6_000);
/// What cannot be read is mended in turn: a primary gives the partition away first, twice at most.
const MENDED_MAX: Time = ms(80_000);
/// So long after everything is equal nothing is under way.
const QUIET: Time = ms(1_500);
/// Looking costs more than most happenings.
const LOOK_EVERY: Time = ms(50);

impl World {
    /// A healed world comes to rest, and nothing is missing in it.
    pub(crate) fn settle(&mut self) -> Verdict {
        self.busy = false;
        let until = self.agenda.now() + OPEN_MAX;
        self.settle_chats()?;
        self.keepers_rest();
        let mut probes = BTreeMap::new();
        while self.agenda.now() < until && !self.probed(&mut probes) {
            self.run_for(LOOK_EVERY)?;
        }
        must(self.probed(&mut probes), "I16", || format!("not open: {}", self.describe()))?;
        self.settle_ring()?;
        self.settle_shelf()?;
        let rotten = self.nodes.iter().any(|it| it.disk.is_rotten());
        let patience = if rotten { MENDED_MAX } else { EQUAL_MAX };
        let until = self.agenda.now() + patience;
        let partitions: Vec<PartitionId> = self.partitions().collect();
        let equal = |world: &Self| partitions.iter().all(|it| world.is_equal(*it));
        while self.agenda.now() < until && !equal(self) {
            self.run_for(LOOK_EVERY)?;
        }
        must(equal(self), "I16", || format!("not equal: {}", self.describe()))?;
        while self.open_asks()? > 0 {
            self.run_for(ms(100))?;
        }
        self.read_everything()?;
        self.check_shelf()?;
        self.check_quiet()?;
        self.check_refusals()
    }

    /// I15: where there is nothing to do, beats are all that is said, and nothing is read.
    fn check_quiet(&mut self) -> Verdict {
        self.run_for(QUIET)?;
        let mut before = self.counts;
        loop {
            let forgotten = self.forgotten();
            self.run_for(QUIET)?;
            if self.forgotten() == forgotten {
                break;
            }
            // Chats that have been over for long enough by now: one after the other they are all gone.
            before = self.counts;
        }
        let (words, reads) = (self.counts.words - before.words, self.counts.reads - before.reads);
        must(words == 0 && reads == 0, "I15", || {
            format!("{words} words and {reads} reads for nothing: {}", self.describe())
        })
    }

    /// How many chats are forgotten.
    fn forgotten(&self) -> u64 {
        self.talk.as_ref().map_or(0, |talk| talk.oracle.forgotten())
    }

    /// Whether each partition has committed an entry that was sent since the healing. Where none is
    /// under way, one is sent.
    fn probed(&mut self, probes: &mut BTreeMap<PartitionId, u64>) -> bool {
        if self.talk.is_some() || self.shelf.is_some() {
            // The chats, or the archive, alone number the entries.
            return self.partitions().all(|partition| self.leader(partition).is_some());
        }
        let mut all = true;
        for partition in self.partitions() {
            let outcome = probes.get(&partition).map(|token| self.outcome(*token));
            if matches!(outcome, Some(Some(Outcome::Quorum { .. }))) {
                continue;
            }
            all = false;
            let acks = self.registry.current(partition).commit;
            let leader = self.leader(partition).filter(|_| outcome != Some(None));
            if let Some(leader) = leader
                && self.view(leader, partition).admits(acks).is_ok()
                && let Some(token) = self.submit(leader, partition, acks)
            {
                probes.insert(partition, token);
            }
        }
        all
    }

    /// Whether every member that lives has on its disk what the leader has, knowing it committed.
    pub(crate) fn is_equal(&self, partition: PartitionId) -> bool {
        let Some(leader) = self.leader(partition) else { return false };
        let end = self.end(leader, partition);
        let record = self.registry.current(partition);
        let mut members =
            self.lives().filter(|(node, life)| record.names(&self.nodes[*node].id, life.store));
        self.history.shown(partition) == end.seq
            && members.all(|(node, life)| {
                let log = self.nodes[node].durable(partition);
                let whole = log.altered.is_none() && log.unreadable.is_empty();
                let same = log.end() == end && whole;
                same && life.core.view(partition).commit == end.seq
            })
    }

    /// I7: what was refused is not there.
    fn check_refusals(&self) -> Verdict {
        let refused = self
            .asks
            .all()
            .filter(|(_, ask)| matches!(ask.outcome, Some(Outcome::NotCommitted(_))));
        let refused: BTreeSet<u64> = refused.map(|(token, _)| token).collect();
        for (partition, seq, payload) in self.history.payloads() {
            let there = token_of(payload).is_some_and(|token| refused.contains(&token));
            must(!there, "I7", || format!("{partition:?} {seq} was refused, and is there"))?;
        }
        Ok(())
    }

    /// What every node thinks, for a failed run.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for partition in self.partitions() {
            text += &format!("\n{partition:?}: {:?}", self.registry.current(partition));
            for (node, life) in self.lives() {
                let view = life.core.view(partition);
                let paused = if life.paused { ", paused" } else { "" };
                text += &format!("\n  n{}{paused}: {view:?}", node + 1);
            }
        }
        text
    }
}
