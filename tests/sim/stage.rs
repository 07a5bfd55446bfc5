//! What schedules say often: a calm world with a leader, entries in it, and what became of them.

use hashring::PartitionId;
use replication::core::Outcome;

use crate::agenda::ms;
use crate::client::token_of;
use crate::setup::Setup;
use crate::world::World;

/// The one partition of most schedules.
pub(crate) const P: PartitionId = PartitionId(0);

/// A calm world in which the schedule `story` is played.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) world: World,
}

impl Stage {
    /// So many nodes, of which `commit` make a commit, running and led.
    pub(crate) fn new(nodes: usize, commit: u8) -> Self {
        Self::of(Setup::calm(nodes, commit))
    }

    pub(crate) fn of(setup: Setup) -> Self {
        let mut stage = Self { world: World::new(setup) };
        let partitions: Vec<PartitionId> = stage.world.partitions().collect();
        stage.until("a beginning", |world| partitions.iter().all(|it| world.is_equal(*it)));
        stage
    }

    /// Waits for a leader, which takes at most the 10 s of a take-over.
    pub(crate) fn leader(&mut self) -> usize {
        self.until("a leader", |world| world.leader(P).is_some());
        self.world.leader(P).unwrap()
    }

    /// Waits for a leader that is none of these.
    pub(crate) fn leader_but(&mut self, not: &[usize]) -> usize {
        let found = |world: &World| world.leader(P).filter(|leader| !not.contains(leader));
        self.until("another leader", |world| found(world).is_some());
        found(&self.world).unwrap()
    }

    /// The members that do not lead, by the record.
    pub(crate) fn others(&mut self) -> Vec<usize> {
        let leader = self.leader();
        let record = self.world.registry.current(P).clone();
        let members = record.ensemble.iter().filter_map(|it| self.world.index_of(&it.node));
        members.filter(|node| *node != leader).collect()
    }

    /// Lets time pass until something is so; fails the test after 12 s of it.
    pub(crate) fn until(&mut self, what: &str, is_so: impl FnMut(&World) -> bool) {
        let result = self.world.run_until(ms(12_000), is_so);
        self.good(result.as_ref().is_ok_and(|so| *so), &format!("waiting for {what}: {result:?}"));
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let verdict = self.world.run_for(ms(milliseconds));
        self.good(verdict.is_ok(), &format!("{verdict:?}"));
    }

    /// Fails the test with the whole story, unless `good`.
    pub(crate) fn good(&self, good: bool, what: &str) {
        let world = &self.world;
        assert!(good, "{}\n{}\n\n{what}", world.trace, world.describe());
    }

    /// Sends an entry; what becomes of it is seen later.
    pub(crate) fn send(&mut self, node: usize, acks: u8) -> u64 {
        let token = self.world.submit(node, P, acks);
        self.good(token.is_some(), "the node does not lead");
        token.unwrap()
    }

    /// Waits for the outcome of something.
    pub(crate) fn outcome(&mut self, token: u64) -> Outcome {
        self.until("an outcome", |world| world.outcome(token).is_some());
        self.world.outcome(token).unwrap()
    }

    /// Sends an entry and waits until it is committed.
    pub(crate) fn commit(&mut self, node: usize) -> u64 {
        let acks = self.world.registry.current(P).commit;
        let token = self.send(node, acks);
        let outcome = self.outcome(token);
        self.good(matches!(outcome, Outcome::Quorum { .. }), &format!("{outcome:?}"));
        token
    }

    /// Whether a node has the entry of a token in its log.
    pub(crate) fn has(&self, node: usize, token: u64) -> bool {
        let log = self.world.nodes[node].log(P);
        log.entries.iter().any(|entry| token_of(&entry.payload) == Some(token))
    }

    /// How often the entry of a token was shown.
    pub(crate) fn shown(&self, token: u64) -> usize {
        let payloads = self.world.history.payloads();
        payloads.filter(|(_, _, payload)| token_of(payload) == Some(token)).count()
    }

    pub(crate) fn crash(&mut self, node: usize) {
        let verdict = self.world.crash(node);
        self.good(verdict.is_ok(), &format!("{verdict:?}"));
    }

    /// Heals everything; every partition must open and all logs become equal.
    pub(crate) fn heal(&mut self) {
        let verdict = self.world.heal().and_then(|()| self.world.settle());
        self.good(verdict.is_ok(), &format!("{verdict:?}"));
    }
}
