//! The other nodes: who is connected, who was heard, and which beats each has answered.
//!
//! What a peer says counts by its data directory: a member of an ensemble is a node *with* a store, and
//! a node that came back with another one is somebody else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use registry::Member;
use wire::BeatAnswer;

use super::Time;

/// All peers that ever connected.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    round: u64,
    /// Takes any store of a node for the member: only if told to break that rule.
    by_node: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its process life.
    pub(super) boot: u64,
    /// Its data directory.
    pub(super) store: u64,
    /// It is connected.
    pub(super) up: bool,
    /// When it last said anything.
    pub(super) heard: Time,
    /// Its disk is full.
    pub(super) full: bool,
    /// Its writer hangs.
    pub(super) stuck: bool,
    /// Since when it says that it has a registry session.
    pub(super) session_since: Option<Time>,
    /// Beats not yet answered.
    rounds: VecDeque<Round>,
}

/// A beat, as it was sent to one peer.
#[derive(Debug)]
struct Round {
    round: u64,
    leads: Vec<(PartitionId, u64)>,
}

/// More unanswered beats than this are forgotten: a peer that answers none of them for so long is
/// suspected anyway.
const ROUNDS_MAX: usize = 64;

impl Peers {
    /// Nobody is connected yet.
    pub(super) fn new(by_node: bool) -> Self {
        Self { by_node, ..Self::default() }
    }

    /// A peer is connected.
    pub(super) fn up(&mut self, node: NodeId, boot: u64, store: u64, now: Time) {
        let peer = Peer {
            boot,
            store,
            up: true,
            heard: now,
            full: false,
            stuck: false,
            session_since: None,
            rounds: VecDeque::new(),
        };
        self.peers.insert(node, peer);
    }

    /// A peer's connection ended.
    pub(super) fn down(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.up = false;
            peer.rounds.clear();
        }
    }

    /// A peer said something. `None` if it is not connected: then it is not listened to.
    pub(super) fn heard(&mut self, node: &NodeId, now: Time) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(node).filter(|peer| peer.up)?;
        peer.heard = now;
        Some(peer)
    }

    /// The process stood still: nobody's silence of that time counts.
    pub(super) fn be_patient(&mut self, now: Time) {
        for peer in self.peers.values_mut() {
            peer.heard = now;
            peer.session_since = peer.session_since.map(|_| now);
        }
    }

    /// The number of the next beat.
    pub(super) fn next_round(&self) -> u64 {
        self.round + 1
    }

    /// A beat begins: its number.
    pub(super) fn begin_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// A beat goes to a peer.
    pub(super) fn sent(&mut self, node: &NodeId, leads: Vec<(PartitionId, u64)>) {
        let round = self.round;
        if let Some(peer) = self.peers.get_mut(node) {
            if peer.rounds.len() == ROUNDS_MAX {
                peer.rounds.pop_front();
            }
            peer.rounds.push_back(Round { round, leads });
        }
    }

    /// What a beat said that a peer now answers; older ones will not be answered any more.
    pub(super) fn answered(
        &mut self,
        node: &NodeId,
        answer: &BeatAnswer,
    ) -> Vec<(PartitionId, u64)> {
        let Some(peer) = self.peers.get_mut(node) else { return Vec::new() };
        while let Some(first) = peer.rounds.front() {
            if first.round > answer.round {
                break;
            }
            let Some(first) = peer.rounds.pop_front() else { break };
            if first.round == answer.round {
                return first.leads;
            }
        }
        Vec::new()
    }

    /// A connected peer.
    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.peers.get(node).filter(|peer| peer.up)
    }

    /// The connected peers, by name.
    pub(super) fn connected(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.up)
    }

    /// A member's node, if it is connected with the member's store.
    pub(super) fn member(&self, member: &Member) -> Option<&Peer> {
        self.get(&member.node).filter(|peer| self.by_node || peer.store == member.store)
    }

    /// Whether a member is connected, was heard lately and can write.
    pub(super) fn live(&self, member: &Member, now: Time, patience: Duration) -> bool {
        self.member(member)
            .is_some_and(|peer| !peer.stuck && now.saturating_sub(peer.heard) < patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(0);

    fn answer(round: u64) -> BeatAnswer {
        BeatAnswer { round, higher: Vec::new() }
    }

    #[test]
    fn an_answer_names_its_beat_once_and_only_over_one_connection() {
        let node: NodeId = "b".parse().unwrap();
        let mut peers = Peers::default();
        peers.up(node.clone(), 1, 1, Time::ZERO);
        for epoch in [5, 6, 7] {
            peers.begin_round();
            peers.sent(&node, vec![(P, epoch)]);
        }
        assert_eq!(peers.answered(&node, &answer(2)), [(P, 6)]);
        assert!(peers.answered(&node, &answer(2)).is_empty(), "once");
        assert!(peers.answered(&node, &answer(1)).is_empty(), "passed over");
        peers.down(&node);
        peers.up(node.clone(), 1, 1, Time::ZERO);
        assert!(peers.answered(&node, &answer(3)).is_empty(), "lost with its connection");
    }

    #[test]
    fn a_node_with_another_store_is_not_the_member() {
        let node: NodeId = "b".parse().unwrap();
        let mut peers = Peers::default();
        peers.up(node.clone(), 1, 8, Time::ZERO);
        let second = Duration::from_secs(1);
        let member = |store| Member { node: node.clone(), store };
        assert!(peers.live(&member(8), Time::ZERO, second));
        assert!(!peers.live(&member(7), Time::ZERO, second), "wiped");
        assert!(!peers.live(&member(8), second, second), "silent");
        peers.down(&node);
        assert!(!peers.live(&member(8), Time::ZERO, second), "gone");
    }
}
